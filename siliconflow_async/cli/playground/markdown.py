"""Markdown as trees that a page can build without ever reading markup.

An answer is a stranger's text. It never becomes HTML: the parser's tokens become nested lists of a few kinds, which the
page turns into elements one by one, of a few tags that it knows. What looks like HTML in it is text. Links lead to
http, https and mailto alone; an image is a link to it, for a browser that fetched it would tell its server that, and
whatever the address holds.

A tree is a text, or [tag, attributes, trees]. Links, images and headings, code blocks, lists and cells have attributes.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict

import msgspec
from aiohttp import web

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

__all__ = ["Rendered", "Tree", "answer_markdown", "render"]

Tree: TypeAlias = "str | list[Any]"

# A table's short rows are filled up, so that a small text can make a great many cells.
_MAX_TOKENS = 20_000
# Of a code block, the page lays out anew only the piece that grows.
_PIECE = re.compile(r"(?:[^\n]*\n){1,40}|[^\n]+")
_SCHEMES = ("http://", "https://", "mailto:")


class _Target(TypedDict):
    href: str
    title: str


class _Asked(msgspec.Struct):
    text: str
    references: dict[str, _Target] = {}


class Rendered(msgspec.Struct):
    """The blocks of a text that may go on.

    blocks: their trees.
    closed: how many of them no further text can change.
    line: the number of the line, from 0, at which the first of the others begins.
    references: the targets of links that the text defines, as the parser has them.
    """

    blocks: list[Tree]
    closed: int
    line: int
    references: dict[str, _Target]


async def answer_markdown(request: web.Request) -> web.Response:
    """Answer the page with what `render` gives, without holding up the answers that are under way."""
    try:
        asked = msgspec.json.decode(await request.read(), type=_Asked)
    except msgspec.MsgspecError as error:
        return web.Response(status=400, text=f"400: {error}\n")
    rendered = await asyncio.to_thread(_rendered, asked)
    return web.Response(body=rendered, content_type="application/json")


@cache
def _parser() -> MarkdownIt:
    # Imported late: the other commands have no use for it, and would begin later by a good part of their time.
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])


def _rendered(asked: _Asked) -> bytes:
    return msgspec.json.encode(render(asked.text, asked.references))


def render(text: str, references: Mapping[str, _Target]) -> Rendered:
    """Return the blocks of Markdown. Takes up to some 15 µs a character: too long in an event loop.

    references: those of the text before this one and, where they are known, after it.
    """
    env: dict[str, Any] = {"references": dict(references)}
    tokens = _parser().parse(text, env)
    found = {name: _Target(href=to["href"], title=to["title"]) for name, to in env["references"].items()}
    if len(tokens) > _MAX_TOKENS:
        return Rendered([["p", {}, [text]]], 0, 0, found)
    starts = [token.map[0] for token in tokens if token.level == 0 and token.nesting >= 0 and token.map is not None]
    # A line that has not ended may yet join the block before it: `#` is a heading, `#tag` is not.
    unended = len(text.replace("\r\n", "\n").replace("\r", "\n").split("\n")) - 1
    closed = max(0, sum(start < unended for start in starts) - 1)
    return Rendered(_trees(tokens), closed, starts[closed] if starts else 0, found)


def _trees(tokens: Iterable[Token]) -> list[Tree]:
    """Return the trees of a flat list of tokens, in which an element is what stands between two of them."""
    trees: list[Tree] = []
    opened: list[tuple[Token, list[Tree]]] = []
    for token in tokens:
        if token.nesting > 0:
            opened.append((token, trees))
            trees = []
        elif token.nesting < 0:
            opening, outer = opened.pop()
            outer += _element(opening, trees)
            trees = outer
        else:
            trees += _leaf(token)
    return trees


def _element(token: Token, inner: list[Tree]) -> list[Tree]:
    if token.hidden:  # a paragraph in a tight list
        return inner
    tag = token.tag
    if tag == "a":
        return _link(str(token.attrs.get("href", "")), inner)
    attributes: dict[str, Any] = {}
    if tag in ("h1", "h2", "h3", "h4", "h5", "h6"):
        # The outline is the page's own: an answer may begin with any level, and has its own under the answer's.
        tag, attributes = "h3", {"level": int(tag[1])}
    elif tag == "ol" and "start" in token.attrs:
        attributes = {"start": token.attrs["start"]}
    elif tag in ("th", "td") and "style" in token.attrs:
        attributes = {"align": str(token.attrs["style"]).rpartition(":")[2]}
    return [[tag, attributes, inner]]


def _leaf(token: Token) -> list[Tree]:
    match token.type:
        case "inline":
            return _trees(token.children or ())
        case "fence" | "code_block":
            pieces = _PIECE.findall(token.content)
            language = token.info.strip().partition(" ")[0]
            return [["pre", {"language": language}, [["span", {}, [piece]] for piece in pieces]]]
        case "code_inline":
            return [["code", {}, [token.content]]]
        case "softbreak" | "hardbreak":
            return [["br", {}, []]]
        case "hr":
            return [["hr", {}, []]]
        case "image":
            return _link(str(token.attrs.get("src", "")), [f"image: {token.content}"])
        case _:
            return [token.content] if token.content else []


def _link(target: str, inner: list[Tree]) -> list[Tree]:
    if not target.lower().startswith(_SCHEMES):
        return inner
    return [["a", {"href": target}, inner]]
