"""A stand-in for each test, and LangChain's model on it.

These tests need the extra `langchain`, LangChain itself and its standard tests, which have a step of their own in
`.ci/run`; elsewhere they are left out. LangChain's standard tests bring pytest-asyncio, whose settings are not those of
this suite: run them with `-p no:asyncio`.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from siliconflow_async.integrations.langchain import ChatSiliconFlow
    from siliconflow_async.testing import FakeSiliconFlow

if not all(map(find_spec, ("langchain_core", "langchain_tests", "langchain"))):
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(autouse=True)
def _as_one_who_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    # Neither keys nor tracing of whoever runs the tests.
    for name in ("SILICONFLOW_API_KEY", "SILICONFLOW_BASE_URL", "LC_OUTPUT_VERSION"):
        monkeypatch.delenv(name, raising=False)
    for name in ("LANGSMITH_TRACING", "LANGCHAIN_TRACING_V2"):
        monkeypatch.setenv(name, "false")


@pytest.fixture
def server(siliconflow_server: FakeSiliconFlow) -> FakeSiliconFlow:
    return siliconflow_server


@pytest.fixture
def made(server: FakeSiliconFlow) -> Iterator[Callable[..., ChatSiliconFlow]]:
    """Makes models on the stand-in, with other fields where they are given, and closes them."""
    from siliconflow_async.integrations.langchain import ChatSiliconFlow

    models: list[ChatSiliconFlow] = []

    def make(**fields: Any) -> ChatSiliconFlow:
        given: dict[str, Any] = {"model": "org/model", "base_url": server.base_url, "api_key": "sk-test", **fields}
        models.append(ChatSiliconFlow(**given))
        return models[-1]

    yield make
    for model in models:
        model.close()


@pytest.fixture
def model(made: Callable[..., ChatSiliconFlow]) -> ChatSiliconFlow:
    return made()
