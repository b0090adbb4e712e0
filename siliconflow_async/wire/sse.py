"""An incremental decoder for `text/event-stream`, after WHATWG HTML §9.2.6.

`SSEDecoder.feed(data)` takes any piece of the stream and returns the events that it completes. How the stream is cut
into pieces never changes what comes out. The only exception is `EventTooLargeError`; it ends the decoder. The decoder
knows neither JSON nor `[DONE]`.

`SSEDecoder.feed_payloads(data)` is a short cut for what nearly every read of a chat stream looks like: whole events of
one `data: …` line each, ended by LF. It answers None, having touched nothing, for all else.
"""

from __future__ import annotations

import msgspec

from ..errors import EventTooLargeError

__all__ = ["SSEDecoder", "SSEEvent"]

_BOM = b"\xef\xbb\xbf"
# As numbers, since CPython's `in` first takes bytes for one and raises and drops an exception.
_CR = 0x0D
_LF = 0x0A
_FIELDS = (b"data", b"event", b"id", b"retry")
_SHOWN = 8 * 1024
_SWIFT = 256 * 1024
_DEFAULT_MAX_EVENT_SIZE = 16 * 1024 * 1024


class SSEEvent(msgspec.Struct, frozen=True, gc=False):
    """One dispatched event.

    `event` is its type ("message" unless named), `data` the bytes as they were sent, lines joined by LF, `id` the last
    event id in force, `retry` the reconnection time in milliseconds if this event's block set one.
    """

    event: str
    data: bytes
    id: str = ""
    retry: int | None = None


class SSEDecoder:
    """Decode one stream. `max_event_size` bounds, in bytes, an event's data and any single line."""

    __slots__ = (
        "_at_start",
        "_between_events",
        "_data",
        "_event",
        "_partial",
        "_retry",
        "_stray",
        "_swallow_lf",
        "_swift",
        "failure",
        "last_event_id",
        "max_event_size",
    )

    def __init__(self, max_event_size: int = _DEFAULT_MAX_EVENT_SIZE) -> None:
        self.max_event_size = max_event_size
        # Large events go through `feed`, whose user looks at each by itself.
        self._swift = min(max_event_size, _SWIFT)
        self.last_event_id = ""
        self.failure: EventTooLargeError | None = None
        self._at_start = True
        self._between_events = True
        self._swallow_lf = False
        # The unfinished line, which holds neither CR nor LF. It grows in place, so that a line in a million reads costs
        # no more time and hardly more memory than its bytes.
        self._partial = bytearray()
        # The unfinished event; each line of its data ends in LF here.
        self._data = bytearray()
        self._event = ""
        self._retry: int | None = None
        self._stray = b""

    def feed(self, data: bytes) -> list[SSEEvent]:
        """Return the events that `data` completes.

        Raises `EventTooLargeError` when an event or a line outgrows the limit; events that the same piece completed
        before it are returned first, and the call after that raises (`failure` holds the error from then on).
        """
        if self.failure is not None:
            raise self.failure
        if self._at_start:
            data = self._skip_bom(data)
        if not data:
            return []
        if self._swallow_lf:
            self._swallow_lf = False
            if data[0] == _LF:
                data = data[1:]
        events: list[SSEEvent] = []
        has_cr = _CR in data
        if not has_cr and _LF not in data:
            self._hold(data)
        else:
            if self._partial:
                data = b"".join((self._partial, data))
                self._partial.clear()
            if has_cr:
                # A CR at the end is a line end now; an LF that follows belongs to it.
                self._swallow_lf = data.endswith(b"\r")
                data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
            lines = data.split(b"\n")
            tail = lines.pop()
            for line in lines:
                if line:
                    self._take_line(line)
                    if self.failure is not None:
                        break
                else:
                    self._dispatch(events)
            else:
                if tail:
                    self._hold(tail)
        self._between_events = not (
            self._data or self._event or self._swallow_lf or self._retry is not None or self.failure is not None
        )
        if self.failure is not None and not events:
            raise self.failure
        return events

    def feed_payloads(self, data: bytes) -> list[bytes] | None:
        """Return the data of each event in `data`, or None, nothing consumed, if `feed` has to take it.

        An unfinished event at the end is kept, as `feed` would keep it.
        """
        if not self._between_events:
            return None
        partial = self._partial
        if partial:
            # Joined only where an event ends, or a long event would be copied with every read.
            if b"\n\n" not in data:
                return None
            data = b"".join((partial, data))
        if _CR in data or (len(data) > self._swift and self._is_large(data)) or not data.startswith(b"data: "):
            return None
        end = data.rfind(b"\n\n")
        if data.find(b"\n") == end == len(data) - 2:
            payloads = [data[6:end]]
            partial.clear()
        else:
            payloads = data[6 : max(end, 6)].split(b"\n\ndata: ")
            tail = data[end + 2 :]
            # No line end is left within an event: joining them and looking once is the fastest way to know.
            if end < 0 or _LF in b"".join(payloads) or _LF in tail:
                return None
            partial[:] = tail
        self._at_start = False
        return payloads

    def _is_large(self, data: bytes) -> bool:
        return len(data) > self.max_event_size or max(map(len, data.split(b"\n\n"))) > _SWIFT

    def stray_text(self) -> bytes:
        """Return the start of the first line that is neither a field of the standard nor a comment, b"" if none came.

        An unfinished last line counts too, unless it may be the start of a field.
        """
        if self._stray or not self._partial:
            return self._stray
        line = bytes(self._partial)
        name = line.partition(b":")[0]
        return b"" if any(field.startswith(name) for field in _FIELDS) else line[:_SHOWN]

    def _skip_bom(self, data: bytes) -> bytes:
        data = b"".join((self._partial, data))
        if len(data) < len(_BOM) and _BOM.startswith(data):
            self._partial[:] = data
            return b""
        self._at_start = False
        self._partial.clear()
        return data.removeprefix(_BOM)

    def _hold(self, piece: bytes) -> None:
        self._partial += piece
        self._check_size(len(self._partial))

    def _check_size(self, more: int) -> None:
        if len(self._data) + more > self.max_event_size:
            self.failure = EventTooLargeError(f"an event of the stream is larger than {self.max_event_size} bytes")
            self._partial.clear()
            self._data.clear()

    def _take_line(self, line: bytes) -> None:
        self._check_size(len(line))
        if self.failure is not None:
            return
        field, _, value = line.partition(b":")
        if value[:1] == b" ":
            value = value[1:]
        if field == b"data":
            self._data += value
            self._data += b"\n"
        elif field == b"event":
            self._event = value.decode("utf-8", "replace")
        elif field == b"id":
            if b"\0" not in value:
                self.last_event_id = value.decode("utf-8", "replace")
        elif field == b"retry":
            # Python refuses integers of thousands of digits; no server means one.
            if value.isdigit() and len(value) <= 18:
                self._retry = int(value)
        elif field and not self._stray:
            self._stray = line[:_SHOWN]

    def _dispatch(self, events: list[SSEEvent]) -> None:
        if self._data:
            payload = bytes(memoryview(self._data)[:-1])
            events.append(SSEEvent(self._event or "message", payload, self.last_event_id, self._retry))
            self._data.clear()
        self._event = ""
        self._retry = None
