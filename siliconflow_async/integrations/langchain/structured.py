"""What `with_structured_output` puts after the model: a check that the answer was said to its end, and a parser.

LangChain's parsers complete JSON that breaks off, so that an answer which was cut off would pass for a whole one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from operator import itemgetter
from typing import Any

from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import BaseOutputParser, JsonOutputParser, PydanticOutputParser
from langchain_core.output_parsers.openai_tools import JsonOutputKeyToolsParser, PydanticToolsParser
from langchain_core.runnables import Runnable, RunnableGenerator, RunnableMap, RunnablePassthrough
from langchain_core.utils.function_calling import convert_to_openai_tool
from langchain_core.utils.pydantic import is_basemodel_subclass

from ...errors import ParseError
from .answers import CUT

__all__ = ["json_parser", "structured", "tool_parser"]


def json_parser(schema: dict[str, Any] | type | None) -> BaseOutputParser[Any]:
    """Return what reads an answer that is JSON: into an instance of a pydantic model, else a dict."""
    if isinstance(schema, type) and is_basemodel_subclass(schema):
        return PydanticOutputParser(pydantic_object=schema)
    return JsonOutputParser()


def tool_parser(schema: dict[str, Any] | type) -> BaseOutputParser[Any]:
    """Return what reads the arguments of a call of the tool that stands for the schema."""
    if isinstance(schema, type) and is_basemodel_subclass(schema):
        return PydanticToolsParser(tools=[schema], first_tool_only=True)
    name = convert_to_openai_tool(schema)["function"]["name"]
    return JsonOutputKeyToolsParser(key_name=name, first_tool_only=True)


def structured(
    model: Runnable[LanguageModelInput, AIMessage], parser: BaseOutputParser[Any], *, include_raw: bool
) -> Runnable[LanguageModelInput, Any]:
    """Return the model with its parser; with `include_raw`, a dict of `raw`, `parsed` and `parsing_error`."""
    parsing = RunnableGenerator(_said_to_its_end, _asaid_to_its_end) | parser
    if not include_raw:
        return model | parsing
    parsed = RunnablePassthrough.assign(parsed=itemgetter("raw") | parsing, parsing_error=lambda _: None)
    failed = RunnablePassthrough.assign(parsed=lambda _: None)
    return RunnableMap(raw=model) | parsed.with_fallbacks([failed], exception_key="parsing_error")


def _said_to_its_end(messages: Iterator[AIMessage]) -> Iterator[AIMessage]:
    for message in messages:
        _check(message)
        yield message


async def _asaid_to_its_end(messages: AsyncIterator[AIMessage]) -> AsyncIterator[AIMessage]:
    async for message in messages:
        _check(message)
        yield message


def _check(message: AIMessage) -> None:
    reason = message.response_metadata.get("finish_reason")
    if reason in CUT:
        raise ParseError(f"the answer was cut off: {reason}")
