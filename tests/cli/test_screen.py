"""What a terminal shows, on a real pseudo-terminal."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from siliconflow_async.cli.screen import one_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from siliconflow_async.testing import FakeSiliconFlow

    from .conftest import Command

pytestmark = pytest.mark.skipif(os.name == "nt", reason="opens a pseudo-terminal")


@pytest.fixture
def show(command: Command) -> Callable[..., str]:
    """Run the command with a terminal for its output; return all that the terminal got."""

    def show(*args: str, **env: str) -> str:
        master, terminal = os.openpty()
        try:
            with command.start(*args, env=env, stdout=terminal, stderr=terminal) as process:
                os.close(terminal)
                shown = b"".join(iter(lambda: _read(master), b""))
                assert process.wait() == 0
        finally:
            os.close(master)
        return shown.decode().replace("\r\n", "\n")

    return show


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # Linux says EIO once the other end is closed
        return b""


def test_reasoning_is_dimmed_and_content_plain(show: Callable[..., str], server: FakeSiliconFlow) -> None:
    server.reply(["The ", "answer"], ["Let me ", "think"])
    lines = show("chat", "Hello").split("\n")
    assert lines[:3] == ["\x1b[2mLet me \x1b[0m\x1b[2mthink\x1b[0m", "", "The answer"]
    assert lines[3].startswith("Qwen/Qwen3-8B, 4 tokens (2 reasoning), ")
    assert lines[4:] == [""]


@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=str)
def test_nothing_is_dimmed_where_that_is_not_wanted(
    show: Callable[..., str], server: FakeSiliconFlow, env: dict[str, str]
) -> None:
    server.reply(["The ", "answer"], ["Let me ", "think"])
    assert show("chat", "Hello", **env).startswith("Let me think\n\nThe answer\nQwen/")


def test_an_empty_no_color_does_not_count(show: Callable[..., str], server: FakeSiliconFlow) -> None:
    server.reply(["The ", "answer"], ["Let me ", "think"])
    assert "\x1b[2m" in show("chat", "Hello", NO_COLOR="")


def test_a_terminal_gets_no_control_characters_from_the_model(
    show: Callable[..., str], server: FakeSiliconFlow
) -> None:
    control = "".join(map(chr, [*range(0x20), *range(0x7F, 0xA0)]))
    server.reply([f"a{control}b", "\x1b[2Jc"], [f"d{control}e"])
    shown = show("chat", "Hello", NO_COLOR="1", TERM="xterm")
    assert shown.startswith("d\t\ne\n\na\t\nb[2Jc\nQwen/")


def test_one_blank_line_stands_before_the_answer(show: Callable[..., str], server: FakeSiliconFlow) -> None:
    server.reply(["\n", "\n\nThe\n", "\nanswer"], ["think\n"])
    assert show("chat", "Hello", NO_COLOR="1").startswith("think\n\nThe\n\nanswer\nQwen/")


def test_the_terminal_may_have_the_reasoning_while_a_file_has_the_answer(
    command: Command, server: FakeSiliconFlow
) -> None:
    server.reply(["answer"], ["thought"])
    master, terminal = os.openpty()
    try:
        with command.start("chat", "Hello", stderr=terminal) as process:
            os.close(terminal)
            assert process.stdout is not None
            assert process.stdout.read() == b"answer\n"
            shown = b"".join(iter(lambda: _read(master), b""))
            assert process.wait() == 0
    finally:
        os.close(master)
    assert shown.startswith(b"\x1b[2mthought\x1b[0m\r\nQwen/")


def test_a_terminal_without_a_prompt_is_not_read(command: Command, server: FakeSiliconFlow) -> None:
    master, terminal = os.openpty()
    try:
        with command.start("chat", stdin=terminal) as process:
            os.close(terminal)
            assert process.stderr is not None
            assert process.stderr.read().startswith(b"error: no prompt. ")
            assert process.wait() == 2
    finally:
        os.close(master)
    assert server.requests == []


@pytest.mark.parametrize("closed", ["0", "1", "2"])
def test_a_stream_that_the_shell_closed_does_not_fail(command: Command, closed: str) -> None:
    script = f'exec "$0" -m siliconflow_async chat --demo --max-tokens 2 Hello {closed}<&-'
    done = subprocess.run(["sh", "-c", script, sys.executable], env=command.env, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr


def test_a_line_is_one_line_of_bounded_length() -> None:
    assert one_line(" a\r\n\tb\x1b[0m\x85c\u2028d ") == "a b[0m c d"
    assert len(one_line("x" * 10_000)) == 1003
