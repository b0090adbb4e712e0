"""Rows on a cluster: `python -m benchmarks.cluster [--rows N] [--actors 0 1 2 4] [--theirs N] [--json FILE]`.

How many rows a second are answered by a server that answers at once, and what memory that takes:

    one process      `siliconflow-async batch FILE -o results.jsonl`, as 0 actors
    N actors         the same with `--ray local --actors N`: a cluster of one node, on this machine
    Ray's own        `ray.data.llm`'s HTTP processor, which asks for whole answers; `--theirs` rows, as it is slow

All have 256 requests under way, of each actor. The pace is that between a tenth and nine tenths of the rows: starting
Ray is not in it. Memory is the resident set of the command, and the largest of its actors, at a quarter of the rows and
at the end. Results that lack a row, or have one twice, are an error. Needs the extras `ray` and `bench`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from .server import Server

_ASK = {"model": "org/model", "messages": [{"role": "user", "content": "Say something."}], "max_tokens": 20}
_CHUNKS = 8
_STREAMS = 256
_LOOK = 0.5
_ACTOR = b"ray::MapWorker(MapBatches(_Reader))"

_THEIRS = """
import json, sys, time
import ray
from ray.data.llm import HttpRequestProcessorConfig, build_processor

url, rows, streams = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
ray.init(address="local", log_to_driver=False, logging_level="ERROR")
ray.data.DataContext.get_current().enable_progress_bars = False
ask = json.loads(sys.argv[4])
processor = build_processor(
    HttpRequestProcessorConfig(url=url + "/chat/completions", batch_size=64, concurrency=1),
    preprocess=lambda row: {"payload": ask, "id": row["id"]},
    postprocess=lambda row: {"id": row["id"], "text": str(row["http_response"])},
)
seen, ids = [], set()
for row in processor(ray.data.range(rows)).iter_rows():
    seen.append(time.monotonic())
    ids.add(row["id"])
assert len(ids) == len(seen) == rows
low, high = rows // 10, rows * 9 // 10
print(json.dumps({"pace": (high - low) / (seen[high] - seen[low])}))
"""


def _memory(process: int) -> int:
    try:
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def _actors() -> list[int]:
    found = []
    for name in os.listdir("/proc"):
        try:
            if name.isdigit() and Path(f"/proc/{name}/cmdline").read_bytes().startswith(_ACTOR):
                found.append(int(name))
        except OSError:
            continue
    return found


def _written(results: Path) -> int:
    try:
        paths = list(results.glob("part-*")) if results.is_dir() else [results]
        return sum(path.stat().st_size for path in paths)
    except OSError:
        return 0


def _ours(folder: Path, requests: Path, rows: int, base_url: str, actors: int) -> dict[str, Any]:
    """Run the command, and return its pace and memory."""
    results = folder / (f"results-{actors}" if actors else "results.jsonl")
    command = [sys.executable, "-m", "siliconflow_async", "batch", str(requests), "-o", str(results)]
    command += ["-c", str(_STREAMS)] + (["--ray", "local", "--actors", str(actors)] if actors else [])
    environment = os.environ | {"SILICONFLOW_BASE_URL": base_url, "SILICONFLOW_API_KEY": "key"}
    looks: list[tuple[float, int, int, int]] = []
    said = folder / "said.txt"
    with said.open("wb") as told, subprocess.Popen(command, env=environment, stderr=told) as process:
        while process.poll() is None:
            largest = max(map(_memory, _actors()), default=0) if actors else 0
            looks.append((time.monotonic(), _written(results), _memory(process.pid), largest))
            time.sleep(_LOOK)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: exit code {process.returncode}\n{said.read_text()[-2000:]}")
    parts = sorted(results.glob("part-*")) if actors else [results]
    ids = [json.loads(line)["custom_id"] for part in parts for line in part.open()]
    if len(ids) != rows or len(set(ids)) != rows:
        raise SystemExit(f"{results}: {len(ids)} lines of {len(set(ids))} rows, not of {rows}")
    whole = _written(results)
    low = next(look for look in looks if look[1] >= whole * 0.1)
    high = next((look for look in looks if look[1] >= whole * 0.9), looks[-1])
    quarter = next(look for look in looks if look[1] >= whole * 0.25)
    pace = rows * (high[1] - low[1]) / whole / max(high[0] - low[0], _LOOK)
    busy = [look for look in looks if look[3] or not actors]
    return {
        "pace": pace,
        "seconds": looks[-1][0] - looks[0][0],
        "command, MiB": [quarter[2] >> 20, busy[-1][2] >> 20],
        "actor, MiB": [quarter[3] >> 20, busy[-1][3] >> 20],
    }


def _theirs(rows: int, base_url: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", _THEIRS, base_url, str(rows), str(_STREAMS), json.dumps(_ASK)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


async def _measure(options: argparse.Namespace) -> dict[str, Any]:
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        requests = folder / "requests.jsonl"
        with requests.open("w") as file:
            for number in range(options.rows):
                file.write(json.dumps({"custom_id": f"row-{number}", "body": _ASK}) + "\n")
        async with Server() as server:
            streams = server.url("bulk", "text", _CHUNKS, _CHUNKS)
            for actors in options.actors:
                title = f"{actors} actor{'s' * (actors > 1)}" if actors else "one process"
                found[title] = await asyncio.to_thread(_ours, folder, requests, options.rows, streams, actors)
                _tell(title, options.rows, found[title])
            if options.theirs:
                title = "Ray's own"
                found[title] = await asyncio.to_thread(_theirs, options.theirs, server.url("whole"))
                _tell(title, options.theirs, found[title])
    return found


def _tell(title: str, rows: int, found: dict[str, Any]) -> None:
    rest = ", ".join(f"{name} {value}" for name, value in found.items() if name != "pace")
    print(f"{title:12} {rows:9} rows {found['pace']:8.0f} rows/s  {rest}", flush=True)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cluster", description="Measure rows on a cluster.")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--actors", type=int, nargs="*", default=[0, 1, 2, 4], help="0 is one process, without Ray")
    parser.add_argument("--theirs", type=int, default=10_000, help="rows for Ray's own processor; 0 leaves it out")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args(arguments)
    found = asyncio.run(_measure(options))
    if options.json:
        Path(options.json).write_text(json.dumps(found, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
