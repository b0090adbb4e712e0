"""The list of changes made on purpose can be trusted: each fits the code as it is, and what is said of it is so."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from .mutants import ROOT, Mutant, load, main

MUTANTS = load()


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_each_change_can_be_made(mutant: Mutant) -> None:
    """Its text stands exactly once in its file, what it becomes is Python and something else, its tests are there."""
    changed = mutant.changed(ROOT)
    assert ast.dump(ast.parse(changed)) != ast.dump(ast.parse(mutant.path(ROOT).read_text(encoding="utf-8")))
    for test in mutant.tests.split():
        path, _, name = test.partition("::")
        assert not name or f"def {name}(" in (ROOT / "tests" / path).read_text(encoding="utf-8")
        assert (ROOT / "tests" / path).exists()


def test_no_two_changes_have_one_name() -> None:
    """Else one of them could not be asked for."""
    names = [mutant.name for mutant in MUTANTS]
    assert len(names) == len(set(names)) > 0


class Tree:
    """A package of one function, and its test; changes to it are added by name."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.list = root / "tests" / "mutations" / "all.toml"
        self.list.parent.mkdir(parents=True)
        self.module = root / "siliconflow_async" / "module.py"
        # What is installed has a plugin for pytest, which is looked for in the package that is found first.
        (root / "siliconflow_async" / "testing").mkdir(parents=True)
        for name in ("__init__", "testing/__init__", "testing/pytest_plugin"):
            (root / "siliconflow_async" / f"{name}.py").touch()
        self.module.write_text("def least(a, b):\n    return a if a < b else b\n")
        self.test = root / "tests" / "test_module.py"
        self.test.write_text(
            "from siliconflow_async.module import least\n\n\ndef test_least():\n    assert least(2, 1) == 1\n"
        )
        (root / "pyproject.toml").write_text("[tool.pytest.ini_options]\naddopts = '--import-mode=importlib'\n")

    def add(self, name: str, before: str, after: str, file: str = "module.py", tests: str = "test_module.py") -> None:
        with self.list.open("a") as text:
            text.write(f'["{name}"]\n{file = }\n{before = }\n{after = }\n{tests = }\n')


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def test_a_change_that_no_test_notices_is_told(tree: Tree, capsys: pytest.CaptureFixture[str]) -> None:
    """Beside one that is noticed; the tree itself is never changed."""
    tree.add("the greatest", "a < b", "a > b")
    tree.add("always the second", "a if a < b else b", "b")
    before = tree.module.read_text()
    assert main([], tree.root) == 1
    assert capsys.readouterr().out.splitlines() == [
        "killed    the greatest",
        "SURVIVED  always the second",
        "1 of 2 killed, 1 survived, 0 untried",
    ]
    assert main(["-j", "2", "great"], tree.root) == 0
    assert "1 of 1 killed, 0 survived" in capsys.readouterr().out
    assert tree.module.read_text() == before


def test_a_change_that_can_not_be_tried_is_no_success(tree: Tree, capsys: pytest.CaptureFixture[str]) -> None:
    """Its text is not there or there twice, or it has no test that runs; nor are tests that fail by themselves."""
    tree.add("of nothing", "c < d", "d < c")
    tree.add("of two", "a", "b")
    assert main([], tree.root) == 2
    assert "untried   of nothing: the text stands 0 times in module.py" in capsys.readouterr().out
    tree.test.write_text("def test_least():\n    assert False\n")
    assert main([], tree.root) == 2
    assert "these tests fail without any change" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nobody"], "no change has 'nobody' in its name"),
        (["-j", "0"], "--jobs must be at least 1"),
        ([], "all.toml: .*required field"),
    ],
)
def test_what_can_not_be_asked_is_named(
    arguments: list[str], words: str, tree: Tree, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything runs."""
    tree.add("the greatest", "a < b", "a > b")
    if not arguments:
        tree.list.write_text('["half"]\nfile = "module.py"\n')
    with pytest.raises(SystemExit) as caught:
        main(arguments, tree.root)
    assert caught.value.code == 2
    assert re.search(words, capsys.readouterr().err)


def test_the_list_can_be_read_without_running_anything(tree: Tree, capsys: pytest.CaptureFixture[str]) -> None:
    """Each with its file."""
    tree.add("the greatest", "a < b", "a > b")
    assert main(["--list"], tree.root) == 0
    assert capsys.readouterr().out == "module.py: the greatest\n"
