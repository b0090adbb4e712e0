"""`FakeSiliconFlow`: the stand-in itself. It listens, keeps the record and plays the script."""

from __future__ import annotations

import asyncio
import math
import secrets
import ssl as ssl_module
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress

import msgspec
from aiohttp import web
from anyio.from_thread import start_blocking_portal

from .serving.failing import Failures
from .serving.limits import Limits, Meter, Meters
from .serving.record import Connections, RecordedRequest, Seen, note_end
from .serving.refusals import Refused
from .serving.script import Script
from .serving.waiting import Watch
from .serving.writer import AnswerWriter
from .unscripted.routes import Unscripted

__all__ = ["FakeSiliconFlow"]

_CLOSED = "the stand-in has closed, so this can't happen any more"
_SHUTDOWN = 5.0


class _Server(web.Server):
    """aiohttp's server, telling its owner of each connection."""

    def __init__(self, owner: FakeSiliconFlow) -> None:
        # A client that leaves cancels the handler, so that a stalled one ends too. The rest of a refused body is not
        # waited for.
        super().__init__(owner._handle, handler_cancellation=True, access_log=None, lingering_time=0)
        self._owner = owner

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        self._owner._connected(handler, transport)

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        super().connection_lost(handler, exc)
        self._owner._lost(handler)


class _Connection(msgspec.Struct, eq=False):
    """An open connection, and its latest request, with the record that this began in."""

    number: int
    transport: asyncio.Transport
    seen: Seen
    request: RecordedRequest | None = None


class FakeSiliconFlow(Script):
    """A stand-in for SiliconFlow's chat service on real sockets.

    It plays what was scripted with `reply`, `fail` and `raw`, one answer for each request in the order in which the
    requests arrive, and answers every further request as the service would.

    `async with FakeSiliconFlow() as server:` runs it in the caller's event loop, `with FakeSiliconFlow().threaded() as
    server:` in a thread with a loop of its own. The script, the record and all waits may be used from any thread and
    from any loop; `start` and `aclose` belong to the server's own loop.

    host, port: where it listens; port 0 takes a free one.
    models: the models that exist (any other is 400/20012); None: every `org/name`, of which `GET /models` lists a few.
    api_key: the key that is valid (any other is 401); None: every key.
    tokens_per_second: the pace of chat answers, for demos; None: as fast as the client reads.
    limits: for each model that has some, its requests and tokens in a `window` of seconds, (rpm, tpm); or one such
        pair, which every model has for itself. Beyond them it answers 429.
    failures: the share of requests, from 0 to 1, that is refused with each status, as {503: 0.1}; the same requests in
        the same order fail in every run. What is refused for a reason of its own, such as a wrong key, is so anyway.
    delay: seconds before each answer. Scripted answers stand outside of limits, failures and delay.
    on_end: called with each request once its answer has ended, be it that the client has left; in the server's loop.
    ssl: a server-side context: the stand-in then speaks https.
    keep: how many requests the record keeps, the latest ones.
    max_body_size: bytes of a request beyond which the answer is 413/20043, as documented.
    video_polls, batch_polls: how often a video is asked for until it is made, and a batch until its requests are
        answered.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        models: Iterable[str] | None = None,
        api_key: str | None = None,
        tokens_per_second: float | None = None,
        limits: Mapping[str, Limits] | Limits | None = None,
        window: float = 60.0,
        failures: Mapping[int, float] | None = None,
        delay: float = 0.0,
        on_end: Callable[[RecordedRequest], object] | None = None,
        ssl: ssl_module.SSLContext | None = None,
        keep: int = 10_000,
        max_body_size: int = 500 * 1024 * 1024,
        video_polls: int = 3,
        batch_polls: int = 2,
    ) -> None:
        super().__init__()
        if tokens_per_second is not None and tokens_per_second <= 0:
            raise ValueError(f"tokens_per_second must be above 0, not {tokens_per_second}")
        if not 0 <= delay < math.inf:
            raise ValueError(f"delay must be seconds from 0, not {delay}")
        self._host = host
        self._port = port
        self._ssl = ssl
        self._pace = tokens_per_second
        self._max_body_size = max_body_size
        self._delay = delay
        self._on_end = on_end
        self._meters = Meters(limits, window)
        self._unscripted = Unscripted(
            models, api_key, self._meters, Failures(failures), video_polls=video_polls, batch_polls=batch_polls
        )
        self._watch = Watch()
        self._keep = keep
        self._seen = Seen(keep)
        self._numbers = 0
        self._open: dict[web.RequestHandler, _Connection] = {}
        self._web: _Server | None = None
        self._listener: asyncio.Server | None = None
        self._closing = False

    def __repr__(self) -> str:
        where = self.base_url if self._web is not None else "not started"
        return f"<FakeSiliconFlow {'closed' if self._closing else where}>"

    # Running

    async def __aenter__(self) -> FakeSiliconFlow:
        await self.start()
        return self

    async def __aexit__(self, *ended: object) -> None:
        await self.aclose()

    async def start(self) -> None:
        """Listen. Raises OSError where the port is taken, RuntimeError when called twice."""
        if self._web is not None or self._closing:
            raise RuntimeError("a FakeSiliconFlow is started once")
        loop = asyncio.get_running_loop()
        server = _Server(self)
        self._listener = await loop.create_server(server, self._host, self._port, ssl=self._ssl, backlog=1024)
        self._port = self._listener.sockets[0].getsockname()[1]
        self._web = server

    async def aclose(self) -> None:
        """Close the listening socket and every connection, whatever its answer is doing."""
        self._closing = True
        if self._web is None or self._listener is None:
            return
        # asyncio forgets a connection that it accepted at this turn if its listener closes before the next: the socket
        # stays open, and its client waits. So it accepts no more first; uvloop has no such turn, Windows no reader.
        for listening in self._listener.sockets:
            with suppress(NotImplementedError):
                asyncio.get_running_loop().remove_reader(listening.fileno())
        await asyncio.sleep(0)
        self._listener.close()
        for connection in list(self._open.values()):
            connection.transport.abort()
        await self._web.shutdown(_SHUTDOWN)
        await asyncio.wrap_future(self._until_disconnected())
        self._watch.close(_CLOSED)

    @contextmanager
    def threaded(self) -> Iterator[FakeSiliconFlow]:
        """Run in a thread with a loop of its own: `with FakeSiliconFlow().threaded() as server:`."""
        with start_blocking_portal(name="siliconflow-stand-in") as portal, portal.wrap_async_context_manager(self):
            yield self

    @property
    def base_url(self) -> str:
        """The URL to give to a client, with `/v1`. Raises RuntimeError before the start."""
        if self._web is None:
            raise RuntimeError("the stand-in has not started")
        scheme = "http" if self._ssl is None else "https"
        host = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(self._host, self._host)
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{self._port}/v1"

    # The record

    @property
    def requests(self) -> list[RecordedRequest]:
        """The requests so far, in the order in which they arrived whole."""
        with self._watch.lock:
            return list(self._seen.requests)

    @property
    def connections(self) -> Connections:
        """How many connections were accepted, and how many are open."""
        with self._watch.lock:
            return Connections(self._seen.accepted, len(self._open))

    @property
    def meters(self) -> Mapping[str, Meter]:
        """What the limited models have used, and the most that any window held.

        Where one pair is for every model, of those that were asked.
        """
        return self._meters

    def reset(self) -> None:
        """Forget the script and the record. Open connections and answers under way go on."""
        self._clear_script()
        with self._watch.lock:
            self._seen = Seen(self._keep)

    async def received(self, count: int = 1) -> RecordedRequest:
        """Wait until `count` requests have arrived whole; return the one that made it so many."""
        await asyncio.wrap_future(self._until_received(count))
        return self._seen.nth_received(count)

    def wait_received(self, count: int = 1, timeout: float = 10.0) -> RecordedRequest:
        """Do as `received`, blocking the thread. Raises TimeoutError after `timeout` seconds."""
        self._until_received(count).result(timeout)
        return self._seen.nth_received(count)

    async def left_early(self, count: int = 1) -> RecordedRequest:
        """Wait until `count` clients have left before their answer was complete.

        Returns the request of the last of them. Leaving is closing the connection, by FIN or RST,
        before the last byte of the answer was sent, be it before the headers or in mid-stream.
        """
        await asyncio.wrap_future(self._until_left(count))
        return self._seen.left[count - 1]

    def wait_left_early(self, count: int = 1, timeout: float = 10.0) -> RecordedRequest:
        """Do as `left_early`, blocking the thread. Raises TimeoutError after `timeout` seconds."""
        self._until_left(count).result(timeout)
        return self._seen.left[count - 1]

    async def disconnected(self) -> None:
        """Wait until no connection is open."""
        await asyncio.wrap_future(self._until_disconnected())

    def wait_disconnected(self, timeout: float = 10.0) -> None:
        """Do as `disconnected`, blocking the thread. Raises TimeoutError after `timeout` seconds."""
        self._until_disconnected().result(timeout)

    def _until_received(self, count: int) -> Future[None]:
        return self._watch.until(lambda: self._seen.received >= count)

    def _until_left(self, count: int) -> Future[None]:
        return self._watch.until(lambda: len(self._seen.left) >= count)

    def _until_disconnected(self) -> Future[None]:
        return self._watch.until(lambda: not self._open)

    # What aiohttp calls

    def _connected(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        with self._watch.lock:
            self._numbers += 1
            self._seen.accepted += 1
            self._open[handler] = _Connection(self._numbers, transport, self._seen)
        if self._closing:
            transport.abort()

    def _lost(self, handler: web.RequestHandler) -> None:
        with self._watch.lock:
            connection = self._open.pop(handler)
            request = connection.request
            left = request is not None and not self._closing and connection.seen.note_left(request)
        self._watch.changed()
        if left and request is not None:
            self._tell_end(request)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        connection = self._open[request.protocol]
        if self._closing:
            connection.transport.abort()
            raise ConnectionResetError("the stand-in is closing")
        recorded = RecordedRequest(
            method=request.method,
            path=request.path,
            query=dict(request.query),
            headers=request.headers,
            connection=connection.number,
            peer_port=connection.transport.get_extra_info("peername")[1],
            trace_id=f"ti_{secrets.token_hex(8)}",
        )
        writer = AnswerWriter(request, connection.transport, recorded, self._pace)
        connection.request = recorded
        # A request stays in the record in which it began, so that a reset forgets it.
        seen = connection.seen = self._seen
        # A client that leaves is nothing to complain of; the record tells.
        with suppress(ConnectionError):
            try:
                await writer.read_body(self._max_body_size)
                await self._answer(writer, seen)
            except Refused as refused:
                await writer.whole(refused.status, refused.body)
            note_end(recorded, "completed")
        # A client that has left may be noticed here first; then it is told of as its connection is lost.
        if recorded.ended and not recorded.left_early:
            self._tell_end(recorded)
        return writer.response()

    async def _answer(self, writer: AnswerWriter, seen: Seen) -> None:
        recorded = writer.recorded
        scripted = recorded.scripted = self._take()
        with self._watch.lock:
            seen.note_received(recorded)
        self._watch.changed()
        if scripted is None:
            if self._delay:
                await asyncio.sleep(self._delay)
            await self._unscripted.send(writer)
        else:
            await writer.play(scripted.before)
            await scripted.send(writer)

    def _tell_end(self, request: RecordedRequest) -> None:
        if self._on_end is not None:
            self._on_end(request)
