"""What every test shares: the event loop's kind, and how long Hypothesis searches."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

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
    from loop_kind import sitecustomize

    kind = str(Path(sitecustomize.__file__).parent)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [kind, os.environ.get("PYTHONPATH")]))
elif loop != "asyncio":
    raise pytest.UsageError(f"SILICONFLOW_TEST_LOOP must be asyncio or uvloop, not {loop!r}")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
