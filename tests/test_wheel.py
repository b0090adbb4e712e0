"""What is built for PyPI: the package with all that it needs at run time, and nothing of the manual's chapters."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from email import message_from_bytes
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "siliconflow_async"
SCRIPTS = ("page", "answer", "chat", "dom", "edit", "export", "markdown", "pictures", "settings", "store")
FILES = ("index.html", "page.css", "answer.css", *(f"{name}.js" for name in SCRIPTS))
PAGE = {f"siliconflow_async/cli/playground/page/{name}" for name in FILES}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    (path,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path_factory.mktemp("wheel")), versions=["standard"])
    with zipfile.ZipFile(path) as wheel:
        yield wheel


def test_the_wheel_holds_the_package_and_no_chapter_of_the_manual(wheel: zipfile.ZipFile) -> None:
    """Every module, the mark of its types, the page; no chapter, no picture. The pytest plugin lies beside it."""
    beside = {name for name in wheel.namelist() if "/" not in name}
    assert beside == {"siliconflow_async_pytest.py"}
    packed = {name for name in wheel.namelist() if name.startswith("siliconflow_async/")}
    modules = {path.relative_to(ROOT).as_posix() for path in PACKAGE.rglob("*.py") if path.name != "pytest_plugin.py"}
    data = {"siliconflow_async/py.typed", "siliconflow_async/integrations/redis/ledger.lua"}
    assert packed == modules | PAGE | data
    assert all(".dist-info/" in name for name in {*wheel.namelist()} - packed - beside)


def test_its_description_is_the_readme(wheel: zipfile.ZipFile) -> None:
    """As PyPI shows it, which renders Markdown."""
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    metadata = message_from_bytes(wheel.read(name))
    payload = metadata.get_payload(decode=True)
    assert isinstance(payload, bytes)
    assert payload == (ROOT / "README.md").read_bytes()
    assert metadata["Description-Content-Type"] == "text/markdown"
