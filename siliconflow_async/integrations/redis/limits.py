"""Limits that processes share through Redis: one script that does what `limits.ledger` does, by Redis's own clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha1
from importlib.resources import files
from typing import Any, Literal

import msgspec
from redis import Redis, exceptions
from redis.backoff import NoBackoff
from redis.cluster import RedisCluster
from redis.retry import Retry

from ...errors import ConfigurationError
from ...limits.given import check_account
from ...limits.limit import Limit
from ...limits.report import Reply, Report
from ...limits.shared import StoredLimits
from .keys import KEYS, keys_of
from .servers import TIMEOUT, checked, explained, has_password, where

__all__ = ["RedisLimits"]

_SCRIPT = files("siliconflow_async.integrations.redis").joinpath("ledger.lua").read_text("utf-8")
_SHA = sha1(_SCRIPT.encode()).hexdigest()

# What was learned is kept so long where nobody asks, in milliseconds and in windows.
_KEPT, _KEPT_WINDOWS = 3_600_000, 10


class RedisLimits(StoredLimits):
    """Limits that all processes share which name the same Redis and the same account.

        AsyncSiliconFlow(limits=RedisLimits("redis://localhost", Limit(rpm=1000), account="production"))

    Args:
        url: `redis://`, `rediss://` or `unix://`, with user, password and database as redis-py reads them; left out:
            SILICONFLOW_REDIS_URL. Or a client of redis-py, of a Sentinel, say, which is used and never closed. A
            Redis Cluster is found out.
        limits: one Limit for every model, or one for each; left out, they are learned from refusals, by all together.
        account: whose limits these are: any name. Redis sees a digest of it.
        on_loss: while Redis can't be reached, "share": this process goes on with its last share of the limits; "stop":
            calls fail with LimitsUnavailableError.
        processes: how many processes are taken to share the limits as long as Redis was never reached.

    Redis must be 7.0 or newer. Neither keys nor prompts go there. A pickled RedisLimits carries no password: the other
    side takes it from SILICONFLOW_REDIS_URL. Raises ConfigurationError for a URL or limits that can't be.
    """

    def __init__(
        self,
        url: str | Redis | RedisCluster | None = None,
        limits: Mapping[str, Limit] | Limit | None = None,
        *,
        account: str,
        on_loss: Literal["share", "stop"] = "share",
        processes: int = 1,
    ) -> None:
        super().__init__(limits, on_loss=on_loss, processes=processes)
        self.account = check_account(account)
        self._url: str | None = None
        self._borrowed: Redis | RedisCluster | None = None
        if url is None or isinstance(url, str):
            self._url = checked(url)
            self._where = where(self._url)
        elif isinstance(url, Redis | RedisCluster):
            self._borrowed, self._where = url, "the client given"
        else:
            raise ConfigurationError(f"url must be a URL or a client of redis-py that is not async, not {url!r}")
        self._client: Redis | RedisCluster | None = None

    def __repr__(self) -> str:
        return f"<limits in Redis at {self._where}>"

    def __reduce__(self) -> tuple[Any, ...]:
        if self._url is None:
            raise TypeError("RedisLimits around a client can't be pickled; give it a URL")
        options = {"account": self.account, "on_loss": self.on_loss, "processes": self.processes}
        return _unpickled, (None if has_password(self._url) else self._url, self.limits, options)

    def exchange(self, reports: Sequence[Report], models: Sequence[str]) -> list[Reply]:
        try:
            calls = [self._arguments(report, model) for report, model in zip(reports, models, strict=True)]
            try:
                answers = self._evaluate(calls)
            except (exceptions.MovedError, exceptions.AskError, exceptions.RedisClusterException):
                if self._url is None or isinstance(self._client, RedisCluster):
                    raise
                self.disconnect()
                self._client = RedisCluster.from_url(self._url, socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT)
                answers = self._evaluate(calls)
        except exceptions.RedisError as error:
            raise explained(error, self._where) from error
        return [_reply(answer) for answer in answers]

    def disconnect(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _evaluate(self, calls: list[list[str]]) -> list[Any]:
        client = self._borrowed or self._client
        if client is None:
            assert self._url is not None
            # One more try at once, as a kept connection may have been closed by the other side.
            client = self._client = Redis.from_url(
                self._url,
                socket_timeout=TIMEOUT,
                socket_connect_timeout=TIMEOUT,
                retry=Retry(NoBackoff(), 1),
            )
        if len(calls) == 1 or isinstance(client, RedisCluster):
            return [_call(client, call) for call in calls]
        pipeline = client.pipeline(transaction=False)
        for call in calls:
            pipeline.evalsha(_SHA, KEYS, *call)
        answers: list[Any] = pipeline.execute(raise_on_error=False)
        for at, answer in enumerate(answers):
            if isinstance(answer, exceptions.NoScriptError):
                answers[at] = _call(client, calls[at])
            elif isinstance(answer, Exception):
                raise answer
        return answers

    def _arguments(self, report: Report, model: str) -> list[str]:
        """Return the keys and the one argument of the script."""
        window = self.window_of(model)
        told = (
            window,
            max(_KEPT, _KEPT_WINDOWS * window),
            report.process,
            report.label,
            report.seq,
            report.epoch,
            report.peers,
            int(report.alone),
            report.rpm,
            report.tpm,
            report.held_requests,
            report.held_tokens,
            report.free_requests,
            report.free_tokens,
            report.want_requests,
            report.want_tokens,
            report.head_tokens,
            report.spare_requests,
            report.spare_tokens,
            report.waiting,
            report.running,
            int(report.staying),
            report.generation,
            report.news,
            report.meter,
            report.asked,
            *(count for use in report.used for count in use),
            "",
        )
        return [*keys_of(self.account, model, window), "\n".join(map(str, told))]


def _call(client: Redis | RedisCluster, call: list[str]) -> Any:
    try:
        return client.evalsha(_SHA, KEYS, *call)
    except exceptions.NoScriptError:
        # A new server, or one whose scripts were flushed; this loads it, too.
        return client.eval(_SCRIPT, KEYS, *call)


def _reply(answer: bytes | str) -> Reply:
    # The script gives a Reply's fields in their order, a line each.
    text = answer.decode() if isinstance(answer, bytes) else answer
    return msgspec.convert(text.split("\n"), Reply, strict=False)


def _unpickled(url: str | None, limits: Mapping[str, Limit] | Limit | None, options: dict[str, Any]) -> RedisLimits:
    return RedisLimits(url, limits, **options)
