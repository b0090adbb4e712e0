"""Limits that processes share through Redis: the option of a batch, and `limits`, which shows who holds what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio.to_thread
import msgspec

from .. import ConfigurationError, Limit
from .screen import Failed, Screen, one_line

if TYPE_CHECKING:
    from ..integrations.redis import ModelHoldings

__all__ = ["chosen_limits", "limits"]

_PAUSES = {"rate_limit": "a limit was reached", "outage": "the service is away"}
_NO_REDIS = 'Redis is an extra: pip install "siliconflow-async[redis]"'


def chosen_limits(rpm: int | None, tpm: int | None, redis: str | None, account: str | None) -> Any:
    """Return the limits of a batch: those given, shared through the Redis at a URL if there is one.

    Raises Failed where they can't be.
    """
    given = None if rpm is None and tpm is None else Limit(rpm=rpm, tpm=tpm)
    if redis is None:
        if account is not None:
            raise Failed("--account goes with --redis")
        return given
    try:
        from ..integrations.redis import RedisLimits
    except ImportError:
        raise Failed(_NO_REDIS) from None
    try:
        return RedisLimits(redis, given, account=account or "default")
    except ConfigurationError as error:
        raise Failed(str(error)) from error


async def limits(screen: Screen, *, redis: str, account: str | None, json: bool) -> int:
    """Show who holds what; return the exit code."""
    try:
        from ..integrations.redis import holdings_at
    except ImportError:
        raise Failed(_NO_REDIS) from None
    try:
        found = await anyio.to_thread.run_sync(holdings_at, redis, account)
    except ConfigurationError as error:
        raise Failed(str(error)) from error
    for model in found:
        if json:
            screen.line(msgspec.json.encode(model).decode())
        else:
            first, *others = (one_line(line) for line in _lines(model))
            screen.line(first)
            for line in others:
                screen.line(f"  {line}")
    if not found and not json:
        screen.notice("no limits are shared here" if account is None else f"no limits of the account {account}")
    return 0


def _lines(model: ModelHoldings) -> list[str]:
    paused = f"; {_PAUSES[model.pause]}: all wait {model.paused:.0f} s, then for one" if model.pause else ""
    learned = f"; learned: rpm={model.rpm} tpm={model.tpm}" if model.rpm or model.tpm else ""
    used = f"{model.requests} requests and {model.tokens} tokens in {model.window:g} s"
    return [
        f"{model.model} (account {model.account}): {used}{learned}{paused}",
        *(
            f"{held.process}: holds {held.requests} requests and {held.tokens} tokens,"
            f" {held.running} running, {held.waiting} waiting"
            for held in model.holdings
        ),
    ]
