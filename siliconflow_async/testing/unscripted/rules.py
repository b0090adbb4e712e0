"""What the service refuses: types and documented ranges of the parameters of a chat request.

The ranges are those of SiliconFlow's chat page; the wording follows recorded errors, such as
"seed: Must be greater than or equal to 0".
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from ..serving.refusals import refuse
from .models import Capabilities

__all__ = ["Range", "check_messages", "check_number", "check_one_of", "check_parameters", "require"]


class Range(NamedTuple):
    """The documented range of a number; `also` is one more value that is allowed outside of it."""

    kind: type[int] | type[float]
    low: float | None = None
    high: float | None = None
    also: float | None = None


_RANGES = {
    "max_tokens": Range(int, 1),
    "thinking_budget": Range(int, 128, 32768),
    "temperature": Range(float, 0, 2),
    "top_p": Range(float, 0, 1),
    "top_k": Range(int, 1, 100, also=-1),
    "min_p": Range(float, 0, 1),
    "frequency_penalty": Range(float, -2, 2),
    # No upper bound is documented; this one only keeps a slip from filling the memory.
    "n": Range(int, 1, 128),
    "seed": Range(int, 0),
    "presence_penalty": Range(float),
    "repetition_penalty": Range(float),
    "top_logprobs": Range(int, 0),
}
# Of a video; no bounds are documented, but none below these makes sense.
_VIDEO_RANGES = {"max_frames": Range(int, 1), "fps": Range(float, 0)}
_KINDS = (
    (bool, "boolean", ("stream", "enable_thinking", "logprobs", "parallel_tool_calls")),
    (str, "string", ("prefix", "suffix")),
    (dict, "object", ("stream_options", "logit_bias", "response_format")),
)
_EFFORTS = ("low", "medium", "high", "xhigh", "max")
_ROLES = ("system", "user", "assistant", "tool")
_FORMATS = ("text", "json_object", "json_schema")
_DETAILS = ("auto", "low", "high")
# The media of a message's parts, and what a model needs for them.
_MEDIA = {"image_url": "vision", "video_url": "video", "audio_url": "audio"}
_MAX_TOOLS = 128
_FUNCTION_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


def check_parameters(request: Mapping[str, Any], model: Capabilities) -> None:
    """Raise Refused for the first parameter that the service would not take."""
    given = {name: value for name, value in request.items() if value is not None}
    for name, limits in _RANGES.items():
        if name in given:
            check_number(name, given[name], limits)
    for kind, word, names in _KINDS:
        for name in names:
            require(isinstance(given.get(name, kind()), kind), f"{name}: Must be of type {word}")
    check_one_of("reasoning_effort", given.get("reasoning_effort", "low"), _EFFORTS)
    _check_stop(given.get("stop", []))
    if "enable_thinking" in given and model.thinking != "hybrid":
        refuse("Value error, current model does not support parameter `enable_thinking`.")
    _check_format(given.get("response_format", {"type": "text"}), model)
    _check_tools(given.get("tools", []), given.get("tool_choice", "auto"), model)
    may_think = model.tools_without_thinking and given.get("enable_thinking") is not False
    require(not (may_think and given.get("tools")), "tools: This model takes them only with enable_thinking=false")


def check_messages(messages: Any, model: Capabilities) -> list[dict[str, Any]]:
    """Return the messages, or raise Refused."""
    if not isinstance(messages, list) or not messages:
        refuse("messages: Must be a list with at least one message")
    for index, message in enumerate(messages):
        _check_message(f"messages[{index}]", message, model)
    require(any(message["role"] == "user" for message in messages), "No user query found in messages.")
    return messages


def require(holds: bool, message: str, code: int = 20015) -> None:
    """Raise Refused unless it holds."""
    if not holds:
        refuse(message, code)


def check_one_of(name: str, value: Any, allowed: Collection[str]) -> None:
    """Raise Refused for a value that is none of those."""
    require(value in allowed, f"{name}: Must be one of {', '.join(allowed)}")


def check_number(name: str, value: Any, limits: Range) -> None:
    """Raise Refused for what is no number of that range."""
    # JSON has one kind of number, so 2.0 is an integer; Python's bool is not one.
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if limits.kind is int:
        require(is_number and value == int(value), f"{name}: Must be an integer")
    require(is_number, f"{name}: Must be a number")
    if value == limits.also:
        return
    hint = "" if limits.also is None else f", or {limits.also:g}"
    if limits.low is not None and value < limits.low:
        refuse(f"{name}: Must be greater than or equal to {limits.low:g}{hint}")
    if limits.high is not None and value > limits.high:
        refuse(f"{name}: Must be less than or equal to {limits.high:g}{hint}")


def _check_stop(stop: Any) -> None:
    if isinstance(stop, str):
        return
    is_list = isinstance(stop, list) and all(isinstance(text, str) for text in stop)
    require(is_list, "stop: Must be a string or a list of strings")
    require(len(stop) <= 4, "stop: Must have at most 4 strings")


def _check_format(wanted: Mapping[str, Any], model: Capabilities) -> None:
    kind = wanted.get("type")
    require(kind in _FORMATS, f"response_format: type must be one of {', '.join(_FORMATS)}")
    require(kind == "text" or model.json, "Json mode is not supported for this model.", code=20024)
    if kind == "json_schema":
        holder = wanted.get("json_schema")
        has_schema = isinstance(holder, dict) and isinstance(holder.get("schema"), dict)
        require(has_schema, "response_format: json_schema must be an object with a schema")


def _check_tools(tools: Any, choice: Any, model: Capabilities) -> None:
    require(isinstance(tools, list), "tools: Must be a list")
    require(len(tools) <= _MAX_TOOLS, f"tools: Must have at most {_MAX_TOOLS} functions")
    require(model.tools or not tools, "Value error, current model does not support parameter `tools`.")
    for index, tool in enumerate(tools):
        _check_tool(f"tools[{index}]", tool)
    if choice in ("auto", "none", "required"):
        return
    named = choice.get("function") if isinstance(choice, dict) else None
    if not isinstance(named, dict):
        refuse("tool_choice: Must be auto, none, required or an object that names a function")
    known = [tool["function"]["name"] for tool in tools]
    require(named.get("name") in known, "tool_choice: The function that it names is not in tools")


def _check_tool(where: str, tool: Any) -> None:
    function = tool.get("function") if isinstance(tool, dict) else None
    if not isinstance(function, dict):
        refuse(f"{where}: Must be an object with a function")
    require(tool.get("type", "function") == "function", f"{where}: type must be function")
    name = function.get("name")
    is_name = isinstance(name, str) and _FUNCTION_NAME.fullmatch(name) is not None
    require(is_name, f"{where}: The function must have a name of 1 to 64 letters, digits, _ and -")
    require(isinstance(function.get("parameters", {}), dict | None), f"{where}: parameters must be an object")


def _check_message(where: str, message: Any, model: Capabilities) -> None:
    if not isinstance(message, dict):
        refuse(f"{where}: Must be an object")
    role = message.get("role")
    check_one_of(f"{where}.role", role, _ROLES)
    has_id = role != "tool" or isinstance(message.get("tool_call_id"), str)
    require(has_id, f"{where}.tool_call_id: Must be a string")
    content = message.get("content")
    if isinstance(content, list):
        require(bool(content), f"{where}.content: Must have at least one part")
        for index, part in enumerate(content):
            _check_part(f"{where}.content[{index}]", part, model)
    elif content is None:
        require(role == "assistant", f"{where}.content: Must be given")
    else:
        require(isinstance(content, str), f"{where}.content: Must be a string or a list of parts")


def _check_part(where: str, part: Any, model: Capabilities) -> None:
    kind: Any = part.get("type") if isinstance(part, dict) else None
    check_one_of(f"{where}.type", kind, ("text", *_MEDIA))
    if kind == "text":
        require(isinstance(part.get("text"), str), f"{where}.text: Must be a string")
        return
    wording = "The model is not a VLM (Vision Language Model). Please use text-only prompts."
    require(getattr(model, _MEDIA[kind]), wording, code=20041)
    media = part.get(kind)
    if not isinstance(media, dict) or not str(media.get("url")).startswith(("http://", "https://", "data:")):
        refuse(f"{where}.{kind}.url: Must be a http, https or data URL")
    check_one_of(f"{where}.{kind}.detail", media.get("detail", "auto"), _DETAILS)
    for name, limits in _VIDEO_RANGES.items():
        if kind == "video_url" and (value := media.get(name)) is not None:
            check_number(f"{where}.{kind}.{name}", value, limits)
