"""What every test shares: the event loop's kind, and how long Hypothesis searches."""

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


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
