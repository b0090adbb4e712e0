"""The cluster: joining one, and what has to be true of it before anything is sent."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...errors import ConfigurationError
from ...version import __version__

__all__ = ["actor_pool", "check_nodes", "join_cluster", "ray_data"]

_OLDEST = (2, 60)
_CONNECT_SECONDS = 5.0
_NODE_SECONDS = 120.0


def ray_data() -> Any:
    """Return Ray with its `ray.data`. Raises ConfigurationError without the extra, or with a Ray that is too old."""
    try:
        # Here and not above: who does not ask on a cluster does without.
        import ray  # pyright: ignore[reportMissingImports]  # it is too large to be there for the checks alone
        import ray.data  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ConfigurationError('Ray is an extra: pip install "siliconflow-async[ray]"') from error
    version = str(vars(ray)["__version__"])
    if tuple(int(part) for part in version.split(".")[:2]) < _OLDEST:
        oldest = ".".join(map(str, _OLDEST))
        raise ConfigurationError(f"Ray {oldest} or newer is needed, and this is {version}")
    return ray


def join_cluster(address: str) -> Any:
    """Join a cluster, or with "local" start one on this machine, and return Ray. Raises ConfigurationError."""
    # Of the lines that Ray's own processes write on the terminal, none is about the requests.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    ray = ray_data()
    _check_address(address)
    try:
        with _nothing_on_stderr():
            ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except (Exception, SystemExit) as error:
        # SystemExit, too, by which Ray ends a program whose cluster does not answer.
        why = str(error).strip().partition("\n")[0]
        raise ConfigurationError(f"can't join the Ray cluster at {address}: {why}") from error
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    return ray


@contextmanager
def _nothing_on_stderr() -> Iterator[None]:
    """Keep what is not Python from writing on stderr: how Ray was told to say less is a line too."""
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(nowhere)
        os.close(kept)


def _check_address(address: str) -> None:
    """Raise ConfigurationError where nobody listens, for which Ray takes two minutes."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit():
        return
    try:
        socket.create_connection((host.rpartition("/")[2].strip("[]"), int(port)), _CONNECT_SECONDS).close()
    except OSError as error:
        raise ConfigurationError(f"no Ray cluster answers at {address}: {error}") from error


def check_nodes(ray: Any, marks: list[Path]) -> None:
    """Raise ConfigurationError unless each node has this library, in this version, and sees the files."""
    from ray.util.scheduling_strategies import (  # type: ignore[import-not-found,unused-ignore]  # an extra
        NodeAffinitySchedulingStrategy,
    )

    look = ray.remote(num_cpus=0, max_retries=0)(_look)
    asked = {}
    for node in ray.nodes():
        if node["Alive"]:
            where = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            asked[node["NodeManagerAddress"]] = look.options(scheduling_strategy=where).remote(marks, __version__)
    for name, answer in asked.items():
        try:
            why = ray.get(answer, timeout=_NODE_SECONDS)
        except Exception as error:
            why = str(getattr(error, "cause", None) or error).strip().rpartition("\n")[2]
        if why:
            raise ConfigurationError(f"the node {name} can't take part: {why}")


def _look(marks: list[Path], version: str) -> str:
    """Return why this node can't take part, or nothing."""
    if __version__ != version:
        return f"it has siliconflow-async {__version__}, and here is {version}"
    missing = next((path for path in marks if not path.exists()), None)
    return "" if missing is None else f"it does not see {missing}, which all nodes have to"


def actor_pool(ray: Any, actors: int, calls: int) -> dict[str, Any]:
    """Return the arguments of `map_batches` for a pool of our actors.

    Each has threads for several batches at once, since it mostly waits; so a tenth of a CPU is enough.
    """
    return {
        "compute": ray.data.ActorPoolStrategy(
            size=actors,
            max_tasks_in_flight_per_actor=calls,
            max_concurrent_calls_per_actor=calls,
            enable_true_multi_threading=True,
        ),
        "batch_size": None,
        "batch_format": "pyarrow",
        "num_cpus": 0.1,
    }
