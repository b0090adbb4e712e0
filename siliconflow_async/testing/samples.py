"""A plausible value for a JSON Schema: what the stand-in calls tools with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_ECHO = ("answer", "input", "message", "prompt", "q", "query", "question", "text")
_WORDS = {
    "city": "Shanghai",
    "country": "China",
    "date": "2026-01-31",
    "email": "ada@example.com",
    "language": "en",
    "location": "Shanghai",
    "name": "Ada",
    "unit": "celsius",
    "url": "https://example.com/",
}
_DEPTH = 16
_MAX_ITEMS = 100


def sample(schema: Mapping[str, Any], prompt: str) -> Any:
    """Return a value with the type of the schema and its required properties.

    schema: of the kind that tools have; its `$ref` lead to its own `$defs`.
    prompt: what the user said; properties such as `query` repeat it.
    """
    return _value(schema, schema, "", prompt, _DEPTH)


def _value(schema: object, root: Mapping[str, Any], name: str, prompt: str, depth: int) -> Any:
    if not isinstance(schema, Mapping) or depth == 0:
        return None
    for key in ("const", "default"):
        if key in schema:
            return schema[key]
    if isinstance(choices := schema.get("enum"), list) and choices:
        return choices[0]
    if isinstance(reference := schema.get("$ref"), str):
        return _value(_resolve(reference, root), root, name, prompt, depth - 1)
    for key in ("anyOf", "oneOf", "allOf"):
        if isinstance(options := schema.get(key), list) and options:
            return _value(options[0], root, name, prompt, depth - 1)
    kind = schema.get("type")
    if isinstance(kind, list) and kind:
        kind = kind[0]
    if kind is None:
        kind = "object" if "properties" in schema else "string"
    match kind:
        case "object":
            properties = schema.get("properties")
            known = properties if isinstance(properties, Mapping) else {}
            required = schema.get("required")
            keys = required if isinstance(required, list) else known
            return {
                key: _value(known.get(key, {}), root, key, prompt, depth - 1) for key in keys if isinstance(key, str)
            }
        case "array":
            item = _value(schema.get("items", {}), root, name, prompt, depth - 1)
            return [item] * min(int(_bound(schema, "minItems") or 1), _MAX_ITEMS)
        case "integer" | "number":
            return _number(schema, whole=kind == "integer")
        case "boolean":
            return True
        case "null":
            return None
        case _:
            return prompt if name.lower() in _ECHO and prompt else _WORDS.get(name.lower(), "example")


def _number(schema: Mapping[str, Any], *, whole: bool) -> int | float:
    low, high = _bound(schema, "minimum"), _bound(schema, "maximum")
    value = 1 if low is None else max(1, low)
    value = value if high is None else min(value, high)
    return int(value) if whole else value


def _bound(schema: Mapping[str, Any], key: str) -> float | None:
    value = schema.get(key)
    return value if isinstance(value, int | float) else None


def _resolve(reference: str, root: Mapping[str, Any]) -> object:
    target: object = root
    for part in reference.removeprefix("#").split("/"):
        if part:
            target = target.get(part) if isinstance(target, Mapping) else None
    return target
