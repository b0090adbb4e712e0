"""The command line: `python -m benchmarks [case …]`, and `plot` and `guard`.

A case is an async function that is given a Setting and leaves its rows there.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import traceback
from collections.abc import Callable, Coroutine
from dataclasses import asdict
from typing import Any

from . import alone, fanouts, frames, guard, refusals, relaying, report, together, vectors, weather
from .children import loops, run
from .contestants import usable
from .entries import contestants
from .measure import Row, Setting
from .server import Server

CASES: dict[str, Callable[[Setting], Coroutine[Any, Any, None]]] = {
    "bulk": together.bulk,
    "inputs": together.inputs,
    "paced": alone.paced,
    "whole": alone.whole,
    "embeddings": vectors.embeddings,
    "first-token": together.first_token,
    "import": alone.imports,
    "construction": together.construction,
    "memory": alone.memory,
    "scaling": together.scaling,
    "streams": together.streams,
    "opening": together.opening,
    "left": relaying.left,
    "relay": relaying.relay,
    "frames": frames.frames,
    "map": fanouts.fan_out,
    "items": fanouts.items,
    "limits": refusals.limits,
    "outages": refusals.outages,
    "weather": weather.weather,
}
# Those that no event loop makes faster or slower.
LOOPLESS = frozenset({"import", "construction", "limits"})
# Those that take minutes: they run only when they are named.
LONG = frozenset({"embeddings", "relay", "frames", "items", "limits", "outages", "weather"})
_EPILOG = """\
also: python -m benchmarks plot RESULTS.json -o FILE.svg     draw the case `streams`
      python -m benchmarks guard [--update]                  count instructions instead of seconds
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure this library beside a loop written by hand and beside other clients.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    usual = f"default: all but {', '.join(sorted(LONG))}"
    parser.add_argument("cases", nargs="*", metavar="case", help=f"one or more of {', '.join(CASES)}; {usual}")
    parser.add_argument("--list", action="store_true", help="list the cases and the contestants, and leave")
    parser.add_argument("--only", action="append", metavar="NAME", help="only contestants whose names begin so")
    parser.add_argument("--loop", choices=("asyncio", "uvloop", "both"), default="asyncio")
    parser.add_argument("--rounds", type=int, metavar="N", help="how often each contestant has its turn")
    parser.add_argument("--quick", action="store_true", help="tiny counts: does it run? The figures mean nothing")
    parser.add_argument("--json", metavar="FILE", help="write the results there; - for standard output, with no table")
    return parser


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["plot"]:
        return report.plot(arguments[1:])
    if arguments[:1] == ["guard"]:
        return guard.main(arguments[1:])
    parser = _parser()
    options = parser.parse_args(arguments)
    if unknown := [case for case in options.cases if case not in CASES]:
        parser.error(f"no such case: {', '.join(unknown)}; there are {', '.join(CASES)}")
    readers, skipped = usable(contestants(), options.only)
    ways, skipped_ways = usable(fanouts.FANOUTS, options.only)
    skipped |= skipped_ways
    if options.list:
        _list(list(dict.fromkeys((*readers, *ways))), skipped)
        return 0
    names = loops() if options.loop == "both" else (options.loop,)
    if missing := set(names) - set(loops()):
        parser.error(f"{', '.join(missing)} is not installed")
    _raise_file_limit()
    facts = report.environment((*readers.values(), *ways.values()), names)
    people = sys.stderr if options.json == "-" else sys.stdout
    print(report.head(facts), file=people)
    for name, word in skipped.items():
        print(f"skipped: {name} {word}", file=people)

    async def rows_of(case: str, loop: str) -> list[Row]:
        async with Server() as server:
            note = _progress(case, loop)
            setting = Setting(case, loop, server, readers, ways, note, quick=options.quick, rounds=options.rounds)
            await CASES[case](setting)
            return setting.rows

    found: list[Row] = []
    failed: dict[str, str] = {}
    for case in options.cases or [case for case in CASES if case not in LONG]:
        for loop in names[:1] if case in LOOPLESS else names:
            try:
                rows = run(rows_of(case, loop), loop)
            except Exception as error:
                _clear()
                traceback.print_exc()
                failed[f"{case} ({loop})"] = repr(error)
            else:
                _clear()
                print(report.table(rows), file=people, flush=True)
                found += rows
    if options.json:
        _write(options.json, {"facts": facts, "skipped": skipped, "failed": failed, "quick": options.quick}, found)
    return 1 if failed else 0


def _list(names: list[str], skipped: dict[str, str]) -> None:
    for case, function in CASES.items():
        word = " Takes minutes: only when named." if case in LONG else ""
        print(f"{case:14}{(function.__doc__ or '').splitlines()[0]}{word}")
    print(f"\ncontestants: {', '.join(names)}")
    for name, word in skipped.items():
        print(f"skipped: {name} {word}")


def _write(target: str, result: dict[str, Any], found: list[Row]) -> None:
    text = json.dumps({**result, "results": [asdict(row) for row in found]}, indent=1, ensure_ascii=False) + "\n"
    if target == "-":
        sys.stdout.write(text)
    else:
        with open(target, "w", encoding="utf-8") as file:
            file.write(text)


def _progress(case: str, loop: str) -> Any:
    def note(text: str) -> None:
        line = f"{case} ({loop}): {text}"
        sys.stderr.write(f"\r{line[:110]:110}" if sys.stderr.isatty() else f"{line}\n")
        sys.stderr.flush()

    return note


def _clear() -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{'':110}\r")


def _raise_file_limit() -> None:
    """Each of 2,000 streams is a file here and one in the server, which inherits the limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
