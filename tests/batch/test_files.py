"""The files of a batch are its own, and nothing is said to be written that is not there."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from siliconflow_async import ConfigurationError
from siliconflow_async.batch import BatchReport, run_batch
from siliconflow_async.batch import files as batch_files
from siliconflow_async.testing import Gate, Until

from ..asking import served
from .jsonl import ids, request, write

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from .jsonl import Files

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def stopped_midway(files: Files) -> AsyncIterator[asyncio.Task[BatchReport]]:
    """A run of which all is written but the last answer, which comes after the block."""
    gate = Gate()
    async with served() as (server, client):
        server.reply("late", before=[Until(gate)], times=1)
        seen = asyncio.Event()
        run = asyncio.create_task(
            run_batch(
                client,
                files.requests,
                files.results,
                on_progress=lambda progress: seen.set() if progress.done + progress.failed == 11 else None,
            )
        )
        async with asyncio.timeout(5):
            await seen.wait()
        yield run
        gate.set()
        await asyncio.wait([run])


def link(path: Path, to: Path) -> Path:
    path.symlink_to(to)
    return path


def hard_link(path: Path, to: Path) -> Path:
    path.hardlink_to(to)
    return path


@pytest.mark.parametrize("name", ["results.jsonl.journal", "results.errors.jsonl.tmp", "results.errors.jsonl"])
@pytest.mark.parametrize(
    "how", [lambda path, to: to.rename(path), link, hard_link], ids=["itself", "link", "hard link"]
)
async def test_the_requests_are_not_written_over_by_any_file_of_a_batch(
    files: Files, name: str, how: Callable[[Path, Path], Path]
) -> None:
    """Not by the journal, and not by what takes the place of the errors; whatever name leads there."""
    path = how(files.results.with_name(name), files.requests)
    before = path.read_bytes()
    async with served() as (server, client):
        with pytest.raises(ConfigurationError, match="files of their own"):
            await run_batch(client, path if name in str(path) else files.requests, files.results)
        assert server.requests == []
    assert path.read_bytes() == before


@pytest.mark.parametrize("how", [link, hard_link])
async def test_results_and_errors_are_not_one_file_under_two_names(
    files: Files, how: Callable[[Path, Path], Path]
) -> None:
    """Links are followed, also where nothing is written yet."""
    files.results.touch()
    how(files.errors, files.results)
    async with served() as (_, client):
        with pytest.raises(ConfigurationError, match="files of their own"):
            await run_batch(client, files.requests, files.results)
        files.results.unlink()
        if how is link:
            with pytest.raises(ConfigurationError, match="files of their own"):
                await run_batch(client, files.requests, files.results)


async def test_two_runs_do_not_write_one_file_under_two_names(files: Files, tmp_path: Path) -> None:
    """Neither the results by another journal's name, nor the errors of another run's results."""
    pytest.importorskip("fcntl")
    async with stopped_midway(files) as first, served() as (server, client):
        other = link(tmp_path / "other.jsonl", files.results)
        with pytest.raises(ConfigurationError, match=r"another run is writing .*other\.jsonl"):
            await run_batch(client, files.requests, other)
        with pytest.raises(ConfigurationError, match=r"another run is writing .*results\.errors\.jsonl"):
            await run_batch(client, files.requests, tmp_path / "third.jsonl", errors=files.errors)
        assert server.requests == []
    assert first.result().done == 11


@pytest.mark.parametrize("which", ["results.jsonl", "results.errors.jsonl", "results.jsonl.journal"])
@pytest.mark.parametrize("how", ["removed", "replaced", "cut"])
async def test_a_file_that_is_lost_during_a_run_is_told_in_the_end(files: Files, which: str, how: str) -> None:
    """The run does not say that lines are done of which there is no trace; the error names the file."""
    path = files.results.with_name(which)
    async with stopped_midway(files) as run:
        if how == "cut":
            os.truncate(path, 5)
        else:
            path.rename(path.with_name("elsewhere"))
        if how == "replaced":
            path.write_bytes(path.with_name("elsewhere").read_bytes())
    with pytest.raises(OSError, match=f"it was {how} by someone else during the run") as caught:
        run.result()
    assert caught.value.filename == str(path)


async def test_results_that_were_cut_are_gone_on_with(files: Files) -> None:
    """Nothing is written behind the torn line, so that the same command mends it and asks for what is missing."""
    async with stopped_midway(files) as run:
        os.truncate(files.results, files.results.stat().st_size // 2)
    assert run.exception() is not None
    async with served() as (_, client):
        report = await run_batch(client, files.requests, files.results)
    assert (report.done, report.failed) == (11, 1)
    assert ids(files.results) == files.good


async def test_what_is_written_is_brought_to_the_disk_while_a_run_goes_on(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every few seconds, and not by the loop's thread, which a disk may hold up for long."""
    loop = asyncio.get_running_loop()
    synced: dict[int, asyncio.Event] = {}
    fsync = os.fsync

    def record(descriptor: int) -> None:
        fsync(descriptor)
        if threading.current_thread() is not threading.main_thread():
            loop.call_soon_threadsafe(synced.setdefault(os.fstat(descriptor).st_ino, asyncio.Event()).set)

    monkeypatch.setattr(os, "fsync", record)
    monkeypatch.setattr(batch_files, "_SYNC_SECONDS", 0.01)
    async with stopped_midway(files) as run, asyncio.timeout(5):
        for path in (files.results, files.errors):
            await synced.setdefault(path.stat().st_ino, asyncio.Event()).wait()
    assert run.result().done == 11


async def test_a_file_that_is_removed_ends_the_run_soon(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is looked for every few seconds; the next answer is the last, and the rest is not asked in vain."""
    monkeypatch.setattr(batch_files, "_SYNC_SECONDS", 0.01)
    gate = Gate()
    async with served() as (server, client):
        server.reply("late", before=[Until(gate)])
        run = asyncio.create_task(run_batch(client, files.requests, files.results, max_concurrency=1))
        await server.received()
        (looking,) = (thread for thread in threading.enumerate() if thread.name == "siliconflow-batch-sync")
        files.results.unlink()
        looking.join(5)
        assert not looking.is_alive()
        gate.set()
        with pytest.raises(OSError, match=r"removed by someone else") as caught:
            await run
        assert len(server.requests) <= 3
    assert caught.value.filename == str(files.results)


async def test_no_thread_is_left_behind(files: Files) -> None:
    """However a run ends."""
    async with stopped_midway(files) as run:
        run.cancel()
    assert run.cancelled()
    assert [thread for thread in threading.enumerate() if thread.name == "siliconflow-batch-sync"] == []


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
async def test_a_full_disk_is_told_with_the_name_of_the_file() -> None:
    """An error of writing says where."""

    async def lines() -> AsyncIterator[bytes]:
        yield json.dumps(request("a")).encode()

    async with served() as (_, client):
        with pytest.raises(OSError, match="No space left on device: '/dev/full'"):
            await run_batch(client, lines(), Path("/dev/full"), errors=[].append)


@pytest.mark.parametrize("left", ["a file", "a link"])
async def test_what_a_killed_run_left_aside_is_in_no_ones_way(files: Files, tmp_path: Path, left: str) -> None:
    """The errors are still rewritten, and not into what a link of that name leads to."""
    aside, mine = files.errors.with_name(f"{files.errors.name}.tmp"), tmp_path / "mine"
    mine.write_text("mine")
    async with served(max_retries=0) as (server, client):
        server.fail(503)
        await run_batch(client, files.requests, files.results)
        if left == "a file":
            aside.write_text("half a li")
        else:
            link(aside, mine)
        await run_batch(client, files.requests, files.results)
    assert ids(files.errors) == ["id-07"]
    assert mine.read_text() == "mine"
    assert [name for name in os.listdir(tmp_path) if name.endswith(".tmp")] == []


def edit(path: Path) -> None:
    """Change the last character of what the last line asks, in place."""
    with path.open("r+b") as file:
        file.seek(path.read_bytes().rindex(b"hi"))
        file.write(b"ho")


async def test_requests_that_are_edited_in_place_are_not_sent(files: Files) -> None:
    """Lines of the same ids and the same length are not those that were checked."""
    async with served() as (server, client):
        with pytest.raises(ConfigurationError, match="was changed while it was read"):
            await run_batch(client, files.requests, files.results, on_begin=lambda *_: edit(files.requests))
        assert server.requests == []


async def test_what_was_answered_before_the_edited_part_stays(files: Files) -> None:
    """A large file is compared piece by piece."""
    long = request("long", user="x" * 1_500_000)
    write(files.requests, [request("a"), long, request("b")])
    async with served() as (_, client):
        with pytest.raises(ConfigurationError, match="was changed while it was read"):
            await run_batch(client, files.requests, files.results, on_begin=lambda *_: edit(files.requests))
    assert ids(files.results) == ["a"]


@pytest.mark.parametrize("change", [lambda data: data + data[:100], lambda data: data[: data.rindex(b"\n", 0, -1) + 1]])
async def test_requests_that_grow_or_shrink_are_noticed(files: Files, change: Callable[[bytes], bytes]) -> None:
    """Also where what is left is whole lines."""

    def rewrite(*_: int) -> None:
        files.requests.write_bytes(change(files.requests.read_bytes()))

    async with served() as (server, client):
        with pytest.raises(ConfigurationError, match="was changed while it was read"):
            await run_batch(client, files.requests, files.results, on_begin=rewrite)
        assert server.requests == []
