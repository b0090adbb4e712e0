"""Several workers at once, and what a stand-in saw of them."""

from __future__ import annotations

import math
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO, Any

import msgspec

from siliconflow_async.testing import FakeSiliconFlow

from ...programs import environment
from .worker import HEADER, Job, Saw

__all__ = ["Account", "Worker", "account", "fleet"]

_SECONDS = 150.0
_NAP = 0.01


class Worker:
    """One process, ready to do its job."""

    def __init__(self, job: Job) -> None:
        self.name = job.name
        command = [sys.executable, "-m", "tests.integrations.redis.worker"]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, env=environment(), text=True)
        self._say(msgspec.json.encode(job).decode())

    def wait_ready(self) -> None:
        """Wait until it has a client."""
        assert self._output.readline() == "ready\n"

    def go(self) -> None:
        """Have it begin."""
        self._say("go")

    def kill(self) -> None:
        """End it by SIGKILL."""
        self._process.kill()
        self._process.wait(_SECONDS)

    def saw(self) -> Saw:
        """Return what it saw, once it is done."""
        words, _ = self._process.communicate(timeout=_SECONDS)
        assert self._process.returncode == 0, words
        return msgspec.json.decode(words, type=Saw)

    def close(self) -> None:
        """End it if it is still there."""
        self.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    @property
    def _output(self) -> IO[str]:
        assert self._process.stdout is not None
        return self._process.stdout


@contextmanager
def fleet(jobs: Iterable[Job]) -> Iterator[list[Worker]]:
    """Workers that all are ready, and begin when told to."""
    workers: list[Worker] = []
    try:
        workers.extend(Worker(job) for job in jobs)
        for worker in workers:
            worker.wait_ready()
        yield list(workers)
    finally:
        for worker in workers:
            worker.close()


# What the stand-in says


class Account:
    """A stand-in that keeps the limits of one account and model, the judge of those who share them.

    `late` are the seconds by which a thread that does nothing but sleep was woken too late: what the machine had no
    time for is nobody's fault.
    """

    model = "stand-in/model"

    def __init__(self, server: FakeSiliconFlow, *, rpm: int | None, tpm: int | None, window: float) -> None:
        self.server = server
        self.late = 0.0
        self.rpm = rpm
        self.tpm = tpm
        self.window = window

    def watch_the_clock(self, over: threading.Event) -> None:
        """Sum up `late` until it is over."""
        while True:
            began = time.monotonic()
            if over.wait(_NAP):
                return
            self.late += max(0.0, time.monotonic() - began - 2 * _NAP)

    @property
    def limits(self) -> dict[str, dict[str, int | float]]:
        """What processes are told of the limits."""
        given = {"rpm": self.rpm, "tpm": self.tpm, "window": self.window}
        return {self.model: {name: value for name, value in given.items() if value is not None}}

    @property
    def refused(self) -> int:
        """How many requests were beyond the limits."""
        return self.server.meters[self.model].refused

    def jobs(self, processes: int, redis: str, *, calls: int, **options: Any) -> list[Job]:
        """Return a job for each of the processes, to make `calls` altogether."""
        each = -(-calls // processes)
        return [
            Job(
                name=f"process-{number}",
                base_url=self.server.base_url,
                redis=redis,
                limits=self.limits,
                calls=each,
                processes=processes,
                **options,
            )
            for number in range(processes)
        ]

    def arrivals(self) -> list[tuple[float, str]]:
        """Return when each request arrived, and of which process."""
        return [(request.received_at, request.headers[HEADER]) for request in self.server.requests]

    def seconds(self) -> float:
        """Return the seconds from the first request to the last."""
        times = [at for at, _ in self.arrivals()]
        return max(times) - min(times)

    def ideal_seconds(self, tokens: float = 1) -> float:
        """Return the seconds that the same requests, of so many `tokens` each, take at best.

        The first window's worth is sent at once, and then one as each further window has passed.
        """
        requests = len(self.server.requests)
        worth = [] if self.rpm is None else [self.rpm]
        if self.tpm is not None:
            worth.append(math.floor(self.tpm / tokens))
        return (math.ceil(requests / min(worth)) - 1) * self.window

    def unfairness(self) -> float:
        """Return how many times as many requests the best served process sent as the worst, while all had some left."""
        arrivals = self.arrivals()
        last: dict[str, float] = {}
        for at, name in arrivals:
            last[name] = max(at, last.get(name, at))
        until = min(last.values())
        counts = Counter(name for at, name in arrivals if at <= until)
        return max(counts.values()) / min(counts.values())


@contextmanager
def account(*, rpm: int | None = None, tpm: int | None = None, window: float) -> Iterator[Account]:
    """An account with a model of these limits."""
    limits = {Account.model: (rpm, tpm)}
    with FakeSiliconFlow(limits=limits, window=window, keep=100_000).threaded() as server:
        limited, over = Account(server, rpm=rpm, tpm=tpm, window=window), threading.Event()
        clock = threading.Thread(target=limited.watch_the_clock, args=(over,))
        clock.start()
        try:
            yield limited
        finally:
            over.set()
            clock.join()
