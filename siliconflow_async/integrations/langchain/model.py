"""`ChatSiliconFlow`: the client as a chat model of LangChain's."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LangSmithParams, LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from pydantic import Field

from ...errors import InvalidRequestError
from ...request.params import ChatOptions, ReasoningEffort
from ...version import __version__
from .answers import PROVIDER, chat_result
from .chunks import AnswerChunks
from .messages import service_messages
from .owner import ClientOwner
from .structured import json_parser, structured, tool_parser
from .tools import ToolLike, choice_param, response_format, tool_params

if TYPE_CHECKING:
    from ...stream.stream import ChatStream

__all__ = ["ChatSiliconFlow"]


class ChatSiliconFlow(ClientOwner, BaseChatModel):
    """A chat model of SiliconFlow's for LangChain, async first.

        model = ChatSiliconFlow(model="Qwen/Qwen3-8B", temperature=0.2)
        message = await model.ainvoke("Why is the sky blue?")

    The parameters of a request are fields under the names that `client.chat.completions.create` has for them; any other
    of its keywords goes into `model_kwargs`, and each call takes them all. Reasoning is in
    `additional_kwargs["reasoning_content"]`, and among `content_blocks`. Every failure is the library's own
    SiliconFlowError: an answer whose connection broke off raises TruncatedStreamError with what had arrived in
    `.partial`. Raises ConfigurationError without a key, TypeError for an unknown keyword.

    client: runs every call, with its limits, retries and observers, and is never closed. None: one of the model's own,
        which goes with the model.
    api_key, base_url: by default from SILICONFLOW_API_KEY and SILICONFLOW_BASE_URL; a `client` has its own.
    """

    model: str

    # How much
    max_tokens: int | None = None
    n: int | None = None
    stop: str | list[str] | None = None

    # Sampling
    temperature: float | None = None
    top_p: float | None = None
    top_k: float | None = None
    min_p: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    repetition_penalty: float | None = None
    logit_bias: dict[str, float] | dict[int, float] | None = None
    seed: int | None = None

    # Thinking
    enable_thinking: bool | None = None
    thinking_budget: int | None = None
    reasoning_effort: ReasoningEffort | None = None
    split_think: bool | None = None

    # Form of the answer, and escape hatches
    streaming: bool = False
    logprobs: bool | None = None
    top_logprobs: int | None = None
    resume: int | None = None
    extra_body: dict[str, Any] | None = None
    model_kwargs: dict[str, Any] = Field(default_factory=dict)

    def _begin(self) -> None:
        super()._begin()
        self._add_version("siliconflow-async", __version__)

    @property
    def _llm_type(self) -> str:
        return "siliconflow-chat"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"base_url": self.base_url, **self._parameters()}

    @property
    def lc_secrets(self) -> dict[str, str]:
        return {"api_key": "SILICONFLOW_API_KEY"}

    @classmethod
    def is_lc_serializable(cls) -> bool:
        return True

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        stop = stop or ([self.stop] if isinstance(self.stop, str) else self.stop)
        return LangSmithParams(**{**super()._get_ls_params(stop=stop, **kwargs), "ls_provider": PROVIDER})

    # Calls

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        request = self._request(messages, stop, kwargs)
        return chat_result(await self._client.chat.completions.create(stream=False, **request))

    def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        return self._chunks(messages, stop, kwargs)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return self._thread.call(self._agenerate(messages, stop, **kwargs))

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        chunks = self._chunks(messages, stop, kwargs)
        # One that is left drops its stream, which closes its own connection in the thread's loop.
        while (chunk := self._thread.call(_next(chunks))) is not None:
            yield chunk

    def _chunks(self, messages: list[BaseMessage], stop: list[str] | None, kwargs: dict[str, Any]) -> AnswerChunks:
        request = self._request(messages, stop, kwargs)
        if (request.get("n") or 1) != 1:
            raise InvalidRequestError("n: a stream of LangChain's has one answer", param="n")

        async def opener() -> ChatStream:
            stream: ChatStream = await self._client.chat.completions.create(stream=True, **request)
            return stream

        return AnswerChunks(opener, blocks=self.output_version == "v1")

    def _parameters(self) -> dict[str, Any]:
        """What is set of the parameters of a request."""
        names = type(self).model_fields.keys() & ChatOptions.__annotations__.keys()
        given = {name: value for name in sorted(names) if (value := getattr(self, name)) is not None}
        return {"model": self.model, **given, **self.model_kwargs}

    def _request(self, messages: list[BaseMessage], stop: list[str] | None, kwargs: dict[str, Any]) -> dict[str, Any]:
        request = {**self._parameters(), **kwargs, "messages": service_messages(messages)}
        request.pop("stream", None)  # LangChain's word for which of its methods to call
        if stop is not None:
            request["stop"] = stop
        if not request.get("stop"):
            request.pop("stop", None)
        return request

    # Tools and JSON

    def bind_tools(
        self,
        tools: Sequence[ToolLike],
        *,
        tool_choice: str | bool | Mapping[str, Any] | None = None,
        strict: bool | None = None,
        parallel_tool_calls: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Return the model with tools.

        Args:
            tools: Functions, pydantic models, TypedDicts, LangChain's tools, or mappings in the service's own form.
            tool_choice: "auto", "none", "any" (or True) for one of them, or a tool's name. Not every model knows all.
            strict: Whether the service is asked to hold the model to the schemas.
            parallel_tool_calls: False: one call at a time. Undocumented, and some models ignore it.
            kwargs: Further keywords of `create`.

        Raises InvalidRequestError for a choice of no tool.
        """
        params = tool_params(tools, strict)
        asked = {
            "tools": params or None,
            "tool_choice": choice_param(tool_choice, params),
            "parallel_tool_calls": parallel_tool_calls,
        }
        return super().bind(**{name: value for name, value in asked.items() if value is not None}, **kwargs)

    def with_structured_output(
        self,
        schema: dict[str, Any] | type | None = None,
        *,
        method: Literal["json_schema", "function_calling", "json_mode"] = "json_schema",
        include_raw: bool = False,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, Any]:
        """Return the model with answers that are read into a schema.

        An answer that was cut off, as by `max_tokens`, raises ParseError, and never comes out as a whole one.

        Args:
            schema: A pydantic model, of which the answer is an instance; a TypedDict or a JSON Schema, for a dict.
            method: "json_schema" sends the schema as `response_format`; "function_calling" as a tool that has to be
                called, which not every model can be told; "json_mode" asks for some JSON: what it is to hold has to
                stand in the prompt.
            include_raw: Return a dict of `raw`, the message, `parsed`, and `parsing_error` in place of raising it.
            strict: Whether the service is asked to hold the model to the schema.
            kwargs: Further keywords of `create`.
        """
        if schema is not None:
            kwargs["ls_structured_output_format"] = {"kwargs": {"method": method, "strict": strict}, "schema": schema}
        model: Runnable[LanguageModelInput, AIMessage]
        if method == "json_mode":
            model, parser = self.bind(response_format={"type": "json_object"}, **kwargs), json_parser(schema)
        elif schema is None:
            raise InvalidRequestError(f"schema: {method} needs one", param="schema")
        elif method == "json_schema":
            model, parser = self.bind(response_format=response_format(schema, strict), **kwargs), json_parser(schema)
        elif method == "function_calling":
            model = self.bind_tools([schema], tool_choice="any", strict=strict, **kwargs)
            parser = tool_parser(schema)
        else:
            known = "json_schema, function_calling or json_mode"
            raise InvalidRequestError(f"method must be {known}, not {method!r}", param="method")
        return structured(model, parser, include_raw=include_raw)


async def _next(chunks: AnswerChunks) -> ChatGenerationChunk | None:
    return await anext(chunks, None)
