"""`batch --ray` on a real cluster: a folder with each line once, and the same command goes on after any kill."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING, Any

import pytest

from siliconflow_async.testing import Gate, Until

from .conftest import ended, kill, recorded, until_recorded

if TYPE_CHECKING:
    from pathlib import Path

    from siliconflow_async.testing import FakeSiliconFlow

    from .conftest import RayCluster

STREAMS = 8
WAIT = 120.0
NAMES = [f"id-{i:03}" for i in range(200)]


@pytest.fixture
def requests(tmp_path: Path) -> Path:
    path = tmp_path / "requests.jsonl"
    ask = {"model": "org/m", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 3}
    path.write_text("".join(json.dumps({"custom_id": name, "body": ask}) + "\n" for name in NAMES))
    return path


def environment(server: FakeSiliconFlow) -> dict[str, str]:
    return {"SILICONFLOW_BASE_URL": server.base_url, "SILICONFLOW_API_KEY": "test-key"}


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_killed_driver_goes_on_and_what_failed_is_asked_again_when_told_to(
    cluster: RayCluster, server: FakeSiliconFlow, requests: Path, tmp_path: Path
) -> None:
    """Killed with one answer and again with 60, it repeats what was under way; then --retry-failed and --join."""
    results = tmp_path / "results"
    args = [str(requests), "-o", str(results), "--actors", "2", "-c", str(STREAMS), "--max-retries", "0"]
    asked = left = 0
    for answers, upto in ((1, 1), (59, 60)):
        gate = Gate()
        server.reply("ok", times=answers)
        server.reply("never", before=[Until(gate)], times=2 * STREAMS)
        with cluster.command(*args, **environment(server)) as process:
            server.wait_received(asked + answers + 2 * STREAMS, WAIT)
            until_recorded(results, upto)
            kill(process.pid)
            left += 2 * STREAMS
            server.wait_left_early(left, WAIT)
        asked = len(server.requests)
        gate.set()
    assert recorded(results) == sorted(set(recorded(results)))
    server.fail(400, {"code": 20015, "message": "No."})
    with cluster.command(*args, **environment(server)) as process:
        code, out, err = ended(process)
    assert (code, out) == (1, "")
    first, second, third = err.splitlines()
    assert (first, second) == ("going on: 60 of 200 lines are finished", "199 done")
    assert third.startswith("1 failed, BadRequestError: HTTP 400, code 20015: No.")
    assert third.endswith(f"see {results}/*.errors.jsonl; --retry-failed asks it again")
    assert recorded(results) == NAMES
    assert len(server.requests) == 200 + 4 * STREAMS
    with cluster.command(
        *args, "--retry-failed", "--join", str(tmp_path / "all.jsonl"), **environment(server)
    ) as process:
        assert ended(process) == (0, "", "going on: 199 of 200 lines are finished\n200 done\n")
    assert len(server.requests) == 201 + 4 * STREAMS
    assert recorded(results) == NAMES
    assert sorted(line["custom_id"] for line in read(tmp_path / "all.jsonl")) == NAMES
    assert read(tmp_path / "all.errors.jsonl") == []
    assert not list(results.glob("*.errors.jsonl"))


def test_ctrl_c_leaves_at_once_and_says_how_to_go_on(
    cluster: RayCluster, server: FakeSiliconFlow, requests: Path, tmp_path: Path
) -> None:
    gate = Gate()
    server.reply("never", before=[Until(gate)], times=STREAMS)
    args = [str(requests), "-o", str(tmp_path / "results"), "-c", str(STREAMS)]
    with cluster.command(*args, **environment(server)) as process:
        server.wait_received(STREAMS, WAIT)
        process.send_signal(signal.SIGINT)
        assert ended(process) == (130, "", "stopped; the same command goes on from here\n")
    server.wait_left_early(STREAMS, WAIT)
    gate.set()


def test_a_refused_key_ends_the_run_with_the_reason(
    cluster: RayCluster, server: FakeSiliconFlow, requests: Path, tmp_path: Path
) -> None:
    """Nothing counts as finished, and each actor asks for no more than was under way."""
    args = [str(requests), "-o", str(tmp_path / "results"), "-c", "4"]
    with cluster.command(*args, **environment(server) | {"SILICONFLOW_API_KEY": "wrong"}) as process:
        code, _, err = ended(process)
    error, note = err.splitlines()
    assert code == 1
    assert error.startswith("error: HTTP 401")
    assert note == "stopped at 0 done, as no other line would fare better; the same command goes on from here"
    assert len(server.requests) <= 4


@pytest.mark.parametrize("address", ["127.0.0.1:9", "nonsense"])
def test_a_cluster_that_is_not_there_is_named_before_anything_is_sent(
    cluster: RayCluster, server: FakeSiliconFlow, requests: Path, tmp_path: Path, address: str
) -> None:
    args = [str(requests), "-o", str(tmp_path / "results"), "--ray", address]
    cluster_of_another_address = type(cluster).command
    address, cluster.address = cluster.address, address
    try:
        with cluster_of_another_address(cluster, *args[:3], **environment(server)) as process:
            code, _, err = ended(process)
    finally:
        cluster.address = address
    assert code == 2
    (line,) = err.splitlines()
    assert line.startswith("error: ")
    assert args[-1] in line
    assert len(server.requests) == 0
