"""The benchmark of what the facade spares runs, with every framework that is installed."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

FRAMEWORKS = {
    "pydantic-ai": "pydantic_ai",
    "openai-agents": "agents",
    "langchain-openai": "langchain_openai",
    "instructor": "instructor",
    "llama-index": "llama_index",
}
HERE = [name for name, package in FRAMEWORKS.items() if find_spec(package) is not None]


@pytest.mark.skipif(not HERE, reason="no framework is installed")
def test_it_measures_both_clients_under_each_framework() -> None:
    command = [sys.executable, "-m", "benchmarks.frameworks", "--quick"]
    root = Path(__file__).parents[2]
    told = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120, check=True).stdout
    rows = [line for line in told.splitlines() if line.count("×") == 2]
    assert [row[:18].strip() for row in rows] == ["the client alone", *HERE]
