"""README.md does what it says: each block of code runs, and prints what the block of text after it shows."""

from __future__ import annotations

import ast
import asyncio
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import CodeType
from typing import Any, NamedTuple

import pytest

from siliconflow_async import AsyncSiliconFlow
from siliconflow_async.testing import FakeSiliconFlow

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
FENCE = re.compile(r"^```(?P<kind>\w+)\n(?P<code>.*?)^```$(\n```text\n(?P<output>.*?)^```$)?", re.DOTALL | re.MULTILINE)


class Block(NamedTuple):
    """A block of code, and the text that it prints according to the README; `…` there stands for anything."""

    kind: str
    code: str
    output: str | None
    line: int
    heading: str


def read_blocks() -> list[Block]:
    text = README.read_text(encoding="utf-8")
    blocks = []
    for match in FENCE.finditer(text):
        headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text[: match.start()]), re.MULTILINE)
        line = text.count("\n", 0, match.start()) + 2
        blocks.append(Block(match["kind"], match["code"], match["output"], line, headings[-1]))
    return blocks


BLOCKS = read_blocks()
SHELL = [block for block in BLOCKS if block.kind == "sh"]
PYTHON = [block for block in BLOCKS if block.kind == "python"]
# The lines that the README tells its reader to put before the others.
SETUP = next(block for block in PYTHON if block.code.endswith("]\n") and "\nmodel = " in block.code)
(BATCH,) = (block for block in SHELL if " batch " in block.code)
ALONE = [block for block in SHELL[2:] if block is not BATCH]
LINES = [SHELL[0].code.splitlines()[2].removeprefix(".venv/bin/"), *"".join(block.code for block in ALONE).splitlines()]
CHATS = [line for line in dict.fromkeys(LINES) if " chat " in line]
SERVES = [line for line in dict.fromkeys(LINES) if " serve " in line]
PLAYS = [line for line in dict.fromkeys(LINES) if " playground " in line]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeSiliconFlow]:
    # The reader's own files.
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cat.jpg").write_bytes(b"\xff\xd8\xff\xe0\x00\x10JFIF")
    with FakeSiliconFlow().threaded() as server:
        monkeypatch.setenv("SILICONFLOW_BASE_URL", server.base_url)
        monkeypatch.setenv("SILICONFLOW_API_KEY", "key-of-the-readme")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield server


def compiled(block: Block) -> CodeType:
    # Line numbers of the README, so that a traceback points there.
    code = "\n" * (block.line - 1) + block.code
    return compile(code, README, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)


def run(block: Block, server: FakeSiliconFlow) -> None:
    """Run a block as its reader would: a whole program by itself, anything else after the lines of `SETUP`."""
    namespace: dict[str, Any] = {"__name__": "readme"}
    if "asyncio.run(" in block.code:
        exec(compiled(block), namespace)
    else:
        asyncio.run(run_after_setup(block, namespace))
    for name, test in list(namespace.items()):
        if name.startswith("test_"):
            test(server)


async def run_after_setup(block: Block, namespace: dict[str, Any]) -> None:
    exec(compiled(SETUP), namespace)
    clients = [namespace["client"]]
    try:
        waiting = eval(compiled(block), namespace)
        if waiting is not None:
            await waiting
    finally:
        clients += [value for value in namespace.values() if isinstance(value, AsyncSiliconFlow)]
        for client in clients:
            await client.aclose()


def pattern(output: str) -> str:
    return ".*".join(re.escape(part) for part in output.split("…"))


@pytest.mark.parametrize("block", PYTHON, ids=lambda block: f"{block.heading} in line {block.line}")
def test_a_block_of_python_runs_and_prints_what_the_readme_shows(
    block: Block, server: FakeSiliconFlow, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each block runs by itself against a stand-in."""
    run(block, server)
    printed = capsys.readouterr().out
    if block.output is not None:
        assert re.fullmatch(pattern(block.output), printed), printed
    elif "print(" in block.code and "except" not in block.code:
        assert printed


def test_no_block_is_left_out() -> None:
    """Every block is of a kind that these tests know, and every command is run."""
    assert {*LINES} == {*CHATS, *SERVES, *PLAYS}
    fences = re.findall(r"^ *(?:```|~~~)(\S*)", README.read_text(encoding="utf-8"), re.MULTILINE)
    outputs = sum(block.output is not None for block in BLOCKS)
    assert {block.kind for block in BLOCKS} == {"sh", "python"}
    assert len(fences) == 2 * (len(BLOCKS) + outputs)


def test_the_first_two_commands_need_nothing_but_the_clone() -> None:
    """The first two blocks set up and run the demo and the tests in a fresh clone; neither fetches the source."""
    demo, tests = BLOCKS[0], BLOCKS[1]
    assert demo.kind == tests.kind == "sh"
    assert demo.code.splitlines() == [
        "python3 -m venv .venv",
        '.venv/bin/pip install -q -e ".[cli]"',
        '.venv/bin/siliconflow-async chat --demo "Why is the sky blue?"',
    ]
    assert tests.code.splitlines() == [
        "python3 -m venv .venv",
        '.venv/bin/pip install -q -e ".[test]"',
        ".venv/bin/python -m pytest -q -n auto",
    ]
    for block in (demo, tests):
        assert "git clone" not in block.code
        assert "://" not in block.code


def test_headings_are_where_the_links_lead() -> None:
    """Each link within the page leads to a heading of it."""
    text = FENCE.sub("", README.read_text(encoding="utf-8"))
    anchors = {
        re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    }
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= anchors


@pytest.fixture
def shell(tmp_path: Path, server: FakeSiliconFlow) -> dict[str, str]:
    """An environment in which `siliconflow-async` is this source tree's."""
    command = tmp_path / "siliconflow-async"
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m siliconflow_async "$@"\n')
    command.chmod(0o755)
    return {
        **os.environ,
        "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "PYTHONIOENCODING": "utf-8",
    }


@pytest.mark.parametrize("command", CHATS)
def test_a_command_that_chats_runs(command: str, shell: dict[str, str], server: FakeSiliconFlow) -> None:
    """Each example of `chat` exits with 0, the answer on stdout and the closing line with the trace id on stderr."""
    done = subprocess.run(["sh", "-c", command], env=shell, capture_output=True, encoding="utf-8", timeout=60)
    assert done.returncode == 0, done.stderr
    if "--json" in command:
        events = [json.loads(line) for line in done.stdout.splitlines()]
        assert (events[0]["type"], events[-1]["type"]) == ("started", "finished")
    else:
        assert "You said: “Why is the sky blue?" in done.stdout
    assert "trace id ti_" in done.stderr.splitlines()[-1]
    assert len(server.requests) == (0 if "--demo" in command else 1)


def test_the_batch_runs(shell: dict[str, str], tmp_path: Path) -> None:
    """Its two requests are answered from the file into a file, and from stdin to stdout."""
    command = ["sh", "-e", "-c", BATCH.code]
    done = subprocess.run(command, cwd=tmp_path, env=shell, capture_output=True, encoding="utf-8", timeout=60)
    assert (done.returncode, done.stderr) == (0, "2 done\n2 done\n")
    for name in ("results.jsonl", "answers.jsonl"):
        lines = [json.loads(line) for line in (tmp_path / name).read_text(encoding="utf-8").splitlines()]
        assert {line["custom_id"] for line in lines} == {"sky", "line-2"}
        assert list(lines[0]) == ["id", "custom_id", "response", "error"]


@pytest.mark.parametrize("command", [*SERVES, *PLAYS])
def test_a_command_that_serves_runs_until_ctrl_c(command: str, shell: dict[str, str]) -> None:
    """It prints its URL, answers there, and exits with 0 after Ctrl-C."""
    # Another port than the README's or the default, which may be taken on the machine that runs the tests.
    arguments = [word for word in shlex.split(command) if word != "--port" and not word.isdecimal()] + ["--port", "0"]
    with subprocess.Popen(
        arguments, env=shell, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, encoding="utf-8"
    ) as process:
        assert process.stdout is not None
        url = re.search(r"http://\S+", process.stdout.readline())
        assert url is not None
        try:
            if command in PLAYS:
                assert "<title>SiliconFlow Playground" in fetch(url.group())
            else:
                assert "stand-in" in asyncio.run(ask(url.group()))
        finally:
            process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0


def fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=30) as page:
        text: str = page.read().decode()
        return text


async def ask(base_url: str) -> str:
    async with AsyncSiliconFlow("any", base_url=base_url) as client:
        done = await client.chat.completions.create(model="org/name", messages=[{"role": "user", "content": "Hi"}])
        return done.content or ""
