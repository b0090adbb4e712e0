"""A request as the Python program that makes it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from math import inf
from typing import Any

__all__ = ["snippet"]

_WIDTH = 100
_UNPLAIN = re.compile(r'["\\]|[^ -~]')
_PROGRAM = """\
import asyncio

from siliconflow_async import AsyncSiliconFlow


async def main():
    async with AsyncSiliconFlow({client}) as client:
        async with client.chat.completions.stream(
{keywords}        ) as stream:
            async for text in stream.text():
                print(text, end="", flush=True)


asyncio.run(main())
"""


def snippet(params: Mapping[str, Any], *, base_url: str | None = None) -> str:
    """Return a whole program that streams the answer to a request.

    params: keywords of `client.chat.completions.stream`, of values as JSON has them.
    base_url: the service, where it isn't the one that the environment names.
    """
    items = (f"{name}={_literal(value, 12, _WIDTH - 14 - len(name))}" for name, value in params.items())
    keywords = "".join(f"{' ' * 12}{item},\n" for item in items)
    return _PROGRAM.format(client="" if base_url is None else f"base_url={_text(base_url)}", keywords=keywords)


def _literal(value: Any, indent: int, room: float) -> str:
    """Return a literal: on one line if it fits into so much `room`, else on several, of which the last is indented."""
    if isinstance(value, str):
        return _text(value)
    if not isinstance(value, dict | list):
        return repr(value)
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    line = f"{opening}{', '.join(_items(value, indent, inf))}{closing}"
    if len(line) <= room or not value:
        return line
    inner = indent + 4
    lines = "".join(f"{' ' * inner}{item},\n" for item in _items(value, inner, _WIDTH - inner - 1))
    return f"{opening}\n{lines}{' ' * indent}{closing}"


def _items(value: dict[str, Any] | list[Any], indent: int, room: float) -> Iterator[str]:
    for item in value:
        if isinstance(value, dict):
            key = f"{_text(item)}: "
            yield key + _literal(value[item], indent, room - len(key))
        else:
            yield _literal(item, indent, room)


def _text(text: str) -> str:
    # What can't be seen is written as an escape: it may be there to make a program look like another one.
    return '"' + _UNPLAIN.sub(_escaped, text) + '"'


def _escaped(match: re.Match[str]) -> str:
    char = match.group()
    if char in '"\\':
        return f"\\{char}"
    return char if char.isprintable() else ascii(char)[1:-1]
