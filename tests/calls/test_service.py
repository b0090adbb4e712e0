"""Any endpoint can be asked: JSON, forms with files, bytes, nothing; repeated where that does no harm."""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from aiohttp import web

from siliconflow_async import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AsyncSiliconFlow,
    ClosedError,
    InvalidRequestError,
    OverloadedError,
    RetryPolicy,
    SiliconFlowError,
    Timeouts,
    TruncatedStreamError,
)
from siliconflow_async.calls.service import Service
from siliconflow_async.transport.upload import Multipart, Part
from siliconflow_async.wire.plain import Headed, Plain

from ..asking import NO_WAIT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from siliconflow_async.stream.bytestream import ByteStream
    from siliconflow_async.transport.mask import Mask

pytestmark = pytest.mark.anyio


class Content(Headed, Plain):
    """A whole body as it came."""

    data: bytes


def content(body: bytes, mask: Mask) -> Content:
    return Content(data=body)


class Endpoint:
    """A service of one endpoint: it answers each request with the next of `answers`, and keeps what it was sent."""

    def __init__(self, *answers: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> None:
        self.answers = list(answers)
        self.received: list[dict[str, Any]] = []
        self.requests = 0
        self.peers: list[Any] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests += 1
        assert request.transport is not None
        self.peers.append(request.transport.get_extra_info("peername"))
        return await (self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])(request)


@asynccontextmanager
async def asked(endpoint: Endpoint, **options: Any) -> AsyncIterator[Service]:
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_route("*", "/v1/thing", endpoint.handle)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        async with AsyncSiliconFlow(
            "k", base_url=f"http://127.0.0.1:{port}", **{"retry": NO_WAIT, **options}
        ) as client:
            yield Service(client._setup)
    finally:
        await runner.cleanup()


async def nothing(request: web.Request) -> web.StreamResponse:
    return web.Response(status=204, headers={"x-siliconcloud-trace-id": "t1"})


async def told(request: web.Request) -> web.StreamResponse:
    """What came, as it came."""
    return web.json_response(
        {
            "method": request.method,
            "type": request.headers.get("Content-Type"),
            "query": dict(request.query),
            "body": (await request.text()),
        }
    )


async def parts(request: web.Request) -> web.StreamResponse:
    """The parts of a form: name, file name, type, size and digest."""
    found = []
    reader = await request.multipart()
    async for part in reader:
        data = await part.read()
        found.append(
            [part.name, part.filename, part.headers.get("Content-Type"), len(data), hashlib.sha256(data).hexdigest()]
        )
    return web.json_response({"length": request.headers.get("Content-Length"), "parts": found})


def refusing(status: int, *, then: str = "") -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def refuse(request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, text=then or "{}")

    return refuse


async def breaking(request: web.Request) -> web.StreamResponse:
    """No answer: the connection goes."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


class TestBodies:
    async def test_no_content_is_an_answer(self) -> None:
        """204 is decoded from no bytes, and has what its headers tell."""
        async with asked(Endpoint(nothing)) as service:
            done = await service.fetch("DELETE", "/thing", content, {})
        assert (done.data, done.trace_id, done.timing.attempts) == (b"", "t1", 1)

    async def test_an_empty_body_of_another_status_is_none(self) -> None:
        """200 promises an answer."""
        async with asked(Endpoint(refusing(200, then=" "))) as service:
            with pytest.raises(TruncatedStreamError):
                await service.fetch("GET", "/thing", content, {})

    async def test_bytes_come_as_they_are(self) -> None:
        """Whatever is no text either."""
        data = bytes(range(256)) * 5000

        async def binary(request: web.Request) -> web.StreamResponse:
            return web.Response(body=data, content_type="audio/mpeg")

        async with asked(Endpoint(binary)) as service:
            done = await service.fetch("POST", "/thing", content, {}, body=b"{}")
        assert done.data == data
        assert done.headers["content-type"] == "audio/mpeg"

    async def test_method_query_and_type(self) -> None:
        """JSON says so; a request without a body has no type."""
        async with asked(Endpoint(told)) as service:
            sent = await service.fetch(
                "POST", "/thing", content, {"extra_query": {"b": 2}}, body=b'{"a":1}', query={"a": "1"}
            )
            bare = await service.fetch("DELETE", "/thing", content, {})
        assert msgspec.json.decode(sent.data) == {
            "method": "POST",
            "type": "application/json",
            "query": {"a": "1", "b": "2"},
            "body": '{"a":1}',
        }
        assert msgspec.json.decode(bare.data) == {"method": "DELETE", "type": None, "query": {}, "body": ""}

    @pytest.mark.parametrize("failures", [0, 2])
    async def test_a_form_with_a_file(self, tmp_path: Path, failures: int) -> None:
        """Fields and files arrive as they were, a file anew with each attempt, its size told before."""
        path = tmp_path / "声音.wav"
        data = bytes(range(256)) * 12_000
        path.write_bytes(data)
        form = Multipart(
            (
                Part(name="model", value="org/名"),
                Part(name="file", value=path, filename=path.name, content_type="audio/wav"),
                Part(name="note", value=b"\x00\xff", filename="n"),
            )
        )

        async def drained(request: web.Request) -> web.StreamResponse:
            await request.read()
            return web.Response(status=503, text="{}")

        endpoint = Endpoint(*[drained] * failures, parts)
        async with asked(endpoint) as service:
            done = await service.fetch("POST", "/thing", content, {}, body=form)
        found = msgspec.json.decode(done.data)
        assert found["parts"] == [
            ["model", None, "text/plain; charset=utf-8", 7, hashlib.sha256("org/名".encode()).hexdigest()],
            ["file", "声音.wav", "audio/wav", len(data), hashlib.sha256(data).hexdigest()],
            ["note", "n", "application/octet-stream", 2, hashlib.sha256(b"\x00\xff").hexdigest()],
        ]
        assert int(found["length"]) > len(data)
        assert endpoint.requests == failures + 1

    async def test_a_file_that_is_not_there_is_named(self, tmp_path: Path) -> None:
        """Nothing is sent."""
        endpoint = Endpoint(told)
        form = Multipart((Part(name="file", value=tmp_path / "none"),))
        async with asked(endpoint) as service:
            with pytest.raises(InvalidRequestError, match="file can't be read") as caught:
                await service.fetch("POST", "/thing", content, {}, body=form)
        assert caught.value.param == "file"
        assert endpoint.requests == 0

    async def test_an_upload_that_nobody_takes_ends_by_the_idle_clock(self, tmp_path: Path) -> None:
        """The error tells how far it came."""
        path = tmp_path / "large"
        with path.open("wb") as file:
            file.truncate(64 * 1024 * 1024)

        async def stuck(request: web.Request) -> web.StreamResponse:
            await asyncio.get_running_loop().create_future()
            raise AssertionError

        form = Multipart((Part(name="file", value=path, filename="large"),))
        async with asked(Endpoint(stuck), timeouts=Timeouts(idle=0.3)) as service:
            with pytest.raises(APITimeoutError, match=r"while \d+ bytes of the request had been sent") as caught:
                await service.fetch("POST", "/thing", content, {}, body=form)
        assert caught.value.clock == "idle"

    async def test_a_form_takes_as_long_as_the_line_is_slow(self) -> None:
        """No total ends it by default; once it has been sent, the first token's clock runs up to the whole answer."""

        async def half(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse()
            await response.prepare(request)
            await response.write(b"{")
            await asyncio.get_running_loop().create_future()
            return response

        form = Multipart((Part(name="file", value=b"x"),))
        async with asked(Endpoint(half), timeouts=Timeouts(first_token=0.2), max_retries=0) as service:
            assert service.setup.request("POST", "/thing", {}, body=form).deadline is None
            assert service.setup.request("POST", "/thing", {"timeout": 7}, body=form).deadline is not None
            with pytest.raises(APITimeoutError, match="first_token limit") as caught:
                await service.fetch("POST", "/thing", content, {}, body=form)
            assert caught.value.clock == "first_token"
            with pytest.raises(APITimeoutError, match="total limit"):
                await service.fetch("POST", "/thing", content, {"timeout": 0.1}, body=form)


class TestByteStreams:
    """Bytes as they come keep the promises of a stream."""

    @staticmethod
    def speaking(*pieces: bytes, then: str = "end") -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def speak(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse()
            response.content_type = "audio/mpeg"
            await response.prepare(request)
            for piece in pieces:
                await response.write(piece)
            if then == "break":
                assert request.transport is not None
                request.transport.abort()
            elif then == "silence":
                await asyncio.get_running_loop().create_future()
            return response

        return speak

    async def test_all_of_it_comes_and_the_connection_serves_again(self) -> None:
        """In pieces of whatever size; then it has finished."""
        data = [bytes([n]) * 100_000 for n in range(20)]
        endpoint = Endpoint(self.speaking(*data))
        async with asked(endpoint) as service:
            for _ in range(2):
                async with await service.stream("POST", "/thing", {}, body=b"{}") as stream:
                    assert stream.ended is None
                    got = b"".join([piece async for piece in stream])
                assert got == b"".join(data)
                assert (stream.ended, stream.received) == ("finish", len(got))
                assert stream.headers["content-type"] == "audio/mpeg"
        assert len(set(endpoint.peers)) == 1

    async def test_what_broke_off_is_an_error_after_what_had_arrived(self) -> None:
        """It says how many bytes came."""
        async with asked(Endpoint(self.speaking(b"abc", b"def", then="break"))) as service:
            stream = await service.stream("POST", "/thing", {}, body=b"{}")
            pieces: list[bytes] = []
            with pytest.raises(TruncatedStreamError, match=r"broke off .* after 6 bytes") as caught:
                await read(stream, pieces)
        assert (b"".join(pieces), stream.ended, caught.value.attempts) == (b"abcdef", "truncated", 1)

    async def test_silence_is_a_timeout(self) -> None:
        """Between bytes the idle clock runs, before the first that of the first token, which is repeated."""
        endpoint = Endpoint(self.speaking(b"abc", then="silence"))
        async with asked(endpoint, timeouts=Timeouts(idle=0.2)) as service:
            stream = await service.stream("POST", "/thing", {}, body=b"{}")
            with pytest.raises(APITimeoutError) as caught:
                await read(stream, [])
            assert (caught.value.clock, stream.ended) == ("idle", "timeout")
        endpoint = Endpoint(self.speaking(then="silence"), self.speaking(b"abc"))
        async with asked(endpoint, timeouts=Timeouts(first_token=0.2)) as service:
            stream = await service.stream("POST", "/thing", {}, body=b"{}")
            assert [piece async for piece in stream] == [b"abc"]
        assert endpoint.requests == 2

    async def test_a_slow_stream_is_not_an_idle_one(self) -> None:
        """Its pieces may take longer than the idle clock in all."""

        async def drip(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse()
            await response.prepare(request)
            for _ in range(8):
                await response.write(b"x")
                await asyncio.sleep(0.1)
            return response

        async with asked(Endpoint(drip), timeouts=Timeouts(idle=0.6)) as service:
            stream = await service.stream("POST", "/thing", {}, body=b"{}")
            assert b"".join([piece async for piece in stream]) == b"x" * 8

    @pytest.mark.parametrize("how", ["close", "forget", "client"])
    async def test_leaving_closes_the_connection(self, how: str) -> None:
        """The server sees it go; what is read after that raises."""
        gone = asyncio.Event()

        async def speak(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse()
            await response.prepare(request)
            await response.write(b"abc")
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                gone.set()
            return response

        async with asked(Endpoint(speak)) as service:
            stream = await service.stream("POST", "/thing", {}, body=b"{}")
            if how == "client":
                await service.setup.transport.pool.aclose()
            elif how == "close":
                await stream.aclose()
            if how != "forget":
                assert stream.ended == "closed"
                pieces: list[bytes] = []
                with pytest.raises(ClosedError):
                    await read(stream, pieces)
                assert pieces == []
            del stream
            async with asyncio.timeout(5):
                await gone.wait()

    async def test_an_empty_body_is_none(self) -> None:
        """Nothing came where bytes were promised: it is asked for again, then it is an error."""
        endpoint = Endpoint(self.speaking())
        async with asked(endpoint, retry=RetryPolicy(base=0.0, max_attempts=2)) as service:
            with pytest.raises(TruncatedStreamError, match="empty"):
                await service.stream("POST", "/thing", {}, body=b"{}")
        assert endpoint.requests == 2


async def read(stream: ByteStream, pieces: list[bytes]) -> None:
    """Append all that comes."""
    async for piece in stream:
        pieces.append(piece)


class TestRepeating:
    """What the service would do twice is sent again only where it has surely not begun."""

    @pytest.mark.parametrize(
        ("answer", "requests"),
        [
            (refusing(429, then='{"code":20042,"message":"RPM limit reached"}'), 2),
            (refusing(503), 2),
            (refusing(500), 1),
            (refusing(502), 1),
            (refusing(504), 1),
            (refusing(200, then=" "), 1),
            (breaking, 1),
        ],
        ids=["429", "503", "500", "502", "504", "empty", "broken"],
    )
    async def test_after_a_failure(
        self, answer: Callable[[web.Request], Awaitable[web.StreamResponse]], requests: int
    ) -> None:
        """Refused before any work: again. Anything that may have been begun: never."""
        endpoint = Endpoint(answer, told)
        async with asked(endpoint) as service:
            call = service.fetch("POST", "/thing", content, {}, body=b"{}", repeatable=False)
            if requests == 2:
                assert (await call).timing.attempts == 2
            else:
                with pytest.raises(SiliconFlowError) as caught:
                    await call
                assert caught.value.attempts == 1
            assert endpoint.requests == requests
            # Where repeating does no harm, all of them are.
            endpoint.answers = [answer, told]
            await service.fetch("POST", "/thing", content, {}, body=b"{}")
            assert endpoint.requests == requests + 2

    async def test_each_goes_over_a_connection_of_its_own(self) -> None:
        """One that was kept could break with the request half-way: nobody could tell what became of it."""
        endpoint = Endpoint(told)
        async with asked(endpoint) as service:
            for _ in range(3):
                await service.fetch("POST", "/thing", content, {}, body=b"{}", repeatable=False)
            assert len(set(endpoint.peers)) == 3
            for _ in range(3):
                await service.fetch("POST", "/thing", content, {}, body=b"{}")
            assert len(set(endpoint.peers)) == 3

    async def test_no_connection_is_no_beginning(self) -> None:
        """Where nothing listens, nothing was begun."""
        async with AsyncSiliconFlow("k", base_url="http://127.0.0.1:1", retry=NO_WAIT) as client:
            with pytest.raises(APIConnectionError) as caught:
                await Service(client._setup).fetch("POST", "/thing", content, {}, repeatable=False)
        assert caught.value.attempts == 5


async def test_a_refusal_is_an_error_like_any_other() -> None:
    """With code, message and attempts."""
    endpoint = Endpoint(refusing(503, then='{"code":50505,"message":"busy"}'))
    async with asked(endpoint) as service:
        with pytest.raises(OverloadedError) as caught:
            await service.fetch("GET", "/thing", content, {})
    assert isinstance(caught.value, APIStatusError)
    assert (caught.value.code, caught.value.attempts) == (50505, endpoint.requests)
