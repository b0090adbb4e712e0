"""Whom a command asks: SiliconFlow, another service, or with `--demo` a stand-in on this machine."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from .. import AsyncSiliconFlow
from ..testing import FakeSiliconFlow
from .screen import Failed

__all__ = ["KEEP", "check_key", "check_service", "client_of"]

# A long run is no test: nobody asks for what the stand-in saw.
KEEP = 1
_DEMO_PACE = 60.0


def check_key(otherwise: str = "") -> None:
    """Raise Failed without a key. otherwise: what to do then, beside getting one."""
    if not os.environ.get("SILICONFLOW_API_KEY", "").strip():
        raise Failed(f"no API key. Set SILICONFLOW_API_KEY to yours{otherwise}")


def check_service(demo: bool, base_url: str | None, *, otherwise: str) -> None:
    """Raise Failed for a service that can't be asked. otherwise: the command to try without a key."""
    if not demo:
        check_key(f", or try it without one: siliconflow-async {otherwise}")
    elif base_url is not None:
        raise Failed("--demo brings its own service; leave --base-url out")


@asynccontextmanager
async def client_of(demo: bool, base_url: str | None) -> AsyncIterator[AsyncSiliconFlow]:
    """Give a client of the service while the block runs, and the stand-in with it."""
    if not demo:
        async with AsyncSiliconFlow(base_url=base_url) as client:
            yield client
        return
    async with (
        FakeSiliconFlow(tokens_per_second=_DEMO_PACE, keep=KEEP) as server,
        # A proxy of the environment would not find this machine.
        AsyncSiliconFlow(api_key="demo", base_url=server.base_url, trust_env=False) as client,
    ):
        yield client
