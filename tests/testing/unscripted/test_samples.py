from typing import Any

import pytest

from siliconflow_async.testing.unscripted.samples import sample


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "string"}, "example"),
        ({"type": "integer"}, 1),
        ({"type": "integer", "minimum": 5}, 5),
        ({"type": "number", "maximum": 0.5}, 0.5),
        ({"type": "boolean"}, True),
        ({"type": "null"}, None),
        ({"type": ["string", "null"]}, "example"),
        ({"enum": ["b", "a"]}, "b"),
        ({"const": 7}, 7),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 2}, [1, 1]),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, 1),
        ({"$defs": {"unit": {"enum": ["K"]}}, "$ref": "#/$defs/unit"}, "K"),
        ({"type": "integer", "minimum": "many"}, 1),
        ({"$ref": "#/$defs/none"}, None),
    ],
)
def test_a_value_has_the_type_of_its_schema(schema: dict[str, Any], value: Any) -> None:
    assert sample(schema, "") == value


def test_an_object_has_its_required_properties() -> None:
    properties = {"city": {"type": "string"}, "days": {"type": "integer"}, "note": {}}
    schema = {"type": "object", "properties": properties, "required": ["city", "days"]}
    assert sample(schema, "") == {"city": "Shanghai", "days": 1}
    assert set(sample({"type": "object", "properties": properties}, "")) == set(properties)


def test_a_query_repeats_the_prompt() -> None:
    schema = {"type": "object", "properties": {"query": {"type": "string"}}}
    assert sample(schema, "What is asyncio?") == {"query": "What is asyncio?"}


def test_a_schema_that_leads_back_to_itself_ends() -> None:
    node = {"type": "object", "properties": {"next": {"$ref": "#"}}, "required": ["next"]}
    assert isinstance(sample(node, ""), dict)
    assert sample({"type": "array", "items": {"allOf": [{"$ref": "#"}]}, "minItems": 2}, "") == [None, None]
