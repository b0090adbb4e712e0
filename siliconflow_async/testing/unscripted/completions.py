"""Texts that the stand-in goes on with: the same for the same prompt."""

from __future__ import annotations

from typing import Any

import msgspec

from ..serving.answers import ChatAnswer, ChoicePieces, deltas, sse
from ..serving.refusals import refuse
from .chat import before
from .models import capabilities
from .question import Question
from .rules import check_parameters

__all__ = ["completions"]

_encode = msgspec.json.Encoder().encode


class _Text(ChatAnswer, frozen=True):
    """A text, in the two forms that it has on the wire."""

    def body(self) -> bytes:
        choices = [
            self._part(index, "".join(choice.content), choice.finish_reason)
            for index, choice in enumerate(self.choices)
        ]
        head = self._head("text_completion")
        return _encode({**head, "choices": choices, "usage": self._counted(self.tokens, 0)})

    def events(self) -> list[bytes]:
        head = self._head("text_completion")
        events: list[bytes] = []
        total = 0
        for index, choice in enumerate(self.choices):
            for text, reason in [("", None), *((text, None) for text in choice.content), ("", choice.finish_reason)]:
                total += bool(text)
                events.append(
                    sse({**head, "choices": [self._part(index, text, reason)], "usage": self._counted(total, 0)})
                )
        return [*events, sse("[DONE]")]

    def _part(self, index: int, text: str, reason: str | None) -> dict[str, Any]:
        return {"text": text, "index": index, "finish_reason": reason, "logprobs": None}


async def completions(question: Question) -> None:
    """Answer `POST /completions`."""
    request = question.json()
    name, meter = question.model(request)
    model = capabilities(name)
    if model.vision:
        refuse("The model has no completions.", code=20039)
    prompt = request.get("prompt")
    if not isinstance(prompt, str):
        refuse("prompt: Must be a string")
    logprobs = request.pop("logprobs", None)
    if logprobs is not None and (not isinstance(logprobs, int) or isinstance(logprobs, bool) or logprobs < 0):
        refuse("logprobs: Must be an integer")
    check_parameters(request, model)
    prompt_tokens = len(deltas(prompt)) + len(deltas(request.get("suffix") or ""))
    if meter is not None:
        meter.admit(prompt_tokens)
    limit = None if request.get("max_tokens") is None else int(request["max_tokens"])
    choices = []
    for index in range(int(request.get("n") or 1)):
        pieces = deltas(_text(prompt, request.get("suffix"), request.get("stop"), index))
        cut = limit is not None and len(pieces) > limit
        choices.append(ChoicePieces(pieces[:limit], finish_reason="length" if cut else "stop"))
    answer = _Text(choices, name, prompt_tokens=prompt_tokens)
    await question.writer.answer(answer, stream=request.get("stream") is True, meter=meter)


def _text(prompt: str, suffix: str | None, stop: Any, index: int) -> str:
    last = prompt.rstrip().rpartition("\n")[2][-60:]
    number = f" This is text {index + 1} of them." if index else ""
    if suffix:
        text = f" what stands between “{last}” and “{suffix.strip()[:60]}”.{number}"
    else:
        text = f" and so the text goes on from “{last}”, 一个词接一个词.{number} 😀"
    return before(text, [stop] if isinstance(stop, str) else stop or [])
