"""Python functions as tools: the description that a model reads, and arguments checked by type on their way back.

The name is the function's, the description its docstring up to `Args:`, and the parameters come from its signature:
what msgspec and pydantic understand as annotations, with `Annotated[…, Meta(…)]` for bounds, and a description each
from the docstring's `Args:` section or its `:param name:` lines. A parameter with a default may be left out by the
model. Nothing is called here.
"""

from __future__ import annotations

import functools
import inspect
import re
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn

import msgspec

from ..errors import InvalidRequestError
from .schema import decoder_of, schema_of

__all__ = ["MAX_TOOLS", "Tool", "as_tool", "choice_param", "listed", "tool_params"]

MAX_TOOLS = 128
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_SECTION = re.compile(r"(Args|Arguments|Parameters|Returns?|Yields?|Raises|Examples?|Notes?):\s*$|:\w+[^:]*:")
_ENTRY = re.compile(r"(\s+)(\w+)\s*(?:\([^)]*\))?:\s*(.*)$")
_FIELD = re.compile(r":param\s+(?:[^:]*\s)?(\w+):\s*(.*)$")


class Tool:
    """A function as a tool, for when its own name or docstring won't do; plain functions may be given as they are.

    function: sync or async, called with keywords; a Tool is called as its function is.
    name: at most 64 letters, digits, _ and -. description: what it does and when to call it.
    parameters: a JSON Schema of your own for the arguments, which are then passed on unchecked.
    strict: True asks the service to hold the model to the schema; it then gives every parameter.
    Raises InvalidRequestError that names what can't be a tool.
    """

    __slots__ = ("_decoder", "description", "function", "name", "parameters", "strict")

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        name: str | None = None,
        description: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        strict: bool | None = None,
    ) -> None:
        if isinstance(function, type) or not callable(function):
            _refuse(f"a tool must be a function, not {function!r}")
        given = name if name is not None else getattr(function, "__name__", None)
        if given is None:
            _refuse(f"the tool {function!r} has no name: use Tool(…, name=…)")
        _check_name(given)
        text, documented = _documentation(inspect.cleandoc(_target(function).__doc__ or ""))
        self.function = function
        self.name = given
        self.description = text if description is None else description
        self.strict = strict
        if parameters is not None:
            self._decoder = decoder_of(dict[str, Any])
            self.parameters = dict(parameters)
            return
        defaults: dict[str, Any] = {}
        shape = _arguments(given, function, defaults)
        try:
            self.parameters, closed = schema_of(shape, strict=bool(strict))
            self._decoder = decoder_of(shape)
        except Exception as error:  # whatever an annotation's type raises
            _refuse(f"function {given}: {_culprit(shape)}: {error}", error)
        if strict and not closed:
            _refuse(f"function {given} can't be strict: a parameter is Any, or a mapping with free keys")
        for parameter, schema in self.parameters["properties"].items():
            self.parameters["properties"][parameter] = _described(schema, documented.get(parameter))
            if parameter in defaults and not strict:
                _add_default(self.parameters["properties"][parameter], defaults[parameter])

    def __repr__(self) -> str:
        return f"<Tool {self.name}>"

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        return self.function(*args, **keywords)

    @property
    def param(self) -> dict[str, Any]:
        """The tool as a chat request holds it."""
        function: dict[str, Any] = {"name": self.name, "parameters": self.parameters}
        if self.description:
            function["description"] = self.description
        if self.strict is not None:
            function["strict"] = self.strict
        return {"type": "function", "function": function}

    def bind(self, arguments: str) -> dict[str, Any]:
        """Return the keywords that the JSON text stands for; raise ValueError if it is no valid call."""
        try:
            values = self._decoder.decode(arguments)
        except RecursionError as error:
            raise ValueError("the arguments are nested too deep") from error
        if isinstance(values, dict):
            return values
        return {
            name: value for name in values.__struct_fields__ if (value := getattr(values, name)) is not msgspec.UNSET
        }


def tool_params(tools: Any) -> list[Any]:
    """Return the tools as a request holds them: mappings as they are, functions described.

    Raises InvalidRequestError for more than 128, for two of one name, and for one that can't be sent.
    """
    params = [tool if isinstance(tool, Mapping) else as_tool(tool).param for tool in listed(tools)]
    names: set[str] = set()
    for param in params:
        function = param.get("function")
        name = function.get("name") if isinstance(function, Mapping) else None
        if isinstance(name, str):
            _check_name(name)
            if name in names:
                _refuse(f"two tools are called {name!r}")
            names.add(name)
    return params


def choice_param(choice: Any) -> Any:
    """Return a `tool_choice` as a request holds it: a function stands for being made to call it."""
    if not callable(choice):
        return choice
    name = choice.name if isinstance(choice, Tool) else getattr(choice, "__name__", None)
    return {"type": "function", "function": {"name": name}}


def listed(tools: Any) -> list[Any]:
    """Return the tools as a list; raise InvalidRequestError for anything else, or for too many."""
    if isinstance(tools, str | bytes | Mapping) or not isinstance(tools, Iterable):
        _refuse(f"tools must be a list of functions and mappings, not a value of type {type(tools).__name__}")
    found = list(tools)
    if len(found) > MAX_TOOLS:
        _refuse(f"tools: {len(found)} are more than the {MAX_TOOLS} that the service takes")
    return found


def as_tool(tool: Any) -> Tool:
    """Return a function's tool; raise InvalidRequestError if it can't be one."""
    return tool if isinstance(tool, Tool) else Tool(tool)


def _target(function: Any) -> Any:
    """Return what carries the docstring and the annotations."""
    while isinstance(function, functools.partial):
        function = function.func
    function = inspect.unwrap(function)
    return function if inspect.isroutine(function) else type(function).__call__


def _arguments(name: str, function: Any, defaults: dict[str, Any]) -> Any:
    """Return a struct type of the arguments, and put the defaults into `defaults`."""
    where = f"function {name}"
    try:
        signature = inspect.signature(function)
        hints = typing.get_type_hints(_target(function), include_extras=True)
    except Exception as error:  # an annotation may be any expression
        _refuse(f"{where}: its signature can't be read: {error}", error)
    fields: list[Any] = []
    for parameter in signature.parameters.values():
        label = f"{where}: parameter {parameter.name!r}"
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            _refuse(f"{label} takes any number of arguments, which a schema can't say")
        if parameter.kind is parameter.POSITIONAL_ONLY:
            _refuse(f"{label} is positional-only; arguments have names")
        if parameter.name not in hints:
            _refuse(f"{label} has no annotation")
        hint = hints[parameter.name]
        if parameter.default is parameter.empty:
            fields.append((parameter.name, hint))
        else:
            defaults[parameter.name] = parameter.default
            # Left out, it is not passed on, so that the function's own default counts.
            fields.append((parameter.name, typing.Union[hint, msgspec.UnsetType], msgspec.UNSET))  # noqa: UP007
    return msgspec.defstruct("Arguments", fields, kw_only=True, forbid_unknown_fields=True)


def _culprit(shape: Any) -> str:
    """Name the parameter whose type has no schema."""
    for field in msgspec.structs.fields(shape):
        try:
            schema_of(field.type, strict=False)
        except Exception:  # as above; only which one it was matters here
            return f"parameter {field.name!r}"
    return "its parameters"


def _documentation(text: str) -> tuple[str, dict[str, str]]:
    """Return a docstring's description, and what it says of each parameter."""
    lines = text.splitlines()
    start = next((at for at, line in enumerate(lines) if _SECTION.match(line)), len(lines))
    found: dict[str, list[str]] = {}
    current: list[str] | None = None
    in_arguments = False
    indent = ""
    for line in lines[start:]:
        if match := _FIELD.match(line):
            current = found[match[1]] = [match[2]]
        elif match := _SECTION.match(line):
            in_arguments = match[1] in ("Args", "Arguments", "Parameters")
            current, indent = None, ""
        elif in_arguments and (match := _ENTRY.match(line)) and match[1] == (indent or match[1]):
            indent = match[1]
            current = found[match[2]] = [match[3]]
        elif current is not None and line.strip():
            current.append(line.strip())
        elif not line.strip():
            current = None
    return "\n".join(lines[:start]).strip(), {name: " ".join(filter(None, parts)) for name, parts in found.items()}


def _described(schema: dict[str, Any], description: str | None) -> dict[str, Any]:
    if not description or "description" in schema:
        return schema
    return (
        {"anyOf": [schema], "description": description} if "$ref" in schema else {**schema, "description": description}
    )


def _add_default(schema: dict[str, Any], default: Any) -> None:
    if default is None or "$ref" in schema:
        return
    try:
        schema["default"] = msgspec.to_builtins(default)
    except (TypeError, ValueError, RecursionError):
        return  # a default that JSON can't hold is the function's own affair


def _check_name(name: Any) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        _refuse(f"the tool name {name!r} is not 1 to 64 letters, digits, _ and -")


def _refuse(message: str, cause: BaseException | None = None) -> NoReturn:
    raise InvalidRequestError(message, param="tools") from cause
