"""Answers parsed into a type: `response_format=T` makes `done.parsed` a T.

What does not fit the type is a ParseError that carries the answer. The values are those of choice 0.
"""

from __future__ import annotations

from typing import Any, ClassVar, Generic, TypeVar, cast

from ..errors import ConfigurationError, ParseError
from ..request.schema import Form
from ..wire import jsontext
from ..wire.lazy import Chunk
from ..wire.structs import ChatCompletion
from .manager import ChatStreamManager
from .reading import Reading
from .stream import ChatStream

__all__ = ["ParsedChatCompletion", "ParsedChatStream", "ParsedChatStreamManager", "parsed"]

T = TypeVar("T")

_NO_JITER = "parsed_partial needs an extra: pip install 'siliconflow-async[structured]'"
_CUT_OFF = {
    "length": "the answer was cut off: max_tokens, or the model's context, was reached",
    "content_filter": "the answer was cut off by the content filter",
    "insufficient_system_resource": "the answer was cut off: the service ran out of resources",
}


class _Parsed(Generic[T]):
    __slots__ = ()
    parsed: T


# The value is the caller's and may lead anywhere, so the collector has to see it.
class ParsedChatCompletion(_Parsed[T], ChatCompletion, gc=True, dict=True):
    """A whole answer whose content was parsed: `parsed`, which `to_dict()` leaves out as it does `raw`."""

    _names: ClassVar[tuple[str, ...]] = (*ChatCompletion._names, "parsed")


class ParsedChatStream(ChatStream, Generic[T]):
    """An open answer whose content will be a T: `completion()` parses it."""

    __slots__ = ("_form",)

    def __init__(self, form: Form[T], reading: Reading[Chunk], started_at: float) -> None:
        super().__init__(reading, started_at)
        self._form = form

    async def completion(self) -> ParsedChatCompletion[T]:
        """Read what is left and return the answer, parsed; raise ParseError if it does not fit, or as iterating."""
        return parsed(self._form, await super().completion())

    async def get_final_completion(self) -> ParsedChatCompletion[T]:
        """`completion()`, as the openai package names it."""
        return await self.completion()

    @property
    def parsed_partial(self) -> Any:
        """The value so far as plain dicts, lists, texts and numbers: unchecked, and texts may lack their end.

        None before it begins. Parsed anew each time it is asked for. Raises ParseError if the content is no JSON,
        ConfigurationError without the extra `structured`.
        """
        try:
            # Here and not above, since jiter is an extra.
            import jiter
        except ModuleNotFoundError as error:
            raise ConfigurationError(_NO_JITER) from error
        completion = self.partial
        content = (completion.content or "").lstrip()
        # A lone minus is the one beginning of a value that has no value yet.
        if not content or content == "-":
            return None
        try:
            value = jiter.from_json(content.encode(), partial_mode="trailing-strings")
        except ValueError as error:
            raise ParseError(f"the content is not JSON: {error}", completion=completion) from error
        return self._form.unwrap(value)


class ParsedChatStreamManager(ChatStreamManager, Generic[T]):
    """What `stream(…, response_format=T)` returns: opens the stream on entering, closes it on leaving."""

    __slots__ = ()

    async def __aenter__(self) -> ParsedChatStream[T]:
        return cast("ParsedChatStream[T]", await super().__aenter__())  # its opener was given the form


def parsed(form: Form[T], completion: ChatCompletion) -> ParsedChatCompletion[T]:
    """Return the answer with its content parsed; raise ParseError if it does not fit the form."""
    reason = completion.finish_reason or ""
    if reason in _CUT_OFF:
        raise ParseError(_CUT_OFF[reason], completion=completion)
    content = completion.content
    if not content:
        raise ParseError(_why_empty(completion), completion=completion)
    try:
        value = form.decode(content)
    except ValueError as error:
        raise ParseError(f"the content is no {form.name}: {error}", completion=completion) from error
    fields = {name: getattr(completion, name) for name in ChatCompletion.__struct_fields__}
    answer: ParsedChatCompletion[T] = ParsedChatCompletion(**fields)
    answer.__setstate__(completion._state())
    answer.parsed = value
    return answer


def _why_empty(completion: ChatCompletion) -> str:
    refusal = _refusal(completion)
    if refusal:
        return f"the model refused: {refusal}"
    if completion.tool_calls:
        return "the answer has no content: it calls tools"
    return "the answer has no content"


def _refusal(completion: ChatCompletion) -> str | None:
    # SiliconFlow's page has no such field, so the structs have none either; other servers send it.
    if completion.raw is None:
        return None
    try:
        message = jsontext.parse(completion.raw)["choices"][0]["message"]
        refusal = message.get("refusal")
    except (ValueError, LookupError, TypeError, AttributeError):
        return None
    return refusal if isinstance(refusal, str) else None
