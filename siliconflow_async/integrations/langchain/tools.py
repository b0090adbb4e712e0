"""Tools, and JSON by a schema, as a request asks for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_function, convert_to_openai_tool

from ...errors import InvalidRequestError

__all__ = ["ToolLike", "choice_param", "response_format", "tool_params"]

ToolLike: TypeAlias = dict[str, Any] | type | Callable[..., Any] | BaseTool


def tool_params(tools: Sequence[ToolLike], strict: bool | None) -> list[dict[str, Any]]:
    """Return tools of all kinds that LangChain knows in the service's own form."""
    return [convert_to_openai_tool(tool, strict=strict) for tool in tools]


def choice_param(choice: str | bool | Mapping[str, Any] | None, tools: Sequence[Mapping[str, Any]]) -> Any:
    """Return what the service is told of which tool to call; None for nothing.

    "any" and True: one of them; a tool's name: that one. Raises InvalidRequestError for the name of no tool.
    """
    if choice is None or choice is False:
        return None
    if choice is True or choice in ("any", "required"):
        return "required"
    if not isinstance(choice, str) or choice in ("auto", "none"):
        return choice
    names = [tool.get("function", {}).get("name") for tool in tools]
    if choice not in names:
        known = ", ".join(map(repr, names))
        raise InvalidRequestError(f"tool_choice: no tool is called {choice!r}, but {known}", param="tool_choice")
    return {"type": "function", "function": {"name": choice}}


def response_format(schema: dict[str, Any] | type, strict: bool | None) -> dict[str, Any]:
    """Return the `response_format` that asks for JSON of a schema, of any kind that LangChain knows."""
    if isinstance(schema, dict):
        if schema.get("type") == "json_schema" and "json_schema" in schema:
            return schema
        if "name" in schema and "schema" in schema:
            return {"type": "json_schema", "json_schema": schema}
    function = convert_to_openai_function(schema, strict=strict)
    holder = {"name": function["name"], "schema": function.get("parameters", {})}
    for name in ("description", "strict"):
        if function.get(name) is not None:
            holder[name] = function[name]
    return {"type": "json_schema", "json_schema": holder}
