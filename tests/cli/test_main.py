from __future__ import annotations

import pkgutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import siliconflow_async
from siliconflow_async.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from .conftest import Command

    Call: TypeAlias = Callable[..., tuple[object, str, str]]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Call `main` in this process, for what opens no connection; return its exit code, stdout and stderr."""

    def call(*args: str) -> tuple[object, str, str]:
        monkeypatch.setattr(sys, "argv", ["x", *args])
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code, *capsys.readouterr()

    return call


def test_the_installed_command_is_the_same_program() -> None:
    project = tomllib.loads(Path(__file__).parents[2].joinpath("pyproject.toml").read_text())["project"]
    assert pkgutil.resolve_name(project["scripts"]["siliconflow-async"]) is main


def test_it_tells_its_version(call: Call) -> None:
    assert call("--version") == (0, f"siliconflow-async {siliconflow_async.__version__}\n", "")


def test_help_names_the_commands_their_options_and_the_exit_codes(call: Call) -> None:
    code, text, _ = call("--help")
    assert code == 0
    assert "chat" in text
    assert "serve" in text
    assert "playground" in text
    assert "batch" in text
    assert "models" in text
    code, text, _ = call("chat", "--help")
    assert code == 0
    for name in ("PROMPT", "--model", "--system", "--no-thinking", "--max-tokens", "--json", "--demo", "--base-url"):
        assert name in text
    assert "130 Ctrl-C" in text
    assert "no prompt is written to disk" in " ".join(text.split())


@pytest.mark.parametrize(
    "args",
    [(), ("nonsense",), ("chat", "--nonsense"), ("chat", "two", "prompts"), ("chat", "--max-tokens", "x")],
    ids=" ".join,
)
def test_wrong_usage_ends_with_2(call: Call, args: tuple[str, ...]) -> None:
    code, out, err = call(*args)
    assert (code, out) == (2, "")
    assert "Usage: siliconflow-async" in err


def test_the_module_is_the_same_program(command: Command) -> None:
    assert command.run("--version").stdout == f"siliconflow-async {siliconflow_async.__version__}\n"


@pytest.mark.parametrize(
    ("words", "wanted"),
    [("siliconflow-async mod", "plain,models"), ("siliconflow-async chat --temp", "plain,--temperature")],
)
def test_a_shell_is_told_what_may_follow(command: Command, words: str, wanted: str) -> None:
    """By click's own completion, which the manual says how to switch on."""
    asked = {"COMP_WORDS": words, "COMP_CWORD": str(words.count(" ")), "_SILICONFLOW_ASYNC_COMPLETE": "bash_complete"}
    assert command.run(**asked).stdout == f"{wanted}\n"


def test_without_the_extra_it_says_how_to_install_it(command: Command) -> None:
    script = "import sys; sys.modules['click'] = None; from siliconflow_async.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", script, "chat", "--demo", "Hello"],
        env=command.env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == 'siliconflow-async: the command line is an extra: pip install "siliconflow-async[cli]"\n'
