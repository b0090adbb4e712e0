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

from siliconflow_async.testing.answers import deltas

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


def ask(url: str, model: str = "org/m", key: str = "k") -> str:
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "Hi"}]}).encode()
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
        assert process.stderr.read().decode().count("\n") == 1


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


def test_a_port_in_use_is_one_line(command: Command) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = command.run("serve", "--port", str(port))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: 127.0.0.1:{port} is in use; choose another --port (0 takes a free one)\n"


@pytest.mark.parametrize(
    "args",
    [("--port", "70000"), ("--port", "x"), ("--tokens-per-second", "0"), ("--host", "192.0.2.1")],
    ids="=".join,
)
def test_what_cannot_be_served_is_wrong_usage(command: Command, args: tuple[str, ...]) -> None:
    done = command.run("serve", "--port", "0", *args)
    assert (done.returncode, done.stdout) == (2, "")
    assert "error: " in done.stderr.lower()
