from __future__ import annotations

import json
import os
import re
import signal
import socket
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from siliconflow_async.testing.serving.answers import deltas

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from .conftest import Command


@contextmanager
def serving(command: Command, *args: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    with command.start("serve", "--port", "0", *args) as process:
        assert process.stdout is not None
        first = process.stdout.readline().decode().rstrip()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/v1", first)
        yield process, first


def ask(url: str, model: str = "org/m", key: str = "k", prompt: str = "Hi") -> str:
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": prompt}]}).encode()
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(f"{url}/chat/completions", body, headers), timeout=10) as answer:
        content: str = json.load(answer)["choices"][0]["message"]["content"]
        return content


@pytest.mark.skipif(os.name == "nt", reason="sends POSIX signals")
def test_it_serves_any_client_until_ctrl_c(command: Command) -> None:
    with serving(command) as (process, url):
        assert process.stderr is not None
        assert ask(url).startswith("You said: “Hi”.")
        process.send_signal(signal.SIGINT)
        assert process.wait() == 0
        opening, request = process.stderr.read().decode().splitlines()
        assert "stand-in" in opening
        assert re.fullmatch(r"POST /v1/chat/completions org/m 200 \d\.\d\d s", request)


def test_the_chat_command_is_such_a_client(command: Command) -> None:
    with serving(command) as (_, url):
        done = command.run("chat", "Hi", "--no-thinking", SILICONFLOW_BASE_URL=url)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("You said: “Hi”.")


def test_the_key_and_the_models_may_be_given(command: Command) -> None:
    with serving(command, "--api-key", "right", "--model", "org/a", "--model", "org/b") as (_, url):
        assert ask(url, "org/b", "right")
        with pytest.raises(urllib.error.HTTPError, match="401") as wrong_key:
            ask(url, "org/b", "wrong")
        wrong_key.value.close()
        with pytest.raises(urllib.error.HTTPError, match="400") as wrong_model:
            ask(url, "org/c", "right")
        wrong_model.value.close()


def test_answers_may_be_paced(command: Command) -> None:
    with serving(command, "--tokens-per-second", "200") as (_, url):
        asked_at = time.monotonic()
        tokens = len(deltas(ask(url)))
        assert time.monotonic() - asked_at >= tokens / 200


def test_each_request_is_a_line_once_its_answer_has_ended(command: Command) -> None:
    """Without its body, its query, its key, and whatever would break the line."""
    secret, private = "key-of-the-user", "nobody is to read this"
    model = f"org/{'m' * 5}\n\x1b[2J"
    with serving(command) as (process, url):
        assert process.stderr is not None
        process.stderr.readline()
        ask(url, model, secret, private)
        assert re.fullmatch(rb"POST /v1/chat/completions org/mmmmm \[2J 200 \d\.\d\d s\n", process.stderr.readline())
        for path, body, shown in (
            ("models?type=text&key=key-of-the-user", None, b"GET /v1/models - 401"),
            ("nonsense", None, b"GET /v1/nonsense - 404"),
            ("chat/completions", b"{", b"POST /v1/chat/completions - 401"),
            ("chat/completions", b'{"model": 1}', b"POST /v1/chat/completions - 401"),
        ):
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(f"{url}/{path}", body, timeout=10)
            refused.value.close()
            assert process.stderr.readline().startswith(shown + b" 0.")


def test_a_client_that_leaves_is_told(command: Command) -> None:
    with serving(command, "--tokens-per-second", "1") as (process, url):
        assert process.stderr is not None
        process.stderr.readline()
        with command.start("chat", "Hi", "--no-thinking", env={"SILICONFLOW_BASE_URL": url}) as leaving:
            assert leaving.stdout is not None
            leaving.stdout.read(1)
        assert process.stderr.readline().endswith(b" s, the client left\n")


def test_it_serves_on_when_nobody_reads_the_log_any_more(command: Command) -> None:
    with serving(command) as (process, url):
        assert process.stderr is not None
        process.stderr.readline()
        process.stderr.close()
        for _ in range(3):
            assert ask(url)


@pytest.mark.parametrize("option", ["--rpm", "--tpm"])
def test_every_model_may_be_limited(command: Command, option: str) -> None:
    with serving(command, option, "1") as (_, url):
        assert ask(url)
        assert ask(url, "org/other")
        with pytest.raises(urllib.error.HTTPError, match="429") as refused:
            ask(url)
        refused.value.close()


def test_a_share_of_requests_may_fail(command: Command) -> None:
    """Each status gets its own; of all, one or the other."""
    statuses = []
    with serving(command, "--fail", "503:0.5", "--fail", "429:0.5") as (_, url):
        for _ in range(20):
            with pytest.raises(urllib.error.HTTPError) as refused:
                ask(url)
            refused.value.close()
            statuses.append(refused.value.code)
    assert {*statuses} == {503, 429}


def test_answers_may_come_late(command: Command) -> None:
    with serving(command, "--delay", "0.2") as (_, url):
        asked_at = time.monotonic()
        ask(url)
        assert time.monotonic() - asked_at >= 0.2


def test_a_port_in_use_is_one_line(command: Command) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = command.run("serve", "--port", str(port))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: 127.0.0.1:{port} is in use; choose another --port (0 takes a free one)\n"


@pytest.mark.parametrize(
    "args",
    [
        ("--port", "70000"),
        ("--port", "x"),
        ("--tokens-per-second", "0"),
        ("--host", "192.0.2.1"),
        ("--fail", "503"),
        ("--fail", "503:lots"),
        ("--fail", "200:0.1"),
        ("--fail", "503:2"),
        ("--fail", "503:0.1", "--fail", "503:0.2"),
        ("--delay", "-1"),
        ("--delay", "inf"),
        ("--rpm", "0"),
    ],
    ids="=".join,
)
def test_what_cannot_be_served_is_wrong_usage(command: Command, args: tuple[str, ...]) -> None:
    done = command.run("serve", "--port", "0", *args)
    assert (done.returncode, done.stdout) == (2, "")
    assert "error: " in done.stderr.lower()
