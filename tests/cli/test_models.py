from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from siliconflow_async.testing import FakeSiliconFlow

    from .conftest import Command

MODELS = {"object": "list", "data": [{"id": "org/b", "owned_by": "org"}, {"id": "org/a\n\x1b[2Jx", "created": 7}]}


def test_each_is_one_line(command: Command, server: FakeSiliconFlow) -> None:
    """In the service's order, and whatever a name holds."""
    server.fail(200, MODELS)
    done = command.run("models")
    assert (done.returncode, done.stdout, done.stderr) == (0, "org/b\norg/a [2Jx\n", "")
    (request,) = server.requests
    assert (request.method, request.path, dict(request.query)) == ("GET", "/v1/models", {})


def test_they_may_be_of_one_type(command: Command, server: FakeSiliconFlow) -> None:
    assert command.run("models", "--type", "image", "--sub-type", "text-to-image").stdout == ""
    assert dict(server.requests[0].query) == {"type": "image", "sub_type": "text-to-image"}


def test_json_is_one_model_a_line(command: Command, server: FakeSiliconFlow) -> None:
    server.fail(200, MODELS)
    first, second = (json.loads(line) for line in command.run("models", "--json").stdout.splitlines())
    assert first == {"id": "org/b", "object": "model", "created": 0, "owned_by": "org"}
    assert (second["id"], second["created"]) == ("org/a\n\x1b[2Jx", 7)


def test_the_demo_needs_no_key(command: Command, server: FakeSiliconFlow) -> None:
    done = command.run("models", "--demo", SILICONFLOW_API_KEY="")
    assert done.returncode == 0
    assert "Qwen/Qwen3-8B" in done.stdout.splitlines()
    assert done.stderr.startswith("demo: a stand-in on this machine answers, at ")
    assert server.requests == []


def test_an_option_names_another_service(command: Command, server: FakeSiliconFlow) -> None:
    done = command.run("models", "--base-url", server.base_url, SILICONFLOW_BASE_URL="http://127.0.0.1:9/v1")
    assert (done.returncode, len(server.requests)) == (0, 1)


@pytest.mark.parametrize(
    ("key", "args", "code", "words"),
    [
        ("wrong", (), 1, "error: AuthenticationError: HTTP 401"),
        ("", (), 2, "siliconflow-async models --demo"),
        ("test-key", ("--base-url", "nonsense"), 2, "error: ConfigurationError: "),
        ("test-key", ("--demo", "--base-url", "http://127.0.0.1:9"), 2, "leave --base-url out"),
    ],
)
def test_what_fails_is_one_line(command: Command, key: str, args: tuple[str, ...], code: int, words: str) -> None:
    done = command.run("models", *args, SILICONFLOW_API_KEY=key)
    assert (done.returncode, done.stdout) == (code, "")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
