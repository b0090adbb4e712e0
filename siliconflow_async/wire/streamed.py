"""One streamed answer as a state machine: bytes in, chunks out, and how it ended.

`feed(data)` returns the chunks that `data` completes; `eof()` returns those that the end of the body completes. Neither
raises: `failure` holds the StreamError or APIStatusError that follows the chunks given out so far, `done` says that
`[DONE]` came. After either, nothing more comes out. Whether an end without `[DONE]` is a good one is left to
the caller, who knows the finish reasons.

A body that is no event stream is known by its first byte, since relays label them at will: JSON (an error, a whole
answer, or bare chunks) is read at its end, HTML and text are malformed. An object or an event that the end cuts short
is dropped. A whole answer needs no other end, and what follows it is not read; JSON that is no answer is malformed.

What is asked for whole is read by `read_as_stream` where it is odd, so that it fails as a stream of the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, NamedTuple, Protocol, TypeVar, cast

import msgspec

from ..errors import (
    APIStatusError,
    EventTooLargeError,
    MalformedStreamError,
    StreamAPIError,
    StreamError,
    TruncatedStreamError,
)
from . import jsontext
from .failures import (
    BOM,
    Mask,
    cut_off,
    error_in,
    is_blank,
    malformed,
    status_error,
    stream_error,
    unmasked,
    value_of,
)
from .plain import Beside
from .sse import SSEDecoder, SSEEvent
from .weight import SMALL, TooHeavyError, check_weight

__all__ = ["CANNOT_DECODE", "Folding", "Kind", "StreamProtocol", "read_as_stream"]


C = TypeVar("C", bound=Beside)
F = TypeVar("F", contravariant=True)

_SPACE = b" \t\r\n"
_DONE = b"[DONE]"
# How many bytes may pass before the kind of body is settled.
_START = 80
CANNOT_DECODE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, TooHeavyError)
# Bare objects: each becomes a chunk, which takes many times what an empty one does on the wire.
_MOST_OBJECTS = 4096
_LEAST_OBJECT = 32
# How much of a whole answer is read at a time, where it came as a stream.
_PIECE = 64 * 1024


class Kind(NamedTuple, Generic[C]):
    """What the chunks of an answer are.

    `decode` makes one of JSON of the usual form, or raises; so does `decode_lazily`, for who sees no chunk. `read`
    makes one of any JSON object. `is_whole` tells an object that is a whole answer, and no chunk of one; `none` says
    what a body is that holds none of this.
    """

    decode: Callable[[bytes], C]
    decode_lazily: Callable[[bytes], C]
    read: Callable[[dict[str, Any]], C]
    is_whole: Callable[[dict[str, Any]], bool]
    none: str


class StreamProtocol(Generic[C]):
    """Decode one stream; `max_event_size` in bytes bounds an event, or a body that is no event stream.

    What a failure quotes of it passes `mask`; chunks do not. A subclass says which `kind` they are of, and which of
    them `has_progress`.
    """

    kind: Kind[Any]

    __slots__ = ("_began", "_body", "_head", "_mask", "_size", "_sse", "done", "failure", "whole")

    def __init__(self, max_event_size: int, mask: Mask = unmasked) -> None:
        self.done = False
        # Whether the body was one whole answer, and no stream of chunks.
        self.whole = False
        self.failure: StreamError | APIStatusError | None = None
        self._mask = mask
        self._sse = SSEDecoder(max_event_size)
        self._head: bytes | None = b""
        self._began = False
        # A JSON body; None as long as it may be, or is, an event stream. It grows in place: a list of reads of a few
        # bytes each would take many times their size.
        self._body: bytearray | None = None
        self._size = 0

    def has_progress(self, chunks: list[C]) -> bool:
        """Whether there is in them what the first token's clock waits for."""
        raise NotImplementedError

    def feed(self, data: bytes, lazily: bool = False) -> list[C]:
        """Return the chunks that `data` completes; decoded `lazily`, but for odd ones, if asked to."""
        if self._head is not None:
            data = self._sniff(data)
        if self.done or self.failure is not None:
            return []
        if self._body is not None:
            self._hold(data)
            return []
        payloads = self._sse.feed_payloads(data)
        if payloads is None:
            chunks = self._feed_events(data)
        else:
            chunks = []
            decode = self.kind.decode_lazily if lazily else self.kind.decode
            try:
                for payload in payloads:
                    chunk = decode(payload)
                    chunk._raw = payload
                    chunks.append(chunk)
            except CANNOT_DECODE:
                chunks += self._chunks_of(SSEEvent("message", payload) for payload in payloads[len(chunks) :])
        if chunks:
            self._began = True
        return chunks

    def eof(self) -> list[C]:
        """Return what the end of the body completes; an unfinished event is dropped, as the standard has it."""
        chunks: list[C] = []
        if self.done or self.failure is not None:
            return chunks
        if self._body is None:
            self._end_of_text()
            return chunks
        body = bytes(self._body)
        self._body = bytearray()
        self._size = len(body)
        text = body.removeprefix(BOM).rstrip().removesuffix(_DONE)
        most = _MOST_OBJECTS + len(body) // _LEAST_OBJECT
        try:
            for value, raw in jsontext.parse_each(text):
                if error_in(value) is not None:
                    self.failure = self._error(value) if chunks else status_error(200, body, {}, mask=self._mask)
                    return chunks
                if not isinstance(value, dict):
                    self.failure = self._malformed(raw, "not an object")
                    return chunks
                if len(chunks) == most:
                    self.failure = self._malformed(body, f"more than {most:,} objects in {len(body):,} bytes")
                    return chunks
                self.whole = self.kind.is_whole(value)
                chunk: C = self.kind.read(value) if self.whole else self._bare(value, raw)
                chunk.raw = raw
                chunks.append(chunk)
                if self.whole:
                    break
        except ValueError as error:
            told = jsontext.telling(text) if isinstance(error, TooHeavyError) else None
            if error_in(told) is not None:
                self.failure = status_error(200, body, {}, mask=self._mask)
            else:
                self.failure = self._malformed(body, str(error))
        self.done = self.failure is None and text != body.removeprefix(BOM).rstrip()
        if (chunks or self.done) and self.failure is None and not any(cast("Any", chunk).choices for chunk in chunks):
            self.done = False
            self.failure = self._malformed(body, "no choices")
            return []
        return chunks

    def cut_short(self) -> list[C]:
        """Return what was decoded but held back, where the body broke off."""
        return []

    def cut_off(self, why: str | None, *, begun: bool) -> TruncatedStreamError:
        """Return the error for an end that came too soon; `why` says what broke it off, `begun` if a choice came."""
        if self._body is not None:
            return cut_off(self._size or len(self._body), why)
        if self._head is not None:
            return cut_off(0 if is_blank(self._head) else len(self._head), why)
        how = "ended" if why is None else f"broke off ({why})"
        return TruncatedStreamError(f"the stream {how}, with neither a finish_reason nor [DONE]", empty=not begun)

    def _end_of_text(self) -> None:
        """Tell a body of HTML or text, in which no event was found, from an event stream that ended."""
        if self._head is not None:
            if self._head.removeprefix(BOM).lstrip(_SPACE).startswith(b"<"):
                self.failure = self._malformed(self._head, "HTML or XML")
        elif not self._began and self._sse.stray_text():
            self.failure = self._malformed(self._sse.stray_text(), "text")

    def _sniff(self, data: bytes) -> bytes:
        """Return what there is to decode once the first byte that is no space shows what the body is."""
        data = (self._head or b"") + data
        # Only these bytes count, or the answer would depend on how the reads were cut.
        start = data[:_START].removeprefix(BOM).lstrip(_SPACE)
        if len(data) < _START and (not start or start.startswith(b"<") or BOM.startswith(data)):
            self._head = data
            return b""
        self._head = None
        if start[:1] in (b"{", b"[", b'"'):
            self._body = bytearray()
            return data
        if start.startswith(b"<"):
            # No more than the shortest read had, and no word that it may have cut: half a key is not found.
            self.failure = self._malformed(re.sub(rb"[^\s<>\"']*\Z", b"", data[:_START]), "HTML or XML")
        return data

    def _hold(self, data: bytes) -> None:
        assert self._body is not None
        self._body += data
        if len(self._body) > self._sse.max_event_size:
            self._body = bytearray()
            self.failure = EventTooLargeError(f"the body is larger than {self._sse.max_event_size} bytes")

    def _feed_events(self, data: bytes) -> list[C]:
        try:
            events = self._sse.feed(data)
        except EventTooLargeError as error:
            # Without its traceback, which would hold this object in a cycle.
            self.failure = error.with_traceback(None)
            return []
        chunks = self._chunks_of(events)
        if not self.done and self.failure is None:
            self.failure = self._sse.failure
        return chunks

    def _chunks_of(self, events: Iterable[SSEEvent]) -> list[C]:
        chunks: list[C] = []
        for event in events:
            chunk = self._chunk_of(event)
            if chunk is not None:
                chunk.raw = event.data
                chunks.append(chunk)
            elif self.done or self.failure is not None:
                break
        return chunks

    def _chunk_of(self, event: SSEEvent) -> C | None:
        if event.event != "error":
            try:
                check_weight(event.data)
                decoded: C = self.kind.decode(event.data)
                return decoded
            except CANNOT_DECODE:
                pass  # the careful way tells what it is
        return self._carefully(event.data, event.event)

    def _carefully(self, payload: bytes, event: str) -> C | None:
        """Decode what the fast decoder refused: `[DONE]`, an error, an odd chunk; None if it is no chunk."""
        text = payload.strip()
        if text == _DONE:
            self.done = True
            return None
        if not text and event != "error":
            return None
        try:
            value = value_of(payload)
        except ValueError as error:
            if event == "error":
                self.failure = self._error(payload.decode("utf-8", "replace"))
            elif event == "message":
                self.failure = self._malformed(payload, str(error))
            return None
        if event == "error" or error_in(value) is not None:
            self.failure = self._error(value)
            return None
        if not isinstance(value, dict):
            self.failure = self._malformed(payload, "not an object")
            return None
        try:
            odd: C = self.kind.read(value)
            return odd
        except ValueError as error:
            self.failure = self._malformed(payload, str(error))
            return None

    def _bare(self, value: dict[str, Any], raw: bytes) -> C:
        """Return an object of a body that is no event stream as a chunk; a large one is not built twice."""
        if len(raw) <= SMALL:
            try:
                chunk: C = self.kind.decode(raw)
                return chunk
            except CANNOT_DECODE:
                pass  # an odd one
        read: C = self.kind.read(value)
        return read

    def _error(self, value: Any) -> StreamAPIError:
        return stream_error(value, self._mask)

    def _malformed(self, data: bytes, why: str) -> MalformedStreamError:
        return malformed(data, why, self.kind.none, self._mask)


class Folding(Protocol[F]):
    """What chunks are folded by."""

    @property
    def finished(self) -> bool: ...

    def fold(self, chunks: Sequence[F]) -> bool: ...


def read_as_stream(body: bytes, protocol: StreamProtocol[C], folded: Folding[C]) -> dict[str, Any] | None:
    """Fold what a stream of these bytes would bring, and return None; an object that is the whole answer is returned.

    Raises what the stream would.
    """
    begun = False
    # As a stream comes: all its chunks at once would take many times what they fold to.
    for at in range(0, len(body), _PIECE):
        chunks = protocol.feed(body[at : at + _PIECE])
        folded.fold(chunks)
        begun = begun or bool(chunks)
    chunks = protocol.eof()
    if protocol.failure is not None:
        raise protocol.failure
    if protocol.whole:
        # What it holds is not to be held twice.
        chunks.clear()
        value, _ = next(jsontext.parse_each(body.removeprefix(BOM)))
        whole: dict[str, Any] = value
        return whole
    folded.fold(chunks)
    if not (protocol.done or folded.finished):
        raise protocol.cut_off(None, begun=begun or bool(chunks))
    return None
