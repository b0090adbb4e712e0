"""A request as the Python program that makes it."""

from __future__ import annotations

import re
from collections.abc import Mapping
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
    keywords = "".join(f"{_keyword(name, value, 12)},\n" for name, value in params.items())
    return _PROGRAM.format(client="" if base_url is None else f"base_url={_text(base_url)}", keywords=keywords)


def _keyword(name: str, value: Any, indent: int) -> str:
    return f"{' ' * indent}{name}={_literal(value, indent, len(name) + 2)}"


def _literal(value: Any, indent: int, before: int) -> str:
    """Return a literal, over several lines if it doesn't fit beside `before` other characters of its line."""
    line = _one_line(value)
    if indent + before + len(line) <= _WIDTH or not value or not isinstance(value, dict | list):
        return line
    inner = " " * (indent + 4)
    if isinstance(value, dict):
        keys = {key: f"{_text(key)}: " for key in value}
        items = [f"{keys[key]}{_literal(item, indent + 4, len(keys[key]) + 1)}" for key, item in value.items()]
        opening, closing = "{}"
    else:
        items = [_literal(item, indent + 4, 1) for item in value]
        opening, closing = "[]"
    lines = "".join(f"{inner}{item},\n" for item in items)
    return f"{opening}\n{lines}{' ' * indent}{closing}"


def _one_line(value: Any) -> str:
    match value:
        case str():
            return _text(value)
        case dict():
            return "{" + ", ".join(f"{_text(key)}: {_one_line(item)}" for key, item in value.items()) + "}"
        case list():
            return f"[{', '.join(map(_one_line, value))}]"
        case _:
            return repr(value)


def _text(text: str) -> str:
    # What can't be seen is written as an escape: it may be there to make a program look like another one.
    return '"' + _UNPLAIN.sub(_escaped, text) + '"'


def _escaped(match: re.Match[str]) -> str:
    char = match.group()
    if char in '"\\':
        return f"\\{char}"
    return char if char.isprintable() else ascii(char)[1:-1]
