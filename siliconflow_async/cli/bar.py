"""Progress bars: one for `map`, ready to be given as its `on_progress`, and one for bytes that come or go."""

from __future__ import annotations

import sys
import threading
import time
from contextlib import AbstractContextManager
from typing import Any, Self, TextIO, cast

from .. import ConfigurationError, MapProgress

__all__ = ["ByteBar", "ProgressBar"]

# A shorter one says nothing.
_SHORTEST_BAR = 8
# Columns that a notebook's cell has room for.
_CELL = 100
# Seconds between two drawings of what moves all the time.
_PAUSE = 0.1
# What requests may wait for, in many words and in few. Their own end ("concurrency") is no news.
_WAITING = {
    "rpm": ("waiting for rpm", "rpm"),
    "tpm": ("waiting for tpm", "tpm"),
    "rate_limit": ("waiting after a rate limit", "rate limit"),
    "outage": ("waiting for the service", "no service"),
}


class _Bar:
    """A line on stderr; nothing where that is no terminal and no notebook.

    `file`: where to write it in any case. Raises ConfigurationError without the extra `cli`.
    """

    def __init__(self, file: TextIO | None = None) -> None:
        try:
            # Here and not above: it would add to the start of every command.
            from tqdm import tqdm  # type: ignore[import-untyped]  # it brings no types
        except ModuleNotFoundError as error:
            raise ConfigurationError('the progress bar is an extra: pip install "siliconflow-async[cli]"') from error

        # tqdm has a thread that wakes slow bars and a lock for other processes, of which this bar needs neither.
        class Bar(tqdm):  # type: ignore[misc]  # for the same reason
            monitor_interval = 0

        Bar.set_lock(threading.RLock())
        self._drawn_at = 0.0
        self._lifted = Bar.external_write_mode
        self._file = sys.stderr if file is None else file
        # A cell of a notebook is no terminal, but its line can be written over. How wide it is nobody knows; asked for
        # it, ipykernel tells of the terminal that it was started from.
        in_notebook = _is_notebooks(self._file)
        self._bar: Any = Bar(
            file=self._file,
            disable=None if file is None and not in_notebook else False,
            ncols=_CELL if in_notebook else None,
            dynamic_ncols=not in_notebook,
            bar_format="{n_fmt}",
            delay=1e-9,
        )

    def lifted(self) -> AbstractContextManager[None]:
        """Take the bar away while the block prints something."""
        return cast(AbstractContextManager[None], self._lifted(file=self._file))

    def close(self) -> None:
        """Leave the bar as it stands, and end its line."""
        self._bar.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *ended: object) -> None:
        self.close()


class ProgressBar(_Bar):
    """A line on stderr that shows how a run of `map` comes along; nothing where that is no terminal and no notebook.

        with ProgressBar() as bar:
            async with client.chat.completions.map(requests, on_progress=bar) as results: …

    `file`: where to write it in any case. Raises ConfigurationError without the extra `cli`.
    """

    def __call__(self, progress: MapProgress) -> None:
        """Show a snapshot."""
        bar = self._bar
        bar.n = progress.done + progress.failed
        bar.total = progress.total
        if not bar.disable:
            bar.bar_format = bar_format(progress, bar.format_dict["ncols"])
            bar.refresh()


class ByteBar(_Bar):
    """A line on stderr that shows how many bytes have come, or have been sent, of how many; `on_progress` of files."""

    def __call__(self, done: int, size: int | None) -> None:
        """Show so many bytes."""
        bar = self._bar
        bar.n, bar.total = done, size
        if not bar.disable and (bar.n == size or self._is_due()):
            bar.unit, bar.unit_scale = "B", True
            bar.bar_format = "{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt}" if size else "{n_fmt}B"
            bar.refresh()

    def _is_due(self) -> bool:
        """Whether it is time to draw it again: pieces come faster than anybody reads."""
        now = time.monotonic()
        if now - self._drawn_at < _PAUSE:
            return False
        self._drawn_at = now
        return True


def _is_notebooks(file: TextIO) -> bool:
    """Whether a file is what ipykernel puts in the place of stdout and stderr: by name, so as not to import it."""
    return any(kind.__module__ == "ipykernel.iostream" for kind in type(file).__mro__)


def bar_format(progress: MapProgress, columns: int | None) -> str:
    """Return the line as tqdm takes it: the one that says most of those that fit into the columns, if they are known.

    `{bar}` stands for the bar itself.
    """
    finished = progress.done + progress.failed
    failed = f"{progress.failed} failed" if progress.failed else ""
    under_way = f"{progress.in_flight} under way"
    # None are counted where the service itself runs a batch.
    pace = f"{progress.tokens_per_second:.0f} tokens/s" if progress.concurrency else ""
    waiting, waiting_shortly = _waiting(progress)
    left = "" if progress.time_left is None else f"{_clock(progress.time_left)} left"
    if progress.total:
        percent, count = f"{finished / progress.total:4.0%}", f"{finished}/{progress.total}"
        barred = f"{percent}|{{bar}}| {count}"
        bare = f"{percent} {count}"
    else:
        barred = bare = count = str(finished)
    choices = [
        (barred, failed, waiting, under_way, pace, left),
        (barred, failed, waiting, under_way, left),
        (barred, failed, waiting, left),
        (bare, failed, waiting, left),
        (bare, failed, waiting_shortly, left),
        (count, failed, waiting_shortly or left),
        (count, waiting_shortly or failed),
        (count,),
    ]
    for choice in choices:
        line = ", ".join(filter(None, choice))
        if columns is None or len(line.replace("{bar}", " " * _SHORTEST_BAR)) <= columns:
            return line
    return count


def _waiting(progress: MapProgress) -> tuple[str, str]:
    if progress.waiting_for not in _WAITING:
        return "", ""
    words, word = _WAITING[progress.waiting_for]
    if progress.waiting_left is None:
        return words, word
    seconds = f"{progress.waiting_left:.0f} s"
    return f"{words}, {seconds}", f"{word} {seconds}"


def _clock(seconds: float) -> str:
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{left:02}"
