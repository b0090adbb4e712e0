"""`limits`, and a batch that shares them: against a real Redis where the machine has one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ..integrations.redis.server import PROGRAM, RedisServer

if TYPE_CHECKING:
    from siliconflow_async.testing import FakeSiliconFlow

    from .conftest import Command


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    if PROGRAM is None:
        pytest.skip("no redis-server on this machine")
    with RedisServer(tmp_path / "redis") as server:
        yield server


def test_a_batch_shares_its_limits_and_says_what_it_used(
    command: Command, server: FakeSiliconFlow, redis_server: RedisServer, tmp_path: Path
) -> None:
    """What one run took of the minute is known to whoever asks next."""
    lines = [{"model": "org/m", "messages": [{"role": "user", "content": f"No. {number}"}]} for number in range(3)]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    shared = ("--redis", redis_server.url, "--account", "team")
    files = (str(tmp_path / "in.jsonl"), "-o", str(tmp_path / "out.jsonl"))
    assert command.run("batch", *files, "--rpm", "100", *shared).returncode == 0
    assert len(server.requests) == 3
    done = command.run("limits", *shared, "--json")
    (model,) = map(json.loads, done.stdout.splitlines())
    assert (model["model"], model["requests"], model["holdings"]) == ("org/m", 3, [])
    assert command.run("limits", *shared).stdout.startswith("org/m (account ")
    done = command.run("limits", "--redis", redis_server.url, "--account", "other")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "no limits of the account other\n")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("limits",), "no Redis. Name one"),
        (("limits", "--redis", "http://x"), "the URL of Redis can't be used"),
        (("limits", "--redis", "redis://:secret@127.0.0.1:1"), "Redis at 127.0.0.1:1 can't be reached"),
        (("batch", "x", "-o", "y", "--account", "a"), "--account goes with --redis"),
        (("batch", "x", "-o", "y", "--redis", "nonsense"), "the URL of Redis can't be used"),
    ],
)
def test_what_can_not_be_is_one_line(command: Command, args: tuple[str, ...], words: str) -> None:
    done = command.run(*args)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert "secret" not in done.stderr
