"""A process's own part of limits that several processes share: what it was lent, and what it has used of that.

It is `Meters` that lets a call out only on what was lent, and says by `report` what became of it, to be told by `apply`
what there is now; see `ledger` for the other side. Its own window is kept beside that: it is what a store that lost
everything is told, and what the process goes by while the store is away: then it keeps to its last share of the limit.
"""

from __future__ import annotations

import math
import socket
from collections.abc import Callable
from os import getpid, urandom

from .limit import Limit, WaitingFor, share_of
from .meters import Meters
from .report import NOTHING, Demand, Pause, Reply, Report, Told
from .ticket import Ticket
from .uses import Uses

__all__ = ["LeasedMeters"]

# The share of a limit that may lie free in all processes together, for calls to come.
_IDLE = 0.02
# What lies free is given back when nothing was let out for this share of a window, in seconds at most.
_IDLE_SHARE = 1 / 60
_IDLE_SECONDS = 1.0
# A process that does nothing is heard of so often while its window holds something.
_QUIET = 0.5
# How long to leave a store alone that can't be reached, in seconds.
_FIRST_RETRY, _LAST_RETRY = 0.1, 1.0
# No longer than this share of a window: one that has lost its data waits for all to come back, for two of these.
_RETRY_SHARE = 1 / 60


class LeasedMeters(Meters):
    """The requests and tokens of `model` that this process may use; `wake` is called when there is a report to make.

    `alone` tells that the store is away; `pause` why nobody may begin, `probe` that this process may all the same.
    `processes` are taken to share the limit as long as the store has not said how many do.
    """

    def __init__(
        self, model: str, limit: Limit, wake: Callable[[], None] = lambda: None, *, processes: int = 1
    ) -> None:
        super().__init__(model, limit)
        self.process = urandom(8).hex()
        # In one word, as stores may write it down beside others.
        self.label = "".join(f"{socket.gethostname()}:{getpid()}".split())
        self.alone = False
        self.pause: Pause = ""
        self.probe = False
        self._wake = wake
        self._peers = processes
        self._lent_requests = 0
        self._lent_tokens = 0
        self._lent_until = -math.inf
        self._uses = Uses(limit.window)
        self._epoch = ""
        self._generation = 0
        self._last: Reply | None = None
        self._reported = (0, 0)
        self._reported_at = -math.inf
        self._under_way = False
        self._is_known = False
        self._asks = False
        self._retry_at = -math.inf
        self._failures = 0
        self._alone_since = 0.0
        self._news = NOTHING
        self._taken = 0
        self._taken_at = -math.inf
        self._paused_after = 0
        self._owed = 1.0
        self._now = 0.0

    # What the gate asks

    @property
    def free_requests(self) -> int:
        """What it was lent and no call has taken."""
        return self._lent_requests - self.unanswered - self._uses.requests

    @property
    def free_tokens(self) -> int:
        """What it was lent and no call may use."""
        return self._lent_tokens - self.reserved - self._uses.tokens

    @property
    def totals(self) -> tuple[int, int, int]:
        """Those of all processes as they were last told, what is lent counted in; of this one while it is alone."""
        last = self._last
        if self.alone or last is None:
            return super().totals
        tokens = self._uses.tokens
        return last.window_requests + last.leased_requests, last.window_tokens + tokens, last.leased_tokens - tokens

    def pass_time(self, now: float) -> None:
        super().pass_time(now)
        self._now = now
        if now >= self._lent_until:
            self._keep(0, 0)
        if self.alone and now >= self._alone_since + self.window.length:
            self._keep_to_share(at_first=False)

    def full(self, owed: int, *, alone: bool) -> WaitingFor | None:
        if self.alone:
            return super().full(owed, alone=alone)
        if self.pause and not self.probe:
            held_up: WaitingFor | None = self.pause
        elif not self._is_known or (self.rpm is not None and self.free_requests < 1):
            held_up = "rpm"
        elif self.tpm is not None and self.free_tokens < owed:
            held_up = "tpm"
        else:
            return None
        self._ask()
        return held_up

    def opens_at(self, now: float, owed: int) -> float:
        return super().opens_at(now, owed) if self.alone else math.inf

    def take(self, owed: int) -> None:
        super().take(owed)
        self._taken += 1
        self._taken_at = self._now
        self._owed += 0.1 * (owed - self._owed)
        if self.alone or (self.rpm is not None and 2 * self.free_requests < self._block(self._now)[0]):
            self._ask()

    def log(self, at: float, requests: int, tokens: int) -> None:
        super().log(at, requests, tokens)
        self._uses.add(at, requests, tokens)

    def refused(self, meter: str | None, now: float, generation: int | None) -> bool:
        self._uses.add(now, 0, 0, refused=1)
        # The store learns; whether it could is enough to know that it was not for how many went at a time.
        given = {"rpm": self.limit.rpm, "tpm": self.limit.tpm}
        return generation is not None and meter in given and given[meter] is None

    def paused(self, meter: str | None, asked: float | None, *, away: bool, begins: bool) -> None:
        if begins:
            self.pause, self.probe = "outage" if away else "rate_limit", False
            self._paused_after = self._taken
        elif self._news.pauses or asked is None:
            return
        milliseconds = -1 if asked is None else math.ceil(1000 * min(asked, 86_400.0))
        self._tell(Told("away" if away else "limited", meter or "", milliseconds))

    def there(self, ticket: Ticket) -> None:
        if self.pause and ticket.number > self._paused_after and not self._news.pauses:
            self._tell(Told("there"))

    def is_blank(self) -> bool:
        return not len(self.window) and not self._is_known

    # What the store is told, and tells

    def due_at(self, now: float) -> float:
        """Return when to report; infinity if there is nothing to say until something happens."""
        if self._under_way:
            return math.inf
        if self.alone:
            return self._retry_at if self._asks or self._is_staying() else math.inf
        if self._news is not NOTHING:
            return now
        beat, ttl = (self._last.beat / 1000, self._last.ttl / 1000) if self._last is not None else (0.0, 0.0)
        if self._asks:
            return max(self._retry_at, self._reported_at)
        if not self._is_known:
            return math.inf
        if self.pause or now < self._taken_at + self._idle or self._has_free():
            return self._reported_at + beat
        self.window.expire(now)
        if self._is_staying():
            return self._reported_at + min(ttl / 4, _QUIET)
        return now

    def report(self, now: float, demand: Demand, running: int, *, leaving: bool = False) -> Report:
        """Return what there is to say; `apply` the answer, or say that it was `lost`.

        One that is `leaving` leaves its calls behind: what they hold counts as used.
        """
        self.pass_time(now)
        if leaving:
            self.log(now, self.unanswered, self.reserved)
            self.unanswered = self.reserved = 0
        if leaving or self.alone or (self.pause and not self.probe):
            self._keep(0, 0)
        elif not demand.requests:
            self._keep(*self._block(now))
        elif self.free_tokens < demand.first:
            # What it has is too little for the first that waits: others may have use for it meanwhile.
            self._keep(0, 0)
        used = self._uses.send(now)
        free_requests, free_tokens = max(0, self.free_requests), max(0, self.free_tokens)
        self._reported = (self.unanswered + free_requests, self.reserved + free_tokens)
        spare_requests, spare_tokens = self._block(now)
        self._under_way, self._asks, self._reported_at = True, False, now
        return Report(
            process=self.process,
            label=self.label,
            seq=self._uses.seq,
            epoch=self._epoch,
            peers=self._peers,
            alone=self.alone and self._last is not None,
            rpm=self.limit.rpm or 0,
            tpm=self.limit.tpm or 0,
            used=used,
            held_requests=self.unanswered,
            held_tokens=self.reserved,
            free_requests=free_requests,
            free_tokens=free_tokens,
            want_requests=max(0, demand.requests - free_requests),
            want_tokens=max(0, demand.tokens - free_tokens),
            head_tokens=demand.first,
            spare_requests=max(0, spare_requests - max(0, free_requests - demand.requests)),
            spare_tokens=max(0, spare_tokens - max(0, free_tokens - demand.tokens)),
            waiting=demand.requests,
            running=running,
            staying=not leaving and (running > 0 or demand.requests > 0 or self._is_staying()),
            generation=self._generation,
            news=self._news.kind,
            meter=self._news.meter,
            asked=self._news.asked,
        )

    def apply(self, report: Report, reply: Reply, now: float) -> Pause:
        """Take in the answer to a report; return the pause that others have begun, "" if none has."""
        self._under_way, self.alone, self._failures = False, False, 0
        self._is_known = report.staying
        self._last, self._peers = reply, reply.peers
        self._epoch = reply.epoch
        self.rpm, self.tpm = reply.rpm or None, reply.tpm or None
        self.learned_in = -1 if reply.learned else None
        self._lent_until = self._reported_at + reply.ttl / 1000
        # Those that still wait ask again when there may be more; any other at once.
        waits = report.waiting and (reply.requests < report.want_requests or reply.tokens < report.want_tokens)
        self._retry_at = now + reply.retry / 1000 if waits else -math.inf
        self._lent_requests = self._reported[0] + reply.requests
        self._lent_tokens = self._reported[1] + reply.tokens
        if not reply.accepted:
            # What was used since then was held when that was reported.
            requests, tokens = self._uses.replace(self.window.entries())
            self._lent_requests += requests
            self._lent_tokens += tokens
            self._asks, self._retry_at = True, -math.inf
            return ""
        self._uses.confirm()
        return self._follow(report, reply, now)

    def lost(self, now: float, *, stops: bool) -> None:
        """The store can't be reached.

        From now on the process keeps to its share; where it `stops`, it lets nothing out until the store is back.
        """
        self._under_way = False
        self._uses.lose()
        self._failures += 1
        longest = min(_LAST_RETRY, max(_FIRST_RETRY, _RETRY_SHARE * self.window.length))
        self._retry_at = now + min(_FIRST_RETRY * 2.0 ** min(self._failures - 1, 9), longest)
        if stops:
            self._is_known = self._asks = False
            self._keep(0, 0)
        if stops or self.alone:
            return
        self.alone, self._alone_since = True, now
        self.pause, self.probe = "", False
        self._keep_to_share(at_first=True)
        self._keep(0, 0)
        # Where it was never reached: what is used from now on is news to it, as after a loss.
        self._epoch = self._epoch or "alone"

    def _follow(self, report: Report, reply: Reply, now: float) -> Pause:
        began = reply.generation != self._generation and reply.pause != ""
        mine = report.news in ("limited", "away") or self._news.pauses
        self._generation = reply.generation
        self.pause, self.probe = reply.pause, reply.probe
        if self._news == (report.news, report.meter, report.asked):
            self._news = NOTHING
        elif self._news.pauses:
            # It was refused meanwhile, under what was the present pause then.
            self.pause, self.probe = ("outage" if self._news.kind == "away" else "rate_limit"), False
        if began and not mine:
            self._paused_after = self._taken
            return reply.pause
        return ""

    def paused_until(self, now: float) -> float:
        """Return when the pause that was told of is over."""
        return now if self._last is None else now + self._last.paused / 1000

    # What is lent

    @property
    def _idle(self) -> float:
        return min(_IDLE_SHARE * self.window.length, _IDLE_SECONDS)

    def _block(self, now: float) -> tuple[int, int]:
        """What to have free for calls to come; nothing where none came lately, or it would be less than a call."""
        if self.pause or now >= self._taken_at + self._idle:
            return 0, 0
        share = _IDLE / self._peers
        calls = math.inf if self.rpm is None else self.rpm * share
        if self.tpm is not None:
            calls = min(calls, self.tpm * share / max(1.0, self._owed))
        return (0, 0) if calls == math.inf or calls < 1 else (int(calls), int(calls * self._owed))

    def _keep(self, requests: int, tokens: int) -> None:
        """Give back what is free beyond so much."""
        self._lent_requests -= max(0, self.free_requests - requests)
        self._lent_tokens -= max(0, self.free_tokens - tokens)

    def _has_free(self) -> bool:
        return (self.rpm is not None and self.free_requests > 0) or (self.tpm is not None and self.free_tokens > 0)

    def _is_staying(self) -> bool:
        return bool(len(self.window) or self.unanswered or self.reserved or self._uses.requests)

    def _keep_to_share(self, *, at_first: bool) -> None:
        """Keep to this process's share of the limits.

        Others may have used more than theirs: `at_first`, until that has left the window, it is what this one has and
        its part of what was left over.
        """
        last = self._last
        rpm, tpm = self.limit.rpm, self.limit.tpm
        requests = tokens = None
        if last is not None:
            rpm, tpm = last.rpm, last.tpm
            if at_first:
                requests = last.window_requests + last.leased_requests
                tokens = last.window_tokens + last.leased_tokens
        has = self.window.tokens + self.reserved + max(0, self.free_tokens)
        self.rpm = share_of(rpm, self._peers, self.requests + max(0, self.free_requests), requests)
        self.tpm = share_of(tpm, self._peers, has, tokens)

    # What is said

    def _tell(self, news: Told) -> None:
        self._news = news
        self._wake()

    def _ask(self) -> None:
        if not self._asks:
            self._asks = True
            if not self._under_way:
                self._wake()
