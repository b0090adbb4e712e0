"""A value that fits a JSON Schema: what the stand-in calls tools with, and answers where JSON is asked for.

`sample` follows type, enum, const, properties, required, additionalProperties, items, prefixItems, anyOf, oneOf, allOf,
`$ref` within the schema, the bounds of numbers, texts, arrays and objects, the usual formats, and a pattern if one of
its own words happens to match. Where no value can fit, it gives one of the right kind.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from itertools import chain, count, islice, repeat
from typing import Any

__all__ = ["sample"]

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
_FORMATS = {
    "date": "2026-01-31",
    "date-time": "2026-01-31T12:00:00Z",
    "decimal": "1.5",
    "duration": "PT1M",
    "email": "ada@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "time": "12:00:00Z",
    "uri": "https://example.com/",
    "uuid": "6f1dd7d1-6d0e-4a0c-8f6e-0c9a3b2a7c11",
}
_BASE64 = "ZXhhbXBsZQ=="
_PATTERNED = ("a", "A", "abc", "ABC", "1", "123", "0000", "a1", "A1", "abc-123", "example.com", *_WORDS.values())
_MAX_ITEMS = 100
_MAX_DEPTH = 64
_TYPES: dict[str, tuple[type, ...]] = {
    "array": (list,),
    "boolean": (bool,),
    "integer": (int,),
    "null": (type(None),),
    "number": (int, float),
    "object": (dict,),
    "string": (str,),
}
_BOUNDS: dict[str, Callable[[float, float], bool]] = {
    "minimum": operator.ge,
    "maximum": operator.le,
    "exclusiveMinimum": operator.gt,
    "exclusiveMaximum": operator.lt,
}


def sample(schema: Mapping[str, Any], prompt: str) -> Any:
    """Return a value that fits the schema, with its required properties (all of them, if it requires none).

    The schema is of the kind that tools have; its `$ref` lead to parts of itself. `prompt` is what the user said, which
    properties such as `query` repeat.
    """
    samplers = (_Sampler(schema, prompt, exact=exact) for exact in (True, False))
    return next(value for sampler in samplers for value in sampler.values(schema, "", ("#",)))


class _Sampler:
    """Finds values for one schema. If it is not `exact`, None stands for what nothing fits."""

    def __init__(self, root: Mapping[str, Any], prompt: str, *, exact: bool) -> None:
        self._root = root
        self._prompt = prompt
        self._exact = exact

    def values(self, schema: object, name: str, way: tuple[str, ...]) -> Iterator[Any]:
        """Yield values, the best one first; more of them serve arrays of unique items.

        `name` is that of the property which they are for. `way` has a step for each level of schemas that led here: a
        reference, or "".
        """
        if len(way) <= _MAX_DEPTH:
            yield from self._values(schema, name, way)
        if not self._exact:
            yield None

    def _values(self, schema: object, name: str, way: tuple[str, ...]) -> Iterator[Any]:
        if schema is True:
            schema = {}
        if not isinstance(schema, Mapping):
            return
        if "const" in schema:
            yield schema["const"]
            return
        if "default" in schema:
            yield schema["default"]
        kinds = schema.get("type")
        kinds = kinds if isinstance(kinds, list) and kinds else [kinds]
        if isinstance(choices := schema.get("enum"), list) and choices:
            yield from (choice for choice in choices if any(_is(choice, kind) for kind in kinds))
        elif isinstance(reference := schema.get("$ref"), str):
            # The smallest value of a schema never needs the same one within itself.
            if reference not in way:
                yield from self.values(_resolve(reference, self._root), name, (*way, reference))
        elif isinstance(parts := schema.get("allOf"), list) and parts:
            merged, references = self._merged(schema, parts)
            if not {*references} & {*way}:
                yield from self.values(merged, name, (*way, "", *references))
        elif variants := _variants(schema, kinds):
            for variant in variants:
                yield from self._values(variant, name, way)
        else:
            yield from self._plain(kinds[0], schema, name, way)

    def _plain(self, kind: object, schema: Mapping[str, Any], name: str, way: tuple[str, ...]) -> Iterator[Any]:
        match kind:
            case "object":
                yield from self._objects(schema, way)
            case "array":
                yield from self._arrays(schema, name, way)
            case "integer" | "number":
                yield from _numbers(schema, whole=kind == "integer")
            case "boolean":
                yield from (True, False)
            case "null":
                yield None
            case None if "properties" in schema:
                yield from self._objects(schema, way)
            case None if "items" in schema or "prefixItems" in schema:
                yield from self._arrays(schema, name, way)
            case None if not schema.keys().isdisjoint(_BOUNDS):
                yield from _numbers(schema, whole=False)
            case _:
                yield from self._texts(schema, name.lower())

    def _objects(self, schema: Mapping[str, Any], way: tuple[str, ...]) -> Iterator[dict[str, Any]]:
        known = _mapping(schema.get("properties"))
        rest = schema.get("additionalProperties", True)
        required = schema.get("required")
        fewest = _count(schema, "minProperties", 0)
        most = fewest if isinstance(required, list) else _count(schema, "maxProperties", _MAX_ITEMS)

        def members(key: str) -> Iterator[tuple[str, Any]]:
            return ((key, value) for value in self.values(known.get(key, rest), key, (*way, "")))

        names = required if isinstance(required, list) else []
        keys = list(dict.fromkeys(name for name in names if isinstance(name, str)))
        # Objects differ if one of their properties does.
        for made in ({key: value} for key, value in members(keys[0])) if keys else [{}]:
            for key in keys[1:]:
                made.update(islice(members(key), 1))
            for key in known:
                if key not in made and len(made) < most:
                    made.update(islice(members(key), 1))
            for number in range(len(made) + 1, fewest + 1):
                made.update(islice(members(f"key_{number}"), 1))
            if not made.keys() >= {*keys} or len(made) < fewest:
                break
            yield made

    def _arrays(self, schema: Mapping[str, Any], name: str, way: tuple[str, ...]) -> Iterator[list[Any]]:
        first = schema.get("prefixItems")
        parts = first if isinstance(first, list) else []
        fewest = _count(schema, "minItems", 0)
        most = _count(schema, "maxItems", _MAX_ITEMS)
        unique = schema.get("uniqueItems") is True
        made: list[Any] = []
        for part in islice(chain(parts, repeat(schema.get("items", True))), min(most, max(fewest, len(parts), 1))):
            for value in islice(self.values(part, name, (*way, "")), 2 * _MAX_ITEMS if unique else 1):
                if not unique or all(_differ(value, other) for other in made):
                    made.append(value)
                    break
            else:
                if len(made) < fewest:
                    return
                break
        yield made

    def _texts(self, schema: Mapping[str, Any], name: str) -> Iterator[str]:
        shape = schema.get("format")
        shortest, longest = _count(schema, "minLength", 0, most=None), _count(schema, "maxLength", None, most=None)
        pattern = schema.get("pattern")
        text = self._prompt if name in _ECHO and self._prompt else _WORDS.get(name, "example")
        if isinstance(shape, str) and shape in _FORMATS:
            yield _FORMATS[shape]
        elif schema.get("contentEncoding") == "base64":
            yield _BASE64
        elif isinstance(pattern, str):
            yield from (word for word in (text, *_PATTERNED) if _matches(pattern, word, shortest, longest))
        else:
            for mark in chain([""], map(str, count(1))):
                if longest is not None and longest < max(shortest, len(mark)):
                    break
                padded = text.ljust(shortest - len(mark), ".")
                yield (padded if longest is None else padded[: longest - len(mark)]) + mark

    def _merged(self, schema: Mapping[str, Any], parts: list[Any]) -> tuple[dict[str, Any], list[str]]:
        """Return `allOf` as one schema, and the references that were gone through for it."""
        references: list[str] = []
        merged = {key: value for key, value in schema.items() if key != "allOf"}
        for part in parts:
            for _ in range(_MAX_DEPTH):
                if not isinstance(part, Mapping) or not isinstance(reference := part.get("$ref"), str):
                    break
                references.append(reference)
                part = _resolve(reference, self._root)
            for key, value in _mapping(part).items():
                if key == "properties":
                    merged[key] = {**_mapping(merged.get(key)), **_mapping(value)}
                elif key == "required" and isinstance(value, list):
                    merged[key] = [*merged.get(key, []), *value]
                else:
                    merged[key] = value
        return merged, references


def _variants(schema: Mapping[str, Any], kinds: list[Any]) -> list[dict[str, Any]]:
    """Return the schemas of which a value has to fit one; none if there is no choice."""
    for key in ("anyOf", "oneOf"):
        if isinstance(options := schema.get(key), list) and options:
            return [{**schema, key: None, **_mapping(option)} for option in options]
    return [{**schema, "type": kind} for kind in kinds] if len(kinds) > 1 else []


def _numbers(schema: Mapping[str, Any], *, whole: bool) -> Iterator[int | float]:
    bounds = {key: bound for key in _BOUNDS if (bound := _bound(schema, key)) is not None}
    least = max((bounds[key] for key in ("minimum", "exclusiveMinimum") if key in bounds), default=None)
    most = min((bounds[key] for key in ("maximum", "exclusiveMaximum") if key in bounds), default=None)
    step = _bound(schema, "multipleOf")

    def fits(value: float) -> bool:
        return all(_BOUNDS[key](value, bound) for key, bound in bounds.items())

    if not whole and not step:
        ends = [end for end in (least, most) if end is not None]
        found = [value for value in [1, *ends] if fits(value)]
        for nth in count(1):
            yield from found
            near = [end + sign * nth for end in ends or [1] for sign in (1, -1)]
            middles = [] if least is None or most is None else [least + (most - least) * nth / (nth + 1)]
            found = [value for value in near + middles if fits(value)]
            if not found:
                return
    unit = Fraction(str(abs(step or 1)))
    if whole:
        unit = Fraction(unit.numerator)  # the smallest whole multiple
    start = 1 if fits(1) or (least is None and most is None) else least
    first = math.floor(Fraction(most or 0) / unit) if start is None else math.ceil(Fraction(start) / unit)
    for sign, end, begin in ((1, most, first), (-1, least, first - 1)):
        for multiple in count(begin, sign):
            value = float(multiple * unit)
            if end is not None and sign * value > sign * end:
                break
            if fits(value):
                yield int(value) if value.is_integer() else value


def _is(value: object, kind: object) -> bool:
    if not isinstance(kind, str) or kind not in _TYPES:
        return True
    return isinstance(value, _TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool))


def _differ(one: object, other: object) -> bool:
    # True equals 1 in Python, and is another value in JSON.
    return one != other or isinstance(one, bool) != isinstance(other, bool)


def _matches(pattern: str, word: str, shortest: int | None, longest: int | None) -> bool:
    try:
        found = re.search(pattern, word) is not None
    except re.error:
        return False
    return found and len(word) >= (shortest or 0) and (longest is None or len(word) <= longest)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _count(schema: Mapping[str, Any], key: str, otherwise: Any, most: int | None = _MAX_ITEMS) -> Any:
    value = _bound(schema, key)
    if value is None:
        return otherwise
    return max(0, math.ceil(value)) if most is None else min(max(0, math.ceil(value)), most)


def _bound(schema: Mapping[str, Any], key: str) -> float | None:
    value = schema.get(key)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _resolve(reference: str, root: Mapping[str, Any]) -> object:
    target: object = root
    for part in reference.removeprefix("#").split("/"):
        if part:
            name = part.replace("~1", "/").replace("~0", "~")
            target = target.get(name) if isinstance(target, Mapping) else None
    return target
