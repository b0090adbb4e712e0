"""A table of digests: what a batch knows of millions of ids, in 24 to 48 bytes for each."""

from __future__ import annotations

from array import array

__all__ = ["KeyTable"]

_SMALLEST = 1024


class KeyTable:
    """Maps digests of 64 bits to numbers from 0 up to 2^64 - 2.

    A dict would take four times the memory. Two keys with one digest can't be told apart, which the numbers have to
    rule out where that matters. The memory doubles, for the moment in which the table grows, by another half.
    """

    __slots__ = ("_count", "_keys", "_mask", "_values")

    def __init__(self) -> None:
        self._count = 0
        self._allot(_SMALLEST)

    def __len__(self) -> int:
        return self._count

    def get(self, key: int) -> int | None:
        """Return the number of a digest, None if it has none."""
        value = self._values[self._slot(key)]
        return value - 1 if value else None

    def put(self, key: int, number: int) -> None:
        """Give a digest a number, in place of one that it had."""
        slot = self._slot(key)
        if not self._values[slot]:
            if 3 * self._count >= 2 * len(self._keys):
                self._grow()
                slot = self._slot(key)
            self._count += 1
            self._keys[slot] = key
        self._values[slot] = number + 1

    def setdefault(self, key: int, number: int) -> int:
        """Return the number of a digest, which is `number` from now on if it had none."""
        found = self.get(key)
        if found is None:
            self.put(key, number)
            return number
        return found

    def _slot(self, key: int) -> int:
        """Return where a key stands, or would."""
        keys, values, mask = self._keys, self._values, self._mask
        slot = key & mask
        while values[slot] and keys[slot] != key:
            slot = (slot + 1) & mask
        return slot

    def _allot(self, slots: int) -> None:
        self._keys = array("Q", bytes(8)) * slots
        self._values = array("Q", bytes(8)) * slots
        self._mask = slots - 1

    def _grow(self) -> None:
        keys, values = self._keys, self._values
        self._allot(2 * len(keys))
        for key, value in zip(keys, values, strict=True):
            if value:
                slot = self._slot(key)
                self._keys[slot], self._values[slot] = key, value
