from __future__ import annotations

import json
import os
import random
import signal
from typing import TYPE_CHECKING

import pytest

from siliconflow_async.testing import FakeSiliconFlow

from .conftest import Command
from .test_batch import ids, request

if TYPE_CHECKING:
    from pathlib import Path

# The long command: SILICONFLOW_KILLS=50 python -m pytest tests/cli/test_remote.py -k kill
KILLS = int(os.environ.get("SILICONFLOW_KILLS", "3"))


@pytest.fixture
def requests(tmp_path: Path) -> Path:
    path = tmp_path / "requests.jsonl"
    path.write_text("".join(request(f"id-{i}") for i in range(5)))
    return path


def made(server: FakeSiliconFlow) -> int:
    """How many batches were made."""
    return sum((asked.method, asked.path, asked.status) == ("POST", "/v1/batches", 200) for asked in server.requests)


def test_a_file_is_answered_by_the_service(
    command: Command, server: FakeSiliconFlow, requests: Path, tmp_path: Path
) -> None:
    """It says which batch was sent, and in the end what any batch does; the same command again asks for nothing."""
    results = tmp_path / "results.jsonl"
    args = ["batch", "--remote", str(requests), "-o", str(results), "--window", "48h", "--model", "org/other"]
    done = command.run(*args)
    sent, last = done.stderr.splitlines()
    assert (done.returncode, done.stdout, last) == (0, "", "5 done")
    assert sent.startswith("sent 5 lines as batch_")
    assert ids(results) == [f"id-{i}" for i in range(5)]
    assert server.requests[1].json["completion_window"] == "48h"
    assert json.loads(results.read_text().splitlines()[0])["response"]["body"]["model"] == "org/other"
    asked = len(server.requests)
    done = command.run(*args)
    assert (done.returncode, done.stderr) == (0, "going on: 5 of 5 lines are finished\n5 done\n")
    assert len(server.requests) == asked


def test_lines_that_failed_are_told_as_by_any_batch(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "requests.jsonl"
    path.write_text(request("a") + request("b", temperature=9))
    done = command.run("batch", "--remote", str(path), "-o", str(tmp_path / "r.jsonl"))
    assert done.returncode == 1
    _, first, second = done.stderr.splitlines()
    assert first == "1 done"
    assert second.startswith("1 failed, BadRequestError: HTTP 400, code 20015: temperature")
    assert second.endswith(f"; see {tmp_path / 'r.errors.jsonl'}; --retry-failed asks it again")


def test_the_demo_needs_no_key(command: Command, server: FakeSiliconFlow, requests: Path, tmp_path: Path) -> None:
    done = command.run(
        "batch", "--remote", "--demo", str(requests), "-o", str(tmp_path / "r.jsonl"), SILICONFLOW_API_KEY=""
    )
    assert (done.returncode, done.stderr.splitlines()[-1]) == (0, "5 done")
    assert server.requests == []


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (["{requests}"], "-o results.jsonl"),
        (["-", "-o", "{requests}.r"], "--remote reads a file"),
        (["{requests}", "-o", "-"], "--remote reads a file"),
        (["{requests}", "-o", "{requests}.r", "--rpm", "5"], "leave --rpm out"),
        (["{requests}", "-o", "{requests}.r", "-c", "5"], "leave --concurrency out"),
        (["{requests}", "-o", "{requests}.r", "--ray", "local"], "leave --ray out"),
        (["{requests}", "-o", "{requests}.r", "--ordered"], "leave --ordered out"),
        (["{requests}", "-o", "{requests}"], "files of their own"),
    ],
)
def test_bad_input_ends_with_2(
    command: Command, server: FakeSiliconFlow, requests: Path, args: list[str], why: str
) -> None:
    done = command.run("batch", "--remote", *(arg.format(requests=requests) for arg in args))
    assert (done.returncode, done.stdout) == (2, "")
    assert why in done.stderr
    assert server.requests == []


def test_the_window_goes_with_it(command: Command, requests: Path, tmp_path: Path) -> None:
    done = command.run("batch", str(requests), "-o", str(tmp_path / "r.jsonl"), "--window", "48h")
    assert (done.returncode, done.stderr) == (2, "error: --window goes with --remote\n")


def test_what_the_service_refuses_ends_with_1(
    command: Command, server: FakeSiliconFlow, requests: Path, tmp_path: Path
) -> None:
    args = ["batch", "--remote", str(requests), "-o", str(tmp_path / "r.jsonl")]
    done = command.run(*args, "--window", "1h")
    assert done.returncode == 1
    assert done.stderr.startswith("error: HTTP 400, code 20015: completion_window")
    done = command.run(*args, SILICONFLOW_API_KEY="wrong")
    assert (done.returncode, done.stderr.startswith("error: HTTP 401")) == (1, True)
    assert command.run(*args).stderr.splitlines()[-1] == "5 done"
    assert made(server) == 1


@pytest.mark.skipif(os.name == "nt", reason="sends POSIX signals")
def test_ctrl_c_leaves_the_batches_running_and_says_so(requests: Path, tmp_path: Path) -> None:
    args = ["batch", "--remote", str(requests), "-o", str(tmp_path / "r.jsonl")]
    with FakeSiliconFlow(batch_polls=3).threaded() as server:
        command = Command(server.base_url)
        with command.start(*args) as process:
            assert process.stderr is not None
            server.wait_received(3)
            process.send_signal(signal.SIGINT)
            assert process.wait() == 130
            told = process.stderr.read().decode().splitlines()
        assert told[-1] == "stopped; what was sent goes on at the service, and the same command goes on from here"
        assert command.run(*args).stderr.splitlines()[-1] == "5 done"
        assert made(server) == 1
        assert not [asked for asked in server.requests if "cancel" in asked.path]


@pytest.mark.skipif(os.name == "nt", reason="sends POSIX signals")
def test_kill_9_at_random_points_sends_no_line_twice(tmp_path: Path) -> None:
    """After each kill the same command goes on, until every line is in the results once, of one batch."""
    rng = random.Random(os.environ.get("SILICONFLOW_KILLS_SEED", "kills"))
    path = tmp_path / "requests.jsonl"
    names = [f"id-{i:05}" for i in range(400)]
    path.write_text("".join(request(name) for name in names))
    for kill in range(KILLS):
        results = tmp_path / f"{kill}.jsonl"
        args = ["batch", "--remote", str(path), "-o", str(results)]
        with FakeSiliconFlow(batch_polls=1).threaded() as server:
            command = Command(server.base_url)
            with command.start(*args) as process:
                server.wait_received(rng.randrange(1, 5))
                # Into what it does with the answer.
                for _ in range(rng.randrange(0, 200)):
                    os.sched_yield()
                process.kill()
                process.wait()
            done = command.run(*args)
            assert (done.returncode, done.stderr.splitlines()[-1]) == (0, "400 done")
            assert ids(results) == names
            assert made(server) == 1
