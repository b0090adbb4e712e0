"""`batch --ray`: what it does not do is named before Ray is started. On a cluster it is tried in tests/cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from siliconflow_async.testing import FakeSiliconFlow

    from .conftest import Command


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["-", "-o", "results"], "--ray reads a file, and writes a folder that the next run goes on with: -o results/"),
        (["{requests}"], "--ray reads a file, and writes a folder that the next run goes on with: -o results/"),
        (["{requests}", "-o", "-"], "--ray reads a file, and writes a folder that the next run goes on with"),
        (["{requests}", "-o", "r", "-e", "e"], "with --ray the errors are in the folder of results"),
        (["{requests}", "-o", "r", "--ordered"], "a cluster keeps no order; leave --ordered out"),
        (["{requests}", "-o", "r", "--demo", "--ray", "10.0.0.1:6379"], "--demo answers on this machine alone"),
    ],
)
def test_what_a_cluster_does_not_do_is_named(
    command: Command, server: FakeSiliconFlow, tmp_path: Path, args: list[str], words: str
) -> None:
    requests = tmp_path / "requests.jsonl"
    requests.write_text("{}\n")
    given = [arg.format(requests=requests) for arg in args]
    done = command.run("batch", *given, *([] if "--ray" in given else ["--ray", "local"]))
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {words}")
    assert len(server.requests) == 0


@pytest.mark.parametrize("option", [["--actors", "2"], ["--join", "all.jsonl"]])
def test_what_is_for_a_cluster_alone_is_named(command: Command, option: list[str]) -> None:
    done = command.run("batch", "requests.jsonl", "-o", "results.jsonl", *option)
    assert (done.returncode, done.stderr) == (2, f"error: {option[0]} goes with --ray\n")


def test_without_ray_it_is_one_line(command: Command, tmp_path: Path) -> None:
    """No folder is made."""
    (tmp_path / "ray.py").write_text("raise ImportError")
    done = command.run("batch", "q.jsonl", "-o", str(tmp_path / "r"), "--ray", "local", PYTHONPATH=str(tmp_path))
    assert (done.returncode, done.stderr) == (2, 'error: Ray is an extra: pip install "siliconflow-async[ray]"\n')
    assert not (tmp_path / "r").exists()
