"""A streamed answer as LangChain's chunks.

`AnswerChunks` is a class iterator and no generator: LangChain drops what it no longer reads, and the stream of a
dropped one closes its own connection at once, with no turn of the loop in between. It reads the stream's events, in
which the fragments of a tool call have their place whatever the server sends.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Self

from langchain_core.messages import AIMessageChunk
from langchain_core.messages.tool import ToolCallChunk
from langchain_core.outputs import ChatGenerationChunk

from ...errors import ParseError
from ...wire.events import ContentDelta, ReasoningDelta, ToolCallDelta
from .answers import CUT, call_id, metadata_of, read_arguments, usage_of
from .messages import REASONING

if TYPE_CHECKING:
    from ...stream.stream import ChatStream, EventIterator
    from ...wire.structs import ChatCompletion

__all__ = ["AnswerChunks"]


class AnswerChunks:
    """Iterate an answer: each piece as it comes, and at the end one chunk with the usage and all else that is known.

    opener: opens the stream, as the first chunk is asked for. What it refers to lives as long as the stream.
    blocks: content is of LangChain's v1 blocks, of which there is one for the reasoning, one for the text and one for
        each tool call. LangChain would number them by itself, and calls would fall in with texts.
    """

    __slots__ = ("_blocks", "_calls", "_ended", "_events", "_opener", "_stream")

    def __init__(self, opener: Callable[[], Awaitable[ChatStream]], *, blocks: bool) -> None:
        self._opener = opener
        self._blocks = blocks
        self._stream: ChatStream | None = None
        self._events: EventIterator | None = None
        # Of each call, the id and the name that were told: LangChain appends what is told twice.
        self._calls: dict[int, tuple[str, str]] = {}
        self._ended = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ChatGenerationChunk:
        if self._events is None:
            self._stream = await self._opener()
            self._events = self._stream.events()
        async for event in self._events:
            if event.index == 0:  # a stream of LangChain's has one answer
                if type(event) is ContentDelta:
                    return self._text(event.text)
                if type(event) is ReasoningDelta:
                    return self._reasoning(event.text)
                if type(event) is ToolCallDelta:
                    return self._call(event)
        if self._ended:
            raise StopAsyncIteration
        self._ended = True
        return self._last()

    def _text(self, text: str) -> ChatGenerationChunk:
        if self._blocks:
            return self._in_blocks({"type": "text", "text": text, "index": "lc_text"})
        return ChatGenerationChunk(message=AIMessageChunk(content=text))

    def _reasoning(self, text: str) -> ChatGenerationChunk:
        more = {REASONING: text}
        if self._blocks:
            return self._in_blocks({"type": "reasoning", "reasoning": text, "index": "lc_reasoning"}, more)
        return ChatGenerationChunk(message=AIMessageChunk(content="", additional_kwargs=more))

    def _call(self, event: ToolCallDelta) -> ChatGenerationChunk:
        told_id, told_name = self._calls.get(event.call, ("", ""))
        self._calls[event.call] = (event.id, event.name)
        identity = None if told_id else event.id or None
        name = None if told_name else event.name or None
        chunk = ToolCallChunk(type="tool_call_chunk", id=identity, name=name, args=event.arguments, index=event.call)
        if self._blocks:
            return self._in_blocks(_block(chunk), calls=[chunk])
        return ChatGenerationChunk(message=AIMessageChunk(content="", tool_call_chunks=[chunk]))

    def _last(self) -> ChatGenerationChunk:
        assert self._stream is not None
        done = self._stream.partial
        choice = next((choice for choice in done.choices if choice.index == 0), None)
        if choice is not None and choice.finish_reason in CUT:
            _check_arguments(done)
        calls = [
            ToolCallChunk(type="tool_call_chunk", id=call_id(), name=None, args="", index=call)
            for call, (identity, _) in self._calls.items()
            if not identity
        ]
        metadata = metadata_of(done, choice)
        content: str | list[str | dict[Any, Any]] = ""
        if self._blocks:
            content = [_block(call) for call in calls]
            metadata["output_version"] = "v1"
        message = AIMessageChunk(
            content=content,
            tool_call_chunks=calls,
            usage_metadata=usage_of(done.usage),
            response_metadata=metadata,
            chunk_position="last",
        )
        return ChatGenerationChunk(message=message)

    def _in_blocks(
        self, block: dict[Any, Any], more: dict[str, Any] | None = None, calls: list[ToolCallChunk] | None = None
    ) -> ChatGenerationChunk:
        return ChatGenerationChunk(
            message=AIMessageChunk(
                content=[block],
                additional_kwargs=more or {},
                tool_call_chunks=calls or [],
                response_metadata={"output_version": "v1"},
            )
        )


def _block(call: ToolCallChunk) -> dict[Any, Any]:
    return {**call, "index": f"lc_call_{call['index']}"}


def _check_arguments(done: ChatCompletion) -> None:
    """Raise ParseError if an answer was cut off within a call's arguments.

    LangChain completes what it can of them as it puts the chunks together, and would run the tool with that.
    """
    for call in done.tool_calls or ():
        if read_arguments(call.function.arguments) is None:
            why = f"the answer was cut off within the arguments of {call.function.name!r}: {done.finish_reason}"
            raise ParseError(why, completion=done)
