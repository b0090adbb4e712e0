"""The manual does what it says: each block of code runs, and prints what the block of text after it shows.

It is README.md, the same in Chinese, and the README.md of each chapter beside the code that it is about.
"""

from __future__ import annotations

import ast
import asyncio
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tomllib
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import CodeType
from typing import Any, NamedTuple

import pytest

from siliconflow_async import AsyncSiliconFlow
from siliconflow_async.testing import FakeSiliconFlow

from .terminal import LOGIN, PROMPT, SILENT, Terminal

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
CHINESE = ROOT / ".github" / "README.zh-CN.md"
PAGES = [README, CHINESE]
# What is there: copies of the tree that have only what other tests need lack the Chinese page.
MANUAL = [path for path in PAGES if path.exists()] + sorted(
    path for part in ("benchmarks", "siliconflow_async") for path in (ROOT / part).rglob("README.md")
)
SOURCE = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]["Source"]
# Where GitHub has the files of the tree: as pages, and as they are.
TREES = (f"{SOURCE}/blob/main/", SOURCE.replace("//github.com/", "//raw.githubusercontent.com/") + "/main/")
FENCE = re.compile(r"^```(?P<kind>\w+)\n(?P<code>.*?)^```$(\n```text\n(?P<output>.*?)^```$)?", re.DOTALL | re.MULTILINE)
# Frameworks are installed in environments of their own, see `.ci/run`.
FRAMEWORKS = ROOT / "siliconflow_async" / "integrations" / "openai" / "README.md"
LANGCHAIN = ROOT / "siliconflow_async" / "integrations" / "langchain" / "README.md"
HEADING = re.compile(r"^(#+) (.+)$", re.MULTILINE)


class Block(NamedTuple):
    """A block of code, and the text that it prints according to the manual; `…` there stands for anything."""

    kind: str
    code: str
    output: str | None
    path: Path
    line: int
    heading: str


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def read_blocks(path: Path) -> list[Block]:
    text = path.read_text(encoding="utf-8")
    blocks = []
    for match in FENCE.finditer(text):
        heading = HEADING.findall(FENCE.sub("", text[: match.start()]))[-1][1]
        line = text.count("\n", 0, match.start()) + 2
        blocks.append(Block(match["kind"], match["code"], match["output"], path, line, heading))
    return blocks


def missing(block: Block) -> list[str]:
    """Return the frameworks that a block is about and that are not installed."""
    if block.path == LANGCHAIN:
        packages = ["langchain_core"]
    else:
        packages = re.findall(r"^(?:from|import) (\w+)", block.code, re.MULTILINE) if block.path == FRAMEWORKS else []
    return sorted({package for package in packages if find_spec(package) is None})


BLOCKS = [block for path in MANUAL for block in read_blocks(path)]
SHELL = [block for block in BLOCKS if block.kind == "sh"]
PYTHON = [block for block in BLOCKS if block.kind == "python"]
# The lines that a page or chapter tells its reader to put before its others.
SETUPS = {block.path: block for block in PYTHON if block.code.endswith("]\n") and "\nmodel = " in block.code}
DEMO, TESTS = (block.code for block in SHELL[:2])
(BATCH,) = (block for block in SHELL if " batch " in block.code)
ALONE = [block for block in SHELL if block.code not in (DEMO, TESTS) and block is not BATCH]
LINES = [DEMO.rpartition(" && .venv/bin/")[2].strip(), *"".join(block.code for block in ALONE).splitlines()]
# A prompt is a question; where there is none, the command talks on.
CHATS = [line for line in dict.fromkeys(LINES) if " chat " in line and re.search('[?？]"', line)]
TALKS = [line for line in dict.fromkeys(LINES) if " chat " in line and line not in CHATS]
MODELS = [line for line in dict.fromkeys(LINES) if " models " in line]
COMPLETIONS = [line for line in dict.fromkeys(LINES) if "_COMPLETE=" in line]
SERVES = [line for line in dict.fromkeys(LINES) if " serve " in line]
MEDIA = [line for line in dict.fromkeys(LINES) if re.search(" (image|speak|transcribe|embed) ", line)]
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
    # Line numbers of the page, so that a traceback points there.
    code = "\n" * (block.line - 1) + block.code
    return compile(code, block.path, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)


def run(block: Block, server: FakeSiliconFlow) -> None:
    """Run a block as its reader would: a whole program by itself, anything else after its page's lines of set-up."""
    namespace: dict[str, Any] = {"__name__": "readme"}
    if "asyncio.run(" in block.code:
        exec(compiled(block), namespace)
    else:
        asyncio.run(run_after_setup(block, namespace))
    for name, test in list(namespace.items()):
        if name.startswith("test_"):
            test(server)


async def run_after_setup(block: Block, namespace: dict[str, Any]) -> None:
    if block.path in SETUPS:
        exec(compiled(SETUPS[block.path]), namespace)
    clients = [value for value in namespace.values() if isinstance(value, AsyncSiliconFlow)]
    try:
        waiting = eval(compiled(block), namespace)
        if waiting is not None:
            await waiting
    finally:
        clients += [value for value in namespace.values() if isinstance(value, AsyncSiliconFlow)]
        for client in clients:
            await client.aclose()


@contextmanager
def redis_for(block: Block, folder: Path) -> Iterator[None]:
    """Have a Redis where the block wants one; without one on this machine, it goes on alone, as it would elsewhere."""
    if "RedisLimits" not in block.code:
        yield
        return
    # Here and not above: environments of frameworks have no redis-py.
    from .integrations.redis.server import PROGRAM, RedisServer

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SILICONFLOW_REDIS_URL", "redis://127.0.0.1:1")
        if PROGRAM is None:
            yield
            return
        with RedisServer(folder / "redis") as redis:
            patch.setenv("SILICONFLOW_REDIS_URL", redis.url)
            yield


def pattern(output: str) -> str:
    return ".*".join(re.escape(part) for part in output.split("…"))


@pytest.mark.parametrize("block", PYTHON, ids=lambda block: f"{name(block.path)}: {block.heading}, line {block.line}")
def test_a_block_of_python_runs_and_prints_what_the_manual_shows(
    block: Block, server: FakeSiliconFlow, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Each block runs by itself against a stand-in."""
    if missing(block):
        pytest.skip(f"not installed: {', '.join(missing(block))}")
    with redis_for(block, tmp_path):
        run(block, server)
    printed = capsys.readouterr().out
    if block.output is not None:
        assert re.fullmatch(pattern(block.output), printed), printed
    elif "print(" in block.code and "except" not in block.code:
        assert printed


def test_every_command_is_run() -> None:
    """Each is of a kind that these tests know."""
    assert {*LINES} == {*CHATS, *TALKS, *MODELS, *COMPLETIONS, *SERVES, *PLAYS, *MEDIA}


of_each_file = pytest.mark.parametrize("path", MANUAL, ids=name)


@of_each_file
def test_no_block_is_left_out(path: Path) -> None:
    """Every block is of a kind that these tests know, or those in a browser."""
    blocks = [block for block in BLOCKS if block.path == path]
    fences = re.findall(r"^ *(?:```|~~~)(\S*)", path.read_text(encoding="utf-8"), re.MULTILINE)
    outputs = sum(block.output is not None for block in blocks)
    # `py` and `console` are for a cluster: tests/cluster has them.
    assert {block.kind for block in blocks} <= {"sh", "python", "jsx", "py", "console"}
    assert len(fences) == 2 * (len(blocks) + outputs)


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_the_first_two_commands_need_nothing_but_the_clone(path: Path) -> None:
    """The first two blocks, of a line each, set up and run the demo and the tests in a fresh clone."""
    demo, tests = read_blocks(path)[:2]
    assert demo.kind == tests.kind == "sh"
    assert demo.code.splitlines() == [
        'python3 -m venv .venv && .venv/bin/pip install -q -e ".[cli]" && '
        '.venv/bin/siliconflow-async chat --demo "Why is the sky blue?"',
    ]
    assert tests.code.splitlines() == [
        'python3 -m venv .venv && .venv/bin/pip install -q -e ".[test]" && .venv/bin/python -m pytest -q -n auto',
    ]


def prose(path: Path) -> str:
    """Return a page without its code."""
    return re.sub(r"`[^`]*`", "", FENCE.sub("", path.read_text(encoding="utf-8")))


def anchors(path: Path) -> set[str]:
    """Return what GitHub makes of a page's headings."""
    headings = HEADING.findall(FENCE.sub("", path.read_text(encoding="utf-8")))
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for _, heading in headings}


@of_each_file
def test_links_lead_to_what_is_there(path: Path) -> None:
    """Each leads to a file of the tree, and a heading of it if it names one, or out of the project.

    They are whole URLs, so that they also work on PyPI, which shows README.md; within a chapter `#…` will do.
    """
    text = prose(path)
    assert not re.search(r"<(?:a|img)\b", text)
    defined = dict(re.findall(r"^\[([^\]]+)\]: (\S+)$", text, re.MULTILINE))
    assert {*re.findall(r"\]\[([^\]]+)\]", text)} == defined.keys()
    for link in [*defined.values(), *re.findall(r"\]\(([^)]+)\)", text)]:
        target, _, anchor = link.partition("#")
        tree = next(filter(target.startswith, TREES), None)
        if tree is None and target:
            assert link.startswith("https://"), link
            assert not link.startswith(SOURCE), link
            continue
        assert target or path not in PAGES, link
        file = path if tree is None else ROOT / target.removeprefix(tree)
        assert file.is_file(), link
        assert not anchor or anchor in anchors(file), link


def test_the_two_pages_are_one_in_two_languages() -> None:
    """Both are short, link to each other in their first line, and have headings and blocks in the same order."""
    english, chinese = (path.read_text(encoding="utf-8") for path in PAGES)
    for page, other in ((english, CHINESE), (chinese, README)):
        assert page.count("\n") <= 350
        assert re.match(r"\[[^\]]+\]\[([^\]]+)\]\n", page)
        assert f"]: {TREES[0]}{name(other)}\n" in page
    assert [level for level, _ in HEADING.findall(FENCE.sub("", english))] == [
        level for level, _ in HEADING.findall(FENCE.sub("", chinese))
    ]
    assert [block.kind for block in read_blocks(README)] == [block.kind for block in read_blocks(CHINESE)]


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
        *_, prompt = re.findall(r'"([^"]+)"', command)
        assert f"You said: “{prompt}”" in done.stdout
    assert "trace id ti_" in done.stderr.splitlines()[-1]
    assert len(server.requests) == (0 if "--demo" in command else 1)


@pytest.mark.skipif(os.name == "nt", reason="opens a pseudo-terminal")
@pytest.mark.parametrize("command", TALKS)
def test_a_command_that_talks_on_runs(command: str, shell: dict[str, str], server: FakeSiliconFlow) -> None:
    """It answers what is typed, and leaves with 0 after Ctrl-D."""
    master, slave = os.openpty()
    try:
        program = [*LOGIN, "sh", "-c", command]
        with subprocess.Popen(program, stdin=slave, stdout=slave, stderr=slave, env=shell | SILENT) as process:
            os.close(slave)
            terminal = Terminal(master, process)
            terminal.see(PROMPT)
            assert "You said: “Hello”" in terminal.ask("Hello")
            assert terminal.leave() == 0
    finally:
        os.close(master)
    assert len(server.requests) == 1


@pytest.mark.parametrize("command", MODELS)
def test_a_command_that_lists_models_runs(command: str, shell: dict[str, str]) -> None:
    done = subprocess.run(["sh", "-c", command], env=shell, capture_output=True, encoding="utf-8", timeout=60)
    assert done.returncode == 0, done.stderr
    assert "Qwen/Qwen3-8B" in done.stdout


def test_the_commands_for_pictures_and_sound_run(shell: dict[str, str], tmp_path: Path) -> None:
    """One after the other: the last one reads what the one before has written."""
    (tmp_path / "notes.txt").write_text("The sky is blue.\nBread needs time.\n")
    command = ["sh", "-e", "-c", "\n".join(MEDIA)]
    done = subprocess.run(command, cwd=tmp_path, env=shell, capture_output=True, encoding="utf-8", timeout=60)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "cat.png").read_bytes().startswith(b"\x89PNG")
    assert f"morning.wav has {(tmp_path / 'morning.wav').stat().st_size} bytes" in done.stdout
    assert done.stdout.count('"embedding"') == 2
    assert (tmp_path / "notes.npy").read_bytes().startswith(b"\x93NUMPY")


@pytest.mark.parametrize("command", COMPLETIONS)
def test_a_shell_learns_to_complete(command: str, shell: dict[str, str]) -> None:
    """By a script of click's for this very command, which bash, where there is one, is given."""
    inner = re.search(r"_SILICONFLOW_ASYNC_COMPLETE=(bash|zsh|fish)_source siliconflow-async", command)
    assert inner is not None
    told = subprocess.run(["sh", "-c", inner.group()], env=shell, capture_output=True, encoding="utf-8", timeout=60)
    assert f"_SILICONFLOW_ASYNC_COMPLETE={inner[1]}_complete" in told.stdout
    if inner[1] == "bash" and shutil.which("bash"):
        asked = ["bash", "--norc", "-c", f"{command}\ncomplete -p siliconflow-async"]
        assert "siliconflow-async" in subprocess.check_output(asked, env=shell, encoding="utf-8", timeout=60)


def test_the_batch_runs(shell: dict[str, str], tmp_path: Path) -> None:
    """Its two requests are answered from the file into a file, from stdin to stdout, in the demo, by the service."""
    command = ["sh", "-e", "-c", BATCH.code]
    done = subprocess.run(command, cwd=tmp_path, env=shell, capture_output=True, encoding="utf-8", timeout=60)
    assert done.returncode == 0
    assert re.fullmatch("2 done\n2 done\ndemo: .*\n2 done\nsent 2 lines as .*\n2 done\n", done.stderr)
    for name in ("results.jsonl", "answers.jsonl", "demo.jsonl", "cheap.jsonl"):
        lines = [json.loads(line) for line in (tmp_path / name).read_text(encoding="utf-8").splitlines()]
        assert {line["custom_id"] for line in lines} == {"sky", "line-2"}
        assert list(lines[0]) == ["id", "custom_id", "response", "error"]


@pytest.mark.parametrize("command", [*SERVES, *PLAYS])
def test_a_command_that_serves_runs_until_ctrl_c(command: str, shell: dict[str, str]) -> None:
    """It prints its URL, answers there, and exits with 0 after Ctrl-C."""
    # Another port than the README's or the default, which may be taken on the machine that runs the tests.
    arguments = [*shlex.split(re.sub(r"--port \d+", "", command)), "--port", "0"]
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
