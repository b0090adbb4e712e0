from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from siliconflow_async.testing import Stall, stream_events

if TYPE_CHECKING:
    from siliconflow_async.testing import FakeSiliconFlow

    from .conftest import Command

pytestmark = pytest.mark.skipif(os.name == "nt", reason="sends POSIX signals")


def full_pipe() -> tuple[int, int]:
    """Open a pipe that takes no further byte."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writer, b"x" * 4096)
    os.set_blocking(writer, True)
    return reader, writer


def test_ctrl_c_in_the_middle_of_an_answer_leaves_at_once(command: Command, server: FakeSiliconFlow) -> None:
    server.raw([*stream_events(["It begins"])[:2], Stall()])
    with command.start("chat", "Hello") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(9) == b"It begins"
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
        assert process.stdout.read().strip() == b""
        assert process.stderr.read() == b""
    assert server.wait_left_early().path == "/v1/chat/completions"


def test_ctrl_c_before_the_answer_leaves_at_once(command: Command, server: FakeSiliconFlow) -> None:
    server.reply("never", before=[Stall()])
    with command.start("chat", "Hello") as process:
        assert process.stderr is not None
        server.wait_received()
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
        assert process.stderr.read() == b""
    server.wait_left_early()


def test_ctrl_c_in_the_demo_leaves_at_once(command: Command) -> None:
    with command.start("chat", "--demo", "--no-thinking", "Hello " * 100) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(1) == b"Y"
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
        assert process.stderr.read().count(b"\n") == 1


def test_ctrl_c_leaves_even_if_nobody_reads_the_output(command: Command, server: FakeSiliconFlow) -> None:
    # Both in one write: once the reasoning is on stderr, the next thing to happen is the write to the full pipe.
    server.raw([b"".join(stream_events(["answer"], ["thought"])[:3]), Stall()])
    reader, writer = full_pipe()
    try:
        with command.start("chat", "Hello", stdout=writer) as process:
            assert process.stderr is not None
            assert process.stderr.read(7) == b"thought"
            process.send_signal(signal.SIGINT)
            assert process.wait() == 130
    finally:
        os.close(reader)
        os.close(writer)
    server.wait_left_early()


# The system may hand a signal to any thread. The main one is then not woken from its wait for the sockets, as it is not
# where the signal comes in the moment before that wait.
ELSEWHERE = """
import asyncio, signal, sys, threading
from siliconflow_async.cli.interrupt import run

def interrupt(main):
    while sys._current_frames()[main].f_code.co_name != "select":
        pass
    signal.pthread_kill(threading.get_ident(), signal.SIGINT)

async def command():
    threading.Thread(target=interrupt, args=[threading.get_ident()]).start()
    try:
        await asyncio.sleep(3600)
    finally:
        print("left", flush=True)

run(command())
"""


def test_ctrl_c_wakes_a_loop_that_the_signal_did_not_interrupt() -> None:
    done = subprocess.run([sys.executable, "-c", ELSEWHERE], capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, b"left\n", b"")


def test_a_reader_that_leaves_ends_the_answer_without_a_word(command: Command, server: FakeSiliconFlow) -> None:
    server.reply(["x" * 1000] * 1000, times=1)
    with command.start("chat", "Hello") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(1) == b"x"
        process.stdout.close()
        assert process.wait() == 141
        assert process.stderr.read() == b""
    server.wait_disconnected()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_one_line(command: Command) -> None:
    with open("/dev/full", "wb") as full, command.start("chat", "Hello", stdout=full) as process:
        assert process.stderr is not None
        assert process.wait() == 1
        assert process.stderr.read().splitlines()[-1].startswith(b"error: can't write stdout: ")
