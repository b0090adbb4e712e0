"""Break the library on purpose, one change at a time, and say which changes no test notices.

    python tests/mutants.py                        # every change
    python tests/mutants.py -j 2 gate "last chunk" # those whose name holds one of these texts
    python tests/mutants.py --list

Each change is a table in a file of `tests/mutations`. Its name says what is broken then; `before` is a text that stands
exactly once in `file`, a module of the package, and becomes `after`; `tests` are those that should notice. They run in
copies of the tree, never in the tree itself. The exit code is 1 if a change survives, 2 if one can't be tried.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue

import msgspec

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "siliconflow_async"
# A change that makes a test hang was noticed: whoever runs the suite would notice, too.
HUNG_SECONDS = 180
_PASSED, _FAILED, _INTERRUPTED = 0, 1, 2


class Mutant(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """One change: `file` in the package, and `tests`, paths in `tests` with blanks between."""

    name: str = ""
    file: str
    before: str
    after: str
    tests: str

    def path(self, root: Path) -> Path:
        return root / PACKAGE / self.file

    def changed(self, root: Path) -> str:
        """Return the file's text with the change made. Raises ValueError if it can't be made."""
        text = self.path(root).read_text(encoding="utf-8")
        if (found := text.count(self.before)) != 1:
            raise ValueError(f"{self.name}: the text stands {found} times in {self.file}")
        return text.replace(self.before, self.after)


def load(root: Path = ROOT) -> list[Mutant]:
    """Return all mutants, by file and in its order. Raises ValueError for one that is not well-formed."""
    mutants: list[Mutant] = []
    for path in sorted((root / "tests" / "mutations").glob("*.toml")):
        try:
            tables = msgspec.toml.decode(path.read_bytes(), type=dict[str, Mutant])
        except msgspec.DecodeError as error:
            raise ValueError(f"{path.name}: {error}") from error
        for mutant_name, mutant in tables.items():
            mutant.name = mutant_name
            mutants.append(mutant)
    return mutants


@contextmanager
def copies(root: Path, count: int) -> Iterator[SimpleQueue[Path]]:
    """Copies of what tests need of the tree, for one run each."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        free: SimpleQueue[Path] = SimpleQueue()
        for number in range(count):
            copy = Path(folder, str(number))
            for part in (PACKAGE, "tests", "benchmarks"):
                if (root / part).exists():
                    shutil.copytree(root / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
            for part in ("pyproject.toml", "README.md"):
                if (root / part).exists():
                    shutil.copy(root / part, copy)
            free.put(copy)
        yield free


def run_tests(copy: Path, tests: Iterable[str]) -> tuple[int, str]:
    """Run tests in a copy up to the first failure; return pytest's exit code and its words."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--tb=line", "-p", "no:cacheprovider"]
    # A changed file may have the size and the second of the one before: no bytecode is kept of either.
    env = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    with subprocess.Popen(
        [*command, *(f"tests/{test}" for test in tests)],
        cwd=copy,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    ) as process:
        try:
            words, _ = process.communicate(timeout=HUNG_SECONDS)
        except subprocess.TimeoutExpired:
            # With all that the tests have started.
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return _FAILED, "it hung"
    return process.returncode, words


def survives(mutant: Mutant, root: Path, free: SimpleQueue[Path]) -> bool:
    """Make the change in a copy and run its tests. Raises ValueError where they can't run."""
    changed = mutant.changed(root)
    copy = free.get()
    path = mutant.path(copy)
    original = path.read_text(encoding="utf-8")
    try:
        path.write_text(changed, encoding="utf-8")
        code, words = run_tests(copy, mutant.tests.split())
    finally:
        path.write_text(original, encoding="utf-8")
        free.put(copy)
    if code not in (_PASSED, _FAILED, _INTERRUPTED):
        raise ValueError(f"{mutant.name}: its tests can't run\n{words}")
    return code == _PASSED


def try_all(mutants: list[Mutant], root: Path, jobs: int) -> int:
    """Print how each mutant fares; return the exit code."""
    tests = sorted({test for mutant in mutants for test in mutant.tests.split()})
    survivors = troubles = 0
    with copies(root, jobs) as free, ThreadPoolExecutor(jobs) as pool:
        copy = free.get()
        code, words = run_tests(copy, tests)
        free.put(copy)
        if code != _PASSED:
            print(f"these tests fail without any change:\n{words}")
            return 2
        for mutant, trial in [(mutant, pool.submit(survives, mutant, root, free)) for mutant in mutants]:
            try:
                survived = trial.result()
            except ValueError as error:
                troubles += 1
                print(f"untried   {error}", flush=True)
            else:
                survivors += survived
                print(f"{'SURVIVED' if survived else 'killed  '}  {mutant.name}", flush=True)
    tried = len(mutants) - troubles
    print(f"{tried - survivors} of {len(mutants)} killed, {survivors} survived, {troubles} untried")
    return 2 if troubles else 1 if survivors else 0


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(prog="mutants", description="Say which changes to the library no test notices.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="a change's name, or a part of it (default: all)")
    parser.add_argument("-j", "--jobs", type=int, default=1, help="how many to try at a time")
    parser.add_argument("--list", action="store_true", help="print the names and stop")
    asked = parser.parse_args(arguments)
    if asked.jobs < 1:
        parser.error("--jobs must be at least 1")
    try:
        known = load(root)
    except ValueError as error:
        parser.error(str(error))
    for name in asked.names:
        if not any(name in mutant.name for mutant in known):
            parser.error(f"no change has {name!r} in its name; --list names them all")
    chosen = [mutant for mutant in known if not asked.names or any(name in mutant.name for name in asked.names)]
    if asked.list:
        for mutant in chosen:
            print(f"{mutant.file}: {mutant.name}")
        return 0
    return try_all(chosen, root, asked.jobs)


if __name__ == "__main__":
    sys.exit(main())
