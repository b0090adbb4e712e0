"""`chat`: one prompt, one streamed answer, one closing line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import (
    ChatCompletion,
    ChatStream,
    ContentDelta,
    Event,
    MessageParam,
    ReasoningDelta,
    SiliconFlowError,
    ToolCallDone,
    image,
)
from ..wire.events import error_event
from .demo import announced
from .errors import exit_code, tell
from .screen import Screen

__all__ = ["chat", "closing_line", "show_answer", "user_message"]


async def chat(
    screen: Screen,
    *,
    prompt: str,
    system: str | None,
    images: Sequence[str],
    json: bool,
    demo: bool,
    base_url: str | None,
    **params: Any,
) -> int:
    """Stream the answer to the screen; return the exit code. The names are those of the options.

    `params` are more parameters of the request.
    """
    try:
        messages = [user_message(prompt, images)]
        if system is not None:
            messages.insert(0, {"role": "system", "content": system})
        async with (
            announced(screen, demo, base_url) as client,
            client.chat.completions.stream(messages=messages, **params) as stream,
        ):
            await show_answer(stream, screen, json=json)
    except SiliconFlowError as error:
        if json:
            screen.line(error_event(error).to_json())
            return exit_code(error)
        return tell(error, screen)
    return 0


def user_message(prompt: str, images: Sequence[str]) -> MessageParam:
    """Return a turn of the user's; `images` are paths and URLs. Raises InvalidRequestError."""
    if not images:
        return {"role": "user", "content": prompt}
    return {"role": "user", "content": [*map(image, images), {"type": "text", "text": prompt}]}


async def show_answer(stream: ChatStream, screen: Screen, *, json: bool = False) -> None:
    """Print an answer as it comes, with `json` as events, and its closing line."""
    tokens = 0
    try:
        async for event in stream.events():
            tokens += isinstance(event, ContentDelta | ReasoningDelta)
            if json:
                screen.line(event.to_json())
            else:
                _show(event, screen)
        done = await stream.completion()
    finally:
        screen.end_answer()
    screen.notice(closing_line(done, deltas=tokens))


def _show(event: Event, screen: Screen) -> None:
    match event:
        case ContentDelta(text=text):
            screen.content(text)
        case ReasoningDelta(text=text):
            screen.reasoning(text)
        case ToolCallDone(name=name, arguments=arguments):
            screen.notice(f"tool call: {name} {arguments}")
        case _:
            pass


def closing_line(done: ChatCompletion, *, deltas: int) -> str:
    """Return what an answer cost and how fast it came.

    deltas: how many pieces of text came; about one token each, for servers that don't report usage.
    """
    usage = done.usage
    tokens = usage.completion_tokens if usage is not None else deltas
    details = usage.completion_tokens_details if usage is not None else None
    thought = details.reasoning_tokens if details is not None else None
    parts = [
        done.model,
        f"{'' if usage is not None else '~'}{tokens} tokens" + (f" ({thought} reasoning)" * bool(thought)),
    ]
    first, total = done.timing.first_token, done.timing.total
    if first is not None:
        parts.append(f"first token after {first:.2f} s")
    rate = _rate(tokens, first, total)
    if rate is not None:
        parts.append(f"{rate:.1f} tokens/s")
    if done.finish_reason not in (None, "stop"):
        parts.append(f"finish reason {done.finish_reason}")
    if done.trace_id:
        parts.append(f"trace id {done.trace_id}")
    return ", ".join(parts)


def _rate(tokens: int, first: float | None, total: float | None) -> float | None:
    """Return tokens per second: those after the first, over the time after it; if all came at once, over all of it."""
    if not tokens or not total:
        return None
    after = total - (first or 0.0)
    if tokens > 1 and first is not None and after >= 0.001:
        return (tokens - 1) / after
    return tokens / total
