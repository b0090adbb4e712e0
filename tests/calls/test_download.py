"""A file that the service names by a URL: without the key, whole or not at all, in flat memory."""

from __future__ import annotations

import asyncio
import os
import tracemalloc
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import web

from siliconflow_async import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AsyncSiliconFlow,
    CallState,
    ClosedError,
    EventTooLargeError,
    InvalidRequestError,
    NotFoundError,
    RetryPolicy,
    Timeouts,
    TruncatedStreamError,
)
from siliconflow_async.calls.download import Download

from ..asking import NO_WAIT
from ..connect_proxy import ConnectProxy
from ..tls import AUTHORITY, HOST, speaking_tls, trusting

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from siliconflow_async.stream.bytestream import ByteStream

    Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]

pytestmark = pytest.mark.anyio

KEY = "sk-for-the-service-alone"
DATA = bytes(range(256)) * 4096


class Store:
    """Where files are: it answers each request with the next of `answers`, the last one ever again."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.requests: list[web.Request] = []
        self.url = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        return await (self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])(request)


@asynccontextmanager
async def stored(*answers: Answer, tls: bool = False) -> AsyncIterator[Store]:
    store = Store(*answers)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", store.handle)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1)
    await runner.setup()
    context = speaking_tls(AUTHORITY.issue_cert(HOST)) if tls else None
    await web.TCPSite(runner, HOST, 0, ssl_context=context).start()
    store.url = f"http{'s' if tls else ''}://{HOST}:{runner.addresses[0][1]}"
    try:
        yield store
    finally:
        await runner.cleanup()


def asking(**options: Any) -> AsyncSiliconFlow:
    """A client whose service is never asked here."""
    options = {"base_url": "http://127.0.0.1:1", "retry": NO_WAIT, **options}
    return AsyncSiliconFlow(KEY, **options)


def download(client: AsyncSiliconFlow, url: str, **params: Any) -> Download:
    return Download(client._setup, url, params)


async def whole(request: web.Request) -> web.StreamResponse:
    return web.Response(body=DATA, content_type="image/png")


def refusing(status: int, **headers: str) -> Answer:
    async def refuse(request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, text="{}", headers=headers)

    return refuse


def breaking(at: int, *, told: bool = True, tag: str = "", how: str = "break") -> Answer:
    """The first `at` bytes, then the connection goes, or is silent; from where the request says if it may."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"ETag": tag} if tag else {})
        begin = 0
        if tag and request.headers.get("If-Range") == tag:
            begin = int(request.headers["Range"].removeprefix("bytes=").rstrip("-"))
            response.set_status(206)
            response.headers["Content-Range"] = f"bytes {begin}-{len(DATA) - 1}/{len(DATA)}"
        if told:
            response.content_length = len(DATA) - begin
        else:
            response.enable_chunked_encoding()
        await response.prepare(request)
        await response.write(DATA[begin : begin + at])
        if begin + at < len(DATA):
            if how == "silence":
                await asyncio.get_running_loop().create_future()
            assert request.transport is not None
            request.transport.abort()
        return response

    return answer


async def read(stream: ByteStream, pieces: list[bytes]) -> None:
    async for piece in stream:
        pieces.append(piece)


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class TestWhatIsSent:
    """The URL as it came, and nothing of the client's own."""

    HEADERS = frozenset({"host", "accept", "accept-encoding", "user-agent"})

    async def test_neither_key_nor_headers_go_along_also_where_it_leads(self, tmp_path: Path) -> None:
        """To the first server and to the one that this names; what the client sends everywhere stays at home."""
        async with (
            stored(whole) as second,
            stored(refusing(302, Location=f"{second.url}/b?x=1")) as first,
            asking(headers={"X-Tenant": "mine", "Cookie": "a=b", "X-Api-Key": "s"}) as client,
        ):
            assert await download(client, f"{first.url}/a").save(tmp_path / "a.png") == len(DATA)
        for store, path in ((first, "/a"), (second, "/b?x=1")):
            (request,) = store.requests
            assert (request.method, request.raw_path) == ("GET", path)
            assert {name.lower() for name in request.headers} == self.HEADERS

    async def test_nor_does_what_a_borrowed_session_sends_everywhere(self) -> None:
        """Its default headers, cookies, credentials, and what its middlewares add."""

        async def add(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
            request.headers["X-Added"] = "secret"
            return await send(request)

        async with stored(whole) as store:
            session = aiohttp.ClientSession(
                headers={"Authorization": f"Bearer {KEY}", "X-Api-Key": "s"}, cookies={"a": "b"}, middlewares=(add,)
            )
            async with session, asking(session=session) as client:
                assert await download(client, store.url).read() == DATA
        assert {name.lower() for name in store.requests[0].headers} == self.HEADERS

    @pytest.mark.parametrize(
        "path", ["/a%2Fb%20c?X-Amz-Credential=k%2F1%2Faws4&sig=a%2Bb==", "/%E5%9B%BE?x", "/a+b?q=%7e;&&=", "/a?"]
    )
    async def test_a_signed_url_arrives_as_it_was_signed(self, path: str) -> None:
        """Character by character."""
        async with stored(whole) as store, asking() as client:
            await download(client, store.url + path).read()
        assert store.requests[0].raw_path == path.removesuffix("?") or store.requests[0].raw_path == path

    async def test_what_can_not_be_sent_is_escaped(self) -> None:
        """Spaces and other letters."""
        async with stored(whole) as store, asking() as client:
            await download(client, f"{store.url}/图 1?ä=é#part").read()
        assert store.requests[0].raw_path == "/%E5%9B%BE%201?%C3%A4=%C3%A9"

    @pytest.mark.parametrize(
        "url", ["ftp://h/a", "file:///etc/passwd", "//h/a", "", "http://", "http://u:p@h/", "http://h:x/", 7, b"http:"]
    )
    async def test_what_is_no_such_url_is_refused(self, url: Any) -> None:
        """Before anything is sent, without what may be secret in it."""
        async with asking() as client:
            with pytest.raises(InvalidRequestError, match="url") as caught:
                download(client, url)
        assert caught.value.param == "url"
        assert "u:p" not in str(caught.value)

    async def test_it_goes_through_the_clients_proxy(self, tmp_path: Path) -> None:
        """Which hears of host and port alone, and of its own password."""
        async with (
            stored(whole, tls=True) as store,
            ConnectProxy() as proxy,
            asking(proxy=proxy.url("me:pass"), ssl=trusting()) as client,
        ):
            await download(client, f"{store.url}/secret?sig=1").save(tmp_path / "a")
        (head,) = proxy.heads
        assert head.line == f"CONNECT {store.url.removeprefix('https://')} HTTP/1.1"
        assert "proxy-authorization" in head.headers
        assert b"secret" not in head.raw
        assert "proxy-authorization" not in {name.lower() for name in store.requests[0].headers}
        assert (tmp_path / "a").read_bytes() == DATA

    async def test_which_proxy_that_is_goes_by_the_url(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The service may be on this machine, and its files elsewhere, or the other way round."""
        async with stored(whole, tls=True) as store, ConnectProxy() as proxy:
            monkeypatch.setenv("HTTPS_PROXY", proxy.url())
            monkeypatch.setenv("NO_PROXY", "")
            async with asking(ssl=trusting()) as client:
                assert await download(client, store.url).read() == DATA
                monkeypatch.setenv("NO_PROXY", HOST)
                assert await download(client, store.url).read() == DATA
        assert (len(proxy.heads), len(store.requests)) == (1, 2)


class TestRedirects:
    """They are followed as far as that is safe."""

    async def test_a_relative_one(self) -> None:
        """Of any of the usual statuses."""
        hops = [refusing(status, Location=f"../to/{status}?a=%2F") for status in (301, 302, 303, 307, 308)]
        async with stored(*hops, whole) as store, asking() as client:
            assert await download(client, f"{store.url}/from/here").read() == DATA
        assert store.requests[-1].raw_path == "/to/308?a=%2F"

    @pytest.mark.parametrize(
        ("location", "why"),
        [
            ("http://127.0.0.1:1/", "https to http"),
            ("file:///etc/passwd", "https to http"),
            ("https://a:b@127.0.0.1/", "without a password"),
        ],
    )
    async def test_one_that_leads_astray_is_an_error(self, location: str, why: str) -> None:
        """Out of TLS, to no URL."""
        async with stored(refusing(302, Location=location), tls=True) as store, asking(ssl=trusting()) as client:
            with pytest.raises(APIStatusError, match=why) as caught:
                await download(client, store.url).read()
        assert (caught.value.status, len(store.requests)) == (302, 1)

    async def test_an_endless_one_ends(self) -> None:
        """After five; and one that leads nowhere at once."""
        async with stored(refusing(302, Location="/again")) as store, asking() as client:
            with pytest.raises(APIStatusError, match="too many redirects"):
                await download(client, store.url).read()
            assert len(store.requests) == 6
            store.answers = [refusing(302)]
            with pytest.raises(APIStatusError, match="HTTP 302"):
                await download(client, store.url).read()
            assert len(store.requests) == 7


class TestSaving:
    """A file is there whole, or it is not there."""

    async def test_it_takes_the_place_of_one_that_was(self, tmp_path: Path) -> None:
        """Nothing else is left; what had been told of how far it was ends with all of it."""
        path = tmp_path / "图.png"
        path.write_bytes(b"old")
        told: list[tuple[int, int | None]] = []
        async with stored(whole) as store, asking() as client:
            size = await download(client, store.url).save(path, on_progress=lambda *so_far: told.append(so_far))
        assert size == len(DATA)
        assert path.read_bytes() == DATA
        assert left_in(tmp_path) == ["图.png"]
        assert told[-1] == (len(DATA), len(DATA))
        assert [done for done, _ in told] == sorted(done for done, _ in told)

    async def test_where_a_link_leads(self, tmp_path: Path) -> None:
        """The link stays one."""
        (tmp_path / "link").symlink_to(tmp_path / "target")
        async with stored(whole) as store, asking() as client:
            await download(client, store.url).save(str(tmp_path / "link"))
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "target").read_bytes() == DATA

    @pytest.mark.skipif(not os.path.exists("/dev/null"), reason="no such devices on this system")
    async def test_what_is_no_file_is_written_as_it_is(self) -> None:
        """A device is not replaced."""
        async with stored(whole) as store, asking() as client:
            assert await download(client, store.url).save("/dev/null") == len(DATA)

    async def test_a_place_that_can_not_be_written_is_named_before_anything_is_sent(self, tmp_path: Path) -> None:
        """A folder that is not there, a folder itself, a name with a null, no path at all."""
        async with stored(whole) as store, asking() as client:
            for path in (tmp_path / "none" / "a", tmp_path, "a\0b", None):
                with pytest.raises(InvalidRequestError, match="can't write") as caught:
                    await download(client, store.url).save(path)  # type: ignore[arg-type]
                assert caught.value.param == "path"
        assert store.requests == []
        assert left_in(tmp_path) == []

    @pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no such device on this system")
    async def test_a_full_disk_is_the_systems_own_error(self) -> None:
        """With its number."""
        async with stored(whole) as store, asking() as client:
            with pytest.raises(OSError, match="No space left"):
                await download(client, store.url).save("/dev/full")

    async def test_what_breaks_off_leaves_nothing_and_says_how_much_came(self, tmp_path: Path) -> None:
        """The file that was stays; a body that is shorter than was said is never taken for whole."""
        path = tmp_path / "a"
        path.write_bytes(b"old")
        async with stored(breaking(70_000)) as store, asking(retry=RetryPolicy(base=0, max_attempts=3)) as client:
            with pytest.raises(TruncatedStreamError, match=rf"after 70000 of {len(DATA)} bytes") as caught:
                await download(client, store.url).save(path)
        assert (caught.value.received, caught.value.attempts, len(store.requests)) == (70_000, 3, 3)
        assert path.read_bytes() == b"old"
        assert left_in(tmp_path) == ["a"]

    @pytest.mark.parametrize("tag", ["", '"strong"', 'W/"weak"'])
    @pytest.mark.parametrize("how", ["break", "silence"])
    async def test_what_broke_off_is_asked_for_again(self, tmp_path: Path, tag: str, how: str) -> None:
        """The rest alone where the server can tell that it is the same file, else all of it."""
        path = tmp_path / "a"
        first = breaking(70_000, tag=tag, how=how)
        told: list[tuple[int, int | None]] = []
        async with (
            stored(first, breaking(len(DATA), tag=tag)) as store,
            asking(timeouts=Timeouts(idle=0.2)) as client,
        ):
            size = await download(client, store.url).save(path, on_progress=lambda *so_far: told.append(so_far))
        assert size == len(DATA)
        assert path.read_bytes() == DATA
        assert told[-1] == (len(DATA), len(DATA))
        assert store.requests[1].headers.get("Range") == ("bytes=70000-" if tag.startswith('"') else None)

    async def test_another_file_in_its_place_is_taken_whole(self, tmp_path: Path) -> None:
        """Its server then says nothing of a range."""
        async with stored(breaking(70_000, tag='"one"'), whole) as store, asking() as client:
            await download(client, store.url).save(tmp_path / "a")
        assert store.requests[1].headers["If-Range"] == '"one"'
        assert (tmp_path / "a").read_bytes() == DATA

    async def test_of_chunks_without_an_end_as_well(self, tmp_path: Path) -> None:
        """Nobody had said how many bytes there would be."""
        async with stored(breaking(70_000, told=False)) as store, asking(max_retries=0) as client:
            with pytest.raises(TruncatedStreamError, match="after 70000 bytes"):
                await download(client, store.url).save(tmp_path / "a")
            assert len(store.requests) == 1
        assert left_in(tmp_path) == []

    async def test_a_cancelled_one_leaves_nothing(self, tmp_path: Path) -> None:
        """Neither a file nor a connection."""
        begun = asyncio.Event()
        async with stored(breaking(70_000, how="silence")) as store, asking() as client:
            saving = download(client, store.url).save(tmp_path / "a", on_progress=lambda *_: begun.set())
            task = asyncio.create_task(saving)
            await begun.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert client.connections is not None
            assert client.connections.in_use == 0
        assert left_in(tmp_path) == []

    @pytest.mark.parametrize("told", [True, False])
    async def test_it_is_bounded(self, tmp_path: Path, told: bool) -> None:
        """By what its server says there will be, and by what comes; in memory by the client's own bound."""
        async with stored(breaking(len(DATA), told=told)) as store, asking(max_body_size=100_000) as client:
            with pytest.raises(EventTooLargeError, match="100000"):
                await download(client, store.url).save(tmp_path / "a", max_bytes=100_000)
            with pytest.raises(EventTooLargeError, match="100000"):
                await download(client, store.url).read()
            assert await download(client, store.url).save(tmp_path / "b", max_bytes=len(DATA)) == len(DATA)
        assert left_in(tmp_path) == ["b"]

    async def test_an_empty_file_is_one(self, tmp_path: Path) -> None:
        """If its server said that there would be nothing."""

        async def nothing(request: web.Request) -> web.StreamResponse:
            return web.Response(body=b"")

        async with stored(nothing) as store, asking() as client:
            assert await download(client, store.url).save(tmp_path / "a") == 0
            assert await download(client, store.url).read() == b""
        assert (tmp_path / "a").read_bytes() == b""

    async def test_memory_stays_flat(self, tmp_path: Path) -> None:
        """For 64 MiB no more than a few."""
        piece = bytes(1 << 20)

        async def large(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse()
            response.content_length = 64 << 20
            await response.prepare(request)
            for _ in range(64):
                await response.write(piece)
            return response

        async with stored(large) as store, asking() as client:
            tracemalloc.start()
            try:
                assert await download(client, store.url).save(tmp_path / "a") == 64 << 20
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
        assert peak < 8 << 20


class TestLikeAnyCall:
    """It keeps what every call promises."""

    async def test_as_a_stream(self) -> None:
        """In pieces as they come; one that breaks off says so after them."""
        async with stored(whole, breaking(70_000)) as store, asking() as client:
            async with await download(client, store.url).stream() as stream:
                assert stream.size == len(DATA)
                assert b"".join([piece async for piece in stream]) == DATA
            got: list[bytes] = []
            with pytest.raises(TruncatedStreamError):
                await read(await download(client, store.url).stream(), got)
            assert b"".join(got) == DATA[:70_000]

    async def test_failures_are_repeated_refusals_are_not(self) -> None:
        """As the client's policy says."""
        async with stored(refusing(503), refusing(500), whole) as store, asking() as client:
            assert await download(client, store.url).read() == DATA
            store.answers = [refusing(404)]
            with pytest.raises(NotFoundError):
                await download(client, store.url).read()
            assert len(store.requests) == 4
        async with asking() as client:
            with pytest.raises(APIConnectionError) as caught:
                await download(client, "http://127.0.0.1:1/a").read()
            assert caught.value.attempts == 5

    async def test_its_time_is_bounded(self, tmp_path: Path) -> None:
        """By `timeout` over all attempts."""
        async with stored(breaking(70_000, how="silence")) as store, asking() as client:
            with pytest.raises(APITimeoutError) as caught:
                await download(client, store.url, timeout=0.2).save(tmp_path / "a")
        assert (caught.value.clock, len(store.requests)) == ("total", 1)

    async def test_observers_hear_of_it_but_not_of_its_url(self, tmp_path: Path) -> None:
        """Which may be all that is needed to get it. What they add to a request is for the service."""
        told: list[CallState] = []

        class Watching:
            def sent(self, state: CallState) -> None:
                state.headers["X-Trace"] = "t"

            def ended(self, state: CallState) -> None:
                told.append(state)

        async with stored(breaking(70_000), whole) as store, asking(observers=[Watching()]) as client:
            await download(client, f"{store.url}/secret?sig=secret").save(tmp_path / "a")
        assert [(state.endpoint, state.base_url, state.ended, state.attempt) for state in told] == [
            ("/download", store.url, "truncated", 1),
            ("/download", store.url, "finish", 2),
        ]
        assert "secret" not in repr(told)
        assert "X-Trace" not in store.requests[0].headers

    async def test_a_closed_client_gets_nothing(self) -> None:
        """Nor does one that is closed meanwhile."""
        async with stored(breaking(70_000, how="silence")) as store, asking() as client:
            stream = await download(client, store.url).stream()
            await client.aclose()
            with pytest.raises(ClosedError):
                await read(stream, [])
            with pytest.raises(ClosedError):
                await download(client, store.url).read()
