"""Tool calls from their fragments, in every form that the service and compatible servers send.

Fragments are keyed by `index`; the first id and name that are not empty stay, `arguments` are appended. A fragment
without an index opens a call if it names a function and does not go on with the last one, else it belongs to the last.
"""

from __future__ import annotations

import msgspec

from .structs import ChoiceDeltaToolCall, Function, ToolCall

__all__ = ["CallParts", "ToolCallAssembler"]


class CallParts:
    """One tool call in the making."""

    __slots__ = ("arguments", "id", "index", "name", "type")

    def __init__(self, index: int) -> None:
        self.index = index
        self.id = ""
        self.name = ""
        self.type = ""
        self.arguments: list[str] = []

    def build(self) -> ToolCall:
        return ToolCall(self.id, self.type or "function", Function(self.name, "".join(self.arguments)))


class ToolCallAssembler:
    """The tool calls of one choice."""

    __slots__ = ("_by_index", "_last")

    def __init__(self) -> None:
        self._by_index: dict[int, CallParts] = {}
        self._last: CallParts | None = None

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
            index = max(self._by_index, default=-1) + 1
        call = self._by_index.get(index)
        if call is None:
            call = self._by_index[index] = CallParts(index)
        return call

    @staticmethod
    def _opens(fragment: ChoiceDeltaToolCall, name: str, last: CallParts) -> bool:
        if fragment.id and last.id:
            return fragment.id != last.id
        # Some servers repeat the name with every fragment; two calls of one function have whole arguments between.
        return name != last.name or _is_object(last.arguments)


def _is_object(pieces: list[str]) -> bool:
    # Looking at the last piece first keeps a call of many fragments linear.
    if not pieces or not pieces[-1].rstrip().endswith("}"):
        return False
    try:
        msgspec.json.decode("".join(pieces))
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return False
    return True
