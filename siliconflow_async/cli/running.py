"""How a command is run, and how it gets what was not given as an argument."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn, TextIO

from . import interrupt
from .screen import Failed, Screen

__all__ = ["given", "is_terminal", "read_stdin", "run"]


def run(command: Callable[..., Coroutine[Any, Any, int]], *, interrupted: int = 130, **options: Any) -> NoReturn:
    """Run a command to its end, and exit with its code; `interrupted` is the one after Ctrl-C."""
    screen = Screen()
    logging.getLogger("siliconflow_async").addHandler(_Notes(screen))
    warnings.showwarning = lambda message, *_: screen.notice(f"warning: {message}")
    sys.exit(interrupt.run(command(screen, **options), interrupted=interrupted))


class _Notes(logging.Handler):
    """Shows what the library logs, which is retries: without a word, waiting looks like hanging."""

    def __init__(self, screen: Screen) -> None:
        super().__init__(logging.WARNING)
        self._screen = screen

    def emit(self, record: logging.LogRecord) -> None:
        self._screen.notice(record.getMessage())


def read_stdin(*, asked_for: bool) -> str:
    """Return what stdin holds, or "" where nobody meant it to be read."""
    if sys.stdin is None or (is_terminal(sys.stdin) and not asked_for):
        return ""
    return sys.stdin.buffer.read().decode("utf-8-sig", errors="replace").rstrip("\r\n")


def given(words: str | None, example: str) -> str:
    """Return what was given as an argument, or else on stdin; raise Failed for nothing."""
    if words is None or words == "-":
        words = read_stdin(asked_for=words == "-")
    if not words.strip():
        raise Failed(f"no words. Give them as an argument: siliconflow-async {example}")
    return words


def is_terminal(stream: TextIO | None) -> bool:
    """Whether somebody looks at it, or types there."""
    # None: the descriptor was closed before Python started.
    return stream is not None and stream.isatty()
