"""Who reads the answers: each module holds one way or several, and imports what it needs.

A contestant gives each piece of text to `take`, like a program that shows it; what `take` does is the same for all.
"""

from __future__ import annotations

import importlib
from typing import NamedTuple

from .contestant import Contestant

__all__ = ["NAMES", "OURS", "RAW", "UNIT", "Contestant", "load", "load_all"]

UNIT = "unit"
RAW = "raw sockets"
OURS = "siliconflow-async"


class _Entry(NamedTuple):
    module: str
    class_name: str
    # What to install for it, where that is not what this package needs anyway.
    package: str | None = None


_ENTRIES = {
    UNIT: _Entry("unit", "Unit"),
    RAW: _Entry("raw", "RawSockets"),
    OURS: _Entry("ours", "Chunks"),
    f"{OURS} text()": _Entry("ours", "Text"),
    f"{OURS} events()": _Entry("ours", "Events"),
    f"{OURS} completion()": _Entry("ours", "Completion"),
    "openai": _Entry("openai_client", "Default", "openai"),
    "openai aiohttp": _Entry("openai_client", "Aiohttp", "openai[aiohttp]"),
    "openai .stream()": _Entry("openai_client", "Helper", "openai"),
    "openai aiohttp .stream()": _Entry("openai_client", "AiohttpHelper", "openai[aiohttp]"),
    "groq": _Entry("groq_client", "Groq", "groq"),
    "mistralai": _Entry("mistralai_client", "Mistralai", "mistralai"),
    "litellm": _Entry("litellm_client", "Litellm", "litellm"),
    "langchain-siliconflow": _Entry("langchain_client", "Langchain", "langchain-siliconflow"),
}
NAMES = tuple(_ENTRIES)


def load(name: str) -> type[Contestant]:
    """Return a contestant's class; ImportError if what it needs is not installed."""
    entry = _ENTRIES[name]
    contestant: type[Contestant] = getattr(importlib.import_module(f"{__name__}.{entry.module}"), entry.class_name)
    contestant.name = name
    contestant.check()
    return contestant


def load_all(names: tuple[str, ...] = NAMES) -> tuple[dict[str, type[Contestant]], dict[str, str]]:
    """Return those that can run, and a word for each that can't."""
    found: dict[str, type[Contestant]] = {}
    skipped: dict[str, str] = {}
    for name in names:
        try:
            found[name] = load(name)
        except ImportError as error:
            skipped[name] = f"needs {_ENTRIES[name].package}: {error}"
    return found, skipped
