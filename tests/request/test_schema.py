"""JSON Schemas of types, and values back from JSON."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import json
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypedDict, TypeVar

import msgspec
import pydantic
import pytest
from msgspec import Meta

from siliconflow_async import InvalidRequestError
from siliconflow_async.request.schema import form_of, schema_of

T = TypeVar("T")


class Unit(enum.Enum):
    C = "celsius"
    K = "kelvin"


class Person(msgspec.Struct):
    """Someone."""

    name: Annotated[str, Meta(description="in full", min_length=1)]
    age: int = 30
    unit: Annotated[Unit, Meta(description="of the fever")] = Unit.C
    friend: Person | None = None
    title: str = ""


@dataclasses.dataclass
class Trip:
    days: int
    by: Annotated[Person, Meta(description="who")]
    cities: list[str] = dataclasses.field(default_factory=list)


class Place(TypedDict, total=False):
    city: str
    country: str


class Point(NamedTuple):
    x: float
    y: float


class Box(msgspec.Struct, Generic[T]):
    item: T


class Cat(msgspec.Struct, tag=True):
    lives: int


class Dog(msgspec.Struct, tag=True):
    name: str


class Model(pydantic.BaseModel):
    """A pydantic model."""

    day: datetime.date
    unit: Unit = pydantic.Field(Unit.C, description="of what")
    next: Model | None = None


class Holder(msgspec.Struct):
    model: Model
    others: list[Model] = []


KINDS = [Person, Trip, Place, Box[Person], Model, Holder, list[Person], list[Model], Cat | Dog, int, Point, Unit]
KINDS += [Person | None, Literal["a", "b"], tuple[int, str], Annotated[list[int], Meta(min_length=1)]]


def nodes(schema: Any) -> list[dict[str, Any]]:
    """Every schema within a schema, from the outside in."""
    found = [schema]
    for key in ("properties", "$defs"):
        found += [node for item in schema.get(key, {}).values() for node in nodes(item)]
    for key in ("anyOf", "prefixItems"):
        found += [node for item in schema.get(key, []) for node in nodes(item)]
    if isinstance(schema.get("items"), dict):
        found += nodes(schema["items"])
    return found


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_the_strict_form(kind: Any) -> None:
    """The root is an object; every object is closed and requires all; a reference leads somewhere and stands alone."""
    form = form_of(kind)
    schema = form.schema
    assert form.strict
    assert schema["type"] == "object"
    for node in nodes(schema):
        assert node.keys().isdisjoint({"default", "title", "discriminator", "oneOf"})
        if "properties" in node:
            assert node["additionalProperties"] is False
            assert node["required"] == list(node["properties"])
        if "$ref" in node:
            assert node.keys() == {"$ref"}
            assert node["$ref"].removeprefix("#/$defs/") in schema["$defs"]


def test_descriptions_and_bounds_are_kept() -> None:
    schema = form_of(Person).schema
    assert schema["description"] == "Someone."
    assert schema["properties"]["name"] == {"description": "in full", "type": "string", "minLength": 1}
    assert schema["properties"]["unit"] == {"anyOf": [{"$ref": "#/$defs/Unit"}], "description": "of the fever"}
    assert schema["$defs"]["Unit"] == {"type": "string", "enum": ["celsius", "kelvin"]}
    assert form_of(Model).schema["description"] == "A pydantic model."


def test_a_property_that_is_called_title_stays() -> None:
    assert form_of(Person).schema["properties"]["title"] == {"type": "string"}


def test_a_definition_that_nothing_leads_to_is_left_out() -> None:
    assert form_of(Trip).schema["$defs"].keys() == {"Person", "Unit"}
    assert "$defs" not in form_of(Place).schema


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (Place, '{"city": "Xi\'an", "country": "China"}', {"city": "Xi'an", "country": "China"}),
        (list[int], '{"value": [1, 2]}', [1, 2]),
        (Cat | Dog, '{"value": {"type": "Dog", "name": "Rex"}}', Dog("Rex")),
        (Point, '{"value": [1, 2.5]}', Point(1.0, 2.5)),
        (Box[Person], '{"item": {"name": "Ada", "age": 3}}', Box(Person("Ada", 3))),
        (Model, '{"day": "2026-01-31", "unit": "kelvin"}', Model(day=datetime.date(2026, 1, 31), unit=Unit.K)),
        (Holder, '{"model": {"day": "2026-01-31"}}', Holder(Model(day=datetime.date(2026, 1, 31)))),
        (Person | None, '{"value": null}', None),
    ],
)
def test_json_becomes_the_type(kind: Any, text: str, value: Any) -> None:
    assert form_of(kind).decode(text) == value


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (Person, '{"name": ""}'),
        (Person, '{"name": "Ada", "age": "three"}'),
        (Person, '{"name": "Ada"'),
        (Person, ""),
        (list[int], "[1, 2]"),
        (Model, '{"day": "some day"}'),
        (Holder, '{"model": {"day": "some day"}}'),
        (dict[str, Any], '{"a":' * 100_000),
    ],
)
def test_what_does_not_fit_is_a_value_error(kind: Any, text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - each library words it in its own way
        form_of(kind).decode(text)


@pytest.mark.parametrize("kind", [dict[str, int], Any, list[dict[str, str]], Box[Any]])
def test_what_the_strict_form_cannot_say_is_sent_as_not_strict(kind: Any) -> None:
    form = form_of(kind)
    assert not form.strict
    assert form.response_format["json_schema"]["strict"] is False


@pytest.mark.parametrize("kind", [object, "Person", 5, type("Plain", (), {})])
def test_a_type_without_a_schema_is_named(kind: Any) -> None:
    with pytest.raises(InvalidRequestError, match="response_format") as caught:
        form_of(kind)
    assert caught.value.param == "response_format"


@pytest.mark.parametrize(
    ("kind", "name"),
    [(Person, "Person"), (list[Person], "list_Person"), (Box[Person], "Box_Person"), (dict[str, int], "dict_str_int")],
)
def test_the_name_is_one_that_the_service_takes(kind: Any, name: str) -> None:
    assert form_of(kind).response_format["json_schema"]["name"] == name


def test_two_models_of_one_name_are_kept_apart() -> None:
    class Model(pydantic.BaseModel):
        text: str

    schema, strict = schema_of(tuple[KINDS[4], Model], strict=True)
    assert strict
    assert len(schema["$defs"]) == 4
    assert len({json.dumps(item) for item in schema["prefixItems"]}) == 2


def test_without_the_strict_form_defaults_and_what_is_required_stay() -> None:
    schema, strict = schema_of(Person, strict=False)
    assert not strict
    assert schema["required"] == ["name"]
    assert schema["properties"]["age"] == {"type": "integer", "default": 30}
    assert "additionalProperties" not in schema
