"""The journal of what was sent to the service: each step is there before the next is taken, and a torn one was none."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from siliconflow_async import ConfigurationError
from siliconflow_async.batch.submitted import Part, Submitted, check_none_submitted, submitted_beside

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return tmp_path / "results.jsonl"


def test_steps_are_read_back_as_they_were_noted(results: Path) -> None:
    with ExitStack() as closing:
        submitted = Submitted(results, closing)
        submitted.begin("a")
        for step in ({"file": "f"}, {"batch": "b"}, {"fetched": True}):
            part = submitted.plan([1, 2, 3, 7, 9, 10])
            submitted.note(part, **step)
    with ExitStack() as closing:
        again = Submitted(results, closing)
        again.begin("a")
        assert again.parts == submitted.parts
        assert again.parts[1].ranges == [(1, 3), (7, 7), (9, 10)]
        assert [part.part for part in again.open()] == [1]
        assert again.plan([4]).part == 4


@pytest.mark.parametrize("cut", [1, 5, 10])
def test_a_torn_step_was_not_taken(results: Path, cut: int) -> None:
    with ExitStack() as closing:
        submitted = Submitted(results, closing)
        submitted.begin("a")
        submitted.note(submitted.plan([1]), file="f")
    path = submitted_beside(results)
    path.write_bytes(path.read_bytes()[:-cut])
    with ExitStack() as closing:
        again = Submitted(results, closing)
        again.begin("a")
        assert again.open() == []
        again.note(again.parts[1], file="g")
    with ExitStack() as closing:
        assert [part.file for part in Submitted(results, closing).open()] == ["g"]


def test_others_begin_anew_once_nothing_is_under_way(results: Path) -> None:
    with ExitStack() as closing:
        submitted = Submitted(results, closing)
        submitted.begin("a")
        part = submitted.plan([1])
        check = pytest.raises(ConfigurationError, match="have changed since they were sent")
        submitted.begin("b")
        submitted.begin("a")
        part = submitted.plan([1])
        submitted.note(part, file="f")
        with check:
            submitted.begin("b")
        submitted.note(part, refused=True)
        submitted.begin("b")
        assert submitted.parts == {}


def test_what_is_no_journal_is_named(results: Path) -> None:
    path = submitted_beside(results)
    for text in (
        b"x\n",
        b"{}\n",
        b'{"version":1,"requests":"a"}\n[]\n',
        b'{"version":1,"requests":"a"}\n{"file":"f"}\n',
    ):
        path.write_bytes(text)
        with ExitStack() as closing, pytest.raises(ConfigurationError, match="no journal of batches"):
            Submitted(results, closing)


def test_two_runs_can_not_write_one(results: Path) -> None:
    with ExitStack() as closing:
        submitted = Submitted(results, closing)
        submitted.begin("a")
        with pytest.raises(ConfigurationError, match="another run"):
            check_none_submitted(results)


def test_looking_leaves_nothing(results: Path) -> None:
    check_none_submitted(results)
    assert not submitted_beside(results).exists()


def test_a_part_knows_its_lines() -> None:
    numbers = [2, 3, 5, 8, 9, 10]
    part = Part.of(1, numbers)
    assert [number for number in range(13) if number in part] == numbers == [*part.numbers()]
    assert 1 not in Part.of(1, [])
