"""Run a body through the state machine and the accumulator, in one way or in every way."""

from __future__ import annotations

from dataclasses import dataclass

from siliconflow_async.errors import APIStatusError, StreamError
from siliconflow_async.wire.accumulate import Accumulator
from siliconflow_async.wire.lazy import whole
from siliconflow_async.wire.protocol import ChatProtocol

from .build import Json
from .pieces import cuts


@dataclass(frozen=True)
class Result:
    """What came out of a stream, to compare as a whole."""

    chunks: list[tuple[Json, bytes | None]]
    answer: Json
    finished: bool
    done: bool
    failure: tuple[type[Exception], str] | None

    @property
    def content(self) -> str | None:
        content: str | None = self.answer["choices"][0]["message"].get("content") if self.answer["choices"] else None
        return content


def run(pieces: list[bytes], max_event_size: int = 1 << 24, *, lazily: bool = False) -> Result:
    """Feed a stream; whatever it is, the invariants of the state machine hold."""
    protocol = ChatProtocol(max_event_size)
    accumulator = Accumulator()
    chunks = []
    for piece in pieces:
        over = protocol.done or protocol.failure is not None
        got = protocol.feed(piece, lazily)
        assert not (over and got), "something came out after the end"
        accumulator.fold(got)
        chunks += got
    got = protocol.eof()
    accumulator.fold(got)
    chunks += got
    assert protocol.eof() == []
    chunks = [whole(chunk) for chunk in chunks]
    failure = protocol.failure
    assert failure is None or isinstance(failure, StreamError | APIStatusError)
    assert not (protocol.done and failure is not None)
    return Result(
        [(chunk.to_dict(), chunk.raw) for chunk in chunks],
        accumulator.completion().to_dict(),
        accumulator.finished,
        protocol.done,
        None if failure is None else (type(failure), str(failure)),
    )


def run_every_way(body: bytes, max_event_size: int = 1 << 24) -> Result:
    """Feed a stream whole, byte by byte and at every split (at every seventh if it is long); all give the same.

    So does a stream of which no more than the choices is decoded at first.
    """
    at_once = run([body], max_event_size)
    for pieces in cuts(body, step=7 if len(body) > 700 else 1):
        assert run(pieces, max_event_size) == at_once, pieces
    assert run([body], max_event_size, lazily=True) == at_once
    return at_once
