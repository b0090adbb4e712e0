"""A file of requests that the service answers as batches of its own, at half the price, into the same files of results.

What was sent is noted beside the results (see `submitted`), so that the same call goes on after any kill: it looks for
a batch of which it can't be sure, and never makes one twice.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

from ..checks import is_count
from ..client import AsyncSiliconFlow
from ..errors import InvalidRequestError, SiliconFlowError
from ..runs.polling import Pauses, outlast
from ..runs.progress import MapProgress
from ..runs.results import MapDone, MapFailed, MapTimes, OnProgress
from ..wire.endpoints.batches import Batch, BatchResult
from ..wire.endpoints.files import FileObject
from .files import errors_beside, keep_apart
from .lines import PENDING, Checked, LineReader, LineRequest, check, open_input, parse_line, wanted_lines
from .outcome import BatchReport, ResumedOutcome
from .requestfiles import MOST_LINES, RequestFile, RequestFiles
from .submitted import Part, Submitted, submitted_beside

__all__ = ["run_remote_batch"]

T = TypeVar("T")

_LONGEST_WAIT = 60.0
_BREATH = 100
# As if it had come too late: nobody refused the request, so that the line is open.
_UNASKED, _REFUSED = 408, 400


async def run_remote_batch(
    client: AsyncSiliconFlow,
    requests: Path,
    results: Path,
    *,
    errors: Path | None = None,
    model: str | None = None,
    completion_window: str = "24h",
    lines_per_batch: int = MOST_LINES,
    retry_failed: bool = False,
    skip_bad: bool = False,
    patience: float | None = 600.0,
    interval: float | None = None,
    on_bad: Callable[[str], None] | None = None,
    on_begin: Callable[[int, int], None] | None = None,
    on_sent: Callable[[str, int], None] | None = None,
    on_progress: OnProgress | None = None,
) -> BatchReport:
    """Have the service answer what each line of `requests` asks, and write a line for each, as `run_batch` does.

    The lines are checked first, sent in files of up to `lines_per_batch` and 1 GB, and waited for; the same call goes
    on where an earlier one was stopped, and leaving it leaves the batches running. `completion_window` is how long they
    may take, "24h" … "336h". A line that had no answer by then is open: the next run sends it again.

    `interval` are the seconds between questions about the batches, by default growing from 1 to 60, `patience` those
    for which a service that is away is asked on. `on_sent` is told of each batch, by its id and its lines; the others
    are those of `run_batch`, and so is what is raised: but what the service refuses of a whole batch is raised too.
    """
    if not is_count(lines_per_batch, 1) or lines_per_batch > MOST_LINES:
        raise InvalidRequestError(f"lines_per_batch must be 1 … {MOST_LINES}, not {lines_per_batch!r}")
    errors = errors_beside(results) if errors is None else errors
    keep_apart(requests, results, errors)
    keep_apart(requests, submitted_beside(results), errors)
    with ExitStack() as closing:
        checked = await check(requests, model, skip_bad=skip_bad, on_bad=on_bad, reader=_RemoteReader(model))
        submitted = Submitted(results, closing)
        submitted.begin(checked.fingerprint)
        outcome = ResumedOutcome(checked, results, errors, closing, retry_failed=retry_failed)
        total = outcome.before + checked.states.count(PENDING)
        if on_begin is not None:
            on_begin(outcome.before, total)
        run = _Remote(client, requests, checked, submitted, outcome, model, patience, interval)
        await run.submit(completion_window, lines_per_batch, on_sent)
        await run.follow(None if on_progress is None else _Told(on_progress, outcome, total))
        return outcome.finish()


class _RemoteReader(LineReader):
    """Refuses a line for which the service would refuse its whole file."""

    def read(self, data: bytes, number: int) -> LineRequest | None:
        request = super().read(data, number)
        if request is not None:
            last = request["messages"][-1] if request["messages"] else None
            if not isinstance(last, dict) or last.get("role") != "user":
                raise InvalidRequestError(f"line {number}: the last message must be the user's")
        return request


class _Told:
    """Tells how a run comes along."""

    def __init__(self, tell: OnProgress, outcome: ResumedOutcome, total: int) -> None:
        self._tell = tell
        self._outcome = outcome
        self._total = total
        self._begun = time.monotonic()

    def __call__(self, batches: list[Batch]) -> None:
        """Tell it, with the batches that go on."""
        counts = [batch.request_counts for batch in batches if batch.request_counts is not None]
        done = self._outcome.done + sum(count.completed for count in counts)
        failed = self._outcome.failed + sum(count.failed for count in counts)
        self._tell(
            MapProgress(
                done=done,
                failed=failed,
                in_flight=max(0, self._total - done - failed) if batches else 0,
                total=self._total,
                tokens=0,
                tokens_per_second=0.0,
                concurrency=0,
                paused_until=None,
                waiting_for=None,
                waiting_left=None,
                elapsed=time.monotonic() - self._begun,
                time_left=None,
            )
        )


class _Remote:
    """One run: sends the lines that are with no batch, and fetches what the batches have come to."""

    def __init__(
        self,
        client: AsyncSiliconFlow,
        path: Path,
        checked: Checked,
        submitted: Submitted,
        outcome: ResumedOutcome,
        model: str | None,
        patience: float | None,
        interval: float | None,
    ) -> None:
        self._client = client
        self._path = path
        self._checked = checked
        self._submitted = submitted
        self._outcome = outcome
        self._model = model
        self._patience = patience
        self._pauses = Pauses(interval, _LONGEST_WAIT)

    async def submit(self, window: str, most_lines: int, on_sent: Callable[[str, int], None] | None) -> None:
        """Send the lines that are pending and with no batch, and make sure of the batches that may be."""
        for part in self._submitted.open():
            if part.batch is None:
                await self._make(part, window, on_sent, may_be=True)
        states = self._checked.states
        wanted = bytearray(state == PENDING for state in states)
        for part in self._submitted.open():
            for number in part.numbers():
                wanted[number] = 0
        count = wanted.count(1)
        with open_input(self._path) as file:
            files = RequestFiles(
                wanted_lines(self._path, file, self._checked, lambda number: bool(wanted[number]), count),
                self._model,
                most_lines=most_lines,
            )
            while (made := await files.next()) is not None:
                with made.data:
                    part = self._submitted.plan(made.numbers)
                    sent = await self._patiently(functools.partial(self._send, f"{self._path.stem}-{part.part}", made))
                self._submitted.note(part, file=sent.id)
                await self._make(part, window, on_sent, may_be=False)

    async def _send(self, name: str, made: RequestFile) -> FileObject:
        made.data.seek(0)
        return await self._client.files.create(file=(f"{name}.jsonl", made.data), purpose="batch")

    async def _make(self, part: Part, window: str, on_sent: Callable[[str, int], None] | None, *, may_be: bool) -> None:
        """Make the batch of a part, unless there is one, which `may_be`."""
        file = part.file
        assert file is not None

        async def ask() -> Batch:
            nonlocal may_be
            if may_be:
                async for batch in self._client.batches.list():
                    if batch.input_file_id == file:
                        return batch
            # From here on nobody can be sure, unless the service says no.
            may_be = True
            return await self._client.batches.create(input_file_id=file, completion_window=window)

        try:
            batch = await self._patiently(ask)
        except SiliconFlowError as error:
            if not error.passing:
                self._submitted.note(part, refused=True)
            raise
        self._submitted.note(part, batch=batch.id)
        if on_sent is not None:
            on_sent(batch.id, sum(1 for _ in part.numbers()))

    async def follow(self, tell: Callable[[list[Batch]], None] | None) -> None:
        """Ask for the batches until all have ended, and fetch their results."""
        parts = self._submitted.open()
        running: dict[int, Batch] = {}
        pauses = self._pauses.anew()
        while parts:
            for part in list(parts):
                batch = await self._patiently(functools.partial(self._looked_at, part))
                running[part.part] = batch
                if batch.ended:
                    parts.remove(part)
                    del running[part.part]
            if tell is not None:
                tell(list(running.values()))
            if parts:
                await pauses.pause()

    async def _looked_at(self, part: Part) -> Batch:
        """Ask for the batch of a part, and fetch its results if it has ended."""
        assert part.batch is not None
        try:
            batch = await self._client.batches.retrieve(part.batch)
        except SiliconFlowError as error:
            if not error.passing:
                error.add_note(f"it was asked for the batch {part.batch}, which {self._submitted.path} tells of")
            raise
        if batch.ended:
            await self._fetch(part, batch)
        return batch

    async def _fetch(self, part: Part, batch: Batch) -> None:
        """Write the results of a batch that has ended; what was written before is passed over."""
        states = self._checked.states
        count = 0
        async with self._client.batches.results(batch) as results:
            async for result in results:
                number = self._checked.lines.line_of(result.custom_id)
                if number in part and states[number] == PENDING:
                    self._outcome.write(_answer_of(result, number))
                count += 1
                if count % _BREATH == 0:
                    await asyncio.sleep(0)
        left = bytearray(len(states))
        for number in part.numbers():
            left[number] = states[number] == PENDING
        with open_input(self._path) as file:
            for number, data in wanted_lines(
                self._path, file, self._checked, lambda number: bool(left[number]), left.count(1)
            ):
                request = parse_line(data, number, self._model)
                assert request is not None
                self._outcome.write(_failed(request["custom_id"], number, _why_not(batch)))
        self._outcome.sync()
        self._submitted.note(part, fetched=True)

    async def _patiently(self, ask: Callable[[], Awaitable[T]]) -> T:
        return await outlast(ask, self._patience, self._pauses.anew())


def _answer_of(result: BatchResult, number: int) -> MapDone[Any] | MapFailed:
    failure = result.failure
    if failure is not None:
        return _failed(result.custom_id, number, failure)
    return MapDone(
        index=number - 1,
        custom_id=result.custom_id,
        request=LineRequest({}, number),
        completion=result.completion,
        error=None,
        attempts=1,
        times=_TIMES,
    )


def _failed(custom_id: str, number: int, error: SiliconFlowError) -> MapFailed:
    return MapFailed(
        index=number - 1,
        custom_id=custom_id,
        request=LineRequest({}, number),
        completion=None,
        error=error,
        attempts=1,
        times=_TIMES,
    )


_TIMES = MapTimes(waited=0.0, first_token=None, total=0.0)


def _why_not(batch: Batch) -> SiliconFlowError:
    """Say why a batch has no line for a request; it may be asked again, unless the service refused the batch."""
    if batch.status == "failed":
        words = "; ".join(_words(batch.errors)) or "it did not say why"
        return SiliconFlowError(f"the service refused the batch {batch.id}: {words}", refusal=_REFUSED)
    return SiliconFlowError(f"the batch {batch.id} is {batch.status}, without an answer to this", refusal=_UNASKED)


def _words(errors: dict[str, Any] | None) -> Iterator[str]:
    told = (errors or {}).get("data")
    for error in told[:3] if isinstance(told, list) else [errors]:
        if isinstance(error, dict) and isinstance(error.get("message"), str):
            yield error["message"]
