"""What needs Ray says so in one line where there is none, or another one, before anything is sent."""

from __future__ import annotations

import pickle
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from siliconflow_async import ConfigurationError, Limit, LimitsUnavailableError, MapProgress
from siliconflow_async.integrations.ray import RayLimits
from siliconflow_async.integrations.ray.dataset import run_name
from siliconflow_async.integrations.ray.progress import ProgressActor, total_of
from siliconflow_async.integrations.ray.worker import AskSetup

from ...programs import environment

if TYPE_CHECKING:
    from pathlib import Path

_ASK = """
import sys
from siliconflow_async import ConfigurationError
from siliconflow_async.integrations.ray import ask
try:
    ask(None, prompt="text", model="org/m", store=None)
except ConfigurationError as error:
    print(error)
"""


def said(code: str, **more: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment() | more, capture_output=True, text=True, check=True
    )
    return done.stdout


def test_without_the_extra_it_is_named() -> None:
    assert said(f"import sys; sys.modules['ray'] = None\n{_ASK}") == (
        'Ray is an extra: pip install "siliconflow-async[ray]"\n'
    )


def test_a_ray_of_another_version_is_named(tmp_path: Path) -> None:
    """One that is older than those whose behaviour the tests pin."""
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "__init__.py").write_text('__version__ = "2.9.1"\n')
    (tmp_path / "ray" / "data.py").write_text("")
    path = f"{tmp_path}:{environment()['PYTHONPATH']}"
    assert said(_ASK, PYTHONPATH=path) == "Ray 2.60 or newer is needed, and this is 2.9.1\n"


def setup(**options: object) -> AskSetup:
    given = {"api_key": "sk-secret", "client": {}, "store": None, "run": run_name(), "retry_failed": False}
    return AskSetup(**(given | {"max_concurrency": 8, "patience": 1.0} | options))  # type: ignore[arg-type]


def test_an_actors_setup_shows_no_key_and_travels_with_it() -> None:
    """Ray logs the reprs of what it is given."""
    given = setup(client={"headers": {"X-Token": "hidden"}})
    assert "sk-secret" not in repr(given)
    assert "hidden" not in repr(given)
    assert pickle.loads(pickle.dumps(given))._api_key == "sk-secret"


def test_options_that_no_client_takes_are_named_where_they_were_given() -> None:
    with pytest.raises(ConfigurationError, match="timeouts must be a Timeouts, not 3"):
        setup(client={"timeouts": 3}).check()
    with pytest.raises(TypeError, match="unexpected keyword argument 'time_out'"):
        setup(client={"time_out": 3}).check()


def test_later_runs_come_after_earlier_ones() -> None:
    """By name, as the parts of their results are read; and no two are one."""
    names = [run_name() for _ in range(50)]
    assert [name[:12] for name in names] == sorted(name[:12] for name in names)
    assert len(set(names)) == 50
    assert all(name.isalnum() for name in names)


def progress(**changes: object) -> MapProgress:
    values: dict[str, object] = {
        "done": 10, "failed": 1, "in_flight": 4, "total": None, "tokens": 100, "tokens_per_second": 5.0,
        "concurrency": 8, "paused_until": None, "waiting_for": None, "waiting_left": None, "elapsed": 10.0,
        "time_left": None,
    }  # fmt: skip
    return MapProgress(**(values | changes))  # type: ignore[arg-type]


def test_how_all_actors_come_along_is_the_sum_of_them() -> None:
    """With what was finished before; of those that wait, the one that is held up for longest is told."""
    waiting = progress(waiting_for="rpm", waiting_left=3.0, elapsed=11.0)
    total = total_of([progress(), waiting, progress(waiting_for="tpm", waiting_left=2.0)], 100, 5, 171)
    assert (total.done, total.failed, total.total, total.in_flight) == (130, 8, 171, 12)
    assert (total.waiting_for, total.waiting_left, total.elapsed) == ("rpm", 3.0, 11.0)
    assert total.time_left == 11.0
    assert total_of([], 1, 2, 9).time_left is None


def test_what_an_actor_has_done_counts_after_it_has_died() -> None:
    """What it had under way does not."""
    now = 100.0
    actor = ProgressActor(lambda: now)
    actor.report("a", progress(done=1))
    actor.report("a", progress(done=7))
    now = 104.0
    actor.report("b", progress(done=2))
    assert [(report.done, report.in_flight) for report in actor.reports()] == [(7, 0), (2, 4)]


def test_limits_of_ray_travel_whole_and_say_when_there_is_no_cluster() -> None:
    pytest.importorskip("ray")
    limits = pickle.loads(pickle.dumps(RayLimits(Limit(rpm=7), account="ours", on_loss="stop", processes=3)))
    assert (limits.limits, limits.account, limits.on_loss, limits.processes) == (Limit(rpm=7), "ours", "stop", 3)
    with pytest.raises(LimitsUnavailableError, match="joined no Ray cluster"):
        limits.exchange([], [])


@pytest.mark.parametrize("account", ["", None, 7])
def test_limits_are_of_a_named_account(account: object) -> None:
    with pytest.raises(ConfigurationError, match="account must be a name"):
        RayLimits(account=account)  # type: ignore[arg-type]
