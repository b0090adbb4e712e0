"""A file of requests, answered by a cluster into a folder of results."""

from __future__ import annotations

import asyncio
import json
import pickle
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ...batch.chunks import LINES, Chunk, chunks_of, read_chunk
from ...batch.lines import PENDING, Checked, check
from ...batch.outcome import BatchReport
from ...batch.parts import JOURNAL, Settled, join, open_parts, settle
from ...errors import SiliconFlowError
from ...runs.progress import MapProgress
from .cluster import actor_pool, check_nodes, join_cluster, ray_data
from .dataset import run_name
from .progress import ProgressActor, total_of
from .worker import CALLS, AskSetup, leave_with_node

__all__ = ["run_on_cluster"]

_LOOK_SECONDS = 0.5
# Blocks that hold chunks: each costs the driver a millisecond or two.
_MOST_BLOCKS = 4000


async def run_on_cluster(
    address: str,
    requests: Path,
    results: Path,
    *,
    actors: int = 1,
    max_concurrency: int = 64,
    model: str | None = None,
    retry_failed: bool = False,
    skip_bad: bool = False,
    patience: float | None = 600.0,
    joined: Path | None = None,
    api_key: str | None = None,
    client: dict[str, Any] | None = None,
    on_bad: Callable[[str], None] | None = None,
    on_begin: Callable[[int, int], None] | None = None,
    on_progress: Callable[[MapProgress], None] | None = None,
) -> BatchReport:
    """Ask for what each line of `requests` says, on the Ray cluster at an address, and write the folder `results`.

    It is as `run_batch` but for the folder, which holds parts of the same lines, and which all nodes have to see, with
    the file of requests. `address` of "local" starts a cluster on this machine. `max_concurrency` is that of each of
    the `actors`. `joined` is made one file of all results in the end, with one of all errors beside it. The key and the
    options of the actors' clients go to them with their work.

    Raises what `run_batch` does, and ConfigurationError for a cluster that can't be joined.
    """
    ray_data()
    setup = AskSetup(
        api_key=api_key,
        client=client or {},
        store=results,
        run=run_name(),
        retry_failed=retry_failed,
        max_concurrency=max_concurrency,
        patience=patience,
    )
    checked = await check(requests, model, skip_bad=skip_bad, on_bad=on_bad)
    total = checked.states.count(PENDING)
    with ExitStack() as closing:
        # Rows of another model are other rows.
        open_parts(results, checked.fingerprint + (model or ""), closing)
        setup.check()
        settled = await asyncio.to_thread(settle, results)
        before = settled.done + (0 if retry_failed else settled.failed)
        if on_begin is not None:
            on_begin(before, total)
        refusal = None
        if before < total:
            told = None if on_progress is None else _Told(on_progress, settled, before, total)
            run = _Run(address, requests, results, checked, setup, model, actors, told)
            refusal = await asyncio.to_thread(run.to_the_end)
            settled = await asyncio.to_thread(settle, results)
        if joined is not None:
            await asyncio.to_thread(join, results, joined)
    if refusal is not None:
        refusal.add_note(f"stopped at {settled.done} done, as no other line would fare better")
        raise refusal
    return BatchReport(
        done=settled.done,
        failed=settled.failed,
        open=total - settled.done - settled.failed,
        bad=checked.bad,
        before=before,
        failures=settled.kinds,
    )


class _Told:
    """Tells in its own loop how a run comes along, of which so many lines were finished before."""

    def __init__(self, tell: Callable[[MapProgress], None], settled: Settled, before: int, total: int) -> None:
        self._tell = tell
        self._loop = asyncio.get_running_loop()
        self._done = settled.done
        self._failed = before - settled.done
        self._total = total

    def __call__(self, reports: list[MapProgress]) -> None:
        progress = total_of(reports, self._done, self._failed, self._total)
        self._loop.call_soon_threadsafe(self._tell, progress)


class _Run:
    """One run on a cluster, in a thread that may block."""

    def __init__(
        self,
        address: str,
        requests: Path,
        results: Path,
        checked: Checked,
        setup: AskSetup,
        model: str | None,
        actors: int,
        told: _Told | None,
    ) -> None:
        self._address = address
        self._requests = requests.absolute()
        self._results = results.absolute()
        self._checked = checked
        self._setup = setup
        self._model = model
        self._actors = actors
        self._told = told

    def to_the_end(self) -> SiliconFlowError | None:
        """Run, and leave the cluster; return the error by which the service turned the account away, if it did."""
        ray = join_cluster(self._address)
        try:
            check_nodes(ray, [self._requests, self._results / JOURNAL])
            if self._told is None:
                return self._answer(ray, None)
            progress = ray.remote(num_cpus=0)(ProgressActor).remote()
            ended = threading.Event()
            looking = threading.Thread(target=_look, args=(ray, progress, self._told, ended), daemon=True)
            looking.start()
            try:
                return self._answer(ray, progress)
            finally:
                ended.set()
                looking.join()
        finally:
            ray.shutdown()

    def _answer(self, ray: Any, progress: Any) -> SiliconFlowError | None:
        lines = len(self._checked.states) // (2 * CALLS * self._actors) + 1
        chunks = [{"chunk": json.dumps(chunk)} for chunk in self._chunks(min(lines, LINES))]
        answered = ray.data.from_items(chunks, override_num_blocks=min(len(chunks), _MOST_BLOCKS)).map_batches(
            _Reader,
            fn_constructor_args=(self._setup, self._requests, self._model, progress),
            **actor_pool(ray, self._actors, CALLS),
        )
        for batch in answered.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            for refusal in batch.column("refusal").to_pylist():
                if refusal is not None:
                    error: SiliconFlowError = pickle.loads(refusal)
                    return error
        return None

    def _chunks(self, lines: int) -> Iterator[Chunk]:
        return chunks_of(self._requests, self._checked.states, lines)


def _look(ray: Any, progress: Any, told: _Told, ended: threading.Event) -> None:
    while not ended.wait(_LOOK_SECONDS):
        try:
            told(ray.get(progress.reports.remote(), timeout=_LOOK_SECONDS * 10))
        except Exception:  # the work goes on where its bar does not
            continue


class _Reader:
    """An actor: it takes chunks of the file, some at once, and says of each that it is through with it."""

    def __init__(self, setup: AskSetup, requests: Path, model: str | None, progress: Any) -> None:
        self._requests = requests
        self._model = model
        self._progress = progress
        self._name = secrets.token_hex(8)
        leave_with_node()
        self._worker = setup.worker(None if progress is None else self._report)

    def __call__(self, block: Any) -> Any:
        """Return for each chunk, as soon as its rows have their results, the error that turned the account away."""
        import pyarrow  # type: ignore[import-not-found,import-untyped,unused-ignore]  # comes with Ray

        refusals = [self._ask(Chunk(*json.loads(chunk))) for chunk in block.column("chunk").to_pylist()]
        return pyarrow.table({"refusal": pyarrow.array(refusals, pyarrow.binary())})

    def _ask(self, chunk: Chunk) -> bytes | None:
        self._worker.ask(read_chunk(self._requests, chunk, self._model))
        return None if self._worker.refusal is None else pickle.dumps(self._worker.refusal)

    def _report(self, progress: MapProgress) -> None:
        self._progress.report.remote(self._name, progress)

    def __del__(self) -> None:
        worker = getattr(self, "_worker", None)
        if worker is not None:
            worker.close()
