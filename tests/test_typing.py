"""What mypy and pyright make of calls: answers have the type asked for, and wrong keywords are errors in the editor.

The manual's own programs pass both too, so that what is copied from it does.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from .test_readme import FRAMEWORKS, PYTHON, SETUPS, Block, missing, name

ROOT = Path(__file__).parents[1]
CHECKED = sorted((ROOT / "tests/typing").glob("*.py"))
CHECKERS = {
    "mypy": ["mypy", "--strict", "--config-file=", "--python-version=3.11"],
    "pyright": ["pyright", "--pythonpath", sys.executable, "--pythonversion", "3.11"],
}
# The manual leaves its own functions without annotations, which strict code would have: what is in them is checked.
UNANNOTATED = "# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls"


def module(block: Block) -> str:
    """Return a block as its reader has it: a whole program, or in a coroutine after its page's lines of set-up."""
    if "asyncio.run(" in block.code:
        return block.code
    setup = SETUPS.get(block.path)
    code = block.code if setup is None or setup is block else setup.code + block.code
    return "async def block() -> None:\n" + textwrap.indent(code, "    ")


def manual(folder: Path) -> Iterator[Path]:
    """Write every block of Python in the manual that can be checked here, each as a module of its own."""
    for block in PYTHON:
        # The types of the facade are those of openai 3, which is made on httpx2.
        if missing(block) or (block.path == FRAMEWORKS and find_spec("httpx2") is None):
            continue
        path = folder / f"{name(block.path).replace('/', '_').replace('.', '_').replace('-', '_')}_{block.line}.py"
        path.write_text(f"{UNANNOTATED}\n{module(block)}", encoding="utf-8")
        yield path


@pytest.mark.parametrize("checker", CHECKERS)
def test_a_checker_agrees_with_calls_and_with_the_manual(checker: str, tmp_path: Path) -> None:
    """Every `assert_type` holds, and every ignored error is one; in the manual, every block passes.

    In one run, since most of what a checker does is to read the library.
    """
    command = [sys.executable, "-m", *CHECKERS[checker], *map(str, [*CHECKED, *manual(tmp_path)])]
    environment = {**os.environ, "MYPYPATH": str(ROOT), "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
