"""What `with_structured_output` puts after the model: LangChain's parsers, which are held to whole answers here.

They complete JSON that breaks off, so that an answer which was cut off would pass for a whole one. The last chunk of a
stream has the finish reason, so that one raises there too.
"""

from __future__ import annotations

from operator import itemgetter
from typing import Any

from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import BaseOutputParser, JsonOutputParser, PydanticOutputParser
from langchain_core.output_parsers.openai_tools import JsonOutputKeyToolsParser, PydanticToolsParser
from langchain_core.outputs import ChatGeneration, Generation
from langchain_core.runnables import Runnable, RunnableMap, RunnablePassthrough
from langchain_core.utils.function_calling import convert_to_openai_tool
from langchain_core.utils.pydantic import is_basemodel_subclass

from ...errors import ParseError
from .answers import CUT

__all__ = ["json_parser", "structured", "tool_parser"]


def _check(result: list[Generation]) -> None:
    for generation in result:
        if isinstance(generation, ChatGeneration):
            reason = generation.message.response_metadata.get("finish_reason")
            if reason in CUT:
                raise ParseError(f"the answer was cut off: {reason}")


class _Json(JsonOutputParser):
    def parse_result(self, result: list[Generation], *, partial: bool = False) -> Any:
        _check(result)
        return super().parse_result(result, partial=partial)


class _Pydantic(PydanticOutputParser[Any]):
    def parse_result(self, result: list[Generation], *, partial: bool = False) -> Any:
        _check(result)
        return super().parse_result(result, partial=partial)


class _ToolJson(JsonOutputKeyToolsParser):
    def parse_result(self, result: list[Generation], *, partial: bool = False) -> Any:
        _check(result)
        return super().parse_result(result, partial=partial)


class _ToolPydantic(PydanticToolsParser):
    def parse_result(self, result: list[Generation], *, partial: bool = False) -> Any:
        _check(result)
        return super().parse_result(result, partial=partial)


def json_parser(schema: dict[str, Any] | type | None) -> BaseOutputParser[Any]:
    """Return what reads an answer that is JSON: into an instance of a pydantic model, else a dict."""
    if isinstance(schema, type) and is_basemodel_subclass(schema):
        return _Pydantic(pydantic_object=schema)
    return _Json()


def tool_parser(schema: dict[str, Any] | type) -> BaseOutputParser[Any]:
    """Return what reads the arguments of a call of the tool that stands for the schema."""
    if isinstance(schema, type) and is_basemodel_subclass(schema):
        return _ToolPydantic(tools=[schema], first_tool_only=True)
    name = convert_to_openai_tool(schema)["function"]["name"]
    return _ToolJson(key_name=name, first_tool_only=True)


def structured(
    model: Runnable[LanguageModelInput, AIMessage], parser: BaseOutputParser[Any], *, include_raw: bool
) -> Runnable[LanguageModelInput, Any]:
    """Return the model with its parser; with `include_raw`, a dict of `raw`, `parsed` and `parsing_error`."""
    if not include_raw:
        return model | parser
    parsed = RunnablePassthrough.assign(parsed=itemgetter("raw") | parser, parsing_error=lambda _: None)
    failed = RunnablePassthrough.assign(parsed=lambda _: None)
    return RunnableMap(raw=model) | parsed.with_fallbacks([failed], exception_key="parsing_error")
