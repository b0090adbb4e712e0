from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING, Any

import numpy
import pytest

from siliconflow_async.testing import Stall

if TYPE_CHECKING:
    from pathlib import Path

    from siliconflow_async.testing import FakeSiliconFlow

    from .conftest import Command


def lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


def test_each_argument_is_a_line(command: Command, server: FakeSiliconFlow) -> None:
    done = command.run("embed", "one", "two 二", "--dimensions", "4", "-m", "Qwen/Qwen3-Embedding-0.6B")
    assert (done.returncode, done.stderr) == (0, "")
    assert [(line["index"], line["text"], len(line["embedding"])) for line in lines(done.stdout)] == [
        (0, "one", 4),
        (1, "two 二", 4),
    ]
    (request,) = server.requests
    assert json.loads(request.body)["input"] == ["one", "two 二"]


@pytest.mark.parametrize("args", [(), ("-f", "-")])
def test_each_line_of_stdin_is_a_text(command: Command, args: tuple[str, ...]) -> None:
    done = command.run("embed", *args, stdin="\ufeffone\r\ntwo\nthree".encode())
    assert [line["text"] for line in lines(done.stdout)] == ["one", "two", "three"]


def test_a_file_becomes_an_array(command: Command, server: FakeSiliconFlow, tmp_path: Path) -> None:
    """In requests of 32, in the order of its lines, a row of NaN for one that is refused."""
    texts = [f"text {number}" for number in range(70)]
    texts[50] = ""
    (tmp_path / "texts.txt").write_text("\n".join(texts))
    done = command.run("embed", "-f", str(tmp_path / "texts.txt"), "-o", str(tmp_path / "out.npy"))
    assert (done.returncode, done.stdout) == (1, "")
    assert "error: text 50: BadRequestError" in done.stderr
    assert "69 done, 1 failed" in done.stderr
    found = numpy.load(tmp_path / "out.npy")
    assert (found.shape, found.dtype) == ((70, 1024), "float32")
    assert numpy.isnan(found).any(axis=1).nonzero()[0].tolist() == [50]
    alone = lines(command.run("embed", "text 69").stdout)[0]["embedding"]
    assert found[69].tolist() == alone
    assert len(server.requests) > 3


def test_an_array_that_was_broken_off_is_none(command: Command, server: FakeSiliconFlow, tmp_path: Path) -> None:
    """Rather than one with fewer rows, which would look whole."""
    server.raw([Stall()])
    with command.start("embed", "a", "-o", str(tmp_path / "out.npy")) as process:
        server.wait_received()
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
    assert (tmp_path / "out.npy").read_bytes() == b""


def test_a_file_of_lines_has_errors_in_their_place(command: Command, tmp_path: Path) -> None:
    done = command.run("embed", "a", "", "b", "-o", str(tmp_path / "out.jsonl"))
    assert done.returncode == 1
    found = lines((tmp_path / "out.jsonl").read_text())
    assert [sorted(line) for line in found] == [
        ["embedding", "index", "text"],
        ["error", "index", "text"],
        ["embedding", "index", "text"],
    ]


def test_the_demo_needs_no_key(command: Command, server: FakeSiliconFlow) -> None:
    done = command.run("embed", "--demo", "hello", SILICONFLOW_API_KEY="")
    assert done.returncode == 0
    assert len(lines(done.stdout)) == 1
    assert server.requests == []


@pytest.mark.parametrize(
    ("args", "key", "code", "words"),
    [
        (("a",), "wrong", 1, "AuthenticationError: HTTP 401"),
        (("a",), "", 2, 'siliconflow-async embed --demo "Hello"'),
        (("a", "-f", "b"), "test-key", 2, "texts or --file, not both"),
        (("-f", "/nowhere/texts"), "test-key", 2, "can't read /nowhere/texts"),
        (("a", "-o", "/nowhere/out.npy"), "test-key", 1, "can't write /nowhere/out.npy"),
    ],
)
def test_what_fails_is_one_line(command: Command, args: tuple[str, ...], key: str, code: int, words: str) -> None:
    done = command.run("embed", *args, SILICONFLOW_API_KEY=key)
    assert done.returncode == code
    assert words in done.stderr
