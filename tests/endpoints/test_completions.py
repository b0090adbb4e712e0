"""`client.completions`: texts, whole and as they come, with the promises of a chat's streams."""

from __future__ import annotations

import asyncio
import gc
import json
from typing import Any

import pytest

from siliconflow_async import (
    APIStatusError,
    APITimeoutError,
    BadRequestError,
    BusyError,
    CallState,
    ClosedError,
    EventTooLargeError,
    InvalidRequestError,
    Limit,
    MalformedStreamError,
    StreamAPIError,
    Timeouts,
    TruncatedStreamError,
)
from siliconflow_async.answers import Completion, CompletionStream
from siliconflow_async.testing import Fin, Pause, Rst, Stall

from ..asking import DONE, served

pytestmark = pytest.mark.anyio
MODEL = "Qwen/Qwen2.5-Coder-7B-Instruct"
ASK: dict[str, Any] = {"model": MODEL, "prompt": "Once upon a time"}
JSON = {"content-type": "application/json"}


def event(text: str | None = None, *, finish: str | None = None, index: int = 0, **more: Any) -> bytes:
    choice = {"text": text, "index": index, "finish_reason": finish, **more}
    body = {"id": "1", "object": "text_completion", "created": 7, "model": "m", "choices": [choice]}
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def whole(*texts: str, **more: Any) -> bytes:
    choices = [{"text": text, "index": at, "finish_reason": "stop"} for at, text in enumerate(texts)]
    return json.dumps({"id": "1", "object": "text_completion", "model": "m", "choices": choices, **more}).encode()


async def test_a_text_goes_on_from_its_prompt() -> None:
    """Only what was given is sent; the answer has the openai package's names."""
    async with served() as (server, client):
        done = await client.completions.create(**ASK)
        await client.completions.create(
            **ASK, suffix="The end.", max_tokens=5, stop=iter(["x"]), logit_bias={5: 1.0}, seed=1, extra_body={"y": 2}
        )
    plain, full = server.requests
    assert (plain.method, plain.path, json.loads(plain.body)) == ("POST", "/v1/completions", ASK)
    more = {"suffix": "The end.", "max_tokens": 5, "stop": ["x"], "logit_bias": {"5": 1.0}, "seed": 1, "y": 2}
    assert json.loads(full.body) == {**ASK, **more}
    assert "Once upon a time" in done.text == done.choices[0].text
    assert done.finish_reason == done.choices[0].finish_reason == "stop"
    assert (done.object, done.model, done.choices[0].index) == ("text_completion", MODEL, 0)
    assert done.usage is not None
    assert done.usage.total_tokens == done.usage.prompt_tokens + done.usage.completion_tokens
    assert done.trace_id == plain.trace_id
    assert done.raw is not None
    assert done.to_dict()["choices"] == [{"index": 0, "text": done.text, "finish_reason": "stop"}]


async def test_a_stream_says_what_the_whole_answer_says() -> None:
    """As chunks, as text, and folded; with several choices those of choice 0."""
    async with served() as (_, client):
        done = await client.completions.create(**ASK, n=2)
        async with client.completions.stream(**ASK, n=2) as stream:
            assert isinstance(stream, CompletionStream)
            texts = ["", ""]
            async for chunk in stream:
                assert chunk.raw is not None
                for choice in chunk.choices:
                    texts[choice.index] += choice.text
            assert stream.ended == "done"
            folded = await stream.completion()
        assert texts == [choice.text for choice in done.choices]
        assert folded.choices == done.choices
        assert folded.usage == done.usage
        assert folded.raw is None
        assert (folded.trace_id, folded.timing) == (stream.trace_id, stream.timing)
        assert stream.timing.first_token is not None
        async with client.completions.stream(**ASK, n=2) as stream:
            pieces = [piece async for piece in stream.text()]
        assert "".join(pieces) == done.text
        assert all(pieces)
        opened = await client.completions.create(**ASK, stream=True)
        assert (await anext(opened)).choices[0].text == ""
        assert (await opened.completion()).text == done.text


async def test_log_probabilities_are_appended() -> None:
    first = {"tokens": ["a"], "token_logprobs": [-0.5], "top_logprobs": [{"a": -0.5, "b": None}]}
    second = {"tokens": ["b"], "token_logprobs": [-1.0], "top_logprobs": [{"b": -1.0}]}
    async with served() as (server, client):
        server.raw([event("a", logprobs=first), event("b", finish="stop", logprobs=second), DONE])
        async with client.completions.stream(**ASK) as stream:
            chunk = await anext(stream)
            done = await stream.completion()
        assert chunk.choices[0].logprobs is not None
        assert chunk.choices[0].logprobs["tokens"] == ["a"]
        assert done.choices[0].logprobs == {
            "tokens": ["a", "b"],
            "token_logprobs": [-0.5, -1.0],
            "top_logprobs": [{"a": -0.5}, {"b": -1.0}],
        }


class TestEndings:
    """A stream tells how it ended, and gives out what had arrived before it raises."""

    @pytest.mark.parametrize(
        ("steps", "ended"),
        [
            ([event("a"), event("b", finish="stop"), DONE], "done"),
            ([event("a"), event("b"), DONE], "done"),
            ([event("a"), event("b", finish="length")], "finish"),
            ([event("a"), event("b", finish="stop"), Rst()], "finish"),
            ([event("a"), event("b", finish="stop"), event("", finish=""), Fin()], "finish"),
        ],
    )
    async def test_good_ones(self, steps: list[Any], ended: str) -> None:
        async with served() as (server, client):
            server.raw(steps)
            async with client.completions.stream(**ASK) as stream:
                assert "".join([text async for text in stream.text()]) == "ab"
                assert stream.ended == ended

    @pytest.mark.parametrize("end", [[], [Rst()], [Fin()], [event("c", index=1, finish="stop")], [b"data: {"]])
    async def test_one_that_breaks_off_is_truncated(self, end: list[Any]) -> None:
        async with served() as (server, client):
            server.raw([event("a"), event("b"), Pause(0.01), *end])
            async with client.completions.stream(**ASK) as stream:
                assert [(await anext(stream)).text for _ in "ab"] == ["a", "b"]
                with pytest.raises(TruncatedStreamError) as caught:
                    await stream.completion()
                assert isinstance(caught.value.partial, Completion)
                assert caught.value.partial.text == stream.partial.text == "ab"
                assert caught.value.trace_id == server.requests[0].trace_id
                assert stream.ended == "truncated"

    async def test_an_error_in_the_stream_is_raised_after_what_came(self) -> None:
        async with served() as (server, client):
            server.raw([event("a"), b'data: {"error":{"message":"no more","code":"x"}}\n\n'])
            async with client.completions.stream(**ASK) as stream:
                assert (await anext(stream)).text == "a"
                with pytest.raises(StreamAPIError, match="no more"):
                    await anext(stream)

    @pytest.mark.parametrize("body", [b"<html>", b"data: 5\n\n", b"data: [\n\n", b'{"choices":[]}', b"[5]", b"text"])
    async def test_what_is_no_text_is_malformed(self, body: bytes) -> None:
        async with served() as (server, client):
            server.raw([body])
            with pytest.raises(MalformedStreamError):
                await client.completions.create(**ASK, stream=True)
            server.raw([body], headers=JSON)
            with pytest.raises(MalformedStreamError):
                await client.completions.create(**ASK)

    async def test_silence_ends_by_the_idle_clock(self) -> None:
        async with served(timeouts=Timeouts(idle=0.05)) as (server, client):
            server.raw([event("a"), Stall()])
            async with client.completions.stream(**ASK) as stream:
                assert (await anext(stream)).text == "a"
                with pytest.raises(APITimeoutError) as caught:
                    await anext(stream)
            assert caught.value.clock == "idle"
            assert caught.value.partial is not None
            await server.left_early()

    async def test_empty_pieces_are_no_first_token(self) -> None:
        async with served(timeouts=Timeouts(first_token=0.05), max_retries=0) as (server, client):
            server.raw([event(""), Stall()])
            async with client.completions.stream(**ASK) as stream:
                await anext(stream)
                with pytest.raises(APITimeoutError) as caught:
                    await anext(stream)
            assert caught.value.clock == "first_token"

    async def test_an_event_above_the_limit_is_refused(self) -> None:
        async with served(max_event_size=1000) as (server, client):
            server.raw([event("a"), event("b" * 1000), DONE])
            async with client.completions.stream(**ASK) as stream:
                with pytest.raises(EventTooLargeError):
                    await stream.completion()
                assert stream.partial.text == "a"

    async def test_too_many_choices_are_malformed(self) -> None:
        async with served() as (server, client):
            server.raw([*(event("a", index=index) for index in range(1025)), DONE])
            async with client.completions.stream(**ASK) as stream:
                with pytest.raises(MalformedStreamError, match="choices"):
                    await stream.completion()


class TestForms:
    """Servers that bend the format."""

    async def test_a_whole_answer_where_a_stream_was_asked_for(self) -> None:
        async with served() as (server, client):
            server.raw([whole("ab", "cd")], headers=JSON)
            async with client.completions.stream(**ASK) as stream:
                assert [chunk.text async for chunk in stream] == ["ab"]
                assert stream.ended == "finish"

    async def test_a_stream_where_a_whole_answer_was_asked_for(self) -> None:
        async with served() as (server, client):
            server.raw([event("a"), event("b", finish="stop"), DONE])
            assert (await client.completions.create(**ASK)).text == "ab"
            server.raw([event("a"), event("b")])
            with pytest.raises(TruncatedStreamError):
                await client.completions.create(**ASK)

    @pytest.mark.parametrize(
        "odd",
        [
            {"object": "text_completion.chunk"},
            {"usage": 5, "created": "now", "model": None, "id": 7},
            {"choices": [{"delta": {"content": "ab"}, "finish_reason": "stop"}]},
            {"choices": [{"message": {"content": "ab"}, "finish_reason": "stop"}, 5]},
            {"choices": [{"text": "ab", "index": "0", "finish_reason": "stop", "logprobs": []}]},
        ],
    )
    async def test_odd_fields_are_read_as_what_was_meant(self, odd: dict[str, Any]) -> None:
        body = json.dumps({**json.loads(whole("ab")), **odd}).encode()
        async with served() as (server, client):
            server.raw([body], headers=JSON)
            assert (await client.completions.create(**ASK)).text == "ab"
            server.raw([b"data: " + body + b"\n\n", DONE])
            async with client.completions.stream(**ASK) as stream:
                assert (await stream.completion()).text == "ab"

    async def test_an_error_under_200_is_told(self) -> None:
        error = {"error": {"message": "no", "type": "x", "param": None, "code": "y"}}
        async with served() as (server, client):
            server.fail(200, error)
            with pytest.raises(APIStatusError, match="no"):
                await client.completions.create(**ASK)
            server.fail(400, error)
            with pytest.raises(BadRequestError, match="no"):
                await client.completions.create(**ASK, stream=True)


class TestCalls:
    async def test_failures_before_the_first_chunk_are_retried(self) -> None:
        async with served() as (server, client):
            server.fail(503)
            server.raw([b""])
            async with client.completions.stream(**ASK) as stream:
                done = await stream.completion()
            assert done.timing.attempts == len(server.requests) == 3

    async def test_leaving_closes_the_connection(self) -> None:
        """In any way: the block, a cancellation, the last reference."""
        async with served() as (server, client):
            for _ in range(3):
                server.raw([event("a"), Stall()])
            async with client.completions.stream(**ASK) as stream:
                await anext(stream)
            await server.left_early(1)
            with pytest.raises(ClosedError):
                await anext(stream)
            async with client.completions.stream(**ASK) as stream:
                task = asyncio.create_task(stream.completion())
                await asyncio.sleep(0)
                with pytest.raises(BusyError):
                    await anext(stream)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            await server.left_early(2)
            gc.disable()
            try:
                stream = await client.completions.create(**ASK, stream=True)
                del stream
                await server.left_early(3)
            finally:
                gc.enable()

    async def test_a_manager_used_as_a_stream_says_how_it_is_opened(self) -> None:
        async with served() as (_, client):
            manager = client.completions.stream(**ASK)
            assert "not entered" in repr(manager)
            with pytest.raises(AttributeError, match=r"async with … \.stream\(…\) as stream"):
                manager.text  # type: ignore[attr-defined]  # noqa: B018
            async with manager:
                pass
            with pytest.raises(BusyError):
                await manager.__aenter__()

    async def test_calls_pass_the_gate_and_observers_see_them(self) -> None:
        seen: list[CallState] = []

        class Watch:
            def ended(self, call: CallState) -> None:
                seen.append(call)

        async with served(limits={MODEL: Limit(rpm=10, tpm=10_000)}, observers=[Watch()]) as (_, client):
            async with client.completions.stream(**ASK) as stream:
                done = await stream.completion()
            await client.completions.create(**ASK)
            state = client.limits[MODEL]
            assert done.usage is not None
            assert (state.requests, state.tokens, state.reserved) == (2, 2 * done.usage.total_tokens, 0)
        assert [(call.endpoint, call.ended, call.finish_reasons) for call in seen] == [
            ("/completions", "done", ["stop"])
        ] * 2
        assert seen[0].usage == seen[1].usage == done.usage
        assert seen[0].first_token is not None

    @pytest.mark.parametrize(
        ("given", "words"),
        [
            ({"prompt": None}, "prompt must not be None"),
            ({"prompt": b"a"}, "prompt: a value of type bytes"),
            ({"logit_bias": {"a": 1, 1.5: 2}}, "logit_bias: the key 1.5"),
            ({"temperature": float("nan")}, "temperature: nan"),
        ],
    )
    async def test_a_wrong_argument_is_named_before_anything_is_sent(self, given: Any, words: str) -> None:
        async with served() as (server, client):
            with pytest.raises(InvalidRequestError, match=words) as caught:
                await client.completions.create(**{**ASK, **given})
            assert caught.value.param in given
            with pytest.raises(TypeError, match="missing required keyword argument: 'prompt'"):
                client.completions.stream(model=MODEL)  # type: ignore[call-arg]
            with pytest.raises(TypeError, match="'sufix'; did you mean 'suffix'"):
                client.completions.stream(**ASK, sufix="x")
            assert server.requests == []

    async def test_what_the_service_refuses_it_refuses(self) -> None:
        async with served() as (_, client):
            with pytest.raises(BadRequestError) as caught:
                await client.completions.create(model="Qwen/Qwen3-VL-8B-Instruct", prompt="a")
            assert caught.value.code == 20039
            with pytest.raises(BadRequestError, match="max_tokens"):
                await client.completions.create(**ASK, max_tokens=0)
            done = await client.completions.create(**ASK, max_tokens=2, stop="nothing")
            assert done.finish_reason == "length"
