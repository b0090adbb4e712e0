"""Which line each id is on, in 24 to 48 bytes an id, whatever the ids' length: 72 while the table grows.

A dict would take some 200. The table holds 88 bits of a hash, so that among a hundred million ids two are taken for one
with a chance of about 1 in 10^11.
"""

from __future__ import annotations

from array import array
from hashlib import blake2b

__all__ = ["LineOfId"]

_LINE_BITS = 40
_LINE = (1 << _LINE_BITS) - 1


class LineOfId:
    """An open-addressing table of slots of two words: 64 bits of the hash; 24 more of them, and the line from 1."""

    __slots__ = ("_mask", "_slots", "_used")

    def __init__(self) -> None:
        self._mask = 1023
        self._slots = array("Q", bytes(16 * (self._mask + 1)))
        self._used = 0

    def __len__(self) -> int:
        return self._used

    def add(self, custom_id: str, line: int) -> int:
        """Note the line of an id; return 0, or the line that has it already, which stays."""
        word, tag = _hash(custom_id)
        at, found = self._find(word, tag)
        if found:
            return found
        self._slots[at] = word
        self._slots[at + 1] = tag << _LINE_BITS | line
        self._used += 1
        if 3 * self._used >= 2 * self._mask:
            self._grow()
        return 0

    def get(self, custom_id: str) -> int:
        """Return the line of an id, or 0."""
        return self._find(*_hash(custom_id))[1]

    def _find(self, word: int, tag: int) -> tuple[int, int]:
        """Return where the hash is, or would be, and its line or 0."""
        slots, mask = self._slots, self._mask
        at = word & mask
        while second := slots[2 * at + 1]:
            if slots[2 * at] == word and second >> _LINE_BITS == tag:
                return 2 * at, second & _LINE
            at = (at + 1) & mask
        return 2 * at, 0

    def _grow(self) -> None:
        old = self._slots
        mask = self._mask = 2 * self._mask + 1
        slots = self._slots = array("Q", bytes(16)) * (mask + 1)
        for i in range(1, len(old), 2):
            if old[i]:
                at = old[i - 1] & mask
                while slots[2 * at + 1]:
                    at = (at + 1) & mask
                slots[2 * at] = old[i - 1]
                slots[2 * at + 1] = old[i]


def _hash(custom_id: str) -> tuple[int, int]:
    digest = blake2b(custom_id.encode(), digest_size=11).digest()
    return int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")
