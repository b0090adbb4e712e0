"""The guard: has a chunk become more work? Counts, not seconds, so that any machine gives the same answer.

Each way of reading a stream is counted beside the unit, in one process, over the same bytes, without sockets, warmed
up. Its ratio to the unit's must not be more than 10 % above the one in guard.json. There are two counts, each with
ratios of its own per Python version:

    instructions    of the machine, by valgrind --tool=callgrind; left out, with a word, where valgrind is missing
    bytecodes       of Python, by its own tracing

`--update` writes the ratios of this run to guard.json. Exit 0 if none grew too much.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeAlias

from . import ROOT, counted
from .contestants import UNIT

__all__ = ["main"]

# count: way: ratio
Ratios: TypeAlias = dict[str, dict[str, float]]

GROWTH = 1.10
_RATIOS = Path(__file__).with_name("guard.json")
_TOTAL = re.compile(r"^totals: (\d+)$", re.MULTILINE)


def _run(prefix: list[str], *options: str) -> str:
    done = subprocess.run(
        [*prefix, sys.executable, "-m", counted.__name__, *counted.WAYS, *options],
        cwd=ROOT,
        # Whatever else is in the environment moves the stack and fills os.environ.
        env={"PATH": os.environ.get("PATH", ""), "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        raise SystemExit(f"what was to be counted failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def _bytecodes() -> list[int]:
    return [int(line) for line in _run([], "--bytecodes").split()]


def _instructions() -> list[int]:
    with tempfile.TemporaryDirectory() as directory:
        dumps = Path(directory, "dump")
        _run(["valgrind", "--tool=callgrind", f"--dump-before={counted.MARK}", f"--callgrind-out-file={dumps}"])
        # A dump for each mark, then one at exit; every second one stands for the reading between two marks.
        totals = [_TOTAL.search(Path(f"{dumps}.{number + 1}").read_text()) for number in range(2 * len(counted.WAYS))]
    found = [int(total[1]) for total in totals[1::2] if total is not None]
    if len(found) != len(counted.WAYS):
        raise SystemExit("valgrind did not dump at every mark")
    return found


def _measure() -> Ratios:
    counts = {"bytecodes": _bytecodes}
    if shutil.which("valgrind"):
        counts["instructions"] = _instructions
    else:
        print("instructions: left out, there is no valgrind")
    print(f"counting {' and '.join(counts)}: about half a minute", file=sys.stderr, flush=True)
    ratios: Ratios = {}
    with ThreadPoolExecutor() as pool:
        running = {name: pool.submit(count) for name, count in counts.items()}
    for name, future in running.items():
        found = dict(zip(counted.WAYS, future.result(), strict=True))
        ratios[name] = {way: round(total / found[UNIT], 4) for way, total in found.items() if way != UNIT}
        per_chunk = (f"{way} {total / counted.STREAMS / counted.CHUNKS:,.0f}" for way, total in found.items())
        print(f"{name} per chunk: {', '.join(per_chunk)}")
    return ratios


def _judge(ratios: Ratios, committed: Ratios) -> list[str]:
    """Say what became of each ratio; return the names of those that grew too much, or that nothing is known of."""
    bad = []
    for count, ways in ratios.items():
        for way, ratio in ways.items():
            known = committed.get(count, {}).get(way)
            verdict = "ok"
            if known is None:
                verdict = "not in guard.json: run with --update"
            elif ratio > known * GROWTH:
                verdict = f"GREW by more than {GROWTH - 1:.0%}"
            if verdict != "ok":
                bad.append(f"{count} {way}")
            before = "" if known is None else f", committed {known:.3f}"
            print(f"  {count:13}{way:11} {ratio:.3f} × the unit{before}: {verdict}")
    return bad


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks guard", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--update", action="store_true", help="write this run's ratios to guard.json")
    options = parser.parse_args(arguments)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    ratios = _measure()
    everything: dict[str, Ratios] = json.loads(_RATIOS.read_text()) if _RATIOS.exists() else {}
    if options.update:
        everything[version] = {**everything.get(version, {}), **ratios}
        _RATIOS.write_text(json.dumps(everything, indent=2, sort_keys=True) + "\n")
    return 1 if _judge(ratios, everything.get(version, {})) else 0
