"""The house's walls: which room may import which, and who may touch the network.

A room is a module or package directly in `siliconflow_async`; `__init__` is the facade. Imports are read from the
source, those under TYPE_CHECKING apart from those that run, so that imports inside functions count too.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from types import GenericAlias, ModuleType
from typing import NamedTuple

import pytest

import siliconflow_async.answers
from siliconflow_async.endpoints.audio import Audio, Speeches, Transcriptions, Voices
from siliconflow_async.endpoints.batches import Batches
from siliconflow_async.endpoints.chat import Completions
from siliconflow_async.endpoints.completions import TextCompletions
from siliconflow_async.endpoints.embeddings import Embeddings
from siliconflow_async.endpoints.files import Files
from siliconflow_async.endpoints.images import Images
from siliconflow_async.endpoints.messages import Messages
from siliconflow_async.endpoints.models import Models
from siliconflow_async.endpoints.rerank import Rerank
from siliconflow_async.endpoints.user import User
from siliconflow_async.endpoints.videos import Videos

FACES = (
    *(Audio, Batches, Completions, Embeddings, Files, Images, Messages, Models, Rerank, Speeches, TextCompletions),
    *(Transcriptions, User, Videos, Voices),
)
NAME = "siliconflow_async"
ROOT = Path(siliconflow_async.__file__).parent

# room: the rooms that it may import. Data flows one way, so this is a graph without cycles.
ALLOWED = {
    "checks": {"elsewhere"},
    "elsewhere": set(),
    "errors": set(),
    "loops": {"errors"},
    "version": set(),
    "headers": {"errors"},
    "testing": set(),
    "timeouts": {"checks", "errors"},
    "settings": {"errors", "headers"},
    "wire": {"errors"},
    "limits": {"checks", "errors", "loops", "wire"},
    "transport": {"errors", "headers", "loops", "timeouts", "wire"},
    "request": {"checks", "errors", "timeouts", "transport", "wire"},
    "stream": {"errors", "loops", "request", "timeouts", "transport", "wire"},
    "calls": {"checks", "errors", "headers", "limits", "loops", "request", "stream", "timeouts", "transport", "wire"},
    "runs": {"calls", "checks", "errors", "limits", "loops", "request", "stream", "wire"},
    "endpoints": {
        "calls",
        "checks",
        "elsewhere",
        "errors",
        "headers",
        "request",
        "runs",
        "stream",
        "timeouts",
        "transport",
        "wire",
    },
    "client": {
        "calls",
        "checks",
        "elsewhere",
        "endpoints",
        "errors",
        "headers",
        "limits",
        "settings",
        "timeouts",
        "transport",
        "version",
    },
    "__init__": {
        "calls",
        "client",
        "errors",
        "limits",
        "request",
        "runs",
        "stream",
        "timeouts",
        "version",
        "wire",
    },
    "answers": {"calls", "runs", "stream", "wire"},
    "relay": {"checks", "errors", "loops", "wire"},
    "batch": {"checks", "client", "errors", "request", "runs", "wire"},
    "integrations": {
        "batch",
        "calls",
        "checks",
        "client",
        "errors",
        "headers",
        "limits",
        "loops",
        "request",
        "runs",
        "settings",
        "stream",
        "timeouts",
        "version",
        "wire",
    },
    "cli": {"__init__", "answers", "batch", "client", "errors", "integrations", "relay", "testing", "version", "wire"},
    "__main__": {"cli"},
}

# The same for annotations alone, which no import at run time follows.
ALLOWED_FOR_TYPES = {
    "errors": {"wire"},
}

# third-party package: the rooms that may import it at run time. Nothing else may be imported by any.
THIRD_PARTY = {
    "aiohttp": {"transport", "testing", "cli"},
    "anyio": ALLOWED.keys() - {"wire"},
    "click": {"cli"},
    "fsspec": {"batch"},
    "httpx": {"integrations"},
    "httpx2": {"integrations"},
    "jiter": {"stream"},
    "langchain_core": {"integrations"},
    "markdown_it": {"cli"},
    "msgspec": ALLOWED.keys(),
    "numpy": {"cli", "endpoints", "wire"},
    "openai": {"integrations"},
    "opentelemetry": {"integrations"},
    "prompt_toolkit": {"cli"},
    "pyarrow": {"integrations"},
    "pydantic": {"integrations"},
    "pytest": {"testing"},
    "ray": {"integrations"},
    "redis": {"cli", "integrations"},
    "tqdm": {"cli"},
    "yarl": {"transport"},  # aiohttp's own URLs, which its requests take
}

IO = {
    "anyio",
    "asyncio",
    "concurrent",
    "multiprocessing",
    "selectors",
    "signal",
    "socket",
    "ssl",
    "subprocess",
    "threading",
}
# Rooms within a room: what of that they may import.
WITHIN: dict[str, set[str]] = {
    "testing.serving": set(),
    "testing.unscripted": {"testing.serving"},
    "wire.endpoints": {"wire"},
}
DRAWERS = {"_internal", "common", "helpers", "misc", "types", "util", "utils"}
MAX_LINES = 350


class Import(NamedTuple):
    target: str  # the dotted name of a module
    for_types: bool
    in_function: bool


def dotted(path: Path) -> str:
    parts = [NAME, *path.relative_to(ROOT).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


PATHS = {dotted(path): path for path in sorted(ROOT.rglob("*.py"))}
TREES = {name: ast.parse(path.read_bytes()) for name, path in PATHS.items()}


def room(module: str) -> str:
    """The room of one of our modules."""
    _, _, inside = module.partition(".")
    return inside.partition(".")[0] or "__init__"


@cache
def imports(module: str) -> tuple[Import, ...]:
    """Every import of a module, with the names of our modules in full."""
    return tuple(walk(TREES[module], module, for_types=False, in_function=False))


def walk(node: ast.AST, module: str, *, for_types: bool, in_function: bool) -> Iterator[Import]:
    if isinstance(node, ast.Import | ast.ImportFrom):
        for target in targets(node, module):
            yield Import(target, for_types, in_function)
    elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        assert ast.unparse(node.test) == "TYPE_CHECKING"
        for child in node.body:
            yield from walk(child, module, for_types=True, in_function=in_function)
        for child in node.orelse:
            yield from walk(child, module, for_types=for_types, in_function=in_function)
    else:
        in_function = in_function or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            yield from walk(child, module, for_types=for_types, in_function=in_function)


def targets(node: ast.Import | ast.ImportFrom, module: str) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
        return
    base = node.module or ""
    if node.level:
        package = module.split(".")
        up = node.level - (PATHS[module].name == "__init__.py")
        base = ".".join(filter(None, [*package[: len(package) - up], base]))
    for alias in node.names:
        inner = f"{base}.{alias.name}"
        yield inner if inner in PATHS else base


def neighbours(of: str, *, for_types: bool) -> set[str]:
    """The other rooms that a room imports."""
    found = {
        room(item.target)
        for module in PATHS
        if room(module) == of
        for item in imports(module)
        if item.for_types == for_types and item.target.partition(".")[0] == NAME
    }
    return found - {of}


def test_every_room_is_in_the_table() -> None:
    assert {room(module) for module in PATHS} == ALLOWED.keys()


def test_the_table_has_no_cycle() -> None:
    TopologicalSorter(ALLOWED).prepare()


def test_no_module_leads_back_to_itself() -> None:
    """Imports for annotations count: whoever reads a module follows them too."""
    ours = {module: {item.target for item in imports(module)} & PATHS.keys() - {module} for module in PATHS}
    TopologicalSorter(ours).prepare()


@pytest.mark.parametrize(("within", "allowed"), WITHIN.items())
def test_a_room_within_a_room_imports_only_what_it_may(within: str, allowed: set[str]) -> None:
    """Of the room that it lies in."""
    around = f"{NAME}.{within.partition('.')[0]}."
    found = {
        target.removeprefix(f"{NAME}.").rpartition(".")[0]
        for module in PATHS
        if module.startswith(f"{NAME}.{within}.")
        for target in {item.target for item in imports(module)} & PATHS.keys()
        if target.startswith(around)
    }
    assert found
    assert found <= allowed | {within}


@pytest.mark.parametrize("name", ALLOWED)
def test_a_room_imports_only_the_rooms_below_it(name: str) -> None:
    assert neighbours(name, for_types=False) <= ALLOWED[name]
    assert neighbours(name, for_types=True) <= ALLOWED[name] | ALLOWED_FOR_TYPES.get(name, set())


@pytest.mark.parametrize("module", PATHS)
def test_a_module_imports_only_known_packages_where_they_belong(module: str) -> None:
    packages = {item.target.partition(".")[0] for item in imports(module) if not item.for_types}
    foreign = packages - sys.stdlib_module_names - {NAME}
    assert {package for package in foreign if room(module) not in THIRD_PARTY.get(package, ())} == set()


@pytest.mark.parametrize("module", [module for module in PATHS if room(module) == "integrations"])
def test_an_integration_needs_one_extra_and_no_other_integration(module: str) -> None:
    """Each is a module or package of its own, and everything else in the house can do without it.

    A command that is for one imports it when it runs.
    """
    prefix = f"{NAME}.integrations"
    own = ".".join(module.split(".")[:3])
    targets = {item.target for item in imports(module)}
    assert {target for target in targets if target.startswith(f"{prefix}.") and not target.startswith(own)} == set()
    others = {found for found in PATHS if not found.startswith(prefix)}
    used = [(found, item) for found in others for item in imports(found) if item.target.startswith(prefix)]
    assert {found for found, item in used if room(found) != "cli" or not (item.in_function or item.for_types)} == set()


@pytest.mark.parametrize("module", [module for module in PATHS if room(module) == "wire"])
def test_the_wire_never_waits(module: str) -> None:
    """No I/O, no thread, no coroutine, no sleep."""
    assert {item.target.partition(".")[0] for item in imports(module)}.isdisjoint(IO)
    waits = (ast.AsyncFunctionDef, ast.Await, ast.AsyncFor, ast.AsyncWith)
    nodes = list(ast.walk(TREES[module]))
    assert not [node for node in nodes if isinstance(node, waits)]
    assert not [node for node in nodes if isinstance(node, ast.Attribute) and node.attr == "sleep"]


def test_the_pytest_plugin_imports_only_pytest_until_its_fixture_is_used() -> None:
    plugin = f"{NAME}.testing.pytest_plugin"
    early = {item.target for item in imports(plugin) if not item.for_types and not item.in_function}
    assert early == {"__future__", "typing", "pytest"}


@pytest.mark.parametrize("module", PATHS)
def test_a_module_is_short_and_is_no_drawer(module: str) -> None:
    assert len(PATHS[module].read_text(encoding="utf-8").splitlines()) <= MAX_LINES
    assert DRAWERS.isdisjoint(module.split("."))


@pytest.mark.parametrize("module", PATHS)
def test_no_module_makes_its_names_when_asked(module: str) -> None:
    """Imports are what they seem: no module-level `__getattr__`, no star, no import by string."""
    tree = TREES[module]
    assert not [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "__getattr__"]
    for node in ast.walk(tree):
        match node:
            case ast.ImportFrom(names=names):
                assert "*" not in [alias.name for alias in names]
            case ast.Name(id=name) | ast.Attribute(attr=name):
                assert name not in ("__import__", "import_module")


# What users import from: the second is not imported by the first, as few need it.
FACADES = [siliconflow_async, siliconflow_async.answers]
PUBLIC = {name: getattr(facade, name) for facade in FACADES for name in facade.__all__}


@pytest.mark.parametrize("facade", FACADES)
class TestFacade:
    """Explicit re-exports, one `__all__`, no logic."""

    def test_it_is_a_docstring_imports_and_all(self, facade: ModuleType) -> None:
        docstring, *middle, last = TREES[facade.__name__].body
        assert isinstance(docstring, ast.Expr)
        assert ast.get_docstring(TREES[facade.__name__])
        assert [node for node in middle if not isinstance(node, ast.ImportFrom)] == []
        assert isinstance(last, ast.Assign)
        assert ast.unparse(last.targets[0]) == "__all__"

    def test_all_is_sorted_and_holds_everything_imported(self, facade: ModuleType) -> None:
        body = TREES[facade.__name__].body
        imported = [alias for node in body if isinstance(node, ast.ImportFrom) for alias in node.names]
        assert [alias.asname for alias in imported if alias.asname] == []
        names = facade.__all__
        assert sorted(names) == sorted(alias.name for alias in imported)
        assert names == sorted(names, key=constants_then_classes)


class TestPublicNames:
    """Of both facades."""

    def test_none_is_in_both(self) -> None:
        assert len(PUBLIC) == sum(len(facade.__all__) for facade in FACADES)

    def test_every_exception_is_exported(self) -> None:
        errors = {node.name for node in TREES[f"{NAME}.errors"].body if isinstance(node, ast.ClassDef)}
        assert errors <= set(siliconflow_async.__all__)

    @pytest.mark.parametrize("name", [name for name in PUBLIC if name != "__version__"])
    def test_a_public_name_and_its_methods_have_docstrings(self, name: str) -> None:
        """Type aliases and DEFAULT have none of their own; they are told of where they are used."""
        assert [part for part, text in docstrings(name).items() if not text] == []

    def test_a_class_that_a_public_docstring_names_is_public(self) -> None:
        classes = {
            node.name
            for module, tree in TREES.items()
            if room(module) in ALLOWED["__init__"] | {"endpoints", "calls"}
            for node in tree.body
            if isinstance(node, ast.ClassDef)
        }
        texts = [text or "" for name in PUBLIC for text in docstrings(name).values()]
        texts += [text or "" for face in FACES for text in members(face).values()]
        # With two capitals: "Model" and "End" may be words.
        named = classes & set(re.findall(r"\b[A-Z]+[a-z]+[A-Z]\w+", " ".join(texts)))
        assert named - PUBLIC.keys() == set()


def docstrings(name: str) -> dict[str, str | None]:
    """The docstrings of a public name and of what can be called on it, as they stand in the source."""
    value = PUBLIC[name]
    if inspect.isfunction(value):
        return {name: value.__doc__}
    if not isinstance(value, type) or isinstance(value, GenericAlias) or not value.__module__.startswith(NAME):
        return {}
    return {name: vars(value).get("__doc__"), **members(value)}


def members(of: type) -> dict[str, str | None]:
    return {
        f"{of.__name__}.{name}": value.__doc__
        for name, value in vars(of).items()
        if not name.startswith("_") and inspect.isfunction(value)
    }


def constants_then_classes(name: str) -> tuple[int, str]:
    """The order of ruff's RUF022."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)
