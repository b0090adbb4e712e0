"""What an editor offers and shows of calls, told by pyright's language server; and that its texts agree.

What a parameter means stands in four kinds of places, since editors and readers look at each: the keywords' TypedDicts,
the `Args:` of each method, and the manual's table. The TypedDicts are the source.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from siliconflow_async.endpoints.chat import Completions
from siliconflow_async.request import params
from siliconflow_async.request.params import ChatOptions, ChatParams

from .language_server import CURSOR, Editor, opened

ROOT = Path(__file__).parents[1]
TABLE = ROOT / "siliconflow_async" / "request" / "README.md"
METHODS = {
    "create": Completions.create,
    "stream": Completions.stream,
    "map": Completions.map,
    "run_tools": Completions.run_tools,
}
CALLS = {
    "create": 'await chat.create(model="m", messages=[{}]',
    "stream": 'chat.stream(model="m", messages=[{}]',
    "map": 'chat.map([], model="m", messages=[{}]',
    "run_tools": 'chat.run_tools(model="m", messages=[{}]',
}
HEAD = """
from siliconflow_async import AsyncSiliconFlow, MessageParam


async def main(client: AsyncSiliconFlow) -> None:
    chat = client.chat.completions
    """
# What stands at the cursor, and what has to be among that which is offered there.
OFFERED = {
    "keys of a message": ('messages=[{"⌶"}]', {"role", "content", "tool_calls", "tool_call_id", "reasoning_content"}),
    "roles": ('messages=[{"role": "⌶"}]', {"system", "user", "assistant", "tool"}),
    "keys of a part": (
        'messages=[{"role": "user", "content": [{"⌶"}]}]',
        {"type", "text", "image_url", "audio_url", "video_url"},
    ),
    "types of a part": (
        'messages=[{"role": "user", "content": [{"type": "⌶"}]}]',
        {"text", "image_url", "audio_url", "video_url"},
    ),
    "keys of a picture": (
        'messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"⌶"}}]}]',
        {"url", "detail"},
    ),
    "detail": (
        'messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "", "detail": "⌶"}}]}]',
        {"auto", "low", "high"},
    ),
    "keys of a tool": ('messages=[], tools=[{"⌶"}]', {"type", "function"}),
    "keys of a tool's function": (
        'messages=[], tools=[{"type": "function", "function": {"⌶"}}]',
        {"name", "description", "parameters", "strict"},
    ),
    "tool_choice": ('messages=[], tool_choice="⌶"', {"auto", "none", "required"}),
    "keys of response_format": ('messages=[], response_format={"⌶"}', {"type", "json_schema"}),
    "types of response_format": (
        'messages=[], response_format={"type": "⌶"}',
        {"text", "json_object", "json_schema"},
    ),
    "keys of a schema": (
        'messages=[], response_format={"type": "json_schema", "json_schema": {"⌶"}}',
        {"name", "schema", "strict"},
    ),
    "effort": ('messages=[], reasoning_effort="⌶"', {"low", "medium", "high", "xhigh", "max"}),
}


def told() -> dict[str, str]:
    """What the TypedDicts say of each keyword."""
    found: dict[str, str] = {}
    for node in ast.parse(inspect.getsource(params)).body:
        if isinstance(node, ast.ClassDef) and node.name in (ChatOptions.__name__, ChatParams.__name__):
            for keyword, text in zip(node.body, node.body[1:], strict=False):
                if isinstance(keyword, ast.AnnAssign):
                    assert isinstance(keyword.target, ast.Name)
                    assert isinstance(text, ast.Expr)
                    assert isinstance(text.value, ast.Constant)
                    assert isinstance(text.value.value, str), keyword.target.id
                    found[keyword.target.id] = text.value.value
    return found


TOLD = told()


def arguments(method: Any) -> dict[str, str]:
    """The `Args:` of a method: an entry is a line, since editors show the first line alone."""
    _, _, section = inspect.cleandoc(method.__doc__).partition("\nArgs:\n")
    return dict(re.findall(r"^    (\w+): (.+)$", section.partition("\n\n")[0], re.MULTILINE))


@pytest.fixture(scope="module")
def editor() -> Iterator[Editor]:
    with opened(ROOT) as editor:
        yield editor


def test_every_keyword_says_what_it_is() -> None:
    assert TOLD.keys() == ChatParams.__annotations__.keys()


@pytest.mark.parametrize("name", METHODS)
def test_the_args_of_a_method_are_its_parameters_in_the_words_of_the_keywords(name: str) -> None:
    """So editors and `help()` show them; the methods' own parameters are there too."""
    entries = arguments(METHODS[name])
    own = {parameter for parameter in inspect.signature(METHODS[name]).parameters if parameter not in ("self",)}
    assert entries.keys() == (own - {"params", "defaults"}) | TOLD.keys()
    assert {key: entries[key] for key in TOLD} == TOLD
    assert entries["response_format"] == arguments(Completions.create)["response_format"]


def test_the_manual_has_the_same_table() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \|$", TABLE.read_text(encoding="utf-8"), re.MULTILINE)
    common = {**TOLD, "response_format": arguments(Completions.create)["response_format"]}
    assert {name: text.replace("`", "") for name, text in rows} == {
        name: text.replace("`", "") for name, text in common.items()
    }


@pytest.mark.parametrize("place", OFFERED)
def test_an_editor_offers_the_keys_and_values_of_a_request(editor: Editor, place: str) -> None:
    arguments, expected = OFFERED[place]
    assert expected <= editor.completions(f'{HEAD}await chat.create(model="m", {arguments})\n')


@pytest.mark.parametrize("name", CALLS)
def test_an_editor_offers_them_for_every_method(editor: Editor, name: str) -> None:
    call = CALLS[name]
    assert {"role", "content"} <= editor.completions(f"{HEAD}{call.replace('{}', '{' + repr(CURSOR) + '}')})\n")
    assert {"type", "json_schema"} <= editor.completions(f'{HEAD}{call}, response_format={{"{CURSOR}"}})\n')


def test_an_editor_offers_them_in_a_list_that_the_user_annotates(editor: Editor) -> None:
    assert {"user", "tool"} <= editor.completions(f'{HEAD}messages: list[MessageParam] = [{{"role": "{CURSOR}"}}]\n')


@pytest.mark.parametrize("name", CALLS)
def test_hovering_a_keyword_shows_what_it_is(editor: Editor, name: str) -> None:
    shown = editor.hover(f"{HEAD}{CALLS[name]}, tempe{CURSOR}rature=0.5)\n")
    assert "temperature: float | None" in shown
    assert TOLD["temperature"] in shown


@pytest.mark.parametrize("name", METHODS)
def test_hovering_a_method_shows_its_args(editor: Editor, name: str) -> None:
    shown = editor.hover(f"{HEAD}chat.{name}{CURSOR}\n")
    assert TOLD["temperature"] in shown


@pytest.mark.parametrize("name", METHODS)
def test_writing_a_keyword_shows_what_it_is(editor: Editor, name: str) -> None:
    assert editor.signature(f"{HEAD}{CALLS[name]}, seed={CURSOR})\n") == f"seed: {TOLD['seed']}"
