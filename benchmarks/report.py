"""What was measured, where: a table for people, JSON for machines."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
import time
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from typing import Any

from .contestants import Contestant
from .fanouts import FanOut
from .measure import Row

__all__ = ["environment", "head", "table"]

_BASE = ("siliconflow-async", "aiohttp", "msgspec", "anyio", "uvloop", "pydantic")
_RELAYS = ("fastapi", "starlette", "uvicorn", "websockets")


def environment(contestants: Iterable[type[Contestant | FanOut]], loops: Iterable[str]) -> dict[str, Any]:
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
