"""Whatever a server sends, and however fast: a typed error in the end, and a client that has hardly grown.

The client is a process of its own, which measures itself; the server is here. No case but that of silence offers less
than 64 MiB.
"""

from __future__ import annotations

import gzip
import json
import struct
import subprocess
import sys
import tracemalloc
import zlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from siliconflow_async.testing import FakeSiliconFlow, Stall
from siliconflow_async.wire.protocol import ChatProtocol

from ..asking import DONE, chunk
from ..programs import environment

if TYPE_CHECKING:
    from siliconflow_async.testing import Step

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a process reads its own memory from /proc")

KIB = 1024
MIB = 1024 * KIB
# The promise is 64 MiB. An event of 16 MiB, the default limit, is held once.
ROOM = 32 * MIB
PIECE = 64 * KIB

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"
HINTS = b"HTTP/1.1 103 Early Hints\r\n"
SMALL_EVENTS = {"max_event_size": 4 * MIB}
SHORT = {"timeouts": {"first_token": 0.3, "idle": 0.3}}


class Case(NamedTuple):
    error: str
    steps: list[Step]
    ask: str = "stream"
    options: dict[str, Any] = {}
    answer: dict[str, Any] = {}


def of(piece: bytes, size: int = 128 * MIB) -> list[Step]:
    """`size` bytes in pieces of 64 KiB or so."""
    piece *= max(1, PIECE // len(piece))
    return [piece] * (size // len(piece))


@cache
def bomb(mebibytes: int) -> bytes:
    """So many MiB of zeros as gzip, compressed a thousand times."""
    zeros, total = bytes(MIB), 0
    press = zlib.compressobj(9, zlib.DEFLATED, -15)
    # After a full flush nothing refers to what came before, so one piece serves for all. To press each takes seconds.
    piece = press.compress(zeros) + press.flush(zlib.Z_FULL_FLUSH)
    for _ in range(mebibytes):
        total = zlib.crc32(zeros, total)
    head = b"\x1f\x8b\x08" + bytes(6) + b"\xff"
    return b"".join([head, *[piece] * mebibytes, press.flush(), struct.pack("<II", total, mebibytes * MIB % 2**32)])


def answer_of(size: int) -> bytes:
    """A whole answer with so many bytes of content."""
    message = {"role": "assistant", "content": "x" * size}
    return json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}).encode()


def zipped(body: bytes) -> bytes:
    return gzip.compress(body, 1)


def gzip_bomb(status: int) -> dict[str, Any]:
    return {"status": status, "headers": {"content-encoding": "gzip"}}


def in_one_chunk(body: bytes) -> list[Step]:
    return [HEAD, b"transfer-encoding: gzip, chunked\r\n\r\n%x\r\n" % len(body), body, b"\r\n0\r\n\r\n"]


VERBATIM = {"framing": "verbatim"}
JSON = {"headers": {"content-type": "application/json"}}

CASES: dict[str, Case] = {
    "a line without end": Case("EventTooLargeError", [b"data: ", *of(b"x")]),
    "a line without end, by the KiB": Case("EventTooLargeError", [b"data: ", *[b"x" * KIB] * (64 * KIB)]),
    "text without end": Case("EventTooLargeError", of(b"x")),
    "a comment without end": Case("EventTooLargeError", [b": ", *of(b"x")]),
    "an event of 100 MiB": Case("EventTooLargeError", [chunk("x")[:-20], *of(b"x", 100 * MIB), chunk("x")[-20:]]),
    "tiny lines of data": Case("EventTooLargeError", of(b"data:xy\n"), options=SMALL_EVENTS),
    "a JSON body": Case("EventTooLargeError", [b'{"x":"', *of(b"x")], answer=JSON),
    "a JSON answer": Case("EventTooLargeError", [b'{"x":"', *of(b"x")], "whole", {"max_body_size": 16 * MIB}, JSON),
    # At full speed: there is always something more to read, and never anything that counts. 16 GiB stand for no end.
    "comments, then": Case("first_token", of(b": ping\n\n", 16 * KIB * MIB), options=SHORT),
    "comments": Case("idle", [chunk("a"), *of(b": ping\n\n", 16 * KIB * MIB)], options=SHORT),
    "empty events, then": Case("first_token", of(b"data:\n\n", 16 * KIB * MIB), options=SHORT),
    "empty events": Case("idle", [chunk("a"), *of(b"data:\n\n", 16 * KIB * MIB)], options=SHORT),
    "empty deltas, then": Case("first_token", of(chunk(""), 16 * KIB * MIB), options=SHORT),
    "an error body": Case("BadRequestError", of(b"x"), answer={"status": 400}),
    "an error body, whole": Case("ServerError", of(b"x"), "whole", answer={"status": 500}),
    "a gzip bomb": Case("EventTooLargeError", [bomb(1024)], answer=gzip_bomb(200)),
    "a gzip bomb, whole": Case(
        "EventTooLargeError", [bomb(1024)], "whole", {"max_body_size": 16 * MIB}, gzip_bomb(200)
    ),
    # Not much, but more than the sixteenth part that a compressed answer may come to.
    "a gzip answer above its own limit": Case(
        "EventTooLargeError", [zipped(answer_of(20 * MIB))], "whole", answer=gzip_bomb(200)
    ),
    "a gzip bomb for an error": Case("ServerError", [bomb(1024)], answer=gzip_bomb(500)),
    "an encoded transfer's bomb": Case("EventTooLargeError", in_one_chunk(bomb(1024)), answer=VERBATIM),
    "an encoded transfer's bomb, whole": Case(
        "EventTooLargeError", in_one_chunk(bomb(1024)), "whole", {"max_body_size": 16 * MIB}, VERBATIM
    ),
    "an encoded transfer above its own limit": Case(
        "EventTooLargeError", in_one_chunk(zipped(answer_of(20 * MIB))), "whole", answer=VERBATIM
    ),
    "large headers": Case("APIConnectionError", [HEAD, *of(b"x-a: " + b"b" * 65_000 + b"\r\n")], answer=VERBATIM),
    "headers": Case("APIConnectionError", [HEAD, *of(b"x-a: b\r\n")], answer=VERBATIM),
    "a header": Case("APIConnectionError", [HEAD + b"x-a: ", *of(b"x")], answer=VERBATIM),
    "early hints": Case("APIConnectionError", of(HINTS + b"x: y\r\n\r\n", KIB * MIB), answer=VERBATIM),
    "early hints, whole": Case("APIConnectionError", of(HINTS + b"\r\n", KIB * MIB), "whole", answer=VERBATIM),
    "early hints of many headers": Case(
        "APIConnectionError", of(HINTS + b"a:b\r\n" * 100 + b"\r\n", KIB * MIB), answer=VERBATIM
    ),
    "an early hint, and silence": Case("first_token", [HINTS + b"\r\n", Stall()], options=SHORT, answer=VERBATIM),
    "answers": Case("TruncatedStreamError", of(HEAD + b"content-length: 0\r\n\r\n", KIB * MIB), answer=VERBATIM),
    "a chunk's extension": Case("first_token", [CHUNKED + b"5;", *of(b"x", KIB * MIB)], options=SHORT, answer=VERBATIM),
}


def run_client(base_url: str, ask: str, options: dict[str, Any], *, timeout: float = 20) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("hostile.py")), base_url, ask, json.dumps(options)],
        env=environment(),
        capture_output=True,
        encoding="utf-8",
        timeout=timeout,
    )
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


@pytest.mark.parametrize("name", CASES)
def test_without_end(name: str) -> None:
    """A stream, body or head without end ends in its error or clock, and takes no more memory than one event may."""
    case = CASES[name]
    with FakeSiliconFlow().threaded() as server:
        server.reply("a friendly answer first")
        server.raw(case.steps, **case.answer)
        report = run_client(server.base_url, case.ask, case.options)
        server.wait_disconnected()
    ended = report.get("clock") or report["error"]
    assert ended == case.error, report
    assert report["grew"] * KIB < ROOM


def test_empty_deltas_are_not_collected() -> None:
    """A million deltas that say nothing leave nothing behind."""
    silent = [{"index": index, "delta": {"content": "", "reasoning_content": ""}} for index in range(16)]
    nothing = b"data: " + json.dumps({"choices": silent}).encode() + b"\n\n"
    with FakeSiliconFlow().threaded() as server:
        server.reply("a friendly answer first")
        server.raw([*[nothing * 100] * 625, DONE])
        report = run_client(server.base_url, "stream", {})
    assert report["error"] is None
    assert report["grew"] * KIB < 12 * MIB


def test_a_slow_consumer_holds_up_its_server() -> None:
    """A stream read at leisure pushes back on the socket: neither side gathers what was not asked for."""
    with FakeSiliconFlow().threaded() as server:
        server.reply("a friendly answer first")
        server.raw(of(chunk("hello"), 512 * MIB))
        report = run_client(server.base_url, "slow", {})
        server.wait_disconnected()
        sent = server.requests[1].bytes_sent
    assert report["error"] is None
    assert report["grew"] * KIB < 16 * MIB
    # What the two sockets hold, at the most generous settings of a kernel.
    assert sent < 64 * MIB


@pytest.mark.parametrize("start", [b'{"x":"', b"data: x", b": x", b"data:x\n"], ids=str)
def test_reads_of_two_bytes_take_no_more_than_their_bytes(start: bytes) -> None:
    """However small the reads, what is held of an unfinished body, line or event is its bytes and little more."""
    limit = 64 * KIB
    protocol = ChatProtocol(limit)
    tiny = b"data:xy\n" if start.endswith(b"\n") else b"xxxxxxxx"
    protocol.feed(start + tiny * 20)
    tracemalloc.start()
    try:
        for _ in range(limit):
            for at in range(0, len(tiny), 2):
                assert protocol.feed(tiny[at : at + 2]) == []
            if protocol.failure is not None:
                break
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert type(protocol.failure).__name__ == "EventTooLargeError"
    assert peak < 2 * limit
