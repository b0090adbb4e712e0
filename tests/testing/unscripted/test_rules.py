from __future__ import annotations

import json
from typing import Any

import pytest

from siliconflow_async.testing.serving.refusals import Refused
from siliconflow_async.testing.unscripted.models import capabilities
from siliconflow_async.testing.unscripted.rules import check_messages, check_parameters

PLAIN = capabilities("org/plain")
HYBRID = capabilities("Qwen/Qwen3-8B")
SEES = capabilities("Qwen/Qwen2.5-VL-72B-Instruct")
HEARS = capabilities("Qwen/Qwen3-Omni-30B-A3B-Instruct")


def refusal(refused: Refused) -> tuple[int, int, str]:
    body = json.loads(refused.body)
    assert [*body] == ["code", "message", "data"]
    return refused.status, body["code"], body["message"]


def refused(request: dict[str, Any], model: Any = PLAIN) -> tuple[int, int, str]:
    with pytest.raises(Refused) as caught:
        check_parameters(request, model)
    return refusal(caught.value)


def refused_message(message: Any, model: Any = PLAIN) -> tuple[int, int, str]:
    with pytest.raises(Refused) as caught:
        check_messages([message], model)
    return refusal(caught.value)


def function(name: str = "f", **more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, **more}}


def user(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": list(parts)}


@pytest.mark.parametrize(
    ("name", "inside", "outside"),
    [
        ("max_tokens", [1, 100_000, 5.0], [0, -1, 1.5, "5", True]),
        ("thinking_budget", [128, 32768], [127, 32769]),
        ("temperature", [0, 2, 0.5], [-0.1, 2.1, "1"]),
        ("top_p", [0, 1], [-0.1, 1.1]),
        ("top_k", [-1, 1, 100], [0, 101, -2]),
        ("min_p", [0, 1], [-0.1, 1.1]),
        ("frequency_penalty", [-2, 2], [-2.1, 2.1]),
        ("presence_penalty", [-5, 5], ["1"]),
        ("n", [1, 128], [0, 129]),
        ("seed", [0, 2**40], [-1]),
        ("stop", ["a", ["a"] * 4, []], [["a"] * 5, 5, [5]]),
        ("reasoning_effort", ["low", "medium", "high", "xhigh", "max"], ["most", 1]),
        ("stream", [True, False], ["true", 1]),
        ("logprobs", [True], [5]),
        ("prefix", ["text"], [5]),
        ("stream_options", [{"include_usage": True}], [True]),
        ("response_format", [{"type": "text"}, {"type": "json_object"}], ["json_object", {"type": "xml"}]),
        ("tools", [[], [function()] * 128], [{}, [{}], [5], [{"type": "x", "function": {"name": "f"}}]]),
        ("tool_choice", ["auto", "none", "required"], ["any", 5, {"function": "f"}, {"function": {"name": "f"}}]),
    ],
)
def test_a_parameter_is_taken_inside_its_range_and_named_outside(
    name: str, inside: list[Any], outside: list[Any]
) -> None:
    for value in [*inside, None]:
        check_parameters({name: value}, PLAIN)
    for value in outside:
        status, code, message = refused({name: value})
        assert (status, code) == (400, 20015)
        assert message.startswith(name)


def test_the_wording_is_that_of_recorded_errors() -> None:
    assert refused({"seed": -1})[2] == "seed: Must be greater than or equal to 0"
    assert refused({"top_k": 101})[2] == "top_k: Must be less than or equal to 100, or -1"


def test_only_hybrid_models_know_enable_thinking() -> None:
    wording = "Value error, current model does not support parameter `enable_thinking`."
    check_parameters({"enable_thinking": False}, HYBRID)
    for model in (PLAIN, capabilities("deepseek-ai/DeepSeek-R1")):
        assert refused({"enable_thinking": True}, model) == (400, 20015, wording)


def test_not_every_model_has_a_json_mode() -> None:
    model = capabilities("deepseek-ai/DeepSeek-R1")
    wording = "Json mode is not supported for this model."
    assert refused({"response_format": {"type": "json_object"}}, model) == (400, 20024, wording)


def test_a_json_schema_needs_its_schema() -> None:
    good = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
    check_parameters({"response_format": good}, PLAIN)
    assert "schema" in refused({"response_format": {"type": "json_schema"}})[2]


def test_tools_are_at_most_128_functions() -> None:
    assert refused({"tools": [function()] * 129})[2] == "tools: Must have at most 128 functions"


@pytest.mark.parametrize("tool", [function(""), {"type": "function"}, function(parameters="{}"), {"function": []}])
def test_a_tool_that_is_no_function_is_named(tool: Any) -> None:
    assert refused({"tools": [function(), tool]})[2].startswith("tools[1]")


def test_a_model_without_tools_refuses_them() -> None:
    message = refused({"tools": [function()]}, capabilities("deepseek-ai/deepseek-vl2"))[2]
    assert "does not support parameter `tools`" in message


def test_tool_choice_names_one_of_the_tools() -> None:
    check_parameters({"tools": [function("f")], "tool_choice": function("f")}, PLAIN)
    assert "not in tools" in refused({"tools": [function("f")], "tool_choice": function("g")})[2]


@pytest.mark.parametrize("messages", [None, [], "Hi", {}])
def test_there_must_be_messages(messages: Any) -> None:
    with pytest.raises(Refused) as caught:
        check_messages(messages, PLAIN)
    assert refusal(caught.value)[2].startswith("messages: ")


def test_a_whole_conversation_is_taken() -> None:
    turns = [
        {"role": "system", "content": "Be kind."},
        user({"type": "text", "text": "Hi"}),
        {"role": "assistant", "content": None, "tool_calls": []},
        {"role": "tool", "tool_call_id": "x", "content": "5"},
        {"role": "assistant", "content": "", "reasoning_content": "Hm"},
    ]
    assert check_messages(turns, PLAIN) == turns


@pytest.mark.parametrize(
    ("message", "where"),
    [
        ("Hi", "messages[0]"),
        ({"content": "Hi"}, "messages[0].role"),
        ({"role": "developer", "content": "Hi"}, "messages[0].role"),
        ({"role": ["user"], "content": "Hi"}, "messages[0].role"),
        ({"role": "user"}, "messages[0].content"),
        ({"role": "user", "content": 5}, "messages[0].content"),
        ({"role": "tool", "content": "5"}, "messages[0].tool_call_id"),
        (user(), "messages[0].content: Must have at least one part"),
        (user({"text": "Hi"}), "messages[0].content[0].type"),
        (user({"type": ["text"]}), "messages[0].content[0].type"),
        (user({"type": "text"}), "messages[0].content[0].text"),
    ],
)
def test_a_bad_message_is_named(message: Any, where: str) -> None:
    status, code, text = refused_message(message)
    assert (status, code) == (400, 20015)
    assert text.startswith(where)


def test_a_conversation_has_a_user() -> None:
    message = refused_message({"role": "system", "content": "Be kind."})
    assert message == (400, 20015, "No user query found in messages.")


def part(kind: str, url: Any = "https://x.test/a", **more: Any) -> dict[str, Any]:
    return user({"type": kind, kind: {"url": url, **more}})


@pytest.mark.parametrize("kind", ["image_url", "video_url", "audio_url"])
def test_media_need_a_model_that_can(kind: str) -> None:
    wording = "The model is not a VLM (Vision Language Model). Please use text-only prompts."
    assert refused_message(part(kind)) == (400, 20041, wording)
    check_messages([part(kind)], HEARS)


def test_a_model_that_sees_need_not_hear() -> None:
    check_messages([part("image_url", "data:image/png;base64,AA==", detail="low")], SEES)
    assert refused_message(part("audio_url"), SEES)[1] == 20041


@pytest.mark.parametrize("media", [part("image_url", "file:///x"), part("image_url", None)])
def test_media_have_a_url(media: Any) -> None:
    assert "image_url.url" in refused_message(media, SEES)[2]


@pytest.mark.parametrize(
    ("name", "inside", "outside"), [("max_frames", [1, 64], [0, 1.5, "8"]), ("fps", [0.5, 30], [-1, "1"])]
)
def test_how_a_video_is_looked_at_has_its_ranges(name: str, inside: list[Any], outside: list[Any]) -> None:
    for value in inside:
        check_messages([part("video_url", **{name: value})], HEARS)
    for value in outside:
        assert f"video_url.{name}: Must be" in refused_message(part("video_url", **{name: value}), HEARS)[2]


def test_an_unknown_detail_is_named() -> None:
    assert "image_url.detail" in refused_message(part("image_url", detail="max"), SEES)[2]
