"""Functions as tools: what the model reads, what is refused, and how arguments come back."""

from __future__ import annotations

import dataclasses
import enum
import functools
import json
from collections.abc import Callable
from typing import Annotated, Any, Literal

import msgspec
import pydantic
import pytest
from msgspec import Meta

from siliconflow_async import InvalidRequestError, Tool
from siliconflow_async.request.tools import tool_params
from siliconflow_async.testing.unscripted.samples import sample

from ..asking import ASK, served

WEATHER: dict[str, Any] = {"type": "function", "function": {"name": "weather", "strict": True, "parameters": {}}}


class Unit(enum.Enum):
    C = "celsius"
    K = "kelvin"


@dataclasses.dataclass
class Place:
    city: str
    country: str = "China"


class Model(pydantic.BaseModel):
    query: str


async def get_weather(
    place: Place,
    day: Annotated[int, Meta(ge=0, le=14)] = 0,
    *,
    unit: Unit = Unit.C,
    style: Literal["short", "long"] | None = None,
) -> str:
    """Tell the weather.

    Only for the next two weeks.

    Args:
        place (Place): where it is; the capital,
            if only a country is meant
        day: days from today
        unit: of the temperature

    Returns:
        the forecast: a sentence
    """
    return f"{place.city} {day} {unit.value} {style}"


def search(model: Model, /) -> None: ...


def test_a_function_becomes_a_tool() -> None:
    """Name, docstring, types, bounds, defaults, and a description of each parameter."""
    (param,) = tool_params([get_weather])
    assert param == {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Tell the weather.\n\nOnly for the next two weeks.",
            "parameters": {
                "type": "object",
                "properties": {
                    "place": {
                        "anyOf": [{"$ref": "#/$defs/Place"}],
                        "description": "where it is; the capital, if only a country is meant",
                    },
                    "day": {
                        "type": "integer",
                        "minimum": 0,
                        "maximum": 14,
                        "default": 0,
                        "description": "days from today",
                    },
                    "unit": {
                        "anyOf": [{"$ref": "#/$defs/Unit"}],
                        "description": "of the temperature",
                        "default": "celsius",
                    },
                    "style": {"anyOf": [{"type": "string", "enum": ["long", "short"]}, {"type": "null"}]},
                },
                "required": ["place"],
                "additionalProperties": False,
                "$defs": {
                    "Place": {
                        "type": "object",
                        "properties": {"city": {"type": "string"}, "country": {"type": "string", "default": "China"}},
                        "required": ["city"],
                    },
                    "Unit": {"type": "string", "enum": ["celsius", "kelvin"]},
                },
            },
        },
    }


def test_parameters_documented_as_fields() -> None:
    def find(text: str, limit: int) -> None:
        """Find it.

        :param str text: what to look for,
            in any case
        :param limit: at most so many
        :returns: nothing
        """

    function = Tool(find).param["function"]
    assert function["description"] == "Find it."
    assert function["parameters"]["properties"]["text"]["description"] == "what to look for, in any case"
    assert function["parameters"]["properties"]["limit"]["description"] == "at most so many"


def test_arguments_come_back_as_the_types() -> None:
    bound = Tool(get_weather).bind('{"place": {"city": "Xi\'an"}, "unit": "kelvin"}')
    assert bound == {"place": Place("Xi'an"), "unit": Unit.K}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ('{"place": {"city": 5}}', r"\$\.place\.city"),
        ('{"place": {"city": "Xi\'an"}, "day": 15}', r"\$\.day"),
        ('{"day": 1}', "place"),
        ('{"place": {"city": "Xi\'an"}, "days": 1}', "days"),
        ('{"place": {"city": "Xi', "truncated"),
        ("", "truncated"),
        ("[]", "object"),
        ('{"x": ' + "[" * 100_000, "unknown field|too deep"),
    ],
)
def test_arguments_that_are_not_valid_are_refused(arguments: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Tool(get_weather).bind(arguments)


def test_a_pydantic_parameter() -> None:
    def find(model: Model, more: list[Model] | None = None) -> None: ...

    tool = Tool(find)
    assert tool.bind('{"model": {"query": "x"}}') == {"model": Model(query="x")}
    assert tool.bind(json.dumps(sample(tool.parameters, "")))["model"]
    with pytest.raises(ValueError, match="query"):
        tool.bind('{"model": {}}')


def test_a_strict_tool_requires_everything() -> None:
    function = Tool(get_weather, strict=True).param["function"]
    assert function["strict"] is True
    assert function["parameters"]["required"] == ["place", "day", "unit", "style"]
    assert "default" not in json.dumps(function["parameters"])


def test_name_description_and_parameters_of_ones_own() -> None:
    def run(**anything: Any) -> None: ...

    parameters = {"type": "object", "properties": {"x": {"type": "integer"}}}
    tool = Tool(run, name="run_it", description="Runs it.", parameters=parameters)
    function = {"name": "run_it", "description": "Runs it.", "parameters": parameters}
    assert tool.param == {"type": "function", "function": function}
    assert tool.bind('{"x": 1}') == {"x": 1}
    assert repr(tool) == "<Tool run_it>"


class Shop:
    def price(self, item: str) -> int:
        """Price of an item."""
        return len(item)

    def __call__(self, item: str) -> int:
        return self.price(item)


@functools.lru_cache
def cached(x: int) -> int:
    """Cached."""
    return x


@functools.wraps(cached)
def wrapped(*args: Any) -> Any: ...


@pytest.mark.parametrize(
    ("tool", "name", "description", "parameters"),
    [
        (Shop().price, "price", "Price of an item.", ["item"]),
        (Tool(Shop(), name="shop"), "shop", None, ["item"]),
        (Tool(functools.partial(get_weather, day=1), name="now"), "now", "Tell the weather.", ["place"]),
        (cached, "cached", "Cached.", ["x"]),
        (wrapped, "cached", "Cached.", ["x"]),
    ],
)
def test_other_kinds_of_callables(tool: Any, name: str, description: str | None, parameters: list[str]) -> None:
    (param,) = tool_params([tool])
    assert param["function"]["name"] == name
    assert param["function"].get("description", "").partition("\n")[0] == (description or "")
    assert param["function"]["parameters"]["required"] == parameters


def no_annotation(city) -> None:  # type: ignore[no-untyped-def]  # the point of it
    ...


def any_number(*cities: str) -> None: ...


def any_keyword(**cities: str) -> None: ...


def no_schema(city: str, where: object) -> None: ...


def unknown(city: Missing) -> None:  # type: ignore[name-defined]  # noqa: F821 - the point of it
    ...


def plain(city: str) -> None: ...


@pytest.mark.parametrize(
    ("tools", "words"),
    [
        ([no_annotation], "function no_annotation: parameter 'city' has no annotation"),
        ([any_number], "function any_number: parameter 'cities' takes any number"),
        ([any_keyword], "function any_keyword: parameter 'cities' takes any number"),
        ([search], "function search: parameter 'model' is positional-only"),
        ([no_schema], "function no_schema: parameter 'where'"),
        ([unknown], "function unknown: .*Missing"),
        ([lambda: None], "'<lambda>'"),
        ([functools.partial(plain)], "has no name"),
        ([Shop], "must be a function"),
        ([5], "must be a function"),
        ([plain, plain], "two tools are called 'plain'"),
        ([plain, {"type": "function", "function": {"name": "plain"}}], "two tools"),
        ([{"type": "function", "function": {"name": "get weather"}}], "'get weather'"),
        ([{"type": "function", "function": {"name": "x" * 65}}], "x{65}"),
        ([{**WEATHER, "function": {"name": f"f{at}"}} for at in range(129)], "129 are more than the 128"),
        ("plain", "must be a list"),
        (5, "must be a list"),
        (WEATHER, "must be a list"),
    ],
)
def test_what_cannot_be_a_tool_is_named(tools: Any, words: str) -> None:
    with pytest.raises(InvalidRequestError, match=words) as caught:
        tool_params(tools)
    assert caught.value.param == "tools"


@pytest.mark.parametrize("make", [lambda: Tool(plain, name="get weather"), lambda: Tool(any_keyword, strict=True)])
def test_a_tool_that_cannot_be_is_refused_when_made(make: Callable[[], Tool]) -> None:
    with pytest.raises(InvalidRequestError):
        make()


def test_what_cannot_be_strict_is_named() -> None:
    def save(values: dict[str, int]) -> None: ...

    assert Tool(save).parameters["properties"]["values"]["type"] == "object"
    with pytest.raises(InvalidRequestError, match="save can't be strict"):
        Tool(save, strict=True)


@pytest.mark.anyio
async def test_functions_and_mappings_go_out_together() -> None:
    """In one list, or a generator; a mapping with `strict` stays as it is, and a function may be the choice."""
    async with served() as (server, client):
        tools = (tool for tool in (get_weather, WEATHER))
        done = await client.chat.completions.create(**ASK, tools=tools, tool_choice=get_weather)
        assert done.tool_calls is not None
        function = done.tool_calls[0].function
        assert Tool(get_weather).bind(function.arguments)["place"].city == "Shanghai"
    sent = server.requests[0].json
    assert [tool["function"]["name"] for tool in sent["tools"]] == ["get_weather", "weather"]
    assert sent["tools"][1] == WEATHER
    assert sent["tool_choice"] == {"type": "function", "function": {"name": "get_weather"}}


def test_a_tool_is_called_as_its_function_is() -> None:
    assert Tool(Shop().price)("abc") == 3
    assert msgspec.json.encode(Tool(cached)(x=4)) == b"4"
