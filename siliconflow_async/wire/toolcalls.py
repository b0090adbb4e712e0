"""Tool calls from their fragments, in every form that the service and compatible servers send.

Fragments are keyed by `index`; the first id and name that are not empty stay, `arguments` are appended. A fragment
without an index opens a call if it names a function and does not go on with the last one, else it belongs to the last.
"""

from __future__ import annotations

import msgspec

from .structs import ChoiceDeltaToolCall, Function, ToolCall
from .weight import Signs

__all__ = ["CallParts", "ToolCallAssembler"]


class CallParts:
    """One tool call in the making."""

    __slots__ = ("_whole", "arguments", "id", "index", "name", "type")

    def __init__(self, index: int) -> None:
        self.index = index
        self.id = ""
        self.name = ""
        self.type = ""
        self.arguments: list[str] = []
        self._whole: _Whole | None = None

    def build(self) -> ToolCall:
        if len(self.arguments) > 1 and self._whole is None:
            self.arguments = ["".join(self.arguments)]
        return ToolCall(self.id, self.type or "function", Function(self.name, "".join(self.arguments)))

    def is_whole(self) -> bool:
        """Whether the arguments so far are one JSON object."""
        if self._whole is None:
            self._whole = _Whole()
        return self._whole.look(self.arguments)


class _Whole:
    """Whether the pieces of a text are one JSON object by now, with each piece looked at once."""

    __slots__ = ("_closed", "_depth", "_seen", "_signs")

    def __init__(self) -> None:
        self._seen = 0
        self._signs = Signs()
        # How many brackets are open; None before the first.
        self._depth: int | None = None
        # Once all that was opened is closed: whether that is an object, which more of it can't make better.
        self._closed: bool | None = None

    def look(self, pieces: list[str]) -> bool:
        for at in range(self._seen, len(pieces)):
            piece = pieces[at]
            if self._closed is None:
                self._take(piece.encode("utf-8", "replace"))
                if self._depth == 0:
                    self._closed = _is_object("".join(pieces[: at + 1]))
            elif self._closed and piece.strip():
                self._closed = False
        self._seen = len(pieces)
        return bool(self._closed)

    def _take(self, piece: bytes) -> None:
        for outside in self._signs.outside(piece):
            opened = outside.count(b"{") + outside.count(b"[")
            closed = outside.count(b"}") + outside.count(b"]")
            if self._depth is not None or opened or closed:
                self._depth = (self._depth or 0) + opened - closed


class _Object(msgspec.Struct, gc=False):
    """Any object: nothing is built of what it holds."""


_OBJECT = msgspec.json.Decoder(_Object)


class ToolCallAssembler:
    """The tool calls of one choice."""

    __slots__ = ("_by_index", "_last", "_next")

    def __init__(self) -> None:
        self._by_index: dict[int, CallParts] = {}
        self._last: CallParts | None = None
        # The index of a call that comes without one.
        self._next = 0

    def __len__(self) -> int:
        return len(self._by_index)

    def add(self, fragment: ChoiceDeltaToolCall) -> CallParts:
        """Take a fragment and return the call that it belongs to."""
        function = fragment.function
        name = function.name if function is not None else None
        call = self._find(fragment, name)
        self._last = call
        if not call.id and fragment.id:
            call.id = fragment.id
        if not call.type and fragment.type:
            call.type = fragment.type
        if not call.name and name:
            call.name = name
        if function is not None and function.arguments:
            call.arguments.append(function.arguments)
        return call

    def build(self) -> list[ToolCall]:
        """Return the calls so far, in the order of their indexes."""
        return [call.build() for call in self.parts()]

    def parts(self) -> list[CallParts]:
        return [self._by_index[index] for index in sorted(self._by_index)]

    def _find(self, fragment: ChoiceDeltaToolCall, name: str | None) -> CallParts:
        index = fragment.index
        if index is None or index < 0:
            if self._last is not None and not (name and self._opens(fragment, name, self._last)):
                return self._last
            index = self._next
        call = self._by_index.get(index)
        if call is None:
            call = self._by_index[index] = CallParts(index)
            self._next = max(self._next, index + 1)
        return call

    @staticmethod
    def _opens(fragment: ChoiceDeltaToolCall, name: str, last: CallParts) -> bool:
        if fragment.id and last.id:
            return fragment.id != last.id
        # Some servers repeat the name with every fragment; two calls of one function have whole arguments between.
        return name != last.name or last.is_whole()


def _is_object(text: str) -> bool:
    try:
        _OBJECT.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return False
    return True
