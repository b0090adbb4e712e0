from __future__ import annotations

import io
import sys
import time

import pytest
from msgspec.structs import replace

from siliconflow_async import ConfigurationError, MapProgress
from siliconflow_async.cli.bar import ProgressBar

PROGRESS = MapProgress(
    done=7,
    failed=2,
    in_flight=4,
    total=20,
    tokens=100,
    tokens_per_second=12.4,
    concurrency=8,
    paused_until=None,
    elapsed=9.0,
    time_left=3671.0,
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(progress: MapProgress) -> str:
    terminal = Terminal()
    with ProgressBar(terminal) as bar:
        bar(progress)
    return terminal.getvalue()


def test_it_shows_how_far_a_run_is() -> None:
    """Counts, pace and the time left stand on one line."""
    text = shown(PROGRESS)
    for part in ("45%", "9/20", "2 failed", "4 under way", "12 tokens/s", "1:01:11 left"):
        assert part in text
    assert "paused" not in text


def test_it_tells_of_a_pause() -> None:
    """Waiting for a rate limit does not look like hanging."""
    text = shown(replace(PROGRESS, paused_until=time.time() + 3600))
    assert "paused for 3" in text


def test_without_a_total_there_is_no_percentage() -> None:
    """Requests without a length are counted, that is all."""
    text = shown(replace(PROGRESS, total=None, time_left=None))
    assert "9, 2 failed" in text
    assert "%" not in text


def test_it_writes_nothing_where_there_is_no_terminal() -> None:
    """A log file gets no bar."""
    file = io.StringIO()
    with ProgressBar(file) as bar:
        bar(PROGRESS)
    assert file.getvalue() == ""


def test_without_the_extra_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the extra."""
    monkeypatch.setitem(sys.modules, "tqdm", None)
    with pytest.raises(ConfigurationError, match=r"siliconflow-async\[cli\]"):
        ProgressBar()
