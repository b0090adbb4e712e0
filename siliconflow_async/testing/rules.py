"""What the service refuses: types and documented ranges of the parameters of a chat request.

The ranges are those of SiliconFlow's chat page; the wording follows recorded errors, such as
"seed: Must be greater than or equal to 0".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import msgspec

if TYPE_CHECKING:
    from .models import Capabilities

MAX_TOOLS = 128
_FUNCTION_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


class Rejected(Exception):
    """A request that the service answers with an error: an HTTP status and a body."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(status, body)
        self.status = status
        self.body = body


class Range(NamedTuple):
    """The documented range of a number.

    also: one more value that is allowed outside of it.
    """

    kind: type[int] | type[float]
    low: float | None = None
    high: float | None = None
    also: float | None = None


RANGES = {
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
VIDEO_RANGES = {"max_frames": Range(int, 1), "fps": Range(float, 0)}
FLAGS = ("stream", "enable_thinking", "logprobs", "parallel_tool_calls")
TEXTS = ("prefix", "suffix")
OBJECTS = ("stream_options", "logit_bias", "response_format")
EFFORTS = ("low", "medium", "high", "xhigh", "max")
ROLES = ("system", "user", "assistant", "tool")
FORMATS = ("text", "json_object", "json_schema")


def refuse(message: str, code: int = 20015, status: int = 400) -> NoReturn:
    """Raise `Rejected` with the service's own error envelope."""
    envelope = {"code": code, "message": message, "data": None}
    raise Rejected(status, msgspec.json.encode(envelope))


def check_parameters(request: Mapping[str, Any], model: Capabilities) -> None:
    """Raise `Rejected` for the first parameter that the service would not take."""
    for name, limits in RANGES.items():
        if (value := request.get(name)) is not None:
            _check_number(name, value, limits)
    _check_types(request, FLAGS, bool, "boolean")
    _check_types(request, TEXTS, str, "string")
    _check_types(request, OBJECTS, dict, "object")
    effort = request.get("reasoning_effort")
    if effort is not None and effort not in EFFORTS:
        refuse(f"reasoning_effort: Must be one of {', '.join(EFFORTS)}")
    _check_stop(request.get("stop"))
    if request.get("enable_thinking") is not None and model.thinking != "hybrid":
        refuse("Value error, current model does not support parameter `enable_thinking`.")
    _check_format(request.get("response_format"), model)
    _check_tools(request, model)


def check_messages(messages: object, model: Capabilities) -> list[dict[str, Any]]:
    """Return the messages, or raise `Rejected`."""
    if not isinstance(messages, list) or not messages:
        refuse("messages: Must be a list with at least one message")
    for index, message in enumerate(messages):
        _check_message(f"messages[{index}]", message, model)
    if not any(message["role"] == "user" for message in messages):
        refuse("No user query found in messages.")
    return messages


def _check_number(name: str, value: object, limits: Range) -> None:
    # JSON has one kind of number, so 2.0 is an integer; Python's bool is none.
    if isinstance(value, bool) or not isinstance(value, int | float):
        refuse(f"{name}: Must be {'an integer' if limits.kind is int else 'a number'}")
    if limits.kind is int and value != int(value):
        refuse(f"{name}: Must be an integer")
    if value == limits.also:
        return
    hint = "" if limits.also is None else f", or {limits.also:g}"
    if limits.low is not None and value < limits.low:
        refuse(f"{name}: Must be greater than or equal to {limits.low:g}{hint}")
    if limits.high is not None and value > limits.high:
        refuse(f"{name}: Must be less than or equal to {limits.high:g}{hint}")


def _check_types(request: Mapping[str, Any], names: tuple[str, ...], kind: type[object], word: str) -> None:
    for name in names:
        value = request.get(name)
        if value is not None and not isinstance(value, kind):
            refuse(f"{name}: Must be of type {word}")


def _check_stop(stop: object) -> None:
    if stop is None or isinstance(stop, str):
        return
    if not isinstance(stop, list) or not all(isinstance(text, str) for text in stop):
        refuse("stop: Must be a string or a list of strings")
    if len(stop) > 4:
        refuse("stop: Must have at most 4 strings")


def _check_format(wanted: Mapping[str, Any] | None, model: Capabilities) -> None:
    if wanted is None:
        return
    kind = wanted.get("type")
    if kind not in FORMATS:
        refuse(f"response_format: type must be one of {', '.join(FORMATS)}")
    if kind != "text" and not model.json:
        refuse("Json mode is not supported for this model.", code=20024)
    if kind == "json_schema":
        holder = wanted.get("json_schema")
        if not isinstance(holder, dict) or not isinstance(holder.get("schema"), dict):
            refuse("response_format: json_schema must be an object with a schema")


def _check_tools(request: Mapping[str, Any], model: Capabilities) -> None:
    tools = request.get("tools")
    if tools is not None:
        if not isinstance(tools, list):
            refuse("tools: Must be a list")
        if len(tools) > MAX_TOOLS:
            refuse(f"tools: Must have at most {MAX_TOOLS} functions")
        if tools and not model.tools:
            refuse("Value error, current model does not support parameter `tools`.")
        for index, tool in enumerate(tools):
            _check_tool(f"tools[{index}]", tool)
    choice = request.get("tool_choice")
    if choice is None or choice in ("auto", "none", "required"):
        return
    named = choice.get("function") if isinstance(choice, dict) else None
    if not isinstance(named, dict):
        refuse("tool_choice: Must be auto, none, required or an object that names a function")
    if named.get("name") not in [tool["function"]["name"] for tool in tools or []]:
        refuse("tool_choice: The function that it names is not in tools")


def _check_tool(where: str, tool: object) -> None:
    function = tool.get("function") if isinstance(tool, dict) else None
    if not isinstance(function, dict) or not isinstance(tool, dict):
        refuse(f"{where}: Must be an object with a function")
    if tool.get("type", "function") != "function":
        refuse(f"{where}: type must be function")
    name = function.get("name")
    if not isinstance(name, str) or not _FUNCTION_NAME.fullmatch(name):
        refuse(f"{where}: The function must have a name of 1 to 64 letters, digits, _ and -")
    if not isinstance(function.get("parameters", {}), dict | None):
        refuse(f"{where}: parameters must be an object")


def _check_message(where: str, message: object, model: Capabilities) -> None:
    if not isinstance(message, dict):
        refuse(f"{where}: Must be an object")
    role = message.get("role")
    if role not in ROLES:
        refuse(f"{where}.role: Must be one of {', '.join(ROLES)}")
    if role == "tool" and not isinstance(message.get("tool_call_id"), str):
        refuse(f"{where}.tool_call_id: Must be a string")
    content = message.get("content")
    if isinstance(content, list):
        if not content:
            refuse(f"{where}.content: Must have at least one part")
        for index, part in enumerate(content):
            _check_part(f"{where}.content[{index}]", part, model)
    elif content is None:
        if role != "assistant":
            refuse(f"{where}.content: Must be given")
    elif not isinstance(content, str):
        refuse(f"{where}.content: Must be a string or a list of parts")


def _check_part(where: str, part: object, model: Capabilities) -> None:
    kind = part.get("type") if isinstance(part, dict) else None
    if not isinstance(part, dict) or not isinstance(kind, str) or kind not in _PARTS:
        refuse(f"{where}.type: Must be one of {', '.join(_PARTS)}")
    if kind == "text":
        if not isinstance(part.get("text"), str):
            refuse(f"{where}.text: Must be a string")
        return
    able, refusal = _PARTS[kind]
    if not able(model):
        refuse(refusal, code=20041)
    media = part.get(kind)
    url = media.get("url") if isinstance(media, dict) else None
    if not isinstance(url, str) or not url.startswith(("http://", "https://", "data:")):
        refuse(f"{where}.{kind}.url: Must be a http, https or data URL")
    if not isinstance(media, dict):
        return
    if media.get("detail", "auto") not in ("auto", "low", "high"):
        refuse(f"{where}.{kind}.detail: Must be one of auto, low, high")
    for name, limits in VIDEO_RANGES.items():
        if kind == "video_url" and (value := media.get(name)) is not None:
            _check_number(f"{where}.{kind}.{name}", value, limits)


_NOT_A_VLM = "The model is not a VLM (Vision Language Model). Please use text-only prompts."
_PARTS: dict[str, tuple[Callable[[Capabilities], bool], str]] = {
    "text": (lambda model: True, ""),
    "image_url": (lambda model: model.vision, _NOT_A_VLM),
    "video_url": (lambda model: model.video, _NOT_A_VLM),
    "audio_url": (lambda model: model.audio, _NOT_A_VLM),
}
