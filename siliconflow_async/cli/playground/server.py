"""The page's server: it keeps the key, and relays answers to the page for as long as the page is there."""

from __future__ import annotations

from contextlib import suppress
from importlib import resources
from typing import Self, cast

import msgspec
from aiohttp import WSCloseCode, WSMsgType, web

from ... import AsyncSiliconFlow, ChatParams, InvalidRequestError, SiliconFlowError
from ...relay import Relayed, relay
from ...wire import jsontext
from ...wire.events import error_event
from .guard import guard, harden
from .markdown import answer_markdown
from .notices import Notices
from .snippet import snippet

__all__ = ["HOST", "Playground", "read_request"]

HOST = "127.0.0.1"
# Not by its path: the package may be within a zip file.
_PAGE = resources.files("siliconflow_async.cli.playground") / "page"
_SCRIPTS = ("page", "answer", "chat", "dom", "edit", "export", "markdown", "pictures", "settings", "store")
_FILES = {
    "/": ("index.html", "text/html"),
    **{f"/{name}.css": (f"{name}.css", "text/css") for name in ("page", "answer")},
    **{f"/{name}.js": (f"{name}.js", "text/javascript") for name in _SCRIPTS},
}
# A browser that vanished without a word is found out after one and a half of these.
_HEARTBEAT = 20.0
_CLOSE_SECONDS = 2.0
_LIST_SECONDS = 30.0
# A long conversation with pictures in it.
_MAX_REQUEST = 64 * 1024 * 1024
# A piece of an answer, of the length that the page asks for, and what was defined before it.
_MAX_RENDERED = 1024 * 1024
# What concerns the client and not the service stays on this side: a header may be a key.
_PARAMS = ChatParams.__annotations__.keys() - {"timeout", "extra_headers", "extra_query", "extra_body"}


class _Asked(msgspec.Struct, tag_field="type", tag="asked"):
    """The first frame: the request as a program."""

    python: str


class _Summary(msgspec.Struct, tag_field="type", tag="summary"):
    """The last frame: how the answer ended, what it cost, and how fast it came. Times in seconds."""

    ended: str
    trace_id: str | None = None
    first_token: float | None = None
    total: float | None = None
    prompt_tokens: int | None = None
    tokens: int | None = None
    reasoning_tokens: int | None = None


class Playground:
    """A local web page to talk to a model: `async with Playground(client) as page:` serves it at `page.url`.

    It listens on loopback, answers to nobody but this machine's browser on its own page, and never shows the key.

    client: whom to ask; it is not closed.
    port: where to listen; 0 takes a free one.
    model: the name that the page begins with.
    demo: whether the page is to say that a stand-in answers.
    base_url: for the Python snippets, where it isn't the one that the environment names.
    """

    def __init__(
        self,
        client: AsyncSiliconFlow,
        *,
        port: int = 0,
        model: str = "Qwen/Qwen3-8B",
        demo: bool = False,
        base_url: str | None = None,
    ) -> None:
        self._client = client
        self._port = port
        self._settings = {"model": model, "demo": demo}
        self._base_url = base_url
        self._sockets: set[web.WebSocketResponse] = set()
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *ended: object) -> None:
        await self.aclose()

    async def start(self) -> None:
        """Listen. Raises OSError where the port is taken."""
        app = web.Application(middlewares=[guard], client_max_size=_MAX_RENDERED)
        app.on_response_prepare.append(harden)
        app.on_shutdown.append(self._close_sockets)
        for path in _FILES:
            app.router.add_get(path, _file)
        app.router.add_get("/favicon.ico", _no_icon)
        app.router.add_get("/api/settings", self._tell_settings)
        app.router.add_get("/api/models", self._list_models)
        app.router.add_get("/api/chat", self._chat)
        app.router.add_post("/api/markdown", answer_markdown)
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=_CLOSE_SECONDS)
        await runner.setup()
        try:
            await web.TCPSite(runner, HOST, self._port).start()
        except BaseException:
            await runner.cleanup()
            raise
        self._port = runner.addresses[0][1]
        self._runner = runner

    async def aclose(self) -> None:
        """Stop listening; end every answer under way, which aborts it upstream."""
        if self._runner is not None:
            await self._runner.cleanup()

    @property
    def url(self) -> str:
        """The page's address."""
        return f"http://{HOST}:{self._port}/"

    async def _close_sockets(self, app: web.Application) -> None:
        for socket in list(self._sockets):
            await socket.close(code=WSCloseCode.GOING_AWAY)

    async def _tell_settings(self, request: web.Request) -> web.Response:
        return web.json_response(self._settings)

    async def _list_models(self, request: web.Request) -> web.Response:
        try:
            models = await self._client.models.list(type="text", sub_type="chat", timeout=_LIST_SECONDS)
        except SiliconFlowError as error:
            return web.json_response({"message": str(error)}, status=502)
        return web.json_response({"models": [model.id for model in models.data]})

    async def _chat(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(
            heartbeat=_HEARTBEAT, timeout=_CLOSE_SECONDS, max_msg_size=_MAX_REQUEST, compress=False
        )
        await socket.prepare(request)
        self._sockets.add(socket)
        try:
            asked = await socket.receive()
            if asked.type is WSMsgType.TEXT:
                # A page that has gone is nothing to complain of.
                with suppress(ConnectionError):
                    await self._answer(socket, asked.data)
        finally:
            self._sockets.discard(socket)
            await socket.close()
        return socket

    async def _answer(self, socket: web.WebSocketResponse, text: str) -> None:
        """Send the answer to one request, and after it the summary."""
        try:
            params = read_request(text)
            asked = _Asked(snippet(params, base_url=self._base_url))
        except InvalidRequestError as error:
            await socket.send_str(error_event(error).to_json())
            await _send(socket, _Summary("error"))
            return
        await _send(socket, asked)
        async with Notices(socket.send_str) as notices:
            stream = notices.watched(self._client).chat.completions.stream(**params)
            # Whatever the page says then stops the answer, as its leaving does.
            relayed = await relay(stream, socket.send_str, left=socket.receive())
        if not socket.closed:
            await _send(socket, _summary(relayed))


def read_request(text: str) -> ChatParams:
    """Return the parameters that the page asks with; raise InvalidRequestError for any other."""
    try:
        params = jsontext.parse(text.encode(errors="replace"))
    except ValueError as error:
        raise InvalidRequestError(f"the request is not JSON: {error}") from error
    if not isinstance(params, dict):
        raise InvalidRequestError("the request must be a JSON object")
    for name in params:
        if name not in _PARAMS:
            raise InvalidRequestError(f"{name!r} is no parameter of a request", param=name)
    for name in ("model", "messages"):
        if name not in params:
            raise InvalidRequestError(f"{name} is missing", param=name)
    # The values are for the library and the service to judge.
    return cast(ChatParams, params)


def _summary(relayed: Relayed) -> _Summary:
    summary = _Summary(relayed.ended, trace_id=getattr(relayed.error, "trace_id", None))
    done = relayed.completion
    if done is not None:
        summary.trace_id = done.trace_id or summary.trace_id
        summary.first_token, summary.total = done.timing.first_token, done.timing.total
        if (usage := done.usage) is not None:
            summary.prompt_tokens, summary.tokens = usage.prompt_tokens, usage.completion_tokens
            details = usage.completion_tokens_details
            summary.reasoning_tokens = details.reasoning_tokens if details is not None else None
    return summary


async def _send(socket: web.WebSocketResponse, frame: msgspec.Struct) -> None:
    await socket.send_str(msgspec.json.encode(frame).decode())


async def _file(request: web.Request) -> web.Response:
    name, kind = _FILES[request.path]
    return web.Response(body=(_PAGE / name).read_bytes(), content_type=kind, charset="utf-8")


async def _no_icon(request: web.Request) -> web.Response:
    return web.Response(status=204)
