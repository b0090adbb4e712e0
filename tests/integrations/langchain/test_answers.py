"""Whole answers as LangChain's messages, asked for from a loop and from none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage

from siliconflow_async import (
    AuthenticationError,
    ContextLengthError,
    InvalidRequestError,
    TruncatedStreamError,
)
from siliconflow_async.integrations.langchain import ChatSiliconFlow
from siliconflow_async.testing import FakeSiliconFlow, Fin

pytestmark = pytest.mark.anyio

USAGE = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}


@pytest.fixture(params=["ainvoke", "invoke"])
def ask(request: pytest.FixtureRequest, model: ChatSiliconFlow) -> Callable[..., Any]:
    async def asked(prompt: Any = "hi", **kwargs: Any) -> AIMessage:
        if request.param == "invoke":
            return model.invoke(prompt, **kwargs)
        return await model.ainvoke(prompt, **kwargs)

    return asked


async def test_an_answer_has_text_reasoning_usage_and_what_is_told_of_it(
    server: FakeSiliconFlow, ask: Callable[..., Any]
) -> None:
    details = {"prompt_tokens_details": {"cached_tokens": 5}, "completion_tokens_details": {"reasoning_tokens": 3}}
    server.reply("Scattering.", reasoning="Light, then.", usage={**USAGE, **details})
    message = await ask()
    assert message.content == message.text == "Scattering."
    assert message.additional_kwargs == {"reasoning_content": "Light, then."}
    assert message.usage_metadata == {
        "input_tokens": 9,
        "output_tokens": 4,
        "total_tokens": 13,
        "input_token_details": {"cache_read": 5},
        "output_token_details": {"reasoning": 3},
    }
    (seen,) = server.requests
    told = message.response_metadata
    assert told["trace_id"] == seen.trace_id
    assert len(told["id"]) == 32
    assert {name: told[name] for name in ("model_provider", "model_name", "finish_reason")} == {
        "model_provider": "siliconflow",
        "model_name": "org/model",
        "finish_reason": "stop",
    }
    assert message.content_blocks == [
        {"type": "reasoning", "reasoning": "Light, then."},
        {"type": "text", "text": "Scattering."},
    ]


async def test_what_the_service_does_not_tell_is_not_there(server: FakeSiliconFlow, ask: Callable[..., Any]) -> None:
    server.reply("a", usage=USAGE)
    assert (await ask()).usage_metadata == {"input_tokens": 9, "output_tokens": 4, "total_tokens": 13}
    server.reply("a", usage={**USAGE, "prompt_cache_hit_tokens": 2})
    assert (await ask()).usage_metadata["input_token_details"] == {"cache_read": 2}
    server.reply("a", usage_on="never")
    message = await ask()
    assert message.usage_metadata is None
    assert message.additional_kwargs == {}


async def test_tool_calls_are_read_and_those_that_are_no_json_stand_apart(
    server: FakeSiliconFlow, ask: Callable[..., Any]
) -> None:
    calls: list[dict[str, Any]] = [
        {"name": "add", "arguments": {"a": 1}, "id": "call_1"},
        {"name": "now", "arguments": "", "id": "call_2"},
        {"name": "say", "arguments": '{"text": "two\nlines"}', "id": "call_3"},
        {"name": "add", "arguments": '{"a": 1', "id": "call_4"},
        {"name": "add", "arguments": "[1]", "id": "call_5"},
        {"name": "add", "arguments": "[" * 100_000, "id": "call_6"},
    ]
    server.reply(tool_calls=calls)
    message = await ask()
    assert [(call["name"], call["args"], call["id"]) for call in message.tool_calls] == [
        ("add", {"a": 1}, "call_1"),
        ("now", {}, "call_2"),
        ("say", {"text": "two\nlines"}, "call_3"),
    ]
    assert [(call["id"], call["args"]) for call in message.invalid_tool_calls] == [
        ("call_4", '{"a": 1'),
        ("call_5", "[1]"),
        ("call_6", "[" * 100_000),
    ]
    assert message.invalid_tool_calls[0]["error"] == "the arguments of 'add' are no JSON object"


async def test_a_call_without_an_id_gets_one(server: FakeSiliconFlow, ask: Callable[..., Any]) -> None:
    call = {"id": "", "type": "function", "function": {"name": "add", "arguments": "{}"}}
    choice = {"index": 0, "finish_reason": "tool_calls", "message": {"role": "assistant", "tool_calls": [call, call]}}
    server.fail(200, {"id": "1", "model": "m", "choices": [choice]})
    first, second = (await ask()).tool_calls
    assert first["id"].startswith("call_")
    assert first["id"] != second["id"]


async def test_several_answers_share_one_usage(server: FakeSiliconFlow, model: ChatSiliconFlow) -> None:
    result = await model.agenerate([[HumanMessage("hi")]], n=2)
    first, second = (getattr(generation, "message", None) for generation in result.generations[0])
    assert isinstance(first, AIMessage)
    assert isinstance(second, AIMessage)
    assert first.text != second.text
    assert first.usage_metadata is not None
    assert second.usage_metadata is None


async def test_log_probabilities_are_told_beside_the_message(server: FakeSiliconFlow, ask: Callable[..., Any]) -> None:
    message = await ask(logprobs=True, top_logprobs=1)
    assert message.response_metadata["logprobs"]["content"][0]["token"]


async def test_failures_are_the_librarys_own(server: FakeSiliconFlow, ask: Callable[..., Any]) -> None:
    server.fail(401)
    with pytest.raises(AuthenticationError):
        await ask()
    server.fail(400, {"code": 20015, "message": "length of prompt_tokens (9) must be less than max_seq_len (8)"})
    with pytest.raises(ContextLengthError) as caught:
        await ask()
    assert caught.value.trace_id == server.requests[-1].trace_id
    with pytest.raises(InvalidRequestError, match=r"messages\[0\]\.content\[0\]"):
        await ask([("user", [{"type": "file", "file_id": "1"}])])
    with pytest.raises(TypeError, match="did you mean 'temperature'"):
        await ask(temprature=1)


async def test_an_answer_whose_body_breaks_off_is_none(server: FakeSiliconFlow, ask: Callable[..., Any]) -> None:
    head = {"content-type": "application/json", "content-length": "100"}
    server.raw([b'{"id": "1", "choices": [', Fin()], framing="length", headers=head, times=None)
    with pytest.raises(TruncatedStreamError):
        await ask()
