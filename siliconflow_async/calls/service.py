"""How any endpoint of the service is asked, for a whole answer or for bytes as they come."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from ..stream.bytestream import ByteStream, byte_protocol
from ..stream.opened import OpenAnswer
from ..stream.reading import Decoding, Reading
from ..transport.answer import Decode, Headed
from ..transport.upload import Multipart
from ..wire.failures import Mask
from .call import Call
from .setup import Setup

__all__ = ["Service"]

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
        request = self.setup.request(method, path, params, body=body, query=query, streaming=True)
        return await Call(self.setup, request, repeatable=repeatable, weighs=weighs).open(byte_protocol, ByteStream)

    async def open(
        self,
        path: str,
        params: Mapping[str, Any],
        body: bytes,
        protocol: Callable[[int, Mask], P],
        stream: Callable[[Reading[Any], float], S],
    ) -> S:
        """Open the stream of events that a `POST` is answered with, once something is there; errors are as in `fetch`.

        `protocol` is made of the client's `max_event_size` and what hides its secrets, `stream` of a reading by it and
        the loop's time at which the call began. The call is judged by the gate of the `model` in `params`.
        """
        setup = self.setup
        request = setup.request("POST", path, params, body=body, streaming=True)
        return await Call(setup, request, weighs=params).open(
            lambda answer: protocol(setup.max_event_size, answer.mask),
            lambda reading, _: stream(reading, request.started_at),
        )
