"""The pytest plugin: the fixture `siliconflow_server`.

pytest loads it in every run of an environment that has the library, as `siliconflow_async_pytest`, which this module is
called where it is installed: outside the package, nothing but pytest is imported until the fixture is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from siliconflow_async.testing import FakeSiliconFlow


@pytest.fixture
def siliconflow_server() -> Iterator[FakeSiliconFlow]:
    """A `FakeSiliconFlow` in a thread of its own, for sync tests and any async framework."""
    from siliconflow_async.testing import FakeSiliconFlow

    with FakeSiliconFlow().threaded() as server:
        yield server
