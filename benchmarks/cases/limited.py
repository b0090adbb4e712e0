"""How long `map` takes where the service keeps limits, beside what any client would need.

The stand-in counts requests and tokens in a sliding window that is shortened, so that a run is over soon. Of N requests
of which L fit into a window, the last can't begin before floor((N - 1) / L) windows have passed: that is the ideal.
"""

from __future__ import annotations

import time
from typing import NamedTuple

from siliconflow_async import AsyncSiliconFlow, Limit

from ..contestants import OURS
from ..limited import MODEL, Limited
from ..measure import Row, Sample, WrongAnswer, compare, rows
from .setting import Setting

__all__ = ["limits"]

GIVEN = f"{OURS}, limits given"
UNKNOWN = f"{OURS}, limits unknown"
RATIO = "of the ideal"
REFUSED = "429s"
_ANSWER = 12
# So many that they hold up nothing.
_AT_ONCE = 256


class _Service(NamedTuple):
    """What the service allows in a window of `window` seconds, and how fast it answers."""

    rpm: int | None
    tpm: int | None
    window: float
    pace: float | None = None

    def __str__(self) -> str:
        allowed = [f"{limit:,} {name}" for limit, name in ((self.rpm, "requests"), (self.tpm, "tokens")) if limit]
        paced = f", answered in {_ANSWER / self.pace:g} s" if self.pace else ""
        return f"{' and '.join(allowed)} in {self.window:g} s{paced}"


# Each of them lets 450 requests through in a window.
_FULL = (
    _Service(450, None, 6.0),
    _Service(None, 9_000, 6.0),
    _Service(500, 9_000, 6.0),
    _Service(450, None, 6.0, 100),
    _Service(None, 9_000, 6.0, 100),
)
_QUICK = (_Service(30, None, 0.3),)


async def _run(service: _Service, requests: int, *, given: bool) -> Sample:
    limit = Limit(rpm=service.rpm, tpm=service.tpm, window=service.window) if given else Limit(window=service.window)
    asks = (
        {"model": MODEL, "messages": [{"role": "user", "content": f"Question {number}"}], "max_tokens": _ANSWER}
        for number in range(10_000, 10_000 + requests)
    )
    answered: list[int] = []
    most = 0
    with Limited(*service) as stand_in:
        async with AsyncSiliconFlow(
            "key", base_url=stand_in.base_url, limits=limit, max_connections=_AT_ONCE
        ) as client:
            began = time.monotonic()
            async with client.chat.completions.map(asks, max_concurrency=_AT_ONCE) as results:
                async for result in results:
                    if result.error is not None:
                        raise WrongAnswer(f"request {result.index} failed: {result.error!r}")
                    assert result.completion is not None
                    usage = result.completion.usage
                    assert usage is not None
                    most = max(most, usage.total_tokens)
                    answered.append(result.index)
            lasted = time.monotonic() - began
    if sorted(answered) != list(range(requests)) or stand_in.seen.requests != requests + stand_in.seen.refused:
        raise WrongAnswer(f"{len(answered)} answers to {requests} requests, some lost or doubled: {stand_in.seen}")
    fit = min(service.rpm or requests, service.tpm // most if service.tpm else requests)
    ideal = (requests - 1) // fit * service.window
    return {
        "seconds": lasted,
        "ideal, seconds": ideal,
        RATIO: lasted / ideal,
        REFUSED: stand_in.seen.refused,
    }


async def limits(setting: Setting) -> list[Row]:
    """2,000 requests to a service that keeps limits, given to `map` or unknown to it: time, and refusals."""
    if OURS not in setting.contestants:
        return []
    requests = setting.size(2_000, 100)
    result = []
    for service in setting.size(_FULL, _QUICK):
        runs = {
            name: lambda given=name == GIVEN, service=service: _run(service, requests, given=given)
            for name in (GIVEN, UNKNOWN)
        }
        variant = f"{requests:,} requests, {service}"
        found = await compare(runs, rounds=setting.count(1), note=setting.noting(variant), warm_up=False)
        result += rows(found, case="limits", variant=variant, loop="")
    return result
