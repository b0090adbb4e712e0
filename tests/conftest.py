"""What every test shares: the event loop's kind, who watches it, and how long Hypothesis searches."""

import gc
import os
import signal
import sys
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
import trustme
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import none

from . import watched

# The same examples in every run; `--hypothesis-profile=long` draws thirty times as many, and others each time.
settings.register_profile(
    "short", derandomize=True, deadline=None, max_examples=200, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "long", settings.get_profile("short"), derandomize=False, max_examples=6_000, database=None, print_blob=True
)
settings.load_profile("short")

if (loop := os.environ.get("SILICONFLOW_TEST_LOOP", "asyncio")) == "uvloop":
    # This process, and by its path the Python programs that tests start.
    from .loop_kind import sitecustomize

    kind = str(Path(sitecustomize.__file__).parent)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [kind, os.environ.get("PYTHONPATH")]))
elif loop != "asyncio":
    raise pytest.UsageError(f"SILICONFLOW_TEST_LOOP must be asyncio or uvloop, not {loop!r}")

watched.watch()


# Some hundred programs that tests start import the library: where Python is told to keep no bytecode, each compiles it.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# One authority that vouches for nobody. Those of the machine are nobody's here, and to read them takes a tenth of a
# second: for each context of TLS, and for each program that imports aiohttp, which makes one.
_authorities = tempfile.TemporaryDirectory()
os.environ["SSL_CERT_FILE"] = str(Path(_authorities.name, "authorities.pem"))
trustme.CA().cert_pem.write_to_path(os.environ["SSL_CERT_FILE"])


def pytest_unconfigure() -> None:
    _authorities.cleanup()


@pytest.hookimpl(optionalhook=True)  # where pytest-xdist is missing, too
def pytest_xdist_auto_num_workers() -> int | None:
    """Two for each processor: more than half of the tests' time is waiting, for clocks that are what they are about."""
    if os.environ.get("PYTEST_XDIST_AUTO_NUM_WORKERS"):
        return None
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return 2 * processors


def pytest_collection_finish() -> None:
    # What is there before the first test stays. Looked through after each, it would cost each some 50 ms. Hypothesis
    # looks for what holds its random numbers when it first runs, and would find nothing that is frozen.
    given(none())(lambda _: None)()
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def _sigint_reaches_children() -> Iterator[None]:
    # Tests run in the background of a script ignore SIGINT, and every program that they start would inherit that.
    before = signal.getsignal(signal.SIGINT)
    if before == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True)
def _shared_limits_end() -> Iterator[None]:
    # A thread that shares limits goes on for a window after the last call: into tests that count memory.
    yield
    if (shared := sys.modules.get("siliconflow_async.limits.shared")) is not None:
        for limits in list(shared._ALL):
            limits.leave()


@pytest.fixture(autouse=True)
def complaints() -> Iterator[list[str]]:
    """What the loops complain of during the test, which fails it; a test that provokes a complaint takes it out."""
    yield watched.complaints
    gc.collect()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None]:
    # Here and not in the fixture, since the fixtures of modules end after it.
    try:
        return (yield)
    finally:
        told, watched.complaints[:] = "\n".join(watched.complaints), []
        if nextitem is None or nextitem.path != item.path:
            # What a module leaves stays, as above: reports and imports, after some thousand tests 70,000 objects.
            gc.collect()
            gc.freeze()
        if told:
            pytest.fail(told, pytrace=False)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
