"""A real Redis for each test that asks for one.

It is one of the machine (Debian's package `redis-server`). Without one, tests are skipped. With
SILICONFLOW_REDIS=require they fail instead, and those of several processes, which take minutes, run too.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .server import RedisServer


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A server that knows nothing yet."""
    from .server import PROGRAM, RedisServer

    if PROGRAM is None:
        if os.environ.get("SILICONFLOW_REDIS") == "require":
            pytest.fail("no redis-server on this machine", pytrace=False)
        pytest.skip("no redis-server on this machine")
    with RedisServer(tmp_path / "redis") as server:
        yield server
