"""`serve`: the stand-in for any client, until Ctrl-C, and a line on stderr for each request."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from typing import Any

import msgspec

from ..testing import FakeSiliconFlow, RecordedRequest
from .demo import KEEP
from .screen import Failed, Screen

__all__ = ["log_line", "serve", "serve_until_ctrl_c"]


class _Asked(msgspec.Struct):
    """What the log tells of a request's body: this alone, since prompts may be private."""

    model: str = "-"


_decode = msgspec.json.Decoder(_Asked).decode


async def serve(
    screen: Screen,
    *,
    host: str,
    port: int,
    tokens_per_second: float | None,
    api_key: str | None,
    models: Sequence[str],
    rpm: int | None,
    tpm: int | None,
    failures: Sequence[tuple[int, float]],
    delay: float,
) -> int:
    """Serve until cancelled; the names are those of the options. Raises Failed where that can't be."""

    def log(request: RecordedRequest) -> None:
        # Whoever read the log has left; the clients have not.
        with suppress(Failed):
            screen.notice(log_line(request))

    shares = dict(failures)
    if len(shares) < len(failures):
        raise Failed("--fail names a status twice")
    try:
        server = FakeSiliconFlow(
            host=host,
            port=port,
            models=models or None,
            api_key=api_key,
            tokens_per_second=tokens_per_second,
            limits=None if rpm is None and tpm is None else (rpm, tpm),
            failures=shares,
            delay=delay,
            on_end=log,
            keep=KEEP,
        )
    except ValueError as error:
        raise Failed(str(error)) from error

    def tell() -> None:
        screen.line(server.base_url)
        key = "the given key" if api_key else "any key"
        screen.notice(f"a stand-in for SiliconFlow's chat service, for any client with {key}; Ctrl-C stops it")

    return await serve_until_ctrl_c(server, f"{host}:{port}", tell)


def log_line(request: RecordedRequest) -> str:
    """Return what was asked and what became of it: method, path, model, status and seconds."""
    try:
        model = _decode(request.body).model
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        model = "-"
    seconds = 0.0 if request.ended_at is None else request.ended_at - request.received_at
    status = "-" if request.status is None else request.status
    left = ", the client left" if request.left_early else ""
    return f"{request.method} {request.path} {model} {status} {seconds:.2f} s{left}"


async def serve_until_ctrl_c(server: AbstractAsyncContextManager[Any], where: str, tell: Callable[[], None]) -> int:
    """Run a server until cancelled, and `tell` once it listens. Raises Failed where it can't listen."""
    async with AsyncExitStack() as stack:
        try:
            await stack.enter_async_context(server)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise Failed(f"{where} is in use; choose another --port (0 takes a free one)") from error
            raise Failed(f"can't listen on {where}: {error.strerror or error}") from error
        tell()
        never: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        return await never
