"""`client.chat.completions` of the facade: openai's names, this library's calls.

openai's own `create` looks for one to three milliseconds through what is asked before it sends that; nothing of it is
used here.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol, cast

import openai
from openai.lib._parsing import parse_chat_completion, type_to_response_format_param, validate_input_tools
from openai.lib.streaming.chat import AsyncChatCompletionStreamManager
from openai.resources.beta import AsyncBeta
from openai.resources.chat import AsyncChat, AsyncCompletions

from ...errors import SiliconFlowError
from ...headers import conceal
from ...stream.stream import ChatStream
from .answers import ChunkReader, completion_of
from .errors import AS_THEY_ARE, openai_error
from .httpx import Request
from .params import UNSET, asked, given_only, headers_of, raw_kind, timeouts_of
from .raw import raw_answer
from .responses import response_of
from .stream import ChunkStream

if TYPE_CHECKING:
    from ...client import AsyncSiliconFlow

__all__ = ["Beta", "Chat", "Completions"]

_NOTHING: Any = openai.Omit()


class _Facade(Protocol):
    """What is used of an OpenAIClient."""

    siliconflow: AsyncSiliconFlow
    headers: dict[str, Any]
    timeout: Any


def _as_it_is(answer: Any) -> Any:
    return answer


class Completions(AsyncCompletions):
    """Chat completions. `create`, `parse` and `stream` take openai's keywords, this library's, and any other.

    What neither knows goes into the body, like `extra_body`.
    """

    async def create(self, **given: Any) -> Any:
        """Ask, and return an openai ChatCompletion or, with `stream=True`, an open openai.AsyncStream.

        Raises openai's errors, whose `__cause__` is this library's; TypeError, InvalidRequestError, ConfigurationError
        and ClosedError for what can't be sent.
        """
        conceal(given)
        given = given_only(given)
        if inspect.isclass(given.get("response_format")):
            raise TypeError("create(…) takes no class as response_format: parse(…) does, and stream(…)")
        return await self._answer(given, _as_it_is)

    async def parse(self, *, response_format: Any = _NOTHING, tools: Any = _NOTHING, **given: Any) -> Any:
        """`create` with a pydantic model as `response_format`: `message.parsed` of the answer is one.

        `tools` have to be strict ones; what they are called with is parsed too. Raises what `create` raises, and
        openai.LengthFinishReasonError for an answer that is no whole one.
        """
        conceal(given)
        given = given_only(given)
        checked = _NOTHING
        if tools is not None and not isinstance(tools, UNSET):
            given["tools"] = checked = validate_input_tools(list(tools))
        if not isinstance(wanted := type_to_response_format_param(response_format), UNSET):
            given["response_format"] = wanted

        def parsed(answer: Any) -> Any:
            return parse_chat_completion(response_format=response_format, chat_completion=answer, input_tools=checked)

        return await self._answer(given, parsed)

    def stream(self, *, response_format: Any = _NOTHING, tools: Any = _NOTHING, **given: Any) -> Any:
        """Ask for openai's stream of events: `async with … .stream(…) as stream:` opens it. It raises as `create`."""
        conceal(given)
        listed = _NOTHING
        if tools is not None and not isinstance(tools, UNSET):
            given["tools"] = listed = list(tools)
        if not isinstance(wanted := type_to_response_format_param(response_format), UNSET):
            given["response_format"] = wanted
        return AsyncChatCompletionStreamManager(
            self.create(**given, stream=True), response_format=response_format, input_tools=listed
        )

    async def _answer(self, given: dict[str, Any], finished: Callable[[Any], Any]) -> Any:
        """Ask for what was given, and return what `finished` makes of an answer that is whole."""
        client = cast(_Facade, self._client)
        params = asked(given)
        streaming = bool(params.get("stream"))
        kind = raw_kind(params.get("extra_headers"))
        params["extra_headers"] = {**client.headers, **headers_of(params.get("extra_headers"))} or None
        params["timeout"] = timeouts_of(
            client.timeout if params.get("timeout") is None else params["timeout"],
            client.siliconflow._setup.timeouts,
            streaming=streaming,
        )
        url = f"{client.siliconflow.base_url}/chat/completions"
        try:
            answer = await client.siliconflow.chat.completions.create(**params)
        except AS_THEY_ARE:
            raise
        except SiliconFlowError as error:
            raise openai_error(error, Request("POST", url)) from error
        # The bytes that came are not what these two make of them.
        by_fields = bool(params.get("split_think") or params.get("resume"))
        if isinstance(answer, ChatStream):
            stream = ChunkStream(answer, url, ChunkReader(by_fields=by_fields))
            if kind is None:
                return stream
            response, made = stream.response, lambda: stream
        else:
            completion = completion_of(answer, by_fields=by_fields)
            if kind is None:
                return finished(completion)
            request = Request("POST", url)
            response = response_of(request, answer.headers, answer.raw or b"", trace_id=answer.trace_id)
            made = functools.partial(finished, completion)
        attempts = answer.timing.attempts or 1
        return raw_answer(kind, response, made, client=self._client, streaming=streaming, attempts=attempts)


class Chat(AsyncChat):
    """`client.chat`."""

    if TYPE_CHECKING:
        pass  # editors show openai's own signatures, which hold

    else:

        @cached_property
        def completions(self) -> Completions:
            """Chat completions, on this library."""
            return Completions(self._client)


class Beta(AsyncBeta):
    """`client.beta`, where some frameworks look for `chat`."""

    if TYPE_CHECKING:
        pass  # editors show openai's own signatures, which hold

    else:

        @cached_property
        def chat(self) -> Chat:
            """The same as `client.chat`."""
            return self._client.chat
