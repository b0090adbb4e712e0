"""What the chunks of a stream fold to, whatever its choices are: their parts by index, the head, the usage.

It keeps no more than any answer holds: a server that sends choices or log probabilities without end ends the stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from ..errors import MalformedStreamError
from .structs import MOST_CHOICES, Usage
from .weight import SMALL, TooHeavyError, check_total, weight

__all__ = ["Choices", "joined", "merged_logprobs", "too_many"]


class Headed(Protocol):
    """What every chunk begins with."""

    @property
    def id(self) -> str: ...

    @property
    def model(self) -> str: ...

    @property
    def created(self) -> int: ...

    @property
    def system_fingerprint(self) -> str | None: ...


class Parts(Protocol):
    """What has come of one choice."""

    finish_reason: str | None

    def __init__(self, index: int) -> None: ...


P = TypeVar("P", bound=Parts)


class Choices(Generic[P]):
    """What has come of one stream; a subclass says what the `parts` of a choice are, and folds them."""

    __slots__ = ("_choices", "_created", "_fingerprint", "_id", "_model", "_size", "_usage", "_weight")

    parts: type[P]

    def __init__(self) -> None:
        self._choices: dict[int, P] = {}
        self._id = ""
        self._model = ""
        self._created = 0
        self._fingerprint: str | None = None
        self._usage: Usage | None = None
        # Of all log probabilities, which the answer holds as objects.
        self._size = self._weight = 0

    @property
    def finished(self) -> bool:
        """Whether every choice that appeared has a finish reason, and one did appear."""
        return bool(self._choices) and all(parts.finish_reason for parts in self._choices.values())

    @property
    def headed(self) -> bool:
        """Whether the model is known, and no more is asked of a chunk but its choices and its usage."""
        return bool(self._model)

    @property
    def begun(self) -> bool:
        """Whether any choice has appeared."""
        return bool(self._choices)

    @property
    def usage(self) -> Usage | None:
        """The last usage; None if there was none."""
        return self._usage

    def _take_head(self, chunks: Sequence[Headed]) -> None:
        for chunk in chunks:
            self._id = self._id or chunk.id
            self._model = chunk.model
            self._created = self._created or chunk.created
            if self._fingerprint is None:
                self._fingerprint = chunk.system_fingerprint
            if self._model:
                break

    def _parts_of(self, index: int) -> P:
        choices = self._choices
        parts = choices.get(index)
        if parts is None:
            if len(choices) == MOST_CHOICES:
                raise too_many("choices", MOST_CHOICES)
            parts = choices[index] = self.parts(index)
        return parts

    def _take_logprobs(
        self, taken: list[bytes | dict[str, Any]], logprobs: dict[str, Any], raw: bytes | None = None
    ) -> None:
        """Add those of a chunk that came as `raw`: as JSON, which takes a tenth of the objects' memory.

        Those of a large chunk stay objects: whoever holds the chunk has them already.
        """
        if raw is not None and len(raw) > SMALL:
            data = raw
            taken.append(logprobs)
        else:
            data = msgspec.json.encode(logprobs)
            taken.append(data)
        self._size += len(data)
        self._weight += weight(data)
        try:
            check_total(self._weight, self._size)
        except TooHeavyError as error:
            why = str(error)
        else:
            return
        raise MalformedStreamError(f"the stream holds too many log probabilities ({why})")


def too_many(what: str, most: int) -> MalformedStreamError:
    """Return the error for more of something than any answer has."""
    return MalformedStreamError(f"the stream has {most + 1:,} {what}, more than {most:,}")


def joined(texts: list[str]) -> str | None:
    """Return the pieces of a text as one, which takes their place; None if there are none."""
    if not texts:
        return None
    if len(texts) > 1:
        texts[:] = ["".join(texts)]
    return texts[0]


def merged_logprobs(taken: list[bytes | dict[str, Any]]) -> dict[str, Any] | None:
    """Append the token lists of all chunks, key by key."""
    merged: dict[str, Any] = {}
    for logprobs in taken:
        if isinstance(logprobs, dict):
            # The lists grow here, and not in the chunk.
            parts = {key: part[:] if isinstance(part, list) else part for key, part in logprobs.items()}
        else:
            parts = msgspec.json.decode(logprobs)
        if not merged:
            merged = parts
            continue
        for key, part in parts.items():
            if isinstance(part, list) and isinstance(merged.get(key), list):
                merged[key] += part
            else:
                merged.setdefault(key, part)
    return merged or None
