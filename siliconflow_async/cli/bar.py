"""A progress bar for `map`, ready to be given as its `on_progress`."""

from __future__ import annotations

import sys
import threading
import time
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Self, TextIO

from siliconflow_async import ConfigurationError, MapProgress

__all__ = ["ProgressBar"]

_COUNTED = "{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt}{postfix}"
_UNCOUNTED = "{n_fmt}{postfix}"


class ProgressBar:
    """A line on stderr that shows how a run of `map` comes along; nothing where that is no terminal.

        with ProgressBar() as bar:
            async with client.chat.completions.map(requests, on_progress=bar) as results: …

    `file`: another place than stderr. Raises ConfigurationError without the extra `cli`.
    """

    def __init__(self, file: TextIO | None = None) -> None:
        try:
            # Here and not above: it would add to the start of every command.
            from tqdm import tqdm  # type: ignore[import-untyped]  # it brings no types
        except ModuleNotFoundError as error:
            raise ConfigurationError('the progress bar is an extra: pip install "siliconflow-async[cli]"') from error

        # A thread that wakes slow bars, and a lock for other processes: both are for what we don't do.
        class Bar(tqdm):  # type: ignore[misc]  # for the same reason
            monitor_interval = 0

        Bar.set_lock(threading.RLock())
        self._lifted = Bar.external_write_mode
        self._file = sys.stderr if file is None else file
        self._bar: Any = Bar(file=self._file, disable=None, dynamic_ncols=True, bar_format=_UNCOUNTED, delay=1e-9)

    def __call__(self, progress: MapProgress) -> None:
        """Show a snapshot."""
        bar = self._bar
        bar.n = progress.done + progress.failed
        bar.total = progress.total
        bar.bar_format = _COUNTED if progress.total else _UNCOUNTED
        if not bar.disable:
            bar.postfix = _told(progress)
            bar.refresh()

    def lifted(self) -> AbstractContextManager[None]:
        """Take the bar away while the block prints something."""
        lifted: AbstractContextManager[None] = self._lifted(file=self._file)
        return lifted

    def close(self) -> None:
        """Leave the bar as it stands, and end its line."""
        self._bar.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _told(progress: MapProgress) -> str:
    parts = [f"{progress.failed} failed"] if progress.failed else []
    parts.append(f"{progress.in_flight} under way")
    parts.append(f"{progress.tokens_per_second:.0f} tokens/s")
    if progress.paused_until is not None and (pause := progress.paused_until - time.time()) > 0:
        parts.append(f"paused for {pause:.0f} s")
    if progress.time_left is not None:
        minutes, seconds = divmod(round(progress.time_left), 60)
        hours, minutes = divmod(minutes, 60)
        parts.append(f"{hours}:{minutes:02}:{seconds:02} left")
    return ", ".join(parts)
