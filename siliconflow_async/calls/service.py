"""How any endpoint of the service is asked, for a whole answer or for bytes as they come."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from ..stream.bytestream import ByteProtocol, ByteStream, first_bytes, size_of
from ..stream.folded import first_chunk
from ..stream.opened import OpenAnswer
from ..stream.reading import Decoding, Observer, Reading
from ..transport.answer import Answer, Decode, Headed
from ..transport.attempt import Request
from ..transport.upload import Multipart
from .call import Call
from .setup import Setup

__all__ = ["Service", "open_bytes"]

T = TypeVar("T", bound=Headed)
P = TypeVar("P", bound=Decoding[Any])
S = TypeVar("S", bound=OpenAnswer[Any])


class Service:
    """The service that one client asks."""

    __slots__ = ("setup",)

    def __init__(self, setup: Setup) -> None:
        self.setup = setup

    async def fetch(
        self,
        method: str,
        path: str,
        decode: Decode[T],
        params: Mapping[str, Any],
        *,
        body: bytes | Multipart | None = None,
        query: Mapping[str, str] | None = None,
        repeatable: bool = True,
        weighs: Mapping[str, Any] | None = None,
    ) -> T:
        """Return what `decode` makes of the whole body, which is empty for a status such as 204.

        `body` is JSON, or a Multipart, whose files are read while they are sent. Of `params` count those that every
        endpoint has: `timeout`, `extra_headers`, `extra_query`. What is not `repeatable`, since the service would do it
        twice, is sent again only where the service has surely not begun it. `weighs` are the parameters by which the
        gate of their `model` judges the call; without them none stands before it.

        Raises InvalidRequestError before anything is sent, APIStatusError, APIConnectionError and APITimeoutError,
        StreamError where the body breaks off or is empty, ClosedError.
        """
        request = self.setup.request(method, path, params, body=body, query=query)
        return await Call(self.setup, request, repeatable=repeatable, weighs=weighs).fetch(decode)

    async def stream(
        self,
        method: str,
        path: str,
        params: Mapping[str, Any],
        *,
        body: bytes | Multipart | None = None,
        query: Mapping[str, str] | None = None,
        repeatable: bool = True,
        weighs: Mapping[str, Any] | None = None,
    ) -> ByteStream:
        """Return the body as a stream of bytes, once the first are there; parameters and errors are those of `fetch`.

        The clocks are those of a stream: `first_token` is the time of the first byte, `idle` runs between bytes.
        """
        return await self.open(
            self.setup.request(method, path, params, body=body, query=query, streaming=True),
            lambda answer: ByteProtocol(),
            lambda reading, protocol: ByteStream(reading, protocol),
            repeatable=repeatable,
            weighs=weighs,
        )

    async def open(
        self,
        request: Request,
        protocol_of: Callable[[Answer], P],
        stream_of: Callable[[Reading[Any], P], S],
        *,
        repeatable: bool = True,
        weighs: Mapping[str, Any] | None = None,
    ) -> S:
        """Open an answer of any kind, and return the stream of it once something of it is there.

        `protocol_of` makes what reads the answer, `stream_of` the stream of a reading by it. The other parameters and
        the errors are those of `fetch`.
        """
        setup = self.setup
        return await open_bytes(Call(setup, request, repeatable=repeatable, weighs=weighs), setup, request)

        async def begin(answer: Answer, observer: Observer | None) -> S:
            protocol = protocol_of(answer)
            reading: Reading[Any] = Reading()
            stream = stream_of(reading, protocol)
            return await first_chunk(stream)


async def open_bytes(call: Call, setup: Setup, request: Request) -> ByteStream:
    """Return the answer of a call as a stream of bytes, once the first are there."""

    async def begin(answer: Answer, observer: Observer | None) -> ByteStream:
        protocol = ByteProtocol(size_of(answer))
        reading = Reading(
            answer,
            protocol,
            timeouts=request.timeouts,
            deadline=request.deadline,
            observer=observer,
            attempts=call.attempts,
        )
        stream = ByteStream(reading, protocol)
        setup.transport.pool.track(stream)
        return await first_bytes(stream)

    return await call.open(begin)
