from __future__ import annotations

import io
import os
import re
import struct
import sys

import pytest
from msgspec.structs import replace

from siliconflow_async import ConfigurationError, MapProgress
from siliconflow_async.cli.bar import ProgressBar

fcntl = pytest.importorskip("fcntl")
termios = pytest.importorskip("termios")

PROGRESS = MapProgress(
    done=7,
    failed=2,
    in_flight=4,
    total=20,
    tokens=100,
    tokens_per_second=12.4,
    concurrency=8,
    paused_until=None,
    waiting_for=None,
    waiting_left=None,
    elapsed=9.0,
    time_left=3671.0,
)


class Terminal(io.StringIO):
    """One whose width is that of a real one, if it is given."""

    def __init__(self, columns: int | None = None) -> None:
        super().__init__()
        self._columns = columns

    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        if self._columns is None:
            return super().fileno()
        if not hasattr(self, "ends"):
            self.ends = os.openpty()
            fcntl.ioctl(self.ends[1], termios.TIOCSWINSZ, struct.pack("HHHH", 24, self._columns, 0, 0))
        return self.ends[1]

    def close(self) -> None:
        for end in getattr(self, "ends", ()):
            os.close(end)
        super().close()


def shown(progress: MapProgress, columns: int | None = None) -> str:
    with Terminal(columns) as terminal:
        with ProgressBar(terminal) as bar:
            bar(progress)
        return terminal.getvalue()


def test_it_shows_how_far_a_run_is() -> None:
    """Counts, pace and the time left stand on one line."""
    text = shown(PROGRESS)
    for part in ("45%", "9/20", "2 failed", "4 under way", "12 tokens/s", "1:01:11 left"):
        assert part in text
    assert "waiting" not in text


@pytest.mark.parametrize(
    ("waiting_for", "waiting_left", "words"),
    [
        ("rpm", 12.4, ", waiting for rpm, 12 s, "),
        ("tpm", 3.0, ", waiting for tpm, 3 s, "),
        ("rate_limit", 60.0, ", waiting after a rate limit, 60 s, "),
        ("outage", None, ", waiting for the service, "),
        ("concurrency", None, ", 2 failed, 4 under way, "),
    ],
)
def test_it_says_what_is_waited_for(waiting_for: str, waiting_left: float | None, words: str) -> None:
    """Waiting does not look like hanging."""
    assert words in shown(replace(PROGRESS, waiting_for=waiting_for, waiting_left=waiting_left))


LATE = replace(
    PROGRESS, done=31_800, failed=275, total=60_000, in_flight=64, tokens_per_second=1234.5, time_left=7331.0
)
WAITING = replace(LATE, waiting_for="outage", waiting_left=598.0)


@pytest.mark.parametrize(
    ("progress", "columns", "line"),
    [
        (LATE, 120, " 53%|…| 32075/60000, 275 failed, 64 under way, 1234 tokens/s, 2:02:11 left"),
        (LATE, 80, " 53%|…| 32075/60000, 275 failed, 64 under way, 2:02:11 left"),
        (LATE, 60, " 53%|…| 32075/60000, 275 failed, 2:02:11 left"),
        (LATE, 40, "32075/60000, 275 failed, 2:02:11 left"),
        (
            WAITING,
            120,
            " 53%|…| 32075/60000, 275 failed, waiting for the service, 598 s, 64 under way, 1234 tokens/s, "
            "2:02:11 left",
        ),
        (WAITING, 80, " 53% 32075/60000, 275 failed, waiting for the service, 598 s, 2:02:11 left"),
        (WAITING, 40, "32075/60000, no service 598 s"),
        (replace(WAITING, total=None), 40, "32075, 275 failed, no service 598 s"),
        (LATE, 20, "32075/60000"),
    ],
)
def test_nothing_is_cut_where_the_terminal_is_narrow(progress: MapProgress, columns: int, line: str) -> None:
    """It says less in whole words, and leaves the last column free, in which a terminal would break the line."""
    first = shown(progress, columns).split("\r")[1]
    assert re.sub(r"\|[ #0-9]{8,}\|", "|…|", first) == line
    assert len(first) < columns


def test_without_a_total_there_is_no_percentage() -> None:
    """Requests without a length are counted, that is all."""
    text = shown(replace(PROGRESS, total=None, time_left=None))
    assert "9, 2 failed" in text
    assert "%" not in text


def test_stderr_gets_nothing_where_it_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log file gets no bar that nobody asked for."""
    file = io.StringIO()
    monkeypatch.setattr(sys, "stderr", file)
    with ProgressBar() as bar:
        bar(PROGRESS)
    assert file.getvalue() == ""


def test_a_file_that_is_asked_for_gets_it_whatever_it_is() -> None:
    """Each snapshot over the one before, and an end of the line."""
    file = io.StringIO()
    with ProgressBar(file=file) as bar:
        bar(PROGRESS)
        bar(replace(PROGRESS, done=18))
    _, *lines, last = file.getvalue().split("\r")
    assert "9/20, 2 failed" in lines[0]
    assert "20/20, 2 failed" in last
    assert last.endswith("\n")


class OutStream(io.TextIOBase):
    """What a cell of a notebook writes to; like ipykernel's, it says that it is none, and has a terminal's number."""

    __module__ = "ipykernel.iostream"

    def __init__(self) -> None:
        self.text = ""
        self.terminal = Terminal(20)

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def isatty(self) -> bool:
        return False

    def fileno(self) -> int:
        return self.terminal.fileno()


def test_a_notebook_is_shown_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """In full: how wide the terminal is that the kernel was started from says nothing of the cell."""
    cell = OutStream()
    with cell.terminal:
        monkeypatch.setattr(sys, "stderr", cell)
        with ProgressBar() as bar:
            bar(PROGRESS)
    assert "9/20, 2 failed, 4 under way, 12 tokens/s, 1:01:11 left" in cell.text


def test_without_the_extra_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the extra."""
    monkeypatch.setitem(sys.modules, "tqdm", None)
    with pytest.raises(ConfigurationError, match=r"siliconflow-async\[cli\]"):
        ProgressBar()
