"""`chat` without a prompt, on a real pseudo-terminal that controls it: Ctrl-C is a key there."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from siliconflow_async.testing import Fin, Gate, Stall, Until, stream_events

from ..terminal import CTRL_C, ENTER, LOGIN, PROMPT, SILENT, UP, Terminal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path
    from typing import TypeAlias

    from siliconflow_async.testing import FakeSiliconFlow

    from .conftest import Command

    Talks: TypeAlias = Callable[..., AbstractContextManager[Terminal]]

pytestmark = pytest.mark.skipif(os.name == "nt", reason="opens a pseudo-terminal")


@pytest.fixture
def talk(command: Command, tmp_path: Path) -> Talks:
    """Start the command on a terminal, and wait for its prompt."""

    @contextmanager
    def talk(*args: str, **env: str) -> Iterator[Terminal]:
        env = {**SILENT, "HOME": str(tmp_path), **env}
        master, slave = os.openpty()
        try:
            pipes = dict.fromkeys(("stdin", "stdout", "stderr"), slave)
            with command.start("chat", *args, by=LOGIN, env=env, **pipes) as process:
                os.close(slave)
                terminal = Terminal(master, process)
                terminal.see(PROMPT)
                yield terminal
        finally:
            os.close(master)

    return talk


def asked(server: FakeSiliconFlow) -> list[dict[str, Any]]:
    """The messages of the latest request."""
    messages: list[dict[str, Any]] = server.requests[-1].json["messages"]
    return messages


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def test_it_talks_on_until_ctrl_d(talk: Talks, server: FakeSiliconFlow) -> None:
    """Each prompt is sent with all that was said before it."""
    server.reply("First answer.", "Let me think.")
    server.reply("Second answer.")
    with talk() as terminal:
        assert "First answer." in terminal.ask("First?")
        assert "Second answer." in terminal.ask("Second?")
        assert asked(server) == [user("First?"), assistant("First answer."), user("Second?")]
        assert terminal.leave() == 0


def test_an_answer_ends_with_its_closing_line(talk: Talks, server: FakeSiliconFlow) -> None:
    with talk() as terminal:
        shown = terminal.ask("Hello")
    assert f"trace id {server.requests[0].trace_id}" in shown.rstrip().splitlines()[-1]


def test_an_empty_line_asks_nothing(talk: Talks, server: FakeSiliconFlow) -> None:
    with talk() as terminal:
        terminal.ask("")
        terminal.ask("  ")
    assert server.requests == []


def test_options_hold_for_every_prompt(talk: Talks, server: FakeSiliconFlow) -> None:
    with talk("--system", "Be brief", "--temperature", "0.5", "--max-tokens", "9", "--model", "org/m") as terminal:
        terminal.ask("One")
        terminal.ask("Two")
    for request in server.requests:
        body = request.json
        assert body["messages"][0] == {"role": "system", "content": "Be brief"}
        assert (body["model"], body["temperature"], body["max_tokens"]) == ("org/m", 0.5, 9)


def test_a_picture_goes_with_the_first_prompt(talk: Talks, server: FakeSiliconFlow) -> None:
    server.reply("A cat.", times=2)
    with talk("--image", "https://pictures.example/cat.png") as terminal:
        terminal.ask("What is it?")
        terminal.ask("Are you sure?")
    picture = {"type": "image_url", "image_url": {"url": "https://pictures.example/cat.png"}}
    first = {"role": "user", "content": [picture, {"type": "text", "text": "What is it?"}]}
    assert asked(server) == [first, assistant("A cat."), user("Are you sure?")]


class TestCommands:
    """Lines that begin with a slash."""

    def test_clear_forgets_the_conversation(self, talk: Talks, server: FakeSiliconFlow) -> None:
        """But for the system message, with which it began."""
        with talk("--system", "Be brief") as terminal:
            terminal.ask("One")
            assert "begins anew" in terminal.ask("/clear")
            terminal.ask("Two")
        assert asked(server) == [{"role": "system", "content": "Be brief"}, user("Two")]

    def test_model_asks_another_one(self, talk: Talks, server: FakeSiliconFlow) -> None:
        """The conversation goes on with it."""
        with talk() as terminal:
            terminal.ask("One")
            assert "talking to org/other" in terminal.ask("/model  org/other ")
            terminal.ask("Two")
            assert "talking to org/other" in terminal.ask("/model")
        assert server.requests[-1].json["model"] == "org/other"
        assert len(asked(server)) == 3

    def test_help_shows_them(self, talk: Talks) -> None:
        with talk() as terminal:
            shown = terminal.ask("/help")
        for words in ("/clear", "/model NAME", "/help", "Ctrl-C", "Ctrl-D"):
            assert words in shown

    def test_an_unknown_one_is_told(self, talk: Talks, server: FakeSiliconFlow) -> None:
        """And not sent."""
        with talk() as terminal:
            assert "there is no command /nonsense; /help" in terminal.ask("/nonsense here")
        assert server.requests == []


class TestCtrlC:
    """It stops what is under way, and never the command."""

    def test_it_stops_the_answer_and_what_came_stays(self, talk: Talks, server: FakeSiliconFlow) -> None:
        """The connection is closed at once, and the next prompt follows the part that came."""
        server.raw([*stream_events(["It begins"])[:2], Stall()])
        with talk() as terminal:
            terminal.press("Hello", ENTER)
            terminal.see("It begins")
            terminal.press(CTRL_C)
            assert "stopped" in terminal.see(PROMPT)
            server.wait_left_early()
            terminal.ask("Go on")
            assert asked(server) == [user("Hello"), assistant("It begins"), user("Go on")]
            assert terminal.leave() == 0

    def test_a_question_that_got_no_answer_is_forgotten(self, talk: Talks, server: FakeSiliconFlow) -> None:
        server.reply("never", before=[Stall()])
        with talk() as terminal:
            terminal.press("Hello", ENTER)
            server.wait_received()
            terminal.press(CTRL_C)
            assert "stopped" in terminal.see(PROMPT)
            server.wait_left_early()
            terminal.ask("Again")
        assert asked(server) == [user("Again")]

    def test_in_the_middle_of_reasoning_it_leaves_nothing_to_the_next_answer(
        self, talk: Talks, server: FakeSiliconFlow
    ) -> None:
        """No blank line, which stands between reasoning and answer."""
        server.raw([*stream_events(["never"], ["Let me think"])[:2], Stall()])
        server.reply("The answer")
        with talk() as terminal:
            terminal.press("Hello", ENTER)
            terminal.see("Let me think")
            terminal.press(CTRL_C)
            terminal.see(PROMPT)
            terminal.press("Again", ENTER)
            assert terminal.see("The answer").endswith("Again\r\r\n")

    def test_at_the_prompt_it_clears_the_line(self, talk: Talks, server: FakeSiliconFlow) -> None:
        with talk() as terminal:
            terminal.press("Never sent", CTRL_C)
            terminal.ask("Hello")
            terminal.press(CTRL_C, CTRL_C)
            assert terminal.leave() == 0
        assert [request.json["messages"] for request in server.requests] == [[user("Hello")]]


def test_what_was_asked_can_be_asked_again(talk: Talks, server: FakeSiliconFlow, tmp_path: Path) -> None:
    """The history is that of a shell, and leaves nothing on the disk."""
    with talk() as terminal:
        terminal.ask("First?")
        terminal.ask("/clear")
        terminal.press(UP, UP)
        terminal.ask("!")
        assert terminal.leave() == 0
    assert asked(server) == [user("First?!")]
    assert list(tmp_path.iterdir()) == []


def test_an_answer_that_fails_is_told_and_the_conversation_goes_on(talk: Talks, server: FakeSiliconFlow) -> None:
    server.fail(400)
    server.raw([*stream_events(["It ", "beg"], finish=False, done=False), Fin()])
    with talk() as terminal:
        assert "error: BadRequestError: HTTP 400" in terminal.ask("One")
        assert "error: TruncatedStreamError" in terminal.ask("Two")
        terminal.ask("Three")
        assert asked(server) == [user("Two"), assistant("It beg"), user("Three")]
        assert terminal.leave() == 0


def test_a_picture_that_is_not_there_is_told(talk: Talks, server: FakeSiliconFlow) -> None:
    with talk("--image", "missing.png") as terminal:
        assert "missing.png" in terminal.ask("What is it?")
        assert terminal.leave() == 0
    assert server.requests == []


def test_a_base_url_that_cannot_work_is_wrong_usage(talk: Talks) -> None:
    with pytest.raises(EOFError, match="error: ConfigurationError"), talk("--base-url", "nonsense"):
        pass


def test_what_is_typed_during_an_answer_is_the_next_prompt(talk: Talks, server: FakeSiliconFlow) -> None:
    gate = Gate()
    role, early, *rest = stream_events(["early ", "late"])
    server.raw([role, early, Until(gate), *rest])
    with talk() as terminal:
        terminal.press("One", ENTER)
        terminal.see("early ")
        terminal.press("Two", ENTER)
        terminal.see("Two")
        gate.set()
        terminal.see(PROMPT)
        terminal.see(PROMPT)
    assert asked(server)[-1] == user("Two")


@pytest.mark.parametrize("mode", [{}, {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}], ids=["utf8", "ascii"])
def test_what_is_typed_is_utf8_in_any_locale(talk: Talks, server: FakeSiliconFlow, mode: dict[str, str]) -> None:
    with talk(LANG="C", LC_ALL="C", **mode) as terminal:
        terminal.press("café 世界", ENTER)
        terminal.see(PROMPT)
    assert asked(server) == [user("café 世界")]


def test_the_demo_talks_too(talk: Talks, server: FakeSiliconFlow) -> None:
    with talk("--demo", "--no-thinking", SILICONFLOW_API_KEY="") as terminal:
        assert "You said: “Hello”." in terminal.ask("Hello")
        assert terminal.leave() == 0
    assert server.requests == []


@pytest.mark.parametrize("channel", ["stdin", "stdout"])
def test_a_terminal_on_one_side_does_not_do(command: Command, server: FakeSiliconFlow, channel: str) -> None:
    """Where stdin is none it holds the prompt; where stdout is none nobody sees what is asked."""
    master, slave = os.openpty()
    try:
        with command.start("chat", **{channel: slave}) as process:
            os.close(slave)
            assert process.stderr is not None
            assert process.stderr.read().startswith(b"error: no prompt. ")
            assert process.wait() == 2
    finally:
        os.close(master)
    assert server.requests == []


def test_only_a_conversation_needs_its_library(command: Command) -> None:
    """Every other command starts without it, and the sooner."""
    script = "import sys; sys.modules['prompt_toolkit'] = None; from siliconflow_async.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", script, "chat", "Hello"], env=command.env, capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
