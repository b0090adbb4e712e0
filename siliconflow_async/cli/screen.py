"""What a run prints, and where.

The answer goes to stdout; notices, errors and the closing line go to stderr, so that a pipe or a file gets the answer
alone. Reasoning goes where the answer is read: to a terminal on stdout, dimmed, else to stderr. Every piece is flushed.

A terminal never gets control characters of someone else's making. Pipes and files get text as it came.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TextIO

import click

__all__ = ["CannotWrite", "Failed", "Hangup", "Screen", "one_line"]

_CONTROL = [*range(0x20), *range(0x7F, 0xA0)]
_STRIPPED = {code: None for code in _CONTROL if chr(code) not in "\n\t"}
# In a terminal, C1 controls are as good as escape sequences; JSON has only C0 escaped.
_ESCAPED = {code: f"\\u{code:04x}" for code in range(0x7F, 0xA0)}
_DIM, _RESET = "\x1b[2m", "\x1b[0m"
_LONGEST_LINE = 1000


class Failed(click.ClickException):
    """Ends the command, with its message as a line on stderr: what was asked for can't be done."""

    exit_code = 2

    def show(self, file: Any = None) -> None:
        if self.message:
            Screen().notice(f"error: {self.message}")


class CannotWrite(Failed):
    """The output can't be written, for example because the disk is full."""

    exit_code = 1


class Hangup(Failed):
    """Whoever read the output has left. Without a message: nobody is there to read it."""

    exit_code = 141


class _Channel:
    """stdout or stderr. `mid_line`: whether the last line is still open."""

    def __init__(self, stream: TextIO | None) -> None:
        # None: the descriptor was closed before Python started.
        self._stream = stream
        self.tty = stream is not None and stream.isatty()
        self.mid_line = False
        self._dims = self.tty and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")

    def write(self, text: str, *, dim: bool = False) -> None:
        if self.tty:
            text = text.translate(_STRIPPED)
        if not text or self._stream is None:
            return
        self.mid_line = not text.endswith("\n")
        try:
            # Each piece is reset, so that the terminal is not left dim however the run ends.
            self._stream.write(f"{_DIM}{text}{_RESET}" if dim and self._dims else text)
            self._stream.flush()
        except OSError as error:
            name = self._stream.name.strip("<>")
            # What is still buffered would fail once more, loudly, as the interpreter exits.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
            self._stream = None
            if isinstance(error, BrokenPipeError):
                raise Hangup("") from error
            raise CannotWrite(f"can't write {name}: {error.strerror}") from error

    def end_line(self) -> None:
        if self.mid_line:
            self.write("\n")


class Screen:
    """The two output streams of one run."""

    def __init__(self) -> None:
        self._out = _Channel(sys.stdout)
        self._err = _Channel(sys.stderr)
        self._thoughts = self._out if self._out.tty else self._err
        self._thinking = False
        # Takes a progress bar away while a notice is printed.
        self.lifted: Callable[[], AbstractContextManager[None]] = nullcontext

    def content(self, text: str) -> None:
        """Print more of the answer."""
        if self._thinking:
            if self._out.tty:
                # One blank line stands between reasoning and answer, whatever the model begins with.
                text = text.lstrip("\n")
            if not text:
                return
            self._thinking = False
            self._thoughts.end_line()
            if self._thoughts is self._out:
                self._out.write("\n")
        self._out.write(text)

    def reasoning(self, text: str) -> None:
        """Print more of the reasoning."""
        if not self._thinking:
            self._thinking = True
            self._thoughts.end_line()
        self._thoughts.write(text, dim=True)

    def line(self, text: str) -> None:
        """Print a line on stdout: JSON or an address."""
        self._out.write(text.translate(_ESCAPED) + "\n")

    def end_answer(self) -> None:
        """Close the line that the answer or the reasoning left open; what comes next is another answer's."""
        self._thinking = False
        self.end_line()

    def end_line(self) -> None:
        """Close the line that was left open."""
        self._out.end_line()
        self._err.end_line()

    def notice(self, text: str) -> None:
        """Print one line on stderr, whatever the text holds."""
        self.end_line()
        with self.lifted():
            self._err.write(one_line(text) + "\n")


def one_line(text: str) -> str:
    """Return the text on one line of bounded length, without control characters."""
    text = " ".join(text.split()).translate(_STRIPPED)
    return text if len(text) <= _LONGEST_LINE else f"{text[:_LONGEST_LINE]}..."
