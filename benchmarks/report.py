"""What was measured, where: a table for people, facts for machines, and a figure: `python -m benchmarks plot`."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import math
import os
import platform
import sys
import time
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from typing import Any, TypeAlias
from xml.sax.saxutils import escape

from .contestants import Entrant
from .measure import Row

# What the figure shows.
PER_SECOND = "chunks per second of CPU"

_BASE = ("siliconflow-async", "aiohttp", "msgspec", "anyio", "uvloop", "pydantic")
_RELAYS = ("fastapi", "starlette", "uvicorn", "websockets")


def environment(contestants: Iterable[type[Entrant]], loops: Iterable[str]) -> dict[str, Any]:
    """Return what a figure depends on: versions, loops, the machine."""
    names = dict.fromkeys((*_BASE, *_RELAYS, *(name for kind in contestants for name in kind.distributions)))
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "versions": {name: version for name in names if (version := _version(name))},
        "loops": list(loops),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "system": platform.platform(),
        "environment": Path(sys.prefix).name,
        "date": time.strftime("%Y-%m-%d"),
    }


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def head(facts: dict[str, Any]) -> str:
    """Return the environment as a few lines."""
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    load = "" if facts["load"] is None else f", load {facts['load']:.1f} when it began"
    return (
        f"{facts['python']} on {facts['system']}\n{facts['cpu']}, {facts['cores']} cores{load}\n"
        f"loops: {', '.join(facts['loops'])}\n{versions}"
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def table(found: Iterable[Row]) -> str:
    """Return one table for each case, variant and loop: a line for a contestant, a column for a metric."""
    parts = []
    for (case, variant, loop), group in groupby(found, key=lambda row: (row.case, row.variant, row.loop)):
        rows = list(group)
        metrics = list(dict.fromkeys(row.metric for row in rows))
        cells = {(row.contestant, row.metric): row for row in rows}
        lines = [["", *(column for metric in metrics for column in _columns(metric, rows))]]
        for name in dict.fromkeys(row.contestant for row in rows):
            line = [name]
            for metric in metrics:
                row = cells.get((name, metric))
                line.append(_number(row.value) if row is not None else "")
                if len(_columns(metric, rows)) == 2:
                    line.append(f"{row.ratio:.2f} ×" if row is not None and row.ratio is not None else "")
            lines.append(line)
        parts.append(f"\n{case}: {variant}{f' ({loop})' if loop else ''}\n{_aligned(lines)}")
    return "\n".join(parts)


def _columns(metric: str, rows: list[Row]) -> list[str]:
    has_ratio = any(row.ratio is not None for row in rows if row.metric == metric)
    return [metric, "to the unit"] if has_ratio else [metric]


def _aligned(lines: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  " + "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]) for line in lines
    )


# contestant: (streams, chunks per second) in rising order
Series: TypeAlias = dict[str, list[tuple[float, float]]]

_WIDTH, _HEIGHT = 820, 470
_LEFT, _RIGHT, _TOP, _BOTTOM = 78, 220, 58, 62
_LABEL_GAP = 15
# Eight hues that can be told apart on white and on black; a dash pattern tells them apart without colour.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8f7a00", "#3fa9dd", "#8c6bb1", "#a6761d")
_DASHES = ("", "7 4", "2 3", "9 3 2 3")
_STYLE = """
  text { font: 13px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #24292f; }
  .title { font-size: 16px; font-weight: 600; }
  .small { font-size: 12px; fill: #57606a; }
  .grid { stroke: #d0d7de; stroke-width: 1; }
  .line { fill: none; stroke-width: 2.2; stroke-linejoin: round; }
  .dots { stroke-width: 5.2; stroke-linecap: round; }
  .page { fill: #ffffff; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; }
    .small { fill: #9198a1; }
    .grid { stroke: #30363d; }
    .page { fill: #0d1117; }
  }
"""


def series(results: list[dict[str, Any]], loop: str) -> Series:
    """Pick the figure's points out of the JSON's rows."""
    found: Series = {}
    for row in results:
        if row["case"] == "streams" and row["metric"] == PER_SECOND and row["loop"] == loop:
            found.setdefault(row["contestant"], []).append((float(row["variant"]), row["value"]))
    return {name: sorted(points) for name, points in found.items()}


def _ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times the powers of ten from the one below `low` to the one above `high`."""
    steps = [factor * 10.0**power for power in range(-1, 9) for factor in (1, 2, 5)]
    first = max(index for index, step in enumerate(steps) if step <= low)
    last = min(index for index, step in enumerate(steps) if step >= high)
    return steps[first : last + 1]


def _spread(wanted: list[tuple[float, str]]) -> dict[str, float]:
    """Move the labels at the lines' ends apart, so that none covers another."""
    placed: dict[str, float] = {}
    lowest = -math.inf
    for y, name in sorted(wanted):
        lowest = placed[name] = max(y, lowest + _LABEL_GAP)
    over = lowest - (_HEIGHT - _BOTTOM + 6)
    return {name: y - max(over, 0) for name, y in placed.items()}


def draw(found: Series, subtitle: str) -> str:
    """Draw the case `streams`: chunks per second of CPU against concurrent streams, as an SVG written by hand.

    Both axes are logarithmic. Colours and text follow the reader's light or dark theme.
    """
    if not found:
        raise SystemExit("the results hold no case `streams` on that loop")
    columns = sorted({streams for points in found.values() for streams, _ in points})
    values = [value for points in found.values() for _, value in points]
    ticks = _ticks(min(values), max(values))
    x_low, x_high = math.log(columns[0]), math.log(max(columns[-1], columns[0] * 2))
    y_low, y_high = math.log(ticks[0]), math.log(ticks[-1] if len(ticks) > 1 else ticks[0] * 10)

    def x(streams: float) -> float:
        return _LEFT + (math.log(streams) - x_low) / (x_high - x_low) * (_WIDTH - _LEFT - _RIGHT)

    def y(value: float) -> float:
        return _HEIGHT - _BOTTOM - (math.log(value) - y_low) / (y_high - y_low) * (_HEIGHT - _TOP - _BOTTOM)

    title = "Streamed chunks per second of client CPU"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{title}">',
        f"<style>{_STYLE}</style>",
        f'<rect class="page" width="{_WIDTH}" height="{_HEIGHT}" rx="8"/>',
        f'<text class="title" x="{_LEFT}" y="26">{title}</text>',
        f'<text class="small" x="{_LEFT}" y="44">{escape(subtitle)}</text>',
    ]
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    grid = [f"M{_LEFT},{y(tick):.1f}H{right}" for tick in ticks]
    grid += [f"M{x(streams):.1f},{_TOP}V{bottom}" for streams in columns]
    parts.append(f'<path class="grid" d="{"".join(grid)}"/>')
    for tick in ticks:
        parts.append(f'<text class="small" x="{_LEFT - 8}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:,.0f}</text>')
    for streams in columns:
        at = f'x="{x(streams):.1f}" y="{bottom + 18}"'
        parts.append(f'<text class="small" {at} text-anchor="middle">{streams:,.0f}</text>')
    middle = (_LEFT + right) / 2
    parts.append(f'<text x="{middle}" y="{_HEIGHT - 18}" text-anchor="middle">concurrent streams</text>')
    ends = _spread([(y(points[-1][1]) + 4, name) for name, points in found.items()])
    for number, (name, points) in enumerate(found.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        dash = _DASHES[number // len(_COLOURS) % len(_DASHES)]
        path = [f"{x(streams):.1f},{y(value):.1f}" for streams, value in points]
        style = f'stroke="{colour}"' + (f' stroke-dasharray="{dash}"' if dash else "")
        parts.append(f'<polyline class="line" {style} points="{" ".join(path)}"/>')
        # A line of no length has round ends.
        parts.append(f'<path class="dots" stroke="{colour}" d="{"".join(f"M{point}h0" for point in path)}"/>')
        label = ends[name]
        parts.append(f'<path class="line" {style} d="M{right + 12},{label - 4:.1f}H{right + 30}"/>')
        parts.append(f'<text x="{right + 36}" y="{label:.1f}">{escape(name)}</text>')
    parts.append("</svg>")
    return "\n".join(parts) + "\n"


def plot(arguments: list[str]) -> int:
    """Draw the figure of a command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks plot", description=(draw.__doc__ or "").splitlines()[0])
    parser.add_argument(
        "results", nargs="+", type=Path, help="what --json wrote; of several, the first that has a line"
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.svg")
    parser.add_argument("--loop", default="asyncio", help="the event loop to show; default: asyncio")
    options = parser.parse_args(arguments)
    found: Series = {}
    facts: dict[str, Any] = {}
    for path in options.results:
        result = json.loads(path.read_text(encoding="utf-8"))
        facts = facts or result["facts"]
        for name, points in series(result["results"], options.loop).items():
            found.setdefault(name, points)
    versions = facts["versions"]
    subtitle = f"{facts['python']}, aiohttp {versions['aiohttp']}, msgspec {versions['msgspec']}, {options.loop}"
    options.output.write_text(draw(found, f"{subtitle}; higher is better, both axes logarithmic"), encoding="utf-8")
    return 0
