"""JSON Schemas of Python types, and the way back from JSON to the type.

What msgspec understands serves (structs, dataclasses, TypedDicts, named tuples, enums, Literal, unions, containers,
Annotated with Meta), and pydantic models by their own methods, at any depth. In the strict form that constrained
decoding wants, each object is closed and requires all of its properties, those with a default too; the root is an
object, so any other type is held by one as `value`. What the strict form can't express (mappings with free keys, Any)
stays as it is, and the form says that it is not strict. A `$ref` stands alone, as older drafts demand.

A datetime has the format "date-time" only with `Meta(tz=True)`, since msgspec takes texts without a zone too.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping
from types import UnionType
from typing import Any, Generic, TypeVar, cast, get_origin

import msgspec

from ..errors import InvalidRequestError

__all__ = ["Form", "decoder_of", "form_of", "is_type", "schema_of"]

T = TypeVar("T")

_DEFS = "#/$defs/"
_NOT_IN_A_NAME = re.compile(r"[^a-zA-Z0-9_-]+")
# What only describes, or what the strict form refuses.
_DROPPED = {"title", "discriminator"}
_DROPPED_IF_STRICT = {"default", "examples"}
_BY_NAME = {"properties", "patternProperties", "$defs"}
_ONE = {"items", "additionalProperties", "not", "propertyNames"}
_SEVERAL = {"anyOf", "allOf", "oneOf", "prefixItems"}
_TYPE_NAMES: dict[type, str] = {str: "string", int: "integer", float: "number", bool: "boolean"}


class Form(Generic[T]):
    """The form that an answer is asked to have: `response_format` to send, and `decode` for what comes."""

    __slots__ = ("_decode", "_wrapped", "name", "schema", "strict")

    def __init__(
        self, name: str, schema: dict[str, Any], *, strict: bool, wrapped: bool, decode: Callable[[str], Any]
    ) -> None:
        self.name = name
        self.schema = schema
        self.strict = strict
        self._wrapped = wrapped
        self._decode = decode

    @property
    def response_format(self) -> dict[str, Any]:
        """The parameter of a chat request."""
        holder = {"name": self.name, "schema": self.schema, "strict": self.strict}
        return {"type": "json_schema", "json_schema": holder}

    def decode(self, text: str) -> T:
        """Return the value that the JSON text holds; raise ValueError if it does not fit the type."""
        try:
            value = self._decode(text)
        except RecursionError as error:
            raise ValueError("JSON is nested too deep") from error
        return cast("T", value.value if self._wrapped else value)

    def unwrap(self, value: Any) -> Any:
        """Return the part of plain JSON data that stands for the type; None if it is not there yet."""
        if not self._wrapped:
            return value
        return value.get("value") if isinstance(value, dict) else None


def is_type(value: object) -> bool:
    """Whether a `response_format` is a type to parse into, and not a value to send."""
    return isinstance(value, type | UnionType) or get_origin(value) is not None


def form_of(kind: type[T]) -> Form[T]:
    """Return the form of a type; raise InvalidRequestError for one that has no JSON Schema."""
    try:
        return cast("Form[T]", _cached_form(kind))
    except TypeError:  # unhashable, such as Annotated with a list
        return _form(kind)


def _form(kind: Any) -> Form[Any]:
    try:
        schema, strict = schema_of(kind, strict=True)
        wrapped = schema.get("type") != "object"
        shape = kind
        if wrapped:
            shape = msgspec.defstruct("Value", [("value", kind)])
            schema, strict = schema_of(shape, strict=True)
        decode = decoder_of(shape).decode
    except Exception as error:  # whatever the type's own annotations raise
        raise InvalidRequestError(
            f"response_format must be a mapping or a type that msgspec or pydantic knows: {error}",
            param="response_format",
        ) from error
    return Form(_name(kind), schema, strict=strict, wrapped=wrapped, decode=decode)


_cached_form: Callable[[Any], Form[Any]] = functools.lru_cache(maxsize=128)(_form)


def decoder_of(kind: Any) -> msgspec.json.Decoder[Any]:
    """Return a decoder whose errors are all ValueErrors, but for RecursionError."""
    return msgspec.json.Decoder(kind, dec_hook=_from_pydantic)


def schema_of(kind: Any, *, strict: bool) -> tuple[dict[str, Any], bool]:
    """Return the type's JSON Schema, and whether it is in strict form; raise as its annotations do."""
    models: dict[Any, str] = {}
    found: dict[str, Any] = {}

    def hook(model: Any) -> dict[str, Any]:
        if not hasattr(model, "model_json_schema"):
            raise NotImplementedError
        name = models.get(model)
        if name is None:
            name = model.__name__ if model.__name__ not in models.values() else f"{model.__module__}.{model.__name__}"
            models[model] = name
            schema = model.model_json_schema(ref_template=f"{_DEFS}{name}.{{model}}")
            for inner, definition in schema.pop("$defs", {}).items():
                found[f"{name}.{inner}"] = definition
            found[name] = schema
        return {"$ref": _DEFS + name}

    (root,), components = msgspec.json.schema_components((kind,), schema_hook=hook, ref_template=_DEFS + "{name}")
    definitions = {**components, **found}
    seen: set[str] = set()
    while (reference := root.get("$ref", "")).startswith(_DEFS) and reference not in seen:
        seen.add(reference)
        root = {**definitions[reference.removeprefix(_DEFS)], **{k: v for k, v in root.items() if k != "$ref"}}
    tidy = _Tidy(strict)
    schema = tidy.node(root)
    needed = _reachable(schema, definitions)
    if needed:
        schema["$defs"] = {name: tidy.node(definitions[name]) for name in definitions if name in needed}
    return schema, strict and not tidy.loose


class _Tidy:
    """Rewrites schemas; `loose` once one had to stay open."""

    def __init__(self, strict: bool) -> None:
        self._strict = strict
        self.loose = False

    def node(self, schema: Any) -> Any:
        if not isinstance(schema, Mapping):
            return schema
        dropped = _DROPPED | _DROPPED_IF_STRICT if self._strict else _DROPPED
        node: dict[str, Any] = {}
        for key, value in schema.items():
            if key in dropped:
                continue
            if key in _BY_NAME:
                node[key] = {name: self.node(item) for name, item in value.items()}
            elif key in _SEVERAL:
                node["anyOf" if key == "oneOf" else key] = [self.node(item) for item in value]
            else:
                node[key] = self.node(value) if key in _ONE else value
        if "$ref" in node and len(node) > 1:
            node = {"anyOf": [{"$ref": node.pop("$ref")}], **node}
        kinds = {type(value) for value in node.get("enum", ())}
        if "type" not in node and len(kinds) == 1 and (name := _TYPE_NAMES.get(kinds.pop())):
            node["type"] = name
        if self._strict:
            self._close(node)
        return node

    def _close(self, node: dict[str, Any]) -> None:
        if not node.keys() - {"description"}:
            self.loose = True
        elif node.get("type") == "object" or "properties" in node:
            if "properties" in node and node.get("additionalProperties", False) is False:
                node["required"] = list(node["properties"])
                node["additionalProperties"] = False
            else:
                self.loose = True


def _reachable(schema: Any, definitions: Mapping[str, Any]) -> set[str]:
    found: set[str] = set()
    waiting = [schema]
    while waiting:
        for name in _references(waiting.pop()):
            if name in definitions and name not in found:
                found.add(name)
                waiting.append(definitions[name])
    return found


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        reference = value.get("$ref")
        if isinstance(reference, str):
            yield reference.removeprefix(_DEFS)
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _references(item)


def _from_pydantic(model: Any, value: Any) -> Any:
    # From JSON, because a model takes texts for dates, enums, … only there.
    return model.model_validate_json(msgspec.json.encode(value))


def _name(kind: Any) -> str:
    # A generic alias such as list[P] gives its origin's name: its repr says more.
    text = kind.__name__ if isinstance(kind, type) and not hasattr(kind, "__origin__") else repr(kind)
    text = re.sub(r"[\w.<>]+\.(?=\w)", "", text)
    return _NOT_IN_A_NAME.sub("_", text).strip("_")[:64] or "answer"
