"""`image`, `speak` and `transcribe`: files that come and go, with one-line errors and exit codes like `chat`."""

from __future__ import annotations

import io
import os
import re
from typing import TYPE_CHECKING

import pytest

from siliconflow_async.cli.bar import ByteBar
from siliconflow_async.testing import Fin

if TYPE_CHECKING:
    from pathlib import Path

    from siliconflow_async.testing import FakeSiliconFlow

    from .conftest import Command

PNG = b"\x89PNG\r\n\x1a\n"
SOUND = {"content-type": "audio/mpeg"}


def test_a_picture_is_saved(command: Command, server: FakeSiliconFlow, tmp_path: Path) -> None:
    """With what it was made with on stderr, nothing on stdout."""
    path, start = tmp_path / "cat.png", tmp_path / "start.png"
    start.write_bytes(PNG + bytes(10))
    done = command.run("image", "a cat", "-o", str(path), "--size", "64x32", "--seed", "7", "--image", str(start))
    assert (done.returncode, done.stdout) == (0, "")
    assert re.fullmatch(r".*cat\.png: Kwai-Kolors/Kolors, seed 7, [0-9.]+ s, trace id ti_\w+\n", done.stderr)
    assert path.read_bytes().startswith(PNG)
    asked, got = server.requests
    assert {**asked.json, "image": ""} == {
        "model": "Kwai-Kolors/Kolors",
        "prompt": "a cat",
        "image_size": "64x32",
        "seed": 7,
        "image": "",
    }
    assert "authorization" not in got.headers


def test_a_text_is_spoken_into_a_file_whose_ending_is_the_format(
    command: Command, server: FakeSiliconFlow, tmp_path: Path
) -> None:
    """Or to stdout as it comes."""
    path = tmp_path / "hello.WAV"
    done = command.run("speak", "Hello", "-o", str(path), "--speed", "1.5")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert path.read_bytes().startswith(b"RIFF")
    (request,) = server.requests
    assert request.json == {
        "model": "FunAudioLLM/CosyVoice2-0.5B",
        "voice": "FunAudioLLM/CosyVoice2-0.5B:anna",
        "input": "Hello",
        "response_format": "wav",
        "speed": 1.5,
        "stream": True,
    }
    server.raw([b"ab", b"c"], headers=SOUND, times=2)
    for args in (("speak", "Hello"), ("speak", "-", "-o", "-", "--voice", "speech:mine")):
        done = command.run(*args, stdin=b"Hello")
        assert (done.returncode, done.stdout, done.stderr) == (0, "abc", "")
    assert server.requests[-1].json["voice"] == "speech:mine"
    assert server.requests[-1].json["input"] == "Hello"


def test_what_is_said_in_a_file_is_printed(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "talk.mp3"
    path.write_bytes(b"ID3")
    done = command.run("transcribe", str(path))
    assert (done.returncode, done.stderr) == (0, "")
    assert "talk.mp3 has 3 bytes" in done.stdout


@pytest.mark.parametrize("args", ["image a -o a.png", "speak a -o a.mp3", "transcribe b"])
def test_the_demo_needs_no_key(command: Command, server: FakeSiliconFlow, tmp_path: Path, args: str) -> None:
    (tmp_path / "b").write_bytes(b"ID3")
    done = command.run(*args.split(), "--demo", SILICONFLOW_API_KEY="", shell=f'cd "{tmp_path}" && "$@"')
    assert (done.returncode, server.requests) == (0, [])
    assert done.stderr.startswith("demo: a stand-in on this machine answers, at ")


def test_what_breaks_off_leaves_no_file(command: Command, server: FakeSiliconFlow, tmp_path: Path) -> None:
    """A line on stderr, and exit code 1."""
    server.raw([b"abc", Fin()], headers=SOUND)
    done = command.run("speak", "Hello", "-o", str(tmp_path / "a.mp3"))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "after 3 bytes" in done.stderr
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (("image", "a", "-o", "none/a.png"), 2, "there is no folder none"),
        (("image", "a", "-o", "."), 2, "it is a folder"),
        (("image", "", "-o", "a.png"), 2, "no words"),
        (("speak", "a", "-o", "none/a.mp3"), 2, "there is no folder none"),
        (("speak", "a", "-o", "a.mp3", "--speed", "9"), 1, "speed"),
        (("transcribe", "none.mp3"), 2, "error: InvalidRequestError: file"),
        (("transcribe", "none.mp3", "--base-url", "nonsense"), 2, "error: ConfigurationError"),
    ],
)
def test_what_fails_is_one_line(command: Command, tmp_path: Path, args: tuple[str, ...], code: int, words: str) -> None:
    """Nothing is asked for that could not be saved."""
    done = command.run(*args, shell=f'cd "{tmp_path}" && "$@"')
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1)
    assert words in done.stderr
    assert os.listdir(tmp_path) == []


def test_a_reader_that_leaves_ends_it_quietly(command: Command, server: FakeSiliconFlow) -> None:
    server.raw([b"x" * 100_000] * 50, headers=SOUND)
    done = command.run("speak", "Hello", shell='"$@" | head -c 1; exit "${PIPESTATUS:-0}"')
    assert (done.stdout, done.stderr) == ("x", "")


@pytest.mark.parametrize(("size", "shown"), [(2_000_000, "100%|"), (None, "2.00MB")])
def test_a_bar_shows_how_many_bytes_have_come(size: int | None, shown: str) -> None:
    """Of how many, if that is known; the end is always drawn, what comes at once before it is not."""
    file = io.StringIO()
    with ByteBar(file) as bar:
        for done in range(0, 2_000_001, 1000):
            bar(done, size)
    drawn = file.getvalue().split("\r")
    assert shown in drawn[-1]
    assert len(drawn) < 100
