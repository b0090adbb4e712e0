"""The script that Redis runs does what `limits.ledger` does, to the last number."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import redis
from hypothesis import given, settings

from benchmarks.fleet import Fleet, Judge
from siliconflow_async import Limit
from siliconflow_async.integrations.redis import limits
from siliconflow_async.limits.ledger import Ledger
from siliconflow_async.limits.report import Reply, Report

from ...limits.exchanges import WINDOW, sequences
from .server import PROGRAM, RedisServer

if TYPE_CHECKING:
    from redis import Redis

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no redis-server on this machine")

# 2026, in milliseconds, as Redis tells time.
BEGIN = 1_790_000_000_000
# The same script by a clock that the test sets.
SCRIPT = limits._SCRIPT.replace("redis.call('TIME')", "redis.call('LRANGE', 'clock', 0, 1)")


@pytest.fixture(scope="module")
def redis_client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server, redis.Redis.from_url(server.url) as client:
        yield client


class Compared:
    """A ledger, and beside it the script in Redis, whose every reply has to be the same."""

    def __init__(self, client: Redis, limit: Limit) -> None:
        client.flushall()
        self.ledger = Ledger(round(1000 * limit.window))
        self.exchanges = 0
        self._client = client
        self._limits = limits.RedisLimits(client, limit, account="a")
        self._script = client.register_script(SCRIPT)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.ledger, name)

    def exchange(self, report: Report, now: int) -> Reply:
        now += BEGIN
        self.exchanges += 1
        self._client.delete("clock")
        self._client.rpush("clock", now // 1000, now % 1000 * 1000)
        call = self._limits._arguments(report, "org/model")
        reply = self.ledger.exchange(report, now)
        assert limits._reply(self._script(keys=call[: limits.KEYS], args=call[limits.KEYS :])) == reply
        return reply


@given(sequence=sequences())
@settings(max_examples=100, deadline=None)
def test_the_script_and_the_ledger_come_to_the_same(redis_client: Redis, sequence: list[tuple[int, Report]]) -> None:
    """Whatever processes report, and whenever: each reply is the same in all its fields."""
    assert SCRIPT != limits._SCRIPT
    both, now = Compared(redis_client, Limit(window=WINDOW / 1000)), 0
    for passed, report in sequence:
        now += passed
        epoch = both.ledger.epoch if report.epoch == "*" else report.epoch
        both.exchange(msgspec.structs.replace(report, epoch=epoch), now)


@pytest.mark.parametrize(
    ("limit", "judge"),
    [
        (Limit(rpm=60), Judge(60, None, 60.0)),
        (Limit(rpm=200, tpm=5000), Judge(200, 5000, 60.0)),
        (Limit(tpm=1000), Judge(None, 1000, 60.0)),
        (Limit(rpm=300), Judge(100, None, 60.0)),
        (Limit(), Judge(80, None, 60.0)),
    ],
)
def test_the_script_and_the_ledger_come_to_the_same_with_real_processes(
    redis_client: Redis, limit: Limit, judge: Judge
) -> None:
    """Through shortage, refusals, what is learned from them, deaths, and a store that was away or lost its data."""
    fleet = Fleet(5, limit, judge=judge, backlog=4, seed=12, delays=(0.001, 0.1))
    both = Compared(redis_client, limit)
    fleet.ledger = both  # type: ignore[assignment]  # it stands for one
    large = fleet.processes[0].gate.join(0, 0, 600, prompt=600)
    fleet.processes[0]._most[large] = 600
    fleet.run(70)
    fleet.processes[0].crash()
    fleet.run(130)
    fleet.store_away = True
    fleet.run(160)
    fleet.store_away = False
    fleet.run(200)
    both = Compared(redis_client, limit)
    fleet.ledger = both  # type: ignore[assignment]
    fleet.run(300)
    assert both.exchanges > 500


def test_a_ledger_is_forgotten_in_the_end(redis_client: Redis) -> None:
    """What nobody asks for any more does not stay in Redis."""
    redis_client.flushall()
    shared = limits.RedisLimits(redis_client, Limit(rpm=5), account="a")
    gate = shared.keeper("org/model").gate
    shared.exchange([gate.report()], ["org/model"])
    assert redis_client.dbsize() >= 1
    for key in redis_client.scan_iter():
        assert 0 < redis_client.pttl(key) <= 3_600_000


@pytest.mark.parametrize("name", ["a{b}c", "模型/名", "a:b:c", "{", "x" * 500])
def test_all_keys_of_a_model_lie_in_one_slot(name: str) -> None:
    """Whatever the model is called: a brace in its name would move the end of what a cluster hashes."""
    keys = limits.keys_of("account", name, 60_000)
    assert len({key[key.index("{") : key.index("}")] for key in keys}) == 1
    assert all(key.count("{") == key.count("}") == 1 for key in keys)
