"""`chat` on a terminal, without a prompt: a conversation, with the editing of lines and the history of a shell.

What was asked before stays in memory alone: prompts may be private, so none is written to disk.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from prompt_toolkit import PromptSession
from prompt_toolkit.enums import DEFAULT_BUFFER
from prompt_toolkit.filters import has_focus
from prompt_toolkit.history import InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

from .. import AsyncSiliconFlow, MessageParam, SiliconFlowError
from . import interrupt
from .chat import show_answer, user_message
from .demo import announced
from .errors import tell
from .screen import Screen

__all__ = ["talk"]

_HELP = (
    "/clear: forget the conversation, and begin anew",
    "/model NAME: ask another model from here on; without a name, say which one is asked",
    "/help: show this",
    "Ctrl-C: stop the answer, of which what came stays; at the prompt, clear the line",
    "Ctrl-D: leave",
)


async def talk(
    screen: Screen,
    *,
    model: str,
    system: str | None,
    images: Sequence[str],
    demo: bool,
    base_url: str | None,
    **params: Any,
) -> int:
    """Answer one prompt after the other until Ctrl-D; return the exit code. The names are those of the options.

    `params` are more parameters of each request.
    """
    try:
        async with announced(screen, demo, base_url) as client:
            screen.notice(f"talking to {model}; /help shows the commands, Ctrl-D leaves")
            await _Talk(screen, client, model, system, images, params).go_on()
    except SiliconFlowError as error:
        return tell(error, screen)
    return 0


class _Talk:
    """A conversation: the system message if there is one, then turns of the user and the model."""

    def __init__(
        self,
        screen: Screen,
        client: AsyncSiliconFlow,
        model: str,
        system: str | None,
        images: Sequence[str],
        params: dict[str, Any],
    ) -> None:
        self._screen = screen
        self._client = client
        self._model = model
        self._opening: list[MessageParam] = [] if system is None else [{"role": "system", "content": system}]
        self._images = images
        self._params = params
        self._turns: list[MessageParam] = []
        self._answer: asyncio.Task[None] | None = None

    async def go_on(self) -> None:
        """Prompt and answer until Ctrl-D."""
        session: PromptSession[str] = PromptSession(history=InMemoryHistory(), key_bindings=_key_bindings())
        with interrupt.diverted(self._stop):
            while True:
                try:
                    line = await session.prompt_async("> ")
                except EOFError:
                    return
                # In a locale without UTF-8 the terminal's bytes come as surrogates, which can't be sent.
                line = line.encode(errors="surrogateescape").decode(errors="replace")
                if line.startswith("/"):
                    self._obey(*line.split(maxsplit=1))
                elif line.strip():
                    self._answer = asyncio.ensure_future(self._ask(line))
                    await asyncio.wait([self._answer])
                    # An error of no service ends the conversation. Ctrl-C may come before it has begun.
                    if not self._answer.cancelled():
                        self._answer.result()

    def _stop(self) -> None:
        if self._answer is not None:
            self._answer.cancel()

    async def _ask(self, prompt: str) -> None:
        # As in `chat`, they go with what is asked first.
        images = () if self._turns else self._images
        turns = self._turns
        stream = None
        try:
            turns = [*turns, user_message(prompt, images)]
            messages = [*self._opening, *turns]
            opening = self._client.chat.completions.stream(model=self._model, messages=messages, **self._params)
            async with opening as stream:
                await show_answer(stream, self._screen)
        except asyncio.CancelledError:
            self._screen.notice("stopped")
        except SiliconFlowError as error:
            tell(error, self._screen)
        # A question without an answer is not kept: with the next one there would be two turns of the user's in a row.
        if stream is not None and (content := stream.partial.content):
            self._turns = [*turns, {"role": "assistant", "content": content}]

    def _obey(self, name: str, argument: str = "") -> None:
        tell = self._screen.notice
        argument = argument.strip()
        if name == "/clear":
            self._turns = []
            tell("the conversation begins anew")
        elif name == "/model":
            self._model = argument or self._model
            tell(f"talking to {self._model}")
        elif name == "/help":
            for line in _HELP:
                tell(line)
        else:
            tell(f"there is no command {name}; /help shows those that there are")


def _key_bindings() -> KeyBindings:
    bindings = KeyBindings()
    # In a search through the history, Ctrl-C ends that.
    at_prompt = has_focus(DEFAULT_BUFFER)

    @bindings.add("c-c", filter=at_prompt)
    @bindings.add("<sigint>", filter=at_prompt)
    def clear_line(event: KeyPressEvent) -> None:
        event.current_buffer.reset()

    return bindings
