"""`RayLimits` on a real cluster: all actors keep to one limit, also when what keeps it is killed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from siliconflow_async.testing import FakeSiliconFlow

from .conftest import case, kill, until_recorded
from .test_ask import answered, options, rows_of

if TYPE_CHECKING:
    from .conftest import RayCluster

RPM = 60
WINDOW = 4.0


def ledgers() -> list[int]:
    """The processes of the actors that keep limits: Ray names each process by what it does."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdigit() and (process / "cmdline").read_bytes().startswith(b"ray::LedgerActor"):
                found.append(int(process.name))
        except OSError:
            continue
    return found


def test_two_actors_keep_to_one_limit_though_its_keeper_is_killed(cluster: RayCluster, tmp_path: Path) -> None:
    """No request is refused: what was used is known again from what the actors report."""
    limits = {"rpm": RPM, "window": WINDOW}
    # Each account's stays, whoever began it.
    others = set(ledgers())
    with FakeSiliconFlow(limits=(RPM, 10**9), window=WINDOW).threaded() as server:
        asked = case(rows_of(3 * RPM), blocks=4, **options(server, tmp_path, actors=2, limits=limits))
        with cluster.driver(asked) as process:
            until_recorded(tmp_path, RPM)
            (keeper,) = set(ledgers()) - others
            kill(keeper)
            rows = answered(process)
        statuses = [request.status for request in server.requests]
    assert sorted(row["id"] for row in rows) == [row["id"] for row in rows_of(3 * RPM)]
    assert {row["error"] for row in rows} == {None}
    assert statuses == [200] * 3 * RPM
