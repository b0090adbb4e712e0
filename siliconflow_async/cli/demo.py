"""Whom a command asks: SiliconFlow, another service, or with `--demo` a stand-in on this machine."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from .. import AsyncSiliconFlow
from ..testing import FakeSiliconFlow
from .screen import Failed, Screen

__all__ = ["KEEP", "announced", "check_service", "client_of"]

# A long run is no test: nobody asks for what the stand-in saw.
KEEP = 1
_DEMO_PACE = 60.0


def check_service(demo: bool, base_url: str | None, *, otherwise: str) -> None:
    """Raise Failed for a service that can't be asked. otherwise: the command to try without a key."""
    if not demo:
        if not os.environ.get("SILICONFLOW_API_KEY", "").strip():
            words = f"or try it without one: siliconflow-async {otherwise}"
            raise Failed(f"no API key. Set SILICONFLOW_API_KEY to yours, {words}")
    elif base_url is not None:
        raise Failed("--demo brings its own service; leave --base-url out")


@asynccontextmanager
async def announced(
    screen: Screen, demo: bool, base_url: str | None, **options: Any
) -> AsyncIterator[AsyncSiliconFlow]:
    """Do as `client_of`, and say so where a stand-in answers."""
    async with client_of(demo, base_url, **options) as client:
        if demo:
            screen.notice(f"demo: a stand-in on this machine answers, at {client.base_url}; no key is needed")
        yield client


@asynccontextmanager
async def client_of(demo: bool, base_url: str | None, **options: Any) -> AsyncIterator[AsyncSiliconFlow]:
    """Give a client of the service while the block runs, and the stand-in with it; `options` are the client's."""
    if not demo:
        async with AsyncSiliconFlow(base_url=base_url, **options) as client:
            yield client
        return
    async with (
        FakeSiliconFlow(tokens_per_second=_DEMO_PACE, keep=KEEP) as server,
        # A proxy of the environment would not find this machine.
        AsyncSiliconFlow(api_key="demo", base_url=server.base_url, trust_env=False, **options) as client,
    ):
        yield client
