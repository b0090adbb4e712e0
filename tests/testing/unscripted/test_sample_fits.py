"""Samples fit their schemas: any schema that something fits, and the schemas of types."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import json
import uuid
from decimal import Decimal
from typing import Annotated, Any, Literal, NamedTuple, TypedDict

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta

from siliconflow_async.request.schema import form_of, schema_of
from siliconflow_async.testing.unscripted.samples import sample

TYPES = {"string": str, "integer": int, "number": (int, float), "boolean": bool, "null": type(None)}
TYPES |= {"array": list, "object": dict}


def fits(value: Any, schema: Any, root: Any) -> bool:
    """Whether a value is valid by the words of a schema that `schemas` below makes."""
    if "$ref" in schema and not fits(value, root["$defs"][schema["$ref"].removeprefix("#/$defs/")], root):
        return False
    if "anyOf" in schema and not any(fits(value, option, root) for option in schema["anyOf"]):
        return False
    if "allOf" in schema and not all(fits(value, part, root) for part in schema["allOf"]):
        return False
    if "enum" in schema and not any(same(value, choice) for choice in schema["enum"]):
        return False
    if "const" in schema and not same(value, schema["const"]):
        return False
    kinds = schema.get("type", list(TYPES))
    kinds = kinds if isinstance(kinds, list) else [kinds]
    if not any(isinstance(value, TYPES[kind]) and (kind == "boolean") >= isinstance(value, bool) for kind in kinds):
        return False
    if isinstance(value, bool):
        return True
    if isinstance(value, int | float):
        step = schema.get("multipleOf")
        return (
            schema.get("minimum", value) <= value <= schema.get("maximum", value)
            and ("exclusiveMinimum" not in schema or value > schema["exclusiveMinimum"])
            and ("exclusiveMaximum" not in schema or value < schema["exclusiveMaximum"])
            and (step is None or abs(value / step - round(value / step)) < 1e-9)
        )
    if isinstance(value, str):
        return schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value))
    if isinstance(value, list):
        prefix = schema.get("prefixItems", [])
        schemas = [*prefix, *[schema.get("items", {})] * (len(value) - len(prefix))]
        return (
            schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value))
            and all(fits(item, part, root) for item, part in zip(value, schemas, strict=False))
            and (not schema.get("uniqueItems") or len({json.dumps(item) for item in value}) == len(value))
        )
    if isinstance(value, dict):
        known = schema.get("properties", {})
        rest = schema.get("additionalProperties", {})
        return (
            set(schema.get("required", ())) <= value.keys()
            and all(fits(item, known[key], root) for key, item in value.items() if key in known)
            and (rest is not False or value.keys() <= known.keys())
            and (rest is False or all(fits(item, rest, root) for key, item in value.items() if key not in known))
            and schema.get("minProperties", 0) <= len(value)
        )
    return True


def same(one: Any, other: Any) -> bool:
    return json.dumps(one) == json.dumps(other)


REFERENCES = [{"$ref": f"#/$defs/{name}"} for name in "ab"]
scalars = st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3)


@st.composite
def numbers(draw: st.DrawFn, kind: str) -> dict[str, Any]:
    """A range that holds at least two multiples of its step."""
    low = draw(st.integers(-1000, 1000))
    step = draw(st.sampled_from([None, 1, 2, 7, 10] if kind == "integer" else [None, 1, 0.5, 0.1, 3]))
    schema: dict[str, Any] = {"type": kind}
    if step is not None:
        schema["multipleOf"] = step
    lower, upper = draw(
        st.sampled_from([(None, None), ("minimum", None), (None, "maximum"), ("minimum", "maximum")])
        | st.sampled_from([("exclusiveMinimum", "exclusiveMaximum"), ("exclusiveMinimum", "maximum")])
    )
    if lower:
        schema[lower] = low
    if upper:
        schema[upper] = low + 3 * int(step or 1) + 3
    return schema


@st.composite
def texts(draw: st.DrawFn) -> dict[str, Any]:
    shortest = draw(st.integers(0, 30))
    schema: dict[str, Any] = {"type": "string"}
    if draw(st.booleans()):
        schema["minLength"] = shortest
    if draw(st.booleans()):
        schema["maxLength"] = shortest + draw(st.integers(0, 10))
    return schema


leaves = st.one_of(
    numbers("integer"),
    numbers("number"),
    texts(),
    st.just({"type": "boolean"}),
    st.just({"type": "null"}),
    st.just({}),
    st.builds(lambda values: {"enum": values}, st.lists(scalars, min_size=1, max_size=3)),
    st.builds(lambda value: {"const": value}, scalars),
    st.just({"type": ["integer", "null"], "minimum": 3}),
    st.just({"type": "string", "enum": [None, 1, "a"]}),
    st.sampled_from(REFERENCES),
)


@st.composite
def arrays(draw: st.DrawFn, inner: st.SearchStrategy[Any]) -> dict[str, Any]:
    fewest = draw(st.integers(0, 3))
    schema = {"type": "array", "items": draw(inner), "minItems": fewest}
    if draw(st.booleans()):
        schema["maxItems"] = fewest + draw(st.integers(0, 2))
    if draw(st.booleans()):
        schema["prefixItems"] = draw(st.lists(inner, max_size=2))
        schema["minItems"] = min(fewest, len(schema["prefixItems"]))
        schema.pop("maxItems", None)
    return schema


@st.composite
def objects(draw: st.DrawFn, inner: st.SearchStrategy[Any]) -> dict[str, Any]:
    properties = draw(st.dictionaries(st.sampled_from(["name", "query", "x", "title", "$ref"]), inner, max_size=3))
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    if draw(st.booleans()):
        schema["required"] = [name for name in properties if draw(st.booleans())]
    schema |= draw(
        st.sampled_from([{}, {"additionalProperties": False}, {"additionalProperties": {"type": "integer"}}])
    )
    if schema.get("additionalProperties") is not False:
        schema |= draw(st.sampled_from([{}, {"minProperties": 2}]))
    return schema


schemas = st.recursive(
    leaves,
    lambda inner: st.one_of(
        arrays(inner),
        objects(inner),
        st.builds(lambda options: {"anyOf": options}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda part: {"allOf": [part]}, inner),
    ),
    max_leaves=8,
)
# Each definition may lead to either, through a level of the value, and has a way out.
definitions = st.builds(lambda one: {"anyOf": [one, {"type": "null"}]}, arrays(schemas) | objects(schemas))


@given(schemas, st.fixed_dictionaries({"a": definitions, "b": definitions}), st.text(max_size=4))
def test_any_sample_fits_its_schema(schema: dict[str, Any], defs: dict[str, Any], prompt: str) -> None:
    root = {**schema, "$defs": defs}
    value = sample(root, prompt)
    assert fits(value, root, root), value


@given(st.sampled_from(["integer", "number"]).flatmap(numbers), st.integers(2, 3))
def test_items_that_must_differ_do(item: dict[str, Any], count: int) -> None:
    schema = {"type": "array", "items": item, "minItems": count, "maxItems": 5, "uniqueItems": True}
    value = sample(schema, "")
    assert fits(value, schema, schema), value


class Level(enum.Enum):
    LOW = 1
    HIGH = 2


class Node(msgspec.Struct):
    name: Annotated[str, Meta(min_length=12)]
    level: Level
    parent: Node | None
    children: Annotated[list[Node], Meta(max_length=4)]


@dataclasses.dataclass
class Event:
    day: datetime.date
    at: Annotated[datetime.datetime, Meta(tz=True)]
    id: uuid.UUID
    price: Annotated[Decimal, Meta(description="in yuan")]
    kind: Literal["a", "b", None]
    data: bytes = b""
    tags: Annotated[frozenset[str], Meta(min_length=3)] = frozenset()
    levels: set[Level] = dataclasses.field(default_factory=set)


class Point(NamedTuple):
    x: Annotated[float, Meta(gt=0, lt=1)]
    y: Annotated[int, Meta(multiple_of=7, ge=8)]


class Options(TypedDict, total=False):
    limits: dict[str, int]
    point: Point


class Cat(msgspec.Struct, tag=True):
    lives: int


class Dog(msgspec.Struct, tag=True):
    name: str


@pytest.mark.parametrize(
    "kind", [Node, Event, Point, Options, list[Event], Cat | Dog, tuple[int, Cat], dict[str, Node]]
)
@pytest.mark.parametrize("strict", [False, True])
def test_a_sample_of_a_types_schema_is_of_the_type(kind: Any, strict: bool) -> None:
    if strict:
        form = form_of(kind)
        assert form.decode(json.dumps(sample(form.schema, ""))) is not None
    else:
        schema, _ = schema_of(kind, strict=False)
        msgspec.json.decode(json.dumps(sample(schema, "")), type=kind)
