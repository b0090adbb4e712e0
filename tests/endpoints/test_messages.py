"""`client.messages`: Anthropic's form, whole and as events, with the truth about how a stream ended."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from siliconflow_async import (
    APIStatusError,
    APITimeoutError,
    BadRequestError,
    BusyError,
    ClosedError,
    EventTooLargeError,
    InvalidRequestError,
    Limit,
    MalformedStreamError,
    StreamAPIError,
    StreamError,
    Timeouts,
    TruncatedStreamError,
)
from siliconflow_async.answers import (
    ContentBlock,
    ContentBlockDelta,
    Message,
    MessageDelta,
    MessageStart,
    MessageStop,
    Ping,
)
from siliconflow_async.testing import Fin, Pause, Rst, Stall
from siliconflow_async.wire.endpoints.messages import MessageEvent
from siliconflow_async.wire.endpoints.messagestream import MessageFold, MessageProtocol

from ..asking import served

pytestmark = pytest.mark.anyio
JSON = {"content-type": "application/json"}
ASK: dict[str, Any] = {
    "model": "org/name",
    "max_tokens": 1000,
    "messages": [{"role": "user", "content": "Why is the sky blue?"}],
}
TOOL = {
    "name": "weather",
    "description": "The weather.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


def event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


START = event(
    "message_start",
    message={
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 7, "output_tokens": 1, "cache_read_input_tokens": 5},
    },
)
BLOCK = event("content_block_start", index=0, content_block={"type": "text", "text": ""})
STOP = event("message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage={"output_tokens": 3})
END = event("message_stop")


def delta(text: str, index: int = 0) -> bytes:
    return event("content_block_delta", index=index, delta={"type": "text_delta", "text": text})


WHOLE = (START, BLOCK, delta("Hel"), delta("lo"), event("content_block_stop", index=0), STOP, END)


class TestAsked:
    async def test_a_whole_message_says_what_a_chat_would(self) -> None:
        async with served() as (server, client):
            message = await client.messages.create(**ASK, system="Be brief.", stop_sequences=["\n\n"])
            chat = await client.chat.completions.create(model=ASK["model"], messages=ASK["messages"], stop="\n\n")
        assert message.text == chat.content
        assert (message.type, message.role, message.stop_reason) == ("message", "assistant", "end_turn")
        assert message.usage is not None
        assert message.usage.total_tokens == message.usage.input_tokens + message.usage.output_tokens
        assert message.trace_id == server.requests[0].trace_id
        assert message.timing.attempts == 1
        assert server.requests[0].path == "/v1/messages"
        assert server.requests[0].json == {**ASK, "system": "Be brief.", "stop_sequences": ["\n\n"]}

    @pytest.mark.parametrize("how", ["create", "stream"])
    async def test_a_stream_has_the_same(self, how: str) -> None:
        """Its events by their names, and the message that they make."""
        async with served() as (server, client):
            ask = {**ASK, "model": "Qwen/Qwen3-8B", "thinking": {"type": "enabled", "budget_tokens": 200}}
            whole = await client.messages.create(**ask)
            assert [block.type for block in whole.content] == ["thinking", "text"]
            if how == "create":
                stream = await client.messages.create(**ask, stream=True)
                events = [event async for event in stream]
            else:
                async with client.messages.stream(**ask) as stream:
                    events = [event async for event in stream]
            assert server.requests[1].json["stream"] is True
        assert isinstance(events[0], MessageStart)
        assert isinstance(events[1], Ping)
        assert isinstance(events[-2], MessageDelta)
        assert isinstance(events[-1], MessageStop)
        deltas = {event.delta.type for event in events if isinstance(event, ContentBlockDelta)}
        assert deltas == {"text_delta", "thinking_delta"}
        message = await stream.message()
        assert stream.ended == "done"
        assert [block.to_dict() for block in message.content] == [
            {name: value for name, value in block.to_dict().items() if value != ""} for block in whole.content
        ]
        assert (message.stop_reason, message.text) == (whole.stop_reason, whole.text)
        assert message.usage == whole.usage
        assert message.timing.first_token is not None
        assert message.trace_id == server.requests[1].trace_id

    async def test_text_comes_piece_by_piece(self) -> None:
        """Under both names; what it leaves is read by `message()`."""
        async with served() as (server, client):
            for names in (("text", "message"), ("text_stream", "get_final_message")):
                server.raw([b"".join(WHOLE)])
                async with client.messages.stream(**ASK) as stream:
                    texts = getattr(stream, names[0])
                    texts = texts() if names[0] == "text" else texts
                    assert [text async for text in texts] == ["Hel", "lo"]
                    assert (await getattr(stream, names[1])()).text == "Hello"

    async def test_tools_are_called_and_their_results_sent_back(self) -> None:
        """An answer's own content goes back as it is."""
        async with served() as (server, client):
            async with client.messages.stream(**ASK, tools=[TOOL], tool_choice={"type": "any"}) as stream:
                message = await stream.message()
            whole = await client.messages.create(**ASK, tools=[TOOL])
            (call,) = message.content
            assert call == ContentBlock(type="tool_use", id=call.id, name="weather", input=whole.content[0].input)
            assert message.stop_reason == "tool_use"
            history = [
                *ASK["messages"],
                {"role": "assistant", "content": message.content},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "Rain."}]},
            ]
            done = await client.messages.create(**{**ASK, "messages": history}, tools=[TOOL])
            assert "Rain." in done.text
            assert server.requests[-1].json["messages"][1]["content"] == [call.to_dict()]

    async def test_what_the_service_refuses_is_in_its_own_form(self) -> None:
        async with served() as (server, client):
            with pytest.raises(BadRequestError, match="max_tokens") as caught:
                await client.messages.create(**{**ASK, "max_tokens": 0})
            assert caught.value.code == 20015
            for bad in ([{"role": "system", "content": "x"}], [{"role": "user", "content": 7}], [], "x"):
                with pytest.raises((BadRequestError, InvalidRequestError)):
                    await client.messages.create(**{**ASK, "messages": bad})
            server.fail(200, {"code": 50505, "message": "Busy.", "data": None})
            with pytest.raises(APIStatusError, match="Busy"):
                await client.with_options(max_retries=0).messages.create(**ASK)
            server.fail(503)
            assert (await client.messages.create(**ASK)).timing.attempts == 2

    async def test_a_wrong_argument_is_named_before_anything_is_sent(self) -> None:
        async with served() as (server, client):
            with pytest.raises(TypeError, match="'max_tokens'"):
                await client.messages.create(model="m", messages=[])  # type: ignore[call-overload]
            with pytest.raises(TypeError, match="'stop'; did you mean"):
                await client.messages.create(**ASK, stop="x")
            with pytest.raises(TypeError, match="'temperatur'"):
                client.messages.stream(**ASK, temperatur=1)
            with pytest.raises(InvalidRequestError, match="system"):
                await client.messages.create(**ASK, system=object())
            manager = client.messages.stream(**ASK)
            async with manager as stream:
                await stream.message()
            with pytest.raises(BusyError):
                await manager.__aenter__()
            assert len(server.requests) == 1

    async def test_it_counts_toward_the_limits_of_its_model(self) -> None:
        async with served(limits={"org/name": Limit(rpm=1000, tpm=100_000)}) as (_, client):
            message = await client.messages.create(**ASK)
            async with client.messages.stream(**ASK) as stream:
                await stream.message()
            state = client.limits["org/name"]
            assert state.requests == 2
            assert message.usage is not None
            assert state.tokens == 2 * message.usage.total_tokens


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"content": [{"type": "text", "text": "a"}, {"type": "other", "x": 1}, {"type": "text", "text": "b"}]}, "ab"),
        ({"content": [{"type": "text", "text": 7}, 3], "usage": [], "id": 1, "type": "message"}, ""),
        ({"content": [], "usage": {"input_tokens": 1.0, "output_tokens": "2"}}, ""),
    ],
)
async def test_odd_messages_are_read_as_far_as_they_go(body: Any, text: str) -> None:
    async with served() as (server, client):
        server.raw([json.dumps(body).encode()], headers=JSON)
        message = await client.messages.create(**ASK)
    assert message.text == text
    assert message.raw == json.dumps(body).encode()


@pytest.mark.parametrize("body", [b"[]", b"{}", b'{"type":"x","content":[]}', b"<html>", b'{"content":"x"}', b"1"])
async def test_what_is_no_message_is_malformed(body: bytes) -> None:
    async with served() as (server, client):
        server.raw([body], headers=JSON)
        with pytest.raises(MalformedStreamError, match="no message"):
            await client.messages.create(**ASK)


async def read(stream: Any) -> list[str]:
    """The texts that came, up to what is raised."""
    return [text async for text in stream.text()]


class TestEndings:
    @pytest.mark.parametrize("tail", [b"", b"data: [DONE]\n\n", b"garbage\n\n"])
    async def test_message_stop_is_the_end(self, tail: bytes) -> None:
        """Whatever follows it; the connection serves again."""
        async with served() as (server, client):
            server.raw([b"".join(WHOLE) + tail])
            async with client.messages.stream(**ASK) as stream:
                assert await read(stream) == ["Hel", "lo"]
            assert stream.ended == "done"
            await client.messages.create(**ASK)
            assert server.requests[0].connection == server.requests[1].connection
        message = stream.partial
        assert message.usage is not None
        assert message.usage.to_dict() == {"input_tokens": 7, "output_tokens": 3, "cache_read_input_tokens": 5}
        assert (message.usage.prompt_tokens, message.usage.total_tokens) == (12, 15)

    @pytest.mark.parametrize("count", range(1, 7))
    @pytest.mark.parametrize("how", ["end", "[DONE]", "break"])
    async def test_without_message_stop_it_is_truncated(self, count: int, how: str) -> None:
        """Also where the stop reason came; what had come is kept."""
        last = {"end": [], "[DONE]": [b"data: [DONE]\n\n"], "break": [Fin()]}[how]
        async with served(max_retries=0) as (server, client):
            server.raw([b"".join(WHOLE[:count]), *last])
            async with client.messages.stream(**ASK) as stream:
                with pytest.raises(TruncatedStreamError, match="without message_stop") as caught:
                    await read(stream)
            assert stream.ended == "truncated"
        partial: Any = caught.value.partial
        assert isinstance(partial, Message)
        assert partial.text == "Hello"[: 3 * (count > 2) + 2 * (count > 3)]
        assert caught.value.trace_id == server.requests[0].trace_id

    @pytest.mark.parametrize(
        "bad",
        [
            event("error", error={"type": "overloaded_error", "message": "Busy."}),
            b'event: error\ndata: "Busy."\n\n',
            b"event: error\ndata: Busy.\n\n",
            b'data: {"code":50505,"message":"Busy.","data":null}\n\n',
            b'data: {"type":"error","error":{"message":"Busy."}}\n\n',
        ],
    )
    async def test_an_error_ends_it(self, bad: bytes) -> None:
        """After what came before."""
        async with served() as (server, client):
            server.raw([b"".join(WHOLE[:3]) + bad + b"".join(WHOLE[3:])])
            async with client.messages.stream(**ASK) as stream:
                texts = stream.text()
                assert await anext(texts) == "Hel"
                with pytest.raises(StreamAPIError, match="Busy") as caught:
                    await anext(texts)
            assert stream.ended == "error"
        assert caught.value.partial.text == "Hel"  # type: ignore[union-attr]

    async def test_an_error_as_the_first_event_is_retried_where_that_may_help(self) -> None:
        async with served() as (server, client):
            server.raw([b'data: {"code":50505,"message":"Busy.","data":null}\n\n'])
            server.raw([b""])
            async with client.messages.stream(**ASK) as stream:
                assert (await stream.message()).timing.attempts == 3

    @pytest.mark.parametrize(
        "bad",
        [
            b"data: {\n\n",
            b"data: []\n\n",
            b'data: {"type":"content_block_delta","index":0}\n\n',
            b'data: {"type":"message_delta"}\n\n',
        ],
    )
    async def test_what_is_no_event_is_malformed(self, bad: bytes) -> None:
        async with served() as (server, client):
            server.raw([START + bad + END])
            async with client.messages.stream(**ASK) as stream:
                with pytest.raises(MalformedStreamError):
                    await read(stream)
            assert stream.ended == "malformed"

    @pytest.mark.parametrize(
        ("body", "error"),
        [
            (b"<html>busy</html>", MalformedStreamError),
            (b"no stream", MalformedStreamError),
            (b'{"code":50505,"message":"Busy."}', APIStatusError),
            (b'{"type":"message"}', MalformedStreamError),
            (b"", TruncatedStreamError),
            (b" \n", TruncatedStreamError),
        ],
    )
    async def test_a_body_that_is_no_stream(self, body: bytes, error: type[StreamError]) -> None:
        async with served(max_retries=0) as (server, client):
            server.raw([body])
            with pytest.raises(error):
                await client.messages.create(**ASK, stream=True)

    async def test_a_whole_message_is_a_stream_too(self) -> None:
        async with served() as (server, client):
            server.raw([b'{"content":[{"type":"text","text":"Hi"}],"stop_reason":"end_turn"}'])
            async with client.messages.stream(**ASK) as stream:
                message = await stream.message()
            assert (message.text, message.stop_reason, stream.ended) == ("Hi", "end_turn", "finish")

    async def test_odd_events_are_read_as_far_as_they_go(self) -> None:
        """Unknown ones are passed over; names stand in for types, and a block without its start begins by itself."""
        odd = [
            event("new_event", x=1),
            b'event: content_block_delta\ndata: {"index":1.0,"delta":{"type":"thinking_delta","thinking":"Hm"}}\n\n',
            event("content_block_delta", index=1, delta={"type": "signature_delta", "signature": "s"}),
            event("content_block_delta", index=2, delta={"type": "input_json_delta", "partial_json": '{"a":'}),
            event("content_block_delta", index=0, delta={"type": "text_delta", "text": 7}),
            b"event: ping\ndata: {}\n\n: comment\n\ndata:\n\n",
            event("message_delta", delta={"stop_reason": "max_tokens"}, usage="none"),
        ]
        async with served() as (server, client):
            server.raw([b"".join((START, BLOCK, delta("x"), *odd, END))])
            async with client.messages.stream(**ASK) as stream:
                message = await stream.message()
        assert [block.to_dict() for block in message.content] == [
            {"type": "text", "text": "x"},
            {"type": "thinking", "thinking": "Hm", "signature": "s"},
            {"type": "tool_use", "partial_json": '{"a":'},
        ]
        assert message.stop_reason == "max_tokens"

    async def test_silence_is_a_timeout(self) -> None:
        """Pings don't count: neither as a first token, nor as something that came."""
        async with served(timeouts=Timeouts(idle=0.2, first_token=0.2), max_retries=0) as (server, client):
            pings = [part for _ in range(20) for part in (event("ping"), Pause(0.05))]
            server.raw([START, *pings])
            stream = await client.messages.create(**ASK, stream=True)
            with pytest.raises(APITimeoutError) as caught:
                await stream.message()
            assert caught.value.clock == "first_token"
            server.raw([START, BLOCK, delta("x"), *pings])
            stream = await client.messages.create(**ASK, stream=True)
            with pytest.raises(APITimeoutError) as caught:
                await stream.message()
            assert (caught.value.clock, stream.ended) == ("idle", "timeout")
            assert caught.value.partial.text == "x"  # type: ignore[union-attr]

    async def test_a_slow_stream_is_not_an_idle_one(self) -> None:
        async with served(timeouts=Timeouts(idle=0.6)) as (server, client):
            pieces = [part for _ in range(8) for part in (delta("x"), Pause(0.1))]
            server.raw([START, BLOCK, *pieces, STOP, END])
            async with client.messages.stream(**ASK) as stream:
                assert (await stream.message()).text == "x" * 8

    async def test_bounds_hold(self) -> None:
        async with served(max_event_size=1000) as (server, client):
            server.raw([START, delta("x" * 2000)])
            stream = await client.messages.create(**ASK, stream=True)
            with pytest.raises(EventTooLargeError):
                await stream.message()
            server.raw([b"{" + b" " * 2000])
            with pytest.raises(EventTooLargeError):
                await client.messages.create(**ASK, stream=True)
        async with served() as (server, client):
            server.raw([START + b"".join(delta("x", index=index) for index in range(5000)) + END])
            stream = await client.messages.create(**ASK, stream=True)
            with pytest.raises(MalformedStreamError, match="more than 4,096 blocks"):
                await stream.message()

    async def test_leaving_closes_the_connection(self) -> None:
        """By the block's end, by a cancellation, by forgetting it; reading on raises."""
        async with served() as (server, client):
            for _ in range(3):
                server.raw([START, BLOCK, delta("x"), Stall()])
            async with client.messages.stream(**ASK) as stream:
                assert await anext(stream.text()) == "x"
            assert stream.ended == "closed"
            with pytest.raises(ClosedError):
                await anext(stream)
            assert stream.partial.text == "x"
            await server.disconnected()
            stream = await client.messages.create(**ASK, stream=True)
            task = asyncio.create_task(stream.message())
            await asyncio.sleep(0)
            with pytest.raises(BusyError):
                await stream.message()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await server.disconnected()
            stream = await client.messages.create(**ASK, stream=True)
            del stream, task
            await server.disconnected()

    async def test_what_had_arrived_is_kept_where_the_connection_breaks(self) -> None:
        async with served() as (server, client):
            server.raw([b"".join(WHOLE[:4]), Rst()])
            stream = await client.messages.create(**ASK, stream=True)
            with pytest.raises(TruncatedStreamError):
                await stream.message()
            assert stream.partial.text == "Hello"


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
def test_how_it_is_cut_into_reads_changes_nothing(size: int) -> None:
    data = b"\xef\xbb\xbf" + b"".join(WHOLE).replace(b"\n", b"\r\n")
    whole, cut = MessageProtocol(1 << 20), MessageProtocol(1 << 20)
    expected = whole.feed(data)
    found: list[MessageEvent] = []
    for at in range(0, len(data), size):
        found += cut.feed(data[at : at + size])
    assert found == expected
    assert len(found) == len(WHOLE)
    assert cut.done
    fold = MessageFold()
    assert fold.fold(found)
    assert fold.completion().text == "Hello"
