"""`batch --ray`: a file of requests in, a folder of results out, answered by a Ray cluster."""

from __future__ import annotations

import os
import sys
from contextlib import AbstractAsyncContextManager, nullcontext, redirect_stdout
from hashlib import blake2b
from pathlib import Path
from typing import Any

from .. import AsyncSiliconFlow
from ..batch import BatchReport
from .batch import concluded, watched
from .demo import announced, check_service
from .limits import chosen_limits
from .screen import Failed, Screen

__all__ = ["batch_on_cluster"]


async def batch_on_cluster(
    screen: Screen,
    *,
    address: str,
    actors: int,
    joined: str | None,
    requests: str,
    output: str | None,
    errors: str | None,
    ordered: bool,
    demo: bool,
    base_url: str | None,
    rpm: int | None,
    tpm: int | None,
    redis: str | None,
    account: str | None,
    max_retries: int | None,
    **options: Any,
) -> int:
    """Run a batch; return the exit code. The names are those of the options, `options` goes on to the run."""
    # Here and not above: it brings the extra's code.
    from ..integrations.ray.job import run_on_cluster
    from ..integrations.ray.limits import RayLimits

    check_service(demo, base_url, otherwise="batch --demo requests.jsonl -o results.jsonl")
    if "-" in (requests, output) or output is None:
        raise Failed("--ray reads a file, and writes a folder that the next run goes on with: -o results/")
    if errors is not None:
        raise Failed("with --ray the errors are in the folder of results; leave --errors out")
    if ordered:
        raise Failed("a cluster keeps no order; leave --ordered out")
    if demo and address != "local":
        raise Failed("--demo answers on this machine alone: --ray local")
    chosen: dict[str, Any] = {}
    if max_retries is not None:
        chosen["max_retries"] = max_retries
    results = Path(output)
    service: AbstractAsyncContextManager[AsyncSiliconFlow | None] = (
        announced(screen, True, None) if demo else nullcontext()
    )

    async def run() -> BatchReport:
        async with service as stand_in:
            if stand_in is not None:
                chosen.update(base_url=stand_in.base_url, trust_env=False)
                key = "demo"
            else:
                chosen["base_url"] = base_url or os.environ.get("SILICONFLOW_BASE_URL") or None
                key = os.environ["SILICONFLOW_API_KEY"].strip()
            limits = chosen_limits(rpm, tpm, redis, account)
            if redis is None:
                # Shared by all runs of the account on the cluster. The key itself is no name for it.
                digest = blake2b(f"{chosen['base_url']} {key}".encode(), digest_size=8).hexdigest()
                limits = RayLimits(limits, account=digest, processes=actors)
            chosen["limits"] = limits
            # Ray tells on stdout of actors that died.
            with watched(screen) as watching, redirect_stdout(sys.stderr):
                return await run_on_cluster(
                    address,
                    Path(requests),
                    results,
                    actors=actors,
                    joined=None if joined is None else Path(joined),
                    api_key=key,
                    client=chosen,
                    **watching,
                    **options,
                )

    return await concluded(screen, run(), results / "*.errors.jsonl")
