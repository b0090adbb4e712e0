"""What the processes of one account share of a model: its window, who holds how much of it, and its pause.

Each process sends a `Report` and gets a `Reply`, which is all that passes between them; `Ledger` is the state machine
in between, without a clock and without awaiting anything. Of a window it lends out requests and tokens: a process holds
them for its calls, or free for the next ones, and reports what was used. What it says is absolute wherever it can be
(what it holds, not what has changed), so that a lost answer mends itself with the next report; what was used is added
once for each `seq`. A process that is not heard of for `ttl` has used all that it held.

After a refusal or in an outage nothing is lent until the pause is over, then to one process alone, the probe, until it
has been answered. Those that wait are served by start-time fair queueing: each has a turn that moves on by the share of
the limit it was lent, and may not be far ahead of the last; what the last in turn needs for its first
call is kept for it.

Times are whole milliseconds, and so are shares of a limit millionths of it: a store that does the same in another
language (see `integrations.redis`) must come to the same numbers.
"""

from __future__ import annotations

import msgspec

from .report import Pause, Reply, Report
from .turns import Turns

__all__ = ["Ledger"]

_GRAINS = 200
_WHOLE = 1_000_000
# How far one process may be ahead of the others that wait, of few; where they are many, each share is smaller, too.
_QUANTUM = 20_000
_FEW = 8
# What may lie free in processes that wait for nothing.
_IDLE = 20_000
# Fewer requests than these teach no limit: it was another's use that filled the meter.
_LEAST_TAKEN = 5
# By what share a learned limit is raised first; each further window without a refusal doubles it.
_STEP = 20_000
_LONGEST_PAUSE = 60_000
_LONGEST_ASKED = 600_000
# For how long beyond its next report one that waits is counted among those that do: a message may be slow, and so may
# a process that gets no CPU for a moment. Those after it wait so long where it has died.
_HUNGRY = 500


class _Process(msgspec.Struct):
    requests: int = 0
    tokens: int = 0
    expires: int = 0
    seq: int = 0
    turn: int = 0
    head_tokens: int = 0


class Ledger:
    """One account's use of one model, in a window of so many milliseconds."""

    def __init__(self, window: int) -> None:
        self.window = window
        self.epoch = ""
        self.rpm = 0
        self.tpm = 0
        self.learned = False
        self.requests = 0
        self.tokens = 0
        self.leased_requests = 0
        self.leased_tokens = 0
        self.pause: Pause = ""
        self.paused_until = 0
        self.generation = 1
        self.probe = ""
        self.processes: dict[str, _Process] = {}
        self._now = 0
        self._grain = max(1, window // _GRAINS)
        # Requests, tokens and refused requests by the grain in which they were used; the oldest may be an empty one.
        self._log: dict[int, list[int]] = {}
        self._oldest = 0
        self._refused = 0
        self._expires = 0
        self._turns = Turns()
        self._pauses = 0
        self._learning = ""
        self._grow_at = 0
        self._step = _STEP
        self._was_held = False
        self._best = 0
        self._born = 0
        self._recovering_since = 0
        self._recovering_until = -self.grace
        self._expected = 0

    @property
    def beat(self) -> int:
        """How often a process at work reports: often enough that a pause is known everywhere before it is over."""
        return min(max(self.window // 240, 10), 250) * (1 + len(self.processes) // 64)

    @property
    def ttl(self) -> int:
        """For how long what a process holds is its own, unless it reports again."""
        return max(self.window // 6, 1000, 8 * self.beat)

    @property
    def grace(self) -> int:
        """How long a store that lost what it knew waits for the processes that know."""
        return max(self.window // 30, 500)

    def exchange(self, report: Report, now: int) -> Reply:
        """Take in what a process reports at a time, and lend it what it may have."""
        now = self._now = max(now, self._now)
        if not self.epoch:
            self.epoch = f"{report.process}-{report.seq}-{now}"
            self._born = now
        accepted = report.epoch in ("", self.epoch)
        lost = not accepted and now < self._born + self.grace
        if (lost or report.alone) and now >= self._recovering_until + self.grace:
            # What was used meanwhile is known to the processes alone: none takes until all have said.
            self._expected = report.peers
            self._recovering_since, self._recovering_until = now, now + self.grace
        self._pass_time(now)
        process = self.processes.setdefault(report.process, _Process())
        process.expires = now + self.ttl
        self._expires = min(self._expires or process.expires, process.expires)
        if accepted and report.seq > process.seq:
            process.seq = report.seq
            for age, requests, tokens, refused in report.used:
                self._add(now - age, requests, tokens, refused)
        self._lend(process, report.held_requests + report.free_requests, report.held_tokens + report.free_tokens)
        self._take_limits(report, now)
        self._take_news(report, now)
        if now < self._recovering_until and self._all_have_said():
            self._recovering_until = now
        requests, tokens, probe = (0, 0, False) if not accepted else self._grant(process, report, now)
        self._lend(process, process.requests + requests, process.tokens + tokens)
        hungry = report.waiting > 0 and (requests < report.want_requests or tokens < report.want_tokens)
        self._was_held |= hungry and not self.pause
        process.head_tokens = report.head_tokens
        retry = self._retry(now)
        if hungry:
            self._turns.wait(report.process, process.turn, now + _HUNGRY + 2 * retry)
        if not report.staying:
            self._lend(self.processes.pop(report.process), 0, 0)
        return Reply(
            epoch=self.epoch,
            accepted=accepted,
            requests=requests,
            tokens=tokens,
            rpm=report.rpm or self.rpm,
            tpm=report.tpm or self.tpm,
            learned=self.learned,
            window_requests=self.requests,
            window_tokens=self.tokens,
            leased_requests=self.leased_requests,
            leased_tokens=self.leased_tokens,
            peers=max(1, len(self.processes)),
            generation=self.generation,
            pause=self.pause,
            paused=max(0, self.paused_until - now) if self.pause else 0,
            probe=probe,
            retry=retry,
            beat=self.beat,
            ttl=self.ttl,
        )

    # What time does

    def _pass_time(self, now: int) -> None:
        last = (now - self.window) // self._grain - 1
        if self._log and self._oldest <= last:
            for grain in [grain for grain in self._log if grain <= last]:
                requests, tokens, refused = self._log.pop(grain)
                self.requests -= requests
                self.tokens -= tokens
                self._refused -= refused
            self._oldest = min(self._log, default=last + 1)
        if self._expires and now >= self._expires:
            for name in [name for name, process in self.processes.items() if process.expires <= now]:
                process = self.processes.pop(name)
                self._add(now, process.requests, process.tokens, 0)
                self._lend(process, 0, 0)
                if self.probe == name:
                    self.probe = ""
            self._expires = min((process.expires for process in self.processes.values()), default=0)
        if self._grow_at and now >= self._grow_at:
            self._grow_at = now + self.window
            if self._was_held:
                self._was_held = False
                self.rpm += -(-self.rpm * self._step // _WHOLE)
                self.tpm += -(-self.tpm * self._step // _WHOLE)
                self._step = min(_WHOLE, 2 * self._step)

    def _add(self, at: int, requests: int, tokens: int, refused: int) -> None:
        grain = at // self._grain
        if not self._log or grain < self._oldest:
            self._oldest = grain
        entry = self._log.setdefault(grain, [0, 0, 0])
        for place, count in enumerate((requests, tokens, refused)):
            entry[place] += count
        self.requests += requests
        self.tokens += tokens
        self._refused += refused

    def _lend(self, process: _Process, requests: int, tokens: int) -> None:
        self.leased_requests += requests - process.requests
        self.leased_tokens += tokens - process.tokens
        process.requests, process.tokens = requests, tokens

    # What is reported

    def _take_limits(self, report: Report, now: int) -> None:
        """Learn a limit that nobody gave: what the window takes, by the end of the pause that follows a refusal."""
        if self._learning and now < self.paused_until:
            taken = self.requests - self._refused
            if taken > self._best:
                self._best = taken
                if self._learning == "rpm" and not report.rpm:
                    self.rpm = taken
                elif self._learning == "tpm" and not report.tpm:
                    self.tpm = self.tokens
                self.learned = bool(self.rpm or self.tpm)

    def _take_news(self, report: Report, now: int) -> None:
        if report.news in ("limited", "away"):
            limited = report.news == "limited"
            if report.generation == self.generation:
                self._begin_pause(report, now, "rate_limit" if limited else "outage")
            elif limited and report.asked > 0 and self.pause:
                self.paused_until = max(self.paused_until, now + min(report.asked, _LONGEST_ASKED))
        elif report.news == "there" and self.pause and report.generation == self.generation:
            if self.probe == report.process:
                self.pause, self.probe, self._pauses, self._learning = "", "", 0, ""
            elif self.pause == "outage":
                self.paused_until = now
        if self.probe == report.process and not (report.waiting or report.running):
            self.probe = ""

    def _begin_pause(self, report: Report, now: int, kind: Pause) -> None:
        pause = min(report.asked, _LONGEST_ASKED)
        if pause <= 0:
            pause = min(self.window // 60 << self._pauses, self.window, _LONGEST_PAUSE)
        self._pauses = min(self._pauses + 1, 16)
        self.pause, self.probe = kind, ""
        self.paused_until = max(self.paused_until, now + max(pause, 2 * self.beat))
        self.generation += 1
        if kind == "rate_limit":
            self._learning = report.meter
            self._best = _LEAST_TAKEN - 1
            self._grow_at = self.paused_until + self.window
            self._step = _STEP
            self._was_held = False
            self._take_limits(report, now)

    def _all_have_said(self) -> bool:
        heard = self._recovering_since + self.ttl
        return (
            sum(process.seq > 0 and process.expires >= heard for process in self.processes.values()) >= self._expected
        )

    # Who gets what

    def _grant(self, process: _Process, report: Report, now: int) -> tuple[int, int, bool]:
        """Return the requests and tokens to lend, and whether to the probe of a pause that is over."""
        first = self._turns.first_but(report.process, now)
        process.turn = self._turns.begin(process.turn, first)
        if now < self._recovering_until:
            return 0, 0, False
        probe = False
        if self.pause:
            if now < self.paused_until or not (report.waiting or self.probe == report.process):
                return 0, 0, False
            if self.probe not in ("", report.process):
                return 0, 0, False
            self.probe, probe, first = report.process, True, None
        rpm, tpm = report.rpm or self.rpm, report.tpm or self.tpm
        requests, tokens = self._wanted(process, report, rpm, tpm, first) if report.waiting else (0, 0)
        if probe:
            requests, tokens = min(requests, 1), min(tokens, max(0, report.head_tokens - report.free_tokens))
        elif first is None and requests >= report.want_requests and tokens >= report.want_tokens:
            requests += self._spare(report.spare_requests, rpm, self.requests + self.leased_requests + requests)
            tokens += self._spare(report.spare_tokens, tpm, self.tokens + self.leased_tokens + tokens)
        process.turn += max(requests * _WHOLE // rpm if rpm else 0, tokens * _WHOLE // tpm if tpm else 0)
        return requests, tokens, probe

    def _spare(self, want: int, limit: int, taken: int) -> int:
        """Return how much of `want` to lend for calls to come."""
        return max(0, min(want, limit * _IDLE // _WHOLE // len(self.processes), limit - taken)) if limit else 0

    def _part(
        self, want: int, limit: int, taken: int, process: _Process, first: tuple[int, str] | None, kept: int
    ) -> int:
        """Return how much of `want` there is under a limit, beside what the first of the others needs."""
        if not limit:
            return want
        room = limit - taken
        if first is not None:
            if first[0] < process.turn:
                room -= kept
            ahead = first[0] + _QUANTUM * _FEW // max(_FEW, len(self.processes)) - process.turn
            want = min(want, limit * ahead // _WHOLE)
        return max(0, min(want, room))

    def _wanted(
        self, process: _Process, report: Report, rpm: int, tpm: int, first: tuple[int, str] | None
    ) -> tuple[int, int]:
        """Return what lets out at least the call that waits first; nothing if it would still wait."""
        head = self.processes[first[1]].head_tokens if first is not None and first[1] in self.processes else 0
        requests = self._part(report.want_requests, rpm, self.requests + self.leased_requests, process, first, 1)
        tokens = self._part(report.want_tokens, tpm, self.tokens + self.leased_tokens, process, first, head)
        need_requests = max(0, 1 - report.free_requests)
        need_tokens = max(0, report.head_tokens - report.free_tokens)
        if first is None or process.turn <= first[0]:
            # The quantum may be less than one call.
            if not rpm or self.requests + self.leased_requests + need_requests <= rpm:
                requests = max(requests, need_requests)
            if not tpm or self.tokens + self.leased_tokens + need_tokens <= tpm:
                tokens = max(tokens, need_tokens)
            elif report.head_tokens > tpm and not (self.tokens + self.leased_tokens - report.free_tokens):
                tokens = need_tokens  # above the limit: alone, in an empty window
        if requests < need_requests or tokens < need_tokens:
            return 0, 0
        # Of one there may be more than can be used with the other.
        if rpm and tpm and report.want_requests and report.want_tokens:
            share = min(requests * _WHOLE // report.want_requests, tokens * _WHOLE // report.want_tokens, _WHOLE)
            requests = min(requests, max(need_requests, -(-report.want_requests * share // _WHOLE)))
            tokens = min(tokens, max(need_tokens, -(-report.want_tokens * share // _WHOLE)))
        return requests, tokens

    def _retry(self, now: int) -> int:
        """Return when there may be more: as the window's oldest entries leave it, and with each beat."""
        leaves = (self._oldest + 1) * self._grain + self.window - now if self._log else self.beat
        wait = self.paused_until - now if self.pause and now < self.paused_until else leaves
        return min(max(wait, 1), self.beat)
