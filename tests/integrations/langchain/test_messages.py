"""A conversation of LangChain's, whoever made its messages, as the service takes it."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.messages.tool import invalid_tool_call, tool_call

from siliconflow_async import InvalidRequestError
from siliconflow_async.integrations.langchain.messages import service_messages

CALL = tool_call(name="add", args={"a": 1}, id="call_1")
SENT = {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": '{"a":1}'}}


def sent(message: BaseMessage) -> dict[str, Any]:
    (found,) = service_messages([message])
    return found


def test_each_kind_has_its_role() -> None:
    messages = [
        SystemMessage("be short"),
        HumanMessage("hi", name="ann"),
        AIMessage("hello"),
        ToolMessage("3", tool_call_id="call_1", name="add", status="error"),
        ChatMessage(content="go on", role="user"),
    ]
    assert service_messages(messages) == [
        {"role": "system", "content": "be short"},
        {"role": "user", "content": "hi", "name": "ann"},
        {"role": "assistant", "content": "hello"},
        {"role": "tool", "content": "3", "tool_call_id": "call_1"},
        {"role": "user", "content": "go on"},
    ]


@pytest.mark.parametrize("kind", [AIMessage, AIMessageChunk])
def test_a_turn_that_calls_tools_has_an_empty_text_and_its_calls(kind: type[AIMessage]) -> None:
    assert sent(kind(content="", tool_calls=[CALL])) == {"role": "assistant", "content": "", "tool_calls": [SENT]}


def test_a_call_that_could_not_be_read_goes_back_as_it_was_written() -> None:
    wrong = invalid_tool_call(name="add", args='{"a":', id="call_2", error="cut")
    assert sent(AIMessage("", tool_calls=[CALL], invalid_tool_calls=[wrong]))["tool_calls"] == [
        SENT,
        {"id": "call_2", "type": "function", "function": {"name": "add", "arguments": '{"a":'}},
    ]


@pytest.mark.parametrize(
    "block",
    [
        {"type": "tool_use", "id": "call_1", "name": "add", "input": {"a": 1}},
        {"type": "tool_call", "id": "call_1", "name": "add", "args": {"a": 1}},
    ],
)
@pytest.mark.parametrize("beside", [[CALL], []])
def test_a_block_that_holds_a_call_becomes_one_call_and_no_content(block: dict[str, Any], beside: list[Any]) -> None:
    message = AIMessage([{"type": "text", "text": "so: "}, block, "now"], tool_calls=beside)
    assert sent(message) == {"role": "assistant", "content": "so: now", "tool_calls": [SENT]}


REASONED = [
    AIMessage("", additional_kwargs={"reasoning_content": "hm"}, tool_calls=[CALL]),
    AIMessage([{"type": "reasoning", "reasoning": "hm"}], tool_calls=[CALL]),
    AIMessage([{"type": "thinking", "thinking": "hm", "signature": "x"}], tool_calls=[CALL]),
]


@pytest.mark.parametrize("message", REASONED)
def test_reasoning_goes_back_where_tools_are_called(message: AIMessage) -> None:
    assert sent(message) == {"role": "assistant", "content": "", "tool_calls": [SENT], "reasoning_content": "hm"}


@pytest.mark.parametrize("message", REASONED)
def test_reasoning_does_not_go_back_where_none_are(message: AIMessage) -> None:
    assert sent(message.model_copy(update={"tool_calls": []})) == {"role": "assistant", "content": ""}


def test_what_others_models_keep_for_themselves_is_left_out() -> None:
    blocks = ["a", {"type": "redacted_thinking", "data": "x"}, {"type": "tool_call_chunk", "id": "1", "args": "{"}]
    assert sent(AIMessage(blocks)) == {"role": "assistant", "content": "a"}  # type: ignore[arg-type]  # list invariance


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (AIMessage([{"type": "image", "url": "https://example.org/a.png"}]), r"messages\[1\]\.content\[0\].*is text"),
        (AIMessage([{"type": "server_tool_call", "id": "1"}]), r"messages\[1\]\.content\[0\].*'server_tool_call'"),
        (FunctionMessage(content="3", name="add"), r"messages\[1\]: the service knows no FunctionMessage"),
        (RemoveMessage("1"), r"messages\[1\]: the service knows no RemoveMessage"),
        (AIMessage("", tool_calls=[tool_call(name="f", args={"a": object()}, id="1")]), r"messages\[1\]: the arg"),
    ],
)
def test_what_cannot_be_sent_is_refused_by_its_place(message: BaseMessage, why: str) -> None:
    with pytest.raises(InvalidRequestError, match=why):
        service_messages([HumanMessage("hi"), message])
