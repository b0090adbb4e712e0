"""Who holds what: the shared limits of every account and model that a Redis knows, as they are."""

from __future__ import annotations

import time
from typing import Any

import msgspec
from redis import Redis, exceptions
from redis.cluster import RedisCluster

from ...errors import ConfigurationError
from .keys import model_of, state_keys
from .servers import TIMEOUT, checked, explained, where

__all__ = ["Holding", "ModelHoldings", "holdings", "holdings_at"]


class Holding(msgspec.Struct, frozen=True, kw_only=True):
    """What one process holds of a model's limits: for calls under way and to come, in requests and tokens."""

    process: str  # host and process id
    requests: int
    tokens: int
    running: int
    waiting: int


class ModelHoldings(msgspec.Struct, frozen=True, kw_only=True):
    """A model's limits and their use. `account` is a digest; `rpm` and `tpm` are the learned ones, None where given.

    `requests` and `tokens` are in the window of `window` seconds; `pause` is why nobody may begin, "" if all may, and
    `paused` the seconds that are left of it.
    """

    account: str
    model: str
    window: float
    rpm: int | None
    tpm: int | None
    requests: int
    tokens: int
    pause: str
    paused: float
    holdings: list[Holding]


def holdings(client: Redis | RedisCluster, account: str | None = None) -> list[ModelHoldings]:
    """Return what is known of all accounts, or of one, by model. Raises what redis-py raises."""
    names = sorted(_text(key) for key in client.scan_iter(state_keys(account), count=1000))
    return [found for name in names if (found := _of(client, name)) is not None]


def holdings_at(url: str, account: str | None = None) -> list[ModelHoldings]:
    """Return the `holdings` in the Redis of a URL. Raises ConfigurationError where they can't be read."""
    url = checked(url)
    timeouts = {"socket_timeout": TIMEOUT, "socket_connect_timeout": TIMEOUT}
    try:
        with Redis.from_url(url, **timeouts) as client:
            if client.info("cluster").get("cluster_enabled"):
                with RedisCluster.from_url(url, **timeouts) as cluster:
                    return holdings(cluster, account)
            return holdings(client, account)
    except exceptions.RedisError as error:
        raise ConfigurationError(str(explained(error, where(url)))) from error


def _of(client: Redis | RedisCluster, state_key: str) -> ModelHoldings | None:
    account, model, window, (_, _, processes, _) = model_of(state_key)
    fields: Any = client.hgetall(state_key)
    state = {_text(name): _text(value) for name, value in fields.items()}
    if not state:
        return None
    rows: Any = client.hvals(processes)
    paused = (int(state["paused_until"]) - time.time() * 1000) / 1000 if state["pause"] else 0.0
    return ModelHoldings(
        account=account,
        model=model,
        window=window / 1000,
        rpm=int(state["rpm"]) or None,
        tpm=int(state["tpm"]) or None,
        requests=int(state["requests"]),
        tokens=int(state["tokens"]),
        pause=state["pause"],
        paused=max(0.0, paused),
        holdings=sorted((_holding(_text(row)) for row in rows), key=lambda held: held.process),
    )


def _holding(row: str) -> Holding:
    requests, tokens, _, _, _, _, _, running, waiting, label = row.split(" ", 9)
    return Holding(
        process=label, requests=int(requests), tokens=int(tokens), running=int(running), waiting=int(waiting)
    )


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
