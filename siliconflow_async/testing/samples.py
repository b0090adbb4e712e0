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
from typing import Any, TypeVar

__all__ = ["sample"]

T = TypeVar("T")

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


class _NoValueError(Exception):
    """Nothing fits this schema, or this way through it."""


def sample(schema: Mapping[str, Any], prompt: str) -> Any:
    """Return a value that fits the schema, with its required properties (all of them, if it requires none).

    The schema is of the kind that tools have; its `$ref` lead to parts of itself. `prompt` is what the user said, which
    properties such as `query` repeat.
    """
    try:
        return _Sampler(schema, prompt, exact=True).value(schema)
    except _NoValueError:
        return _Sampler(schema, prompt, exact=False).value(schema)


class _Sampler:
    """Makes values for one schema. Where nothing fits it gives None, or raises if it is to be `exact`."""

    def __init__(self, root: Mapping[str, Any], prompt: str, *, exact: bool) -> None:
        self._root = root
        self._prompt = prompt
        self._exact = exact
        # References that lead here. The smallest value of a schema never needs the same one within itself.
        self._open = {"#"}
        self._depth = 0

    def value(self, schema: object, name: str = "", nth: int = 0) -> Any:
        """Return a value: the `nth` of those that differ, for arrays of unique items."""
        self._depth += 1
        try:
            if self._depth > _MAX_DEPTH:
                raise _NoValueError
            return self._value(schema, name, nth)
        except _NoValueError:
            if self._exact:
                raise
            return None
        finally:
            self._depth -= 1

    def _value(self, schema: object, name: str, nth: int) -> Any:
        if schema is True:
            schema = {}
        if not isinstance(schema, Mapping):
            raise _NoValueError
        for key in ("const", "default"):
            if key in schema and nth == 0:
                return schema[key]
        if "const" in schema:
            raise _NoValueError
        kinds = schema.get("type")
        kinds = kinds if isinstance(kinds, list) and kinds else [kinds]
        if isinstance(choices := schema.get("enum"), list) and choices:
            return _pick([choice for choice in choices if any(_is(choice, kind) for kind in kinds)], nth)
        if isinstance(reference := schema.get("$ref"), str):
            return self._referred(reference, name, nth)
        if isinstance(parts := schema.get("allOf"), list) and parts:
            return self.value(self._merged(schema, parts), name, nth)
        for key in ("anyOf", "oneOf"):
            if isinstance(options := schema.get(key), list) and options:
                return self._first(({**schema, key: None, **_mapping(option)} for option in options), name, nth)
        if len(kinds) > 1:
            return self._first(({**schema, "type": kind} for kind in kinds), name, nth)
        return self._plain(kinds[0], schema, name, nth)

    def _first(self, schemas: Iterator[Mapping[str, Any]], name: str, nth: int) -> Any:
        """Return the value of the first schema that has one."""
        for schema in schemas:
            try:
                return self._value(schema, name, nth)
            except _NoValueError:
                continue
        raise _NoValueError

    def _plain(self, kind: object, schema: Mapping[str, Any], name: str, nth: int) -> Any:
        match kind:
            case "object":
                return self._object(schema, nth)
            case "array":
                return self._array(schema, name)
            case "integer" | "number":
                return _number(schema, nth, whole=kind == "integer")
            case "boolean":
                return _pick([True, False], nth)
            case "null":
                return _pick([None], nth)
            case None if "properties" in schema:
                return self._object(schema, nth)
            case None if "items" in schema or "prefixItems" in schema:
                return self._array(schema, name)
            case None if not schema.keys().isdisjoint(_BOUNDS):
                return _number(schema, nth, whole=False)
            case _:
                return self._text(schema, name.lower(), nth)

    def _object(self, schema: Mapping[str, Any], nth: int) -> dict[str, Any]:
        known = _mapping(schema.get("properties"))
        rest = schema.get("additionalProperties", True)
        required = schema.get("required")
        made: dict[str, Any] = {}
        for key in required if isinstance(required, list) else []:
            if isinstance(key, str):
                # Objects differ if one of their properties does.
                made[key] = self.value(known.get(key, rest), key, 0 if nth and made else nth)
        if nth and not made:
            raise _NoValueError
        fewest = _count(schema, "minProperties", 0)
        most = _count(schema, "maxProperties", _MAX_ITEMS)
        for key, part in known.items():
            if len(made) >= (fewest if isinstance(required, list) else most):
                break
            if key not in made:
                try:
                    made[key] = self.value(part, key)
                except _NoValueError:
                    continue
        while len(made) < fewest:
            key = f"key_{len(made) + 1}"
            made[key] = self.value(rest, key)
        return made

    def _array(self, schema: Mapping[str, Any], name: str) -> list[Any]:
        first = schema.get("prefixItems")
        parts = first if isinstance(first, list) else []
        rest = schema.get("items", True)
        fewest = _count(schema, "minItems", 0)
        most = _count(schema, "maxItems", _MAX_ITEMS)
        unique = schema.get("uniqueItems") is True
        made: list[Any] = []
        nth = 0
        while len(made) < min(most, max(fewest, len(parts), 1)):
            part = parts[len(made)] if len(made) < len(parts) else rest
            try:
                value = self.value(part, name, nth if unique else 0)
            except _NoValueError:
                if len(made) < fewest:
                    raise
                break
            nth += 1
            if not unique or all(_differ(value, other) for other in made):
                made.append(value)
            elif nth > 2 * _MAX_ITEMS:
                raise _NoValueError
        return made

    def _text(self, schema: Mapping[str, Any], name: str, nth: int) -> str:
        shape = schema.get("format")
        shortest, longest = _count(schema, "minLength", 0, most=None), _count(schema, "maxLength", None, most=None)
        pattern = schema.get("pattern")
        if isinstance(shape, str) and shape in _FORMATS:
            return _pick([_FORMATS[shape]], nth)
        if schema.get("contentEncoding") == "base64":
            return _pick([_BASE64], nth)
        text = self._prompt if name in _ECHO and self._prompt else _WORDS.get(name, "example")
        if isinstance(pattern, str):
            return _pick([word for word in (text, *_PATTERNED) if _matches(pattern, word, shortest, longest)], nth)
        mark = str(nth) if nth else ""
        if shortest is not None and len(text) + len(mark) < shortest:
            text += "." * (shortest - len(text) - len(mark))
        if longest is not None:
            if longest < max(shortest or 0, len(mark)):
                raise _NoValueError
            text = text[: longest - len(mark)]
        return text + mark

    def _referred(self, reference: str, name: str, nth: int) -> Any:
        if reference in self._open:
            raise _NoValueError
        self._open.add(reference)
        try:
            return self.value(_resolve(reference, self._root), name, nth)
        finally:
            self._open.discard(reference)

    def _merged(self, schema: Mapping[str, Any], parts: list[Any]) -> dict[str, Any]:
        merged = {key: value for key, value in schema.items() if key != "allOf"}
        for part in parts:
            for _ in range(_MAX_DEPTH):
                if not isinstance(part, Mapping) or not isinstance(reference := part.get("$ref"), str):
                    break
                part = _resolve(reference, self._root)
            for key, value in _mapping(part).items():
                if key == "properties":
                    merged[key] = {**_mapping(merged.get(key)), **_mapping(value)}
                elif key == "required" and isinstance(value, list):
                    merged[key] = [*merged.get(key, []), *value]
                else:
                    merged[key] = value
        return merged


def _number(schema: Mapping[str, Any], nth: int, *, whole: bool) -> int | float:
    bounds = {key: bound for key in _BOUNDS if (bound := _bound(schema, key)) is not None}
    least = max((bounds[key] for key in ("minimum", "exclusiveMinimum") if key in bounds), default=None)
    most = min((bounds[key] for key in ("maximum", "exclusiveMaximum") if key in bounds), default=None)
    step = _bound(schema, "multipleOf")

    def fits(value: float) -> bool:
        return all(_BOUNDS[key](value, bound) for key, bound in bounds.items())

    if not whole and not step:
        middles = [] if least is None or most is None else [least + (most - least) * (nth + 1) / (nth + 2)]
        ends = [end for end in (least, most) if end is not None]
        near = [end + sign * (nth + 1) for end in ends or [1] for sign in (1, -1)]
        return _pick([value for value in ([] if nth else [1, *ends]) + near + middles if fits(value)], 0)
    unit = Fraction(str(abs(step or 1)))
    if whole:
        unit = Fraction(unit.numerator)  # the smallest whole multiple
    start = 1 if fits(1) or (least is None and most is None) else least
    first = math.floor(Fraction(most or 0) / unit) if start is None else math.ceil(Fraction(start) / unit)
    reach = nth + 2
    counts = [*range(first, first + reach), *range(first - 1, first - reach, -1)]
    values = [float(count * unit) for count in counts]
    return _pick([int(value) if value.is_integer() else value for value in values if fits(value)], nth)


def _pick(values: list[T], nth: int) -> T:
    if nth >= len(values):
        raise _NoValueError
    return values[nth]


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
    count = max(0, math.ceil(value))
    return count if most is None else min(count, most)


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
