"""Any answer within the size limits takes memory in proportion to its bytes, and so does the time that it takes.

What is promised: 16 times its bytes and 24 MiB, and 0.2 s without a turn of the loop for each MiB. The client is a
process of its own, which measures itself.

All shapes take minutes, and with SILICONFLOW_HURTFUL=all they are tried; else a few of them, since each bound has tests
beside its module too.
"""

from __future__ import annotations

import os
import re
import sys
from typing import Any

import pytest

from siliconflow_async.testing import FakeSiliconFlow

from .hurt_shapes import BIG, HURTFUL, JSON, KIB, MIB, Shape
from .test_bounds import run_client

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a process reads its own memory from /proc")

TIMES = 16
SPARE = 24 * MIB
# Seconds of the processor for each MiB, and how many times slower than the promise's a machine may be.
SECONDS = 0.2
SLACK = 2


FEW = {
    "choices",
    "an error of many",
    "bare objects",
    "an answer of bare chunks",
    "a call for each",
    "names again, and a long space",
    "10 MiB of content",
}
assert HURTFUL.keys() | BIG.keys() >= FEW


def measured(shape: Shape, ask: str) -> dict[str, Any]:
    """Have the answer read; what it took is within the promise, whatever it is."""
    body = shape.body()
    is_stream = body.startswith((b"data", b"event"))
    with FakeSiliconFlow().threaded() as server:
        server.reply("a friendly answer first")
        server.raw([body[at : at + 64 * KIB] for at in range(0, len(body), 64 * KIB)], **({} if is_stream else JSON))
        report = run_client(server.base_url, ask, {}, timeout=120)
    assert report["grew"] * KIB <= TIMES * len(body) + SPARE, report
    # A turn for a few bytes takes its time too.
    assert report["blocked"] <= SLACK * SECONDS * max(1.0, len(body) / MIB), report
    return report


def cases(shapes: dict[str, Shape]) -> list[tuple[str, str]]:
    chosen = shapes if os.environ.get("SILICONFLOW_HURTFUL") == "all" else shapes.keys() & FEW
    return [(name, ask) for name, shape in shapes.items() if name in chosen for ask in shape.asks]


@pytest.mark.parametrize(("name", "ask"), cases(HURTFUL))
def test_no_answer_takes_more_than_its_bytes_allow(name: str, ask: str) -> None:
    """However many parts there are in how few bytes: an answer, or a typed error, in bounded memory and time."""
    shape = HURTFUL[name]
    report = measured(shape, ask)
    # A run's model calls tools in its only round.
    assert report["error"] == shape.error or (ask == "run" and report["error"] == "ToolRoundsError")


@pytest.mark.parametrize(("name", "ask"), cases(BIG))
def test_a_big_answer_is_an_answer(name: str, ask: str) -> None:
    """What is merely large is read, however it is asked for, in the same memory and time."""
    assert measured(BIG[name], ask)["error"] is None


@pytest.mark.parametrize(
    ("name", "ask", "said"),
    [
        ("choices", "stream", r"8,388,607 bytes of JSON that would take 671,087,770 of memory, more than 117,440,499"),
        ("events of 60 KiB of choices", "stream", r"\(20,475 choices in one answer, more than 1,024\)"),
        ("names again, many in an event", "events", r"\(\d\d,\d+ tool calls in one choice, more than 1,024\)"),
        ("an index for each", "completion", r"the stream has 1,025 choices, more than 1,024"),
        ("a call for each", "events", r"the stream has 1,025 tool calls in one choice, more than 1,024"),
        ("bare objects", "whole", r"\(more than 135,168 objects in 4,194,304 bytes\)"),
    ],
)
def test_the_error_names_the_count_and_the_bound(name: str, ask: str, said: str) -> None:
    """Who meets a bound reads which, and what came."""
    report = measured(HURTFUL[name], ask)
    assert re.search(said, report["said"]), report
