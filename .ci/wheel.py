#!/usr/bin/env python3
"""wheel.py DIRECTORY: build the wheel, and try it in DIRECTORY, where nothing of this tree can be seen.

What must hold:

- It has the package, its plugin for pytest and its metadata, and nothing beside them: no test, no benchmark; nor a
  chapter of the manual.
- Installed without extras it brings aiohttp, msgspec, anyio and what those need, and nothing else.
- So installed it can be imported, knows its version, is typed, and streams an answer of the stand-in, in Python's
  development mode without a word; the command says which extra it needs.
- pytest, when it comes, finds the fixture of the stand-in.
- With the extra `cli` the command knows its version, chats with the demo, and runs a batch against a stand-in that it
  serves itself.

Exit 0 if all of it holds; else an AssertionError tells what does not.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "siliconflow_async"
PLUGIN = "siliconflow_async_pytest.py"
NAME = "siliconflow-async"
NEEDED = ("aiohttp", "msgspec", "anyio")
# As one who has just installed it: neither a key nor a path to this tree.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith(("SILICONFLOW_", "PYTHON"))}

PACKAGES = """
from importlib.metadata import distributions

for package in distributions():
    print(package.name)
"""

STREAM = """
import asyncio
import sys
from importlib.metadata import version
from pathlib import Path

import siliconflow_async
from siliconflow_async import AsyncSiliconFlow
from siliconflow_async.testing import FakeSiliconFlow

here = Path(siliconflow_async.__file__).parent
assert here.is_relative_to(sys.prefix), here
assert (here / "py.typed").is_file()
assert siliconflow_async.__version__ == version("siliconflow-async")


async def main():
    async with FakeSiliconFlow() as server, AsyncSiliconFlow("key", base_url=server.base_url) as client:
        server.reply(["Light ", "scatters."])
        ask = {"model": "org/model", "messages": [{"role": "user", "content": "Why is the sky blue?"}]}
        async with client.chat.completions.stream(**ask) as stream:
            text = "".join([piece async for piece in stream.text()])
        assert (text, stream.ended) == ("Light scatters.", "done")


asyncio.run(main())
"""

TEST = """
def test_the_fixture_is_found(siliconflow_server):
    assert siliconflow_server.base_url.startswith("http://127.0.0.1:")
"""


def main(directory: Path) -> None:
    trial = Trial(directory)
    wheel = trial.build()
    print(f"{wheel.name}, {wheel.stat().st_size // 1024} KiB")
    look_inside(wheel)
    trial.alone(wheel)
    trial.with_pytest()
    trial.with_cli(wheel)


def look_inside(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        names = archive.namelist()
    metadata = "-".join(wheel.name.split("-")[:2]) + ".dist-info"
    beside = {name.partition("/")[0] for name in names} - {PACKAGE, PLUGIN, metadata}
    chapters = [name for name in names if name.endswith(".md")]
    assert (beside, chapters) == (set(), []), f"too much: {[*sorted(beside), *chapters]}"


class Trial:
    """A fresh environment, and an empty directory to run programs in."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.elsewhere = directory / "elsewhere"
        self.elsewhere.mkdir(parents=True)
        environment = directory / "venv"
        subprocess.run([sys.executable, "-m", "venv", environment], env=ENVIRONMENT, check=True)
        self.python = environment / "bin" / "python"
        self.command = environment / "bin" / NAME

    def run(self, *command: object, wanted: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a program that ends with the exit code `wanted`."""
        done = subprocess.run(
            list(map(str, command)),
            cwd=self.elsewhere,
            env=ENVIRONMENT | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=300,
            check=False,
        )
        assert done.returncode == wanted, f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        return done

    def pip(self, *arguments: object) -> None:
        self.run(self.python, "-m", "pip", "-q", *arguments)

    def packages(self) -> set[str]:
        return set(map(normal, self.run(self.python, "-I", "-c", PACKAGES).stdout.splitlines()))

    def build(self) -> Path:
        self.pip("wheel", "--no-deps", "--wheel-dir", self.directory, ROOT)
        (wheel,) = self.directory.glob("*.whl")
        return wheel

    def alone(self, wheel: Path) -> None:
        before = self.packages()
        self.pip("install", wheel)
        came = self.packages() - before
        report = self.directory / "report.json"
        self.pip("install", "--dry-run", "--ignore-installed", "--report", report, *NEEDED)
        theirs = {normal(package["metadata"]["name"]) for package in json.loads(report.read_bytes())["install"]}
        assert came == {NAME, *theirs}, f"too much: {came - {NAME, *theirs}}, missing: {theirs - came}"

        streamed = self.run(self.python, "-I", "-X", "dev", "-W", "error", "-c", STREAM)
        assert streamed.stdout == streamed.stderr == "", streamed
        told = self.run(self.command, "--version", wanted=2)
        assert told.stdout == "", told
        assert told.stderr == f'{NAME}: the command line is an extra: pip install "{NAME}[cli]"\n', told

    def with_pytest(self) -> None:
        self.pip("install", "pytest")
        (self.elsewhere / "test_it.py").write_text(TEST)
        tested = self.run(self.python, "-m", "pytest", "-W", "error", "-p", "no:cacheprovider", "test_it.py")
        assert "1 passed" in tested.stdout, tested

    def with_cli(self, wheel: Path) -> None:
        self.pip("install", f"{wheel}[cli]")
        version = wheel.name.split("-")[1]
        assert self.run(self.command, "--version").stdout == f"{NAME} {version}\n"
        assert "You said: “Hello”." in self.run(self.command, "chat", "--demo", "Hello").stdout
        self.batch()

    def batch(self) -> None:
        requests, results = self.elsewhere / "requests.jsonl", self.elsewhere / "results.jsonl"
        asked = {f"id-{number}": f"Question {number}" for number in range(5)}
        lines = [
            {"custom_id": name, "body": {"model": "org/model", "messages": [{"role": "user", "content": text}]}}
            for name, text in asked.items()
        ]
        requests.write_text("".join(json.dumps(line) + "\n" for line in lines))
        serve = [str(self.command), "serve", "--port", "0"]
        with subprocess.Popen(
            serve, cwd=self.elsewhere, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
        ) as stand_in:
            try:
                assert stand_in.stdout is not None
                url = stand_in.stdout.readline().strip()
                batch = [self.command, "batch", requests, "--output", results, "--base-url", url]
                done = self.run(*batch, SILICONFLOW_API_KEY="key")
            finally:
                stand_in.terminate()
        assert "5 done" in done.stderr, done
        answers = {line["custom_id"]: line["response"]["body"] for line in map(json.loads, results.open())}
        assert answers.keys() == asked.keys(), answers
        for name, text in asked.items():
            assert text in answers[name]["choices"][0]["message"]["content"], answers[name]


def normal(name: str) -> str:
    """A package's name in one spelling (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
