"""What a test leaves behind in its loops, or makes them complain of, fails it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from .programs import environment

TESTS = """
import asyncio
import gc
import os
import socket
import threading

import pytest

kept = []


def failing():
    raise ValueError("in a callback")


async def sleeping():
    await asyncio.sleep(60)


async def leave_a_task():
    kept.append(asyncio.create_task(sleeping()))
    await asyncio.sleep(0)


async def complain():
    asyncio.get_running_loop().call_soon(failing)
    await asyncio.sleep(0)


async def fail_unheard():
    async def fail():
        raise ValueError("nobody asks")

    task = asyncio.create_task(fail())
    await asyncio.wait([task])


async def forget_a_socket():
    socket.socket()


async def lose_a_task():
    async def waiting():
        await asyncio.Future()

    asyncio.create_task(waiting())
    await asyncio.sleep(0)
    gc.collect()


async def forget_a_transport():
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
    await loop.create_connection(asyncio.Protocol, *listener.sockets[0].getsockname())
    listener.close()


async def tidy():
    task = asyncio.create_task(sleeping())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])


STRAYS = [leave_a_task, lose_a_task, complain, fail_unheard, forget_a_socket, forget_a_transport]
if os.environ.get("SILICONFLOW_TEST_LOOP") == "uvloop":
    # Its `close()` may spin for ever where a connection is open.
    STRAYS.remove(forget_a_transport)
WAYS = pytest.mark.parametrize("way", [*STRAYS, tidy], ids=lambda way: way.__name__)
LEAVING = pytest.mark.parametrize("way", [leave_a_task], ids=["leave_a_task"])


@WAYS
def test_run(way):
    asyncio.run(way())


@WAYS
def test_run_in_a_thread(way):
    thread = threading.Thread(target=asyncio.run, args=[way()])
    thread.start()
    thread.join()


@pytest.fixture
def anyio_backend():
    return "asyncio"


@WAYS
@pytest.mark.anyio
async def test_anyio(way):
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda loop, context: None)
    await way()


@pytest.fixture
async def unclean():
    yield
    await leave_a_task()


@LEAVING
@pytest.mark.anyio
async def test_fixture(unclean, way):
    pass


@pytest.fixture(scope="module")
def unclean_module():
    yield
    asyncio.run(leave_a_task())


@LEAVING
def test_own_loop(way):
    loop = asyncio.new_event_loop()
    loop.run_until_complete(way())
    loop.close()
    kept.clear()


def test_tidy_after_provoking(complaints):
    asyncio.run(complain())
    assert "in a callback" in complaints.pop()


@LEAVING
def test_module(unclean_module, way):
    pass
"""


SAID = {
    "leave_a_task": "Failed: a task is left when its loop ends: <Task pending",
    "lose_a_task": "Failed: the loop complains: Task was destroyed but it is pending!",
    "complain": "Failed: the loop complains: Exception in callback",
    "fail_unheard": "Failed: the loop complains: Task exception was never retrieved",
    "forget_a_socket": "pytest.PytestUnraisableExceptionWarning",
}
if os.environ.get("SILICONFLOW_TEST_LOOP") != "uvloop":
    # Both sides of the connection complain.
    SAID["forget_a_transport"] = "ExceptionGroup: multiple unraisable exception warnings"
WHERE = {
    "run": SAID,
    "run_in_a_thread": SAID,
    "anyio": SAID,
    "fixture": ["leave_a_task"],
    "own_loop": ["leave_a_task"],
    "module": ["leave_a_task"],
}


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What pytest said of each of TESTS, in one run; of those that passed nothing."""
    path = tmp_path_factory.mktemp("watched") / "test_it.py"
    path.write_text(TESTS)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "-p",
        f"{__package__}.conftest",
        "-rpfE",
        "--rootdir",
        path.parent,
    ]
    run = subprocess.run(
        [*command, "-c", Path(__file__).parents[1] / "pyproject.toml", path],
        # As wide as what is said, which is cut otherwise.
        env=environment() | {"COLUMNS": "2000"},
        cwd=path.parent,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 1, run.stdout + run.stderr
    said: dict[str, list[str]] = {}
    for name, words in re.findall(
        r"^(?:PASSED|FAILED|ERROR) test_it.py::test_(\S+)(?: - (.*))?$", run.stdout, re.MULTILINE
    ):
        told = said.setdefault(name, [])
        told += filter(None, [words])
    return said


@pytest.mark.parametrize(("where", "stray"), [(where, stray) for where, strays in WHERE.items() for stray in strays])
def test_a_stray_fails_the_test_that_left_it(reported: dict[str, list[str]], where: str, stray: str) -> None:
    """Once, and with words that say what it is, whoever made the loop and whatever handler it has."""
    (words,) = reported[f"{where}[{stray}]"]
    assert words.startswith(SAID[stray])


def test_nothing_else_fails(reported: dict[str, list[str]]) -> None:
    """Neither a test that tidies up nor one that takes out the complaint that it provoked."""
    tidy = ["anyio[tidy]", "run[tidy]", "run_in_a_thread[tidy]", "tidy_after_provoking"]
    assert sorted(name for name, words in reported.items() if not words) == tidy
    assert len(reported) == len(tidy) + sum(map(len, WHERE.values()))
