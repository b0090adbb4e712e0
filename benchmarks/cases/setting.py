"""What a case is given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from ..contestants import Contestant
from ..fanouts import FanOut
from ..measure import Note
from ..server import Server

__all__ = ["Setting"]

T = TypeVar("T")


@dataclass
class Setting:
    """`quick` asks for tiny counts: whether it runs, not how fast. `rounds` overrides the case's own number."""

    server: Server
    contestants: dict[str, type[Contestant]]
    fanouts: dict[str, type[FanOut]]
    loop: str
    note: Note
    quick: bool = False
    rounds: int | None = None

    def size(self, full: T, quick: T) -> T:
        return quick if self.quick else full

    def count(self, rounds: int) -> int:
        return self.rounds or self.size(rounds, 1)

    def noting(self, what: str) -> Note:
        """Return a note that says what of the case it is."""
        return lambda text: self.note(f"{what}: {text}")
