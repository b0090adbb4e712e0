"""`client.embeddings`: requests, their cutting into several, the forms of vectors, and runs of any number of texts."""

from __future__ import annotations

import asyncio
import base64
import gc
import struct
import sys
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from typing import Any

import msgspec
import pytest

from siliconflow_async import (
    APITimeoutError,
    AsyncSiliconFlow,
    BadRequestError,
    CallState,
    ClosedError,
    ConfigurationError,
    ContentFlaggedError,
    InvalidRequestError,
    Limit,
    MalformedStreamError,
    MapDone,
    MapProgress,
    NotFoundError,
    PayloadTooLargeError,
    RunState,
    SiliconFlowError,
    TruncatedStreamError,
)
from siliconflow_async.testing import FakeSiliconFlow, Stall

from ..asking import served

pytestmark = pytest.mark.anyio
MODEL = "BAAI/bge-m3"
JSON = {"content-type": "application/json"}


def texts(count: int) -> list[str]:
    return [f"text number {number}" for number in range(count)]


def sizes(server: FakeSiliconFlow) -> list[int]:
    """How many texts each request had."""
    found = [msgspec.json.decode(asked.body)["input"] for asked in server.requests]
    return [1 if isinstance(given, str) else len(given) for given in found]


def vectors(count: int, **more: Any) -> bytes:
    data = [{"object": "embedding", "index": at, "embedding": [float(at), 0.5]} for at in range(count)]
    return msgspec.json.encode({"object": "list", "model": MODEL, "data": data, **more})


class TestCreate:
    async def test_a_text_has_a_vector(self) -> None:
        """Only what was given is sent; the answer has the openai package's names."""
        async with served() as (server, client):
            answer = await client.embeddings.create(model=MODEL, input="hello", extra_headers={"X-A": "a"})
        asked = server.requests[0]
        assert (asked.method, asked.path) == ("POST", "/v1/embeddings")
        assert msgspec.json.decode(asked.body) == {"model": MODEL, "input": "hello", "encoding_format": "base64"}
        assert asked.headers["x-a"] == "a"
        assert len(answer.data) == 1
        assert len(answer.data[0].embedding) == 1024
        assert all(isinstance(number, float) for number in answer.data[0].embedding)
        assert (answer.data[0].index, answer.data[0].object, answer.model) == (0, "embedding", MODEL)
        assert answer.usage is not None
        assert answer.usage.prompt_tokens == answer.usage.total_tokens > 0
        assert answer.trace_id == asked.trace_id == answer.headers["x-siliconcloud-trace-id"]
        assert answer.timing.attempts == 1
        assert answer.raw is not None

    async def test_parameters_go_as_they_are(self) -> None:
        async with served() as (server, client):
            model = "Qwen/Qwen3-Embedding-0.6B"
            answer = await client.embeddings.create(
                model=model, input=["a", "b"], dimensions=64, extra_body={"user": "me"}, batch_size=7
            )
            assert msgspec.json.decode(server.requests[0].body) == {
                "model": model,
                "input": ["a", "b"],
                "dimensions": 64,
                "encoding_format": "base64",
                "user": "me",
            }
            assert [len(item.embedding) for item in answer.data] == [64, 64]
            assert answer.raw is not None

    async def test_the_same_vectors_come_in_each_form(self) -> None:
        """Base64 as it came, where it was asked for; the service is asked for it in any case, unless told otherwise."""
        async with served() as (server, client):
            floats = await client.embeddings.create(model=MODEL, input=texts(40))
            encoded = await client.embeddings.create(model=MODEL, input=texts(40), encoding_format="base64")
            arrays = await client.embeddings.create(model=MODEL, input=texts(40), as_numpy=True)
            lists = await client.embeddings.create(model=MODEL, input=texts(40), as_numpy=True, encoding_format="float")
        forms = [msgspec.json.decode(asked.body).get("encoding_format") for asked in server.requests]
        assert forms == ["base64"] * 6 + ["float"] * 2
        packed = [struct.pack("<1024f", *item.embedding) for item in floats.data]
        assert [base64.b64decode(item.embedding) for item in encoded.data] == packed
        assert [item.embedding.tobytes() for item in arrays.data] == packed
        assert arrays.matrix.shape == (40, 1024)
        assert arrays.matrix.tobytes() == lists.matrix.tobytes() == b"".join(packed)

    async def test_a_long_list_is_cut_and_comes_back_in_order(self) -> None:
        """As if it were one request, in 32s side by side; usage is the sum, and what came is in no `raw`."""
        async with served() as (server, client):
            answer = await client.embeddings.create(model=MODEL, input=texts(100))
            alone = await client.embeddings.create(model=MODEL, input=texts(100)[77])
            assert sorted(sizes(server)) == [1, 4, 32, 32, 32]
        assert [item.index for item in answer.data] == list(range(100))
        assert answer.data[77].embedding == alone.data[0].embedding
        assert answer.usage is not None
        assert answer.usage.total_tokens == answer.usage.prompt_tokens == 3 * 100
        assert (answer.timing.attempts, answer.raw, answer.model) == (4, None, MODEL)
        assert answer.trace_id in {asked.trace_id for asked in server.requests}

    async def test_a_service_says_how_many_it_takes(self) -> None:
        """Then all is asked for in such requests, from then on, for this model; a size of one's own is kept to."""
        refusal = {"code": 20042, "message": "input batch size 32 > maximum allowed batch size 10", "data": None}
        async with served() as (server, client):
            server.fail(413, refusal)
            answer = await client.embeddings.create(model=MODEL, input=texts(32))
            assert sizes(server) == [32, 10, 10, 10, 2]
            assert [item.index for item in answer.data] == list(range(32))
            assert answer.timing.attempts == 5
            server.reset()
            await client.embeddings.create(model=MODEL, input=texts(12))
            await client.embeddings.create(model="org/other", input=texts(12))
            await client.embeddings.create(model=MODEL, input=texts(6), batch_size=4)
            assert sizes(server) == [10, 2, 12, 4, 2]
            server.reset()
            # The stand-in takes 64, and says so.
            await client.embeddings.create(model="org/large", input=texts(90), batch_size=90)
            await client.embeddings.create(model="org/large", input=texts(70))
            assert sorted(sizes(server)) == [6, 26, 64, 64, 90]

    async def test_a_refusal_that_says_nothing_of_use_is_raised(self) -> None:
        async with served() as (server, client):
            for words in ("too large", "maximum allowed batch size 99", "maximum allowed batch size 0"):
                server.fail(413, {"code": 20042, "message": words, "data": None})
                with pytest.raises(PayloadTooLargeError):
                    await client.embeddings.create(model=MODEL, input=texts(3))

    async def test_one_failure_fails_the_call_and_ends_the_others(self) -> None:
        async with served(max_retries=0) as (server, client):
            server.raw([Stall()])
            server.raw([Stall()])
            server.fail(451)
            with pytest.raises(ContentFlaggedError) as caught:
                await client.embeddings.create(model=MODEL, input=texts(200))
            assert caught.value.attempts == 1
            assert caught.value.trace_id is not None
            await server.left_early(2)

    async def test_a_cancelled_call_leaves_nothing_behind(self) -> None:
        async with served() as (server, client):
            for _ in range(3):
                server.raw([Stall()])
            task = asyncio.create_task(client.embeddings.create(model=MODEL, input=texts(90)))
            await server.received(3)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await server.left_early(3)

    async def test_the_total_clock_is_that_of_the_whole_call(self) -> None:
        """Also of what waits its turn behind others."""
        async with served(max_retries=0, max_connections=1) as (server, client):
            server.raw([vectors(32)], headers=JSON)
            server.raw([Stall()])
            with pytest.raises(APITimeoutError) as caught:
                await client.embeddings.create(model=MODEL, input=texts(64), timeout=0.2)
            assert caught.value.clock == "total"
            assert len(server.requests) == 2

    async def test_failures_are_retried_request_by_request(self) -> None:
        async with served() as (server, client):
            server.fail(503, times=2)
            answer = await client.embeddings.create(model=MODEL, input=texts(64))
            assert (len(server.requests), answer.timing.attempts) == (4, 4)

    @pytest.mark.parametrize("body", [vectors(1), vectors(3), b"<html>", b'{"data":[]}', vectors(2)[:-20]])
    async def test_an_answer_to_other_texts_is_malformed(self, body: bytes) -> None:
        async with served() as (server, client):
            server.raw([body], headers=JSON)
            with pytest.raises(MalformedStreamError) as caught:
                await client.embeddings.create(model=MODEL, input=texts(2))
            assert caught.value.trace_id == server.requests[0].trace_id

    async def test_an_answer_that_breaks_off_is_truncated(self) -> None:
        async with served(max_retries=0) as (server, client):
            server.raw([b""], headers=JSON)
            with pytest.raises(TruncatedStreamError):
                await client.embeddings.create(model=MODEL, input="a")

    @pytest.mark.parametrize(
        ("given", "words"),
        [
            ({"input": []}, "input must have at least one text"),
            ({"input": ["a", 5]}, r"input\[1\] must be text, not a value of type int"),
            ({"input": [[1, 2]]}, r"input\[0\] must be text, not a value of type list"),
            ({"input": b"a"}, "input must be a text or a list of texts"),
            ({"input": 5}, "input must be a text or a list of texts"),
            ({"input": {"a": 1}}, "input must be a text or a list of texts"),
            ({"input": None}, "input must not be None"),
            ({"model": None}, "model must not be None"),
            ({"batch_size": 0}, "batch_size must be an integer >= 1"),
            ({"encoding_format": "int8"}, 'encoding_format must be "float" or "base64"'),
            ({"dimensions": float("nan")}, "dimensions: nan"),
        ],
    )
    async def test_a_wrong_argument_is_named_before_anything_is_sent(self, given: Any, words: str) -> None:
        async with served() as (server, client):
            with pytest.raises(InvalidRequestError, match=words) as caught:
                await client.embeddings.create(**{"model": MODEL, "input": "a", **given})
            assert caught.value.param in given
            assert server.requests == []

    async def test_a_wrong_keyword_is_named(self) -> None:
        async with served() as (_, client):
            with pytest.raises(TypeError, match="'dimension'; did you mean 'dimensions'"):
                await client.embeddings.create(model=MODEL, input="a", dimension=5)  # type: ignore[call-overload]
            with pytest.raises(TypeError, match="missing required keyword argument: 'input'"):
                await client.embeddings.create(model=MODEL)  # type: ignore[call-overload]
            with pytest.raises(TypeError, match="unexpected keyword argument 'input'"):
                client.embeddings.map([], model=MODEL, input="a")  # type: ignore[call-overload]

    async def test_what_the_service_refuses_it_refuses(self) -> None:
        """An empty text, numbers that a model can't make: the service knows."""
        async with served() as (_, client):
            with pytest.raises(BadRequestError, match="none of them empty"):
                await client.embeddings.create(model=MODEL, input=["a", ""])
            with pytest.raises(BadRequestError, match="dimensions"):
                await client.embeddings.create(model=MODEL, input="a", dimensions=5)
            await client.aclose()
            with pytest.raises(ClosedError):
                await client.embeddings.create(model=MODEL, input=texts(64))

    async def test_without_numpy_it_says_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "numpy", None)
        async with served() as (server, client):
            with pytest.raises(ConfigurationError, match=r'pip install "siliconflow-async\[numpy\]"'):
                await client.embeddings.create(model=MODEL, input="a", as_numpy=True)
            with pytest.raises(ConfigurationError, match="numpy"):
                client.embeddings.map(["a"], model=MODEL, as_numpy=True)
            assert server.requests == []

    async def test_requests_pass_the_gate_of_their_model(self) -> None:
        """By their texts, of which the usage teaches the tokens; an answer costs none."""
        async with served(limits={MODEL: Limit(rpm=100, tpm=10_000)}) as (_, client):
            await client.embeddings.create(model=MODEL, input=texts(64))
            state = client.limits[MODEL]
        assert (state.requests, state.tokens, state.reserved) == (2, 3 * 64, 0)

    async def test_observers_are_told_of_each_request(self) -> None:
        class Watch:
            def __init__(self) -> None:
                self.seen: list[tuple[str, Any, str | None, Any]] = []

            def ended(self, call: CallState) -> None:
                self.seen.append((call.endpoint, call.ended, call.model, call.usage and call.usage.prompt_tokens))

        watch = Watch()
        async with served(observers=[watch]) as (_, client):
            await client.with_options().embeddings.create(model=MODEL, input=texts(33))
        assert sorted(watch.seen, key=str) == [("/embeddings", "done", MODEL, tokens) for tokens in (3, 96)]


class TestMap:
    async def test_results_are_those_of_the_texts(self) -> None:
        """In their order if that is asked for; each has its text, its index and its vector."""
        async with served() as (server, client):
            async with client.embeddings.map(texts(100), model=MODEL, ordered=True) as results:
                seen = [result async for result in results]
            whole = await client.embeddings.create(model=MODEL, input=texts(100))
        assert [result.index for result in seen] == list(range(100))
        assert [result.request for result in seen] == texts(100)
        assert all(isinstance(result, MapDone) for result in seen)
        assert [result.completion for result in seen] == whole.data
        assert {result.attempts for result in seen} == {1}
        assert sorted(sizes(server)[:4]) == [4, 32, 32, 32]

    async def test_results_come_as_they_are_there(self) -> None:
        async with served() as (server, client):
            server.raw([Stall()])
            async with client.embeddings.map(texts(40), model=MODEL) as results:
                first = [(await anext(results)).index for _ in range(8)]
            assert first == list(range(32, 40))
            await server.left_early(1)

    @pytest.mark.parametrize("form", ["float", "base64", "numpy"])
    async def test_vectors_have_the_form_that_was_asked_for(self, form: str) -> None:
        async with served() as (_, client):
            options: Any = {"as_numpy": True} if form == "numpy" else {"encoding_format": form}
            async with client.embeddings.map(texts(2), model=MODEL, **options) as results:
                found = [result.completion.embedding async for result in results if result.error is None]
        kinds = {"float": list, "base64": str, "numpy": "ndarray"}
        assert len(found) == 2
        assert {type(vector) if form != "numpy" else type(vector).__name__ for vector in found} == {kinds[form]}

    async def test_one_text_that_is_refused_fails_alone(self) -> None:
        """Its neighbours in the request have their vectors; what is no text at all is not sent."""
        given: list[Any] = texts(100)
        given[3] = given[70] = ""
        given[50] = None
        async with (
            served() as (_, client),
            client.embeddings.map(given, model=MODEL, ordered=True) as results,
        ):
            seen = [result async for result in results]
        assert [result.index for result in seen] == list(range(100))
        failed = {result.index: result.error for result in seen if result.error is not None}
        assert {index: type(error) for index, error in failed.items()} == {
            3: BadRequestError,
            50: InvalidRequestError,
            70: BadRequestError,
        }
        assert "texts[50] must be text" in str(failed[50])
        assert seen[50].attempts == 0
        # 32 that were refused, and their halves down to the text.
        assert seen[3].attempts == 11

    async def test_where_all_texts_are_refused_one_request_is_cut_up_to_see(self) -> None:
        async with (
            FakeSiliconFlow(models=["org/other"]) as server,
            AsyncSiliconFlow("key", base_url=server.base_url) as client,
        ):
            async with client.embeddings.map(texts(320), model=MODEL) as results:
                seen = [result async for result in results]
            assert all(isinstance(result.error, BadRequestError) for result in seen)
            assert len(server.requests) == 9 + 63

    async def test_a_size_that_the_service_says_is_kept_to(self) -> None:
        refusal = {"code": 20042, "message": "input batch size 32 > maximum allowed batch size 10", "data": None}
        async with served() as (server, client):
            server.fail(413, refusal)
            async with client.embeddings.map(iter(texts(64)), model=MODEL, max_concurrency=1, ordered=True) as results:
                seen = [result async for result in results]
            assert all(result.error is None for result in seen)
            assert sizes(server) == [32, 10, 10, 10, 2, 10, 10, 10, 2]
            server.reset()
            server.fail(413, {**refusal, "message": "input batch size 10 > maximum allowed batch size 5"})
            async with client.embeddings.map(texts(10), model=MODEL, fail_fast=True) as results:
                assert len([result async for result in results]) == 10
            assert sizes(server) == [10, 5, 5]
            server.fail(413, {**refusal, "message": "input batch size 5 > maximum allowed batch size 4"})
            async with client.embeddings.map(["a", "b", "c", "d", ""], model=MODEL, fail_fast=True) as results:
                with pytest.raises(BadRequestError):
                    await anext(results)

    async def test_other_failures_are_those_of_all_texts_of_a_request(self) -> None:
        async with served(max_retries=0) as (server, client):
            server.fail(404)
            async with client.embeddings.map(texts(40), model=MODEL, max_concurrency=1, ordered=True) as results:
                seen = [result async for result in results]
            assert [type(result.error) for result in seen] == [NotFoundError] * 32 + [type(None)] * 8
            assert len(server.requests) == 2

    async def test_fail_fast_ends_the_run_with_the_first_error(self) -> None:
        async with served() as (server, client):
            async with client.embeddings.map(["a", "", "b"], model=MODEL, fail_fast=True) as results:
                with pytest.raises(BadRequestError):
                    await anext(results)
            assert len(server.requests) == 1

    async def test_any_number_of_texts_is_read_as_there_is_room(self) -> None:
        """Async ones too; memory stays as it is."""
        taken = 0

        async def endless() -> AsyncIterator[str]:
            nonlocal taken
            while True:
                taken += 1
                yield f"text {taken}"

        async with served() as (_, client):
            async with client.embeddings.map(endless(), model=MODEL, max_concurrency=2, ordered=True) as results:
                given = 0
                async for _ in results:
                    given += 1
                    assert taken - given <= 4 * 32 + 32
                    if given == 1000:
                        break
            with pytest.raises(ClosedError):
                await anext(results)

    async def test_memory_stays_as_it_is(self) -> None:
        def many() -> Iterator[str]:
            for number in range(6400):
                yield f"text {number}"

        async with served() as (server, client):
            for _ in range(200):
                server.raw([vectors(32)], headers=JSON)
            peaks = []
            async with client.embeddings.map(many(), model=MODEL, max_concurrency=4) as results:
                seen = 0
                tracemalloc.start()
                try:
                    async for result in results:
                        assert result.error is None
                        seen += 1
                        if seen % 1600 == 0:
                            server.requests.clear()
                            gc.collect()
                            peaks.append(tracemalloc.get_traced_memory()[0])
                finally:
                    tracemalloc.stop()
            assert seen == 6400
            assert peaks[-1] < peaks[0] + 512 * 1024

    async def test_progress_counts_texts(self) -> None:
        told: list[MapProgress] = []
        async with served() as (_, client):
            given: list[Any] = [*texts(40), None]
            async with client.embeddings.map(given, model=MODEL, on_progress=told.append) as results:
                [result async for result in results]
        assert (told[-1].done, told[-1].failed, told[-1].in_flight, told[-1].total) == (40, 1, 0, 41)

    async def test_observers_see_a_run_of_requests(self) -> None:
        runs: list[RunState] = []

        class Watch:
            def run_ended(self, run: RunState) -> None:
                runs.append(run)

        async with (
            served(observers=[Watch()]) as (_, client),
            client.embeddings.map(texts(40), model=MODEL) as results,
        ):
            [result async for result in results]
        assert [(run.kind, run.calls, run.failed, run.ended) for run in runs] == [("map", 2, 0, "done")]

    async def test_what_the_iterable_raises_comes_after_the_results_that_there_are(self) -> None:
        def broken() -> Iterator[str]:
            yield from texts(3)
            raise OSError("gone")

        async with served() as (_, client), client.embeddings.map(broken(), model=MODEL) as results:
            assert [(await anext(results)).index for _ in range(3)] == [0, 1, 2]
            with pytest.raises(OSError, match="gone"):
                await anext(results)

    async def test_an_outage_is_waited_out(self) -> None:
        async with served() as (server, client):
            server.fail(503, times=4)
            async with client.embeddings.map(texts(128), model=MODEL, max_concurrency=4) as results:
                assert [result.error async for result in results] == [None] * 128

    @pytest.mark.parametrize("given", ["text", b"text", {"a": 1}, 5])
    async def test_what_are_no_texts_is_named(self, given: Any) -> None:
        async with AsyncSiliconFlow("key") as client:
            with pytest.raises(TypeError, match="texts must be an iterable of texts"):
                client.embeddings.map(given, model=MODEL)

    async def test_a_run_that_is_left_half_way_leaves_nothing_behind(self) -> None:
        async with served() as (server, client):
            server.raw([vectors(32)], headers=JSON)
            server.raw([Stall()])
            async with client.embeddings.map(texts(64), model=MODEL) as results:
                await anext(results)
            await server.left_early(1)
            with pytest.raises(ClosedError):
                await anext(results)
            with pytest.raises(SiliconFlowError):
                async with results:
                    pass
