from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from siliconflow_async.cli.chat import closing_line
from siliconflow_async.testing import Fin, Gate, Until, stream_events
from siliconflow_async.wire.structs import ChatCompletion, Choice, Timing, Usage

if TYPE_CHECKING:
    from pathlib import Path

    from siliconflow_async.testing import FakeSiliconFlow

    from .conftest import Command

CLOSING = re.compile(
    r"Qwen/Qwen3-8B, (?P<tokens>~?\d+ tokens( \(\d+ reasoning\))?), first token after \d+\.\d\d s, "
    r"\d+\.\d tokens/s(, finish reason (?P<reason>\w+))?, trace id (?P<trace>ti_\w+)"
)


def sent(server: FakeSiliconFlow) -> dict[str, object]:
    (request,) = server.requests
    body: dict[str, object] = request.json
    return body


def closing(text: str) -> re.Match[str]:
    match = CLOSING.fullmatch(text.splitlines()[-1])
    assert match is not None, text
    return match


def test_the_answer_goes_to_stdout_and_the_closing_line_to_stderr(command: Command, server: FakeSiliconFlow) -> None:
    server.reply(["It ", "works, ", "世界."])
    done = command.run("chat", "Hello")
    assert done.returncode == 0
    assert done.stdout == "It works, 世界.\n"
    assert len(done.stderr.splitlines()) == 1
    assert closing(done.stderr)["tokens"] == "3 tokens"
    assert closing(done.stderr)["trace"] == server.requests[0].trace_id


def test_only_what_was_asked_for_is_sent(command: Command, server: FakeSiliconFlow) -> None:
    command.run("chat", "Hello")
    messages = [{"role": "user", "content": "Hello"}]
    assert sent(server) == {"model": "Qwen/Qwen3-8B", "messages": messages, "stream": True}


def test_every_option_reaches_the_service(command: Command, server: FakeSiliconFlow) -> None:
    options = ["--model", "org/Qwen3-9B", "--system", "Be brief", "--no-thinking", "--max-tokens", "3"]
    done = command.run("chat", "Hello", *options, "--temperature", "0.2")
    assert done.returncode == 0, done.stderr
    assert sent(server) == {
        "model": "org/Qwen3-9B",
        "messages": [{"role": "system", "content": "Be brief"}, {"role": "user", "content": "Hello"}],
        "enable_thinking": False,
        "max_tokens": 3,
        "temperature": 0.2,
        "stream": True,
    }
    assert "3 tokens" in done.stderr
    assert "finish reason length" in done.stderr


def test_pictures_go_before_the_prompt(command: Command, server: FakeSiliconFlow, tmp_path: Path) -> None:
    """A file as base64, a URL as it is."""
    cat = tmp_path / "cat.jpg"
    cat.write_bytes(b"\xff\xd8\xff\xe0")
    url = "https://pictures.example/dog.png"
    done = command.run("chat", "-m", "org/Qwen3-VL", "What is this?", "--image", str(cat), "--image", url)
    assert done.returncode == 0, done.stderr
    pictures = [{"type": "image_url", "image_url": {"url": at}} for at in ("data:image/jpeg;base64,/9j/4A==", url)]
    content = [*pictures, {"type": "text", "text": "What is this?"}]
    assert sent(server)["messages"] == [{"role": "user", "content": content}]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--image", "missing.png"), "error: InvalidRequestError: .*missing.png"),
        (("--image", "ftp://pictures.example/cat.png"), "error: InvalidRequestError: .*"),
        (("--temperature", "nan"), "error: InvalidRequestError: temperature: .*"),
        (("--temperature", "hot"), "Error: Invalid value for '--temperature'.*"),
    ],
)
def test_what_cannot_be_sent_is_named(
    command: Command, server: FakeSiliconFlow, args: tuple[str, ...], words: str
) -> None:
    done = command.run("chat", "Hello", *args)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.match(words, done.stderr.splitlines()[-1])
    assert server.requests == []


def test_thinking_can_be_asked_for(command: Command, server: FakeSiliconFlow) -> None:
    command.run("chat", "Hello", "--thinking")
    assert sent(server)["enable_thinking"] is True


def test_the_environment_may_name_the_model(command: Command, server: FakeSiliconFlow) -> None:
    command.run("chat", "Hello", SILICONFLOW_MODEL="org/other")
    assert sent(server)["model"] == "org/other"


def test_an_option_names_another_service(command: Command, server: FakeSiliconFlow) -> None:
    done = command.run("chat", "Hello", "--base-url", server.base_url, SILICONFLOW_BASE_URL="http://127.0.0.1:9/v1")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("args", [(), ("-",)], ids=["no argument", "a dash"])
def test_the_prompt_comes_from_stdin(command: Command, server: FakeSiliconFlow, args: tuple[str, ...]) -> None:
    assert command.run("chat", *args, stdin="\ufeff  two\nlines 世界\n".encode()).returncode == 0
    assert sent(server)["messages"] == [{"role": "user", "content": "  two\nlines 世界"}]


def test_an_argument_wins_over_stdin(command: Command, server: FakeSiliconFlow) -> None:
    command.run("chat", "argument", stdin=b"stdin")
    assert sent(server)["messages"] == [{"role": "user", "content": "argument"}]


@pytest.mark.parametrize("prompt", [(), ("",), (" \n",), ("-",)], ids=["none", "empty", "blank", "stdin"])
def test_an_empty_prompt_is_refused(command: Command, server: FakeSiliconFlow, prompt: tuple[str, ...]) -> None:
    done = command.run("chat", *prompt, stdin=b" \n")
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"error: no prompt\. .*\n", done.stderr)
    assert server.requests == []


@pytest.mark.parametrize("key", ["", "  "])
def test_without_a_key_it_says_what_to_do(command: Command, server: FakeSiliconFlow, key: str) -> None:
    done = command.run("chat", "Hello", SILICONFLOW_API_KEY=key)
    assert (done.returncode, done.stdout) == (2, "")
    assert "SILICONFLOW_API_KEY" in done.stderr
    assert "--demo" in done.stderr
    assert done.stderr.count("\n") == 1
    assert server.requests == []


def test_the_demo_needs_no_key_no_service_and_no_proxy(command: Command, server: FakeSiliconFlow) -> None:
    nowhere = "http://127.0.0.1:9"
    env = {"SILICONFLOW_API_KEY": "", "SILICONFLOW_BASE_URL": nowhere, "http_proxy": nowhere, "HTTP_PROXY": nowhere}
    done = command.run("chat", "--demo", "Hello", "--max-tokens", "60", **env)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("You said: “Hello”.")
    assert done.stderr.startswith("demo: a stand-in on this machine answers, at http://127.0.0.1:")
    assert closing(done.stderr)["reason"] == "length"
    assert server.requests == []


def test_the_demo_takes_no_other_service(command: Command) -> None:
    done = command.run("chat", "--demo", "--base-url", "http://127.0.0.1:9", "Hello")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--base-url" in done.stderr


def test_reasoning_stays_out_of_a_pipe(command: Command, server: FakeSiliconFlow) -> None:
    server.reply(["The ", "answer"], ["Let me ", "think"])
    done = command.run("chat", "Hello")
    assert done.stdout == "The answer\n"
    assert done.stderr.splitlines()[0] == "Let me think"
    assert closing(done.stderr)["tokens"] == "4 tokens (2 reasoning)"


def test_a_pipe_gets_the_text_as_it_came(command: Command, server: FakeSiliconFlow) -> None:
    server.reply(["\n\x1b[31mred", "\x07\u009b\n"], ["thinking"])
    assert command.run("chat", "Hello").stdout == "\n\x1b[31mred\x07\u009b\n"


def test_each_piece_is_shown_as_it_comes(command: Command, server: FakeSiliconFlow) -> None:
    gate = Gate()
    role, early, *rest = stream_events(["early ", "late"])
    server.raw([role, early, Until(gate), *rest])
    with command.start("chat", "Hello") as process:
        assert process.stdout is not None
        assert process.stdout.read(6) == b"early "
        gate.set()
        assert process.stdout.read() == b"late\n"
        assert process.wait() == 0


def test_a_refusal_is_one_line(command: Command, server: FakeSiliconFlow) -> None:
    done = command.run("chat", "Hello", SILICONFLOW_API_KEY="wrong")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: AuthenticationError: HTTP 401: Api key is invalid")
    assert done.stderr.endswith(f"[trace id {server.requests[0].trace_id}]\n")
    assert done.stderr.count("\n") == 1
    assert "wrong" not in done.stderr


def test_what_a_server_says_can_neither_break_the_line_nor_reach_the_terminal(
    command: Command, server: FakeSiliconFlow
) -> None:
    server.fail(400, {"code": 20015, "message": "no\r\n\x1b[2Jway \u009b" + "x" * 5000, "data": None})
    done = command.run("chat", "Hello")
    assert done.returncode == 1
    assert done.stderr.startswith("error: BadRequestError: HTTP 400, code 20015: no [2Jway xxx")
    assert done.stderr.count("\n") == 1
    assert len(done.stderr) < 1100


def test_what_had_arrived_stays_when_the_answer_breaks_off(command: Command, server: FakeSiliconFlow) -> None:
    server.raw([*stream_events(["It ", "beg"], finish=False, done=False), Fin()])
    done = command.run("chat", "Hello")
    assert (done.returncode, done.stdout) == (1, "It beg\n")
    assert done.stderr.startswith("error: TruncatedStreamError: ")
    assert f"[trace id {server.requests[0].trace_id}]" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("base_url", ["api.siliconflow.cn", "http://"])
def test_a_base_url_that_cannot_work_is_wrong_usage(command: Command, base_url: str) -> None:
    done = command.run("chat", "Hello", "--base-url", base_url)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ConfigurationError: ")
    assert done.stderr.count("\n") == 1


def test_a_wait_before_another_attempt_is_told(command: Command, server: FakeSiliconFlow) -> None:
    server.fail(503, headers={"retry-after": "0"})
    server.reply(["ok"])
    done = command.run("chat", "Hello")
    assert (done.returncode, done.stdout) == (0, "ok\n")
    assert "trying again" in done.stderr.splitlines()[0]


def test_a_warning_is_one_line(command: Command, server: FakeSiliconFlow) -> None:
    # Every address of this machine, so not loopback, though it leads there.
    anywhere = server.base_url.replace("127.0.0.1", "0.0.0.0")
    done = command.run("chat", "Hello", "--base-url", anywhere, PYTHONWARNINGS="", no_proxy="*")
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"warning: base_url .* is plain http: .*", done.stderr.splitlines()[0])


def test_tokens_are_counted_where_the_service_does_not_report_them(command: Command, server: FakeSiliconFlow) -> None:
    server.reply(["a", "b", "c"], usage_on="never")
    assert closing(command.run("chat", "Hello").stderr)["tokens"] == "~3 tokens"


def test_json_is_one_event_a_line(command: Command, server: FakeSiliconFlow) -> None:
    server.reply(["Hi\n", "世"], ["hm"])
    done = command.run("chat", "--json", "Hello")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["type"] for event in events] == [
        "started",
        "reasoning_delta",
        "content_delta",
        "content_delta",
        "finished",
    ]
    assert events[2] == {"type": "content_delta", "index": 0, "text": "Hi\n"}
    assert events[-1]["usage"]["completion_tokens"] == 3
    assert closing(done.stderr)


def test_json_holds_no_control_character_but_the_line_end(command: Command, server: FakeSiliconFlow) -> None:
    text = "\x1b\x7f\u0085\u009b\u2028"
    server.reply([text])
    lines = command.run("chat", "--json", "Hello").stdout.split("\n")
    assert json.loads(lines[1])["text"] == text
    assert not any(char < " " or "\x7f" <= char < "\xa0" for line in lines for char in line)


def test_in_json_a_refusal_is_an_event(command: Command, server: FakeSiliconFlow) -> None:
    server.fail(400)
    done = command.run("chat", "--json", "Hello")
    assert (done.returncode, done.stderr) == (1, "")
    event = json.loads(done.stdout)
    assert event.items() >= {"type": "error", "index": 0, "error": "BadRequestError", "code": 20015}.items()
    assert server.requests[0].trace_id in event["message"]


def test_in_json_a_broken_answer_ends_with_an_event(command: Command, server: FakeSiliconFlow) -> None:
    server.raw(stream_events(["It"], finish=False, done=False))
    done = command.run("chat", "--json", "Hello")
    assert done.returncode == 1
    types = [json.loads(line)["type"] for line in done.stdout.splitlines()]
    assert types == ["started", "content_delta", "error"]


def test_a_tool_call_is_not_lost(command: Command, server: FakeSiliconFlow) -> None:
    server.reply(tool_calls=[{"name": "look", "arguments": {"at": "it"}}])
    done = command.run("chat", "Hello")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.splitlines()[0] == 'tool call: look {"at":"it"}'


def test_an_output_without_the_characters_does_not_fail(command: Command, server: FakeSiliconFlow) -> None:
    server.reply(["世界 café"], ["思"])
    done = command.run("chat", "Hello", LANG="C", LC_ALL="C", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stdout) == (0, "?? caf?\n")


def test_a_lone_surrogate_does_not_fail(command: Command, server: FakeSiliconFlow) -> None:
    server.raw([b'data: {"choices":[{"index":0,"delta":{"content":"a\\ud83dz"},"finish_reason":"stop"}]}\n\n'])
    done = command.run("chat", "Hello")
    assert done.returncode == 0, done.stderr
    assert (done.stdout[0], done.stdout[-2:]) == ("a", "z\n")


@pytest.mark.parametrize("mode", [{}, {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}], ids=["utf8", "ascii"])
def test_an_argument_is_utf8_in_any_locale(command: Command, server: FakeSiliconFlow, mode: dict[str, str]) -> None:
    done = command.run("chat", "café".encode() + b"\xff", LANG="C", LC_ALL="C", **mode)
    assert done.returncode == 0, done.stderr
    assert sent(server)["messages"] == [{"role": "user", "content": "café\ufffd"}]


def completion(tokens: int, first: float | None, total: float | None) -> ChatCompletion:
    usage = Usage(completion_tokens=tokens)
    answer = ChatCompletion(model="org/m", choices=[Choice(finish_reason="stop")], usage=usage)
    answer.timing = Timing(first, total)
    return answer


def test_the_rate_leaves_out_the_first_token_and_the_wait_for_it() -> None:
    line = closing_line(completion(101, 5.0, 7.0), deltas=0)
    assert line == "org/m, 101 tokens, first token after 5.00 s, 50.0 tokens/s"


def test_the_rate_of_an_answer_that_came_at_once_is_over_the_whole_time() -> None:
    assert "10.0 tokens/s" in closing_line(completion(20, 2.0, 2.0), deltas=0)
    assert "0.5 tokens/s" in closing_line(completion(1, 1.0, 2.0), deltas=0)


def test_an_answer_without_a_token_has_no_rate() -> None:
    assert closing_line(completion(0, None, 2.0), deltas=0) == "org/m, 0 tokens"
