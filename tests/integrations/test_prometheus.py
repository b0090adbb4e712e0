"""The dashboard is made of metrics that there are, and a real Prometheus reads them from the app of the chapter.

Prometheus is one of the machine (Debian's package `prometheus`). Without one its test is skipped; with
SILICONFLOW_PROMETHEUS=require it fails instead.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import CollectorRegistry, generate_latest

import siliconflow_async
from siliconflow_async import Limit, RetryPolicy
from siliconflow_async.integrations.otel import OpenTelemetry
from siliconflow_async.testing import FakeSiliconFlow

from ..asking import ASK, served
from ..programs import environment

PACKAGE = Path(siliconflow_async.__file__).parent
CHAPTER = PACKAGE / "integrations" / "README.md"
DASHBOARD: dict[str, Any] = json.loads((PACKAGE / "integrations" / "otel" / "dashboard.json").read_text())
QUERIES = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
NAME = re.compile(r"\b(?:gen_ai_client|siliconflow_client)\w+")
LABEL = re.compile(r"\b(?:gen_ai_(?!client)\w+|error_type|siliconflow_limit\w+)")
SECONDS = 60.0


@pytest.mark.anyio
async def test_the_dashboard_is_made_of_metrics_that_there_are() -> None:
    """By name, in each query and variable, as the exporter spells them; and all that are told unasked are on it."""
    registry = CollectorRegistry()
    meters = MeterProvider([PrometheusMetricReader(registry=registry)], shutdown_on_exit=False)
    observer = OpenTelemetry(meter_provider=meters)
    limits = Limit(rpm=100, tpm=100_000)
    async with served(observers=[observer], limits=limits, retry=RetryPolicy(base=0.0)) as (server, client):
        server.fail(429, {"code": 20042, "message": "RPM limit reached"}, {"Retry-After": "0.05"})
        async with client.chat.completions.map([ASK]) as results:
            assert [result.error async for result in results] == [None]
        async with client.chat.completions.stream(**ASK):
            text = generate_latest(registry).decode()
    lines = [line for line in text.splitlines() if not line.startswith(("#", "target_info"))]
    series = {line.partition("{")[0] for line in lines}
    labels = {label for line in lines for label in re.findall(r'(\w+)="', line)}
    variables = " ".join(variable["query"] for variable in DASHBOARD["templating"]["list"])
    used = {name for query in [*QUERIES, variables] for name in NAME.findall(query)}
    assert used <= series
    assert {label for query in QUERIES for label in LABEL.findall(query)} <= labels
    bare = re.compile(r"_(?:bucket|sum|count|created)$")
    assert {bare.sub("", name) for name in series} == {bare.sub("", name) for name in used}


def test_each_panel_has_its_place() -> None:
    """None covers another, and each says what it shows."""
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in DASHBOARD["panels"]]
    assert len(set(places)) == len(places)
    assert all(panel["title"] and panel["description"] for panel in DASHBOARD["panels"])
    for query in QUERIES:
        assert query.count("(") == query.count(")")
        assert 'gen_ai_request_model=~"$model"' in query


@contextmanager
def running(command: list[str], log: Path, **options: Any) -> Iterator[None]:
    with log.open("wb") as file, subprocess.Popen(command, stdout=file, stderr=file, **options) as process:
        try:
            yield
        finally:
            process.terminate()
            process.wait(timeout=30)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def fetch(url: str, **query: str) -> Any:
    """Return what is there, once something is."""
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            with urllib.request.urlopen(f"{url}?{urllib.parse.urlencode(query)}", timeout=SECONDS) as answer:
                return json.load(answer)
        except (urllib.error.URLError, ConnectionError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)  # another program's start can't be waited for in any other way


def test_a_real_prometheus_scrapes_the_app_of_the_chapter(tmp_path: Path) -> None:
    """Each query of the dashboard is one that it can answer, and it knows of the calls and their tokens."""
    program = shutil.which("prometheus")
    if program is None:
        if os.environ.get("SILICONFLOW_PROMETHEUS") == "require":
            pytest.fail("no Prometheus on this machine", pytrace=False)
        pytest.skip("no Prometheus on this machine")
    (app,) = re.findall(r"^```python\n(from fastapi.+?)^```$", CHAPTER.read_text(encoding="utf-8"), re.M | re.S)
    (tmp_path / "app.py").write_text(app)
    at_app, at_prometheus = free_port(), free_port()
    config = {
        "global": {"scrape_interval": "200ms", "scrape_timeout": "200ms"},
        "scrape_configs": [{"job_name": "app", "static_configs": [{"targets": [f"127.0.0.1:{at_app}"]}]}],
    }
    (tmp_path / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML
    serve = [sys.executable, "-m", "uvicorn", "app:app", "--port", str(at_app), "--log-level", "warning"]
    scrape = [
        *(program, f"--config.file={tmp_path / 'prometheus.yml'}", f"--storage.tsdb.path={tmp_path / 'data'}"),
        f"--web.listen-address=127.0.0.1:{at_prometheus}",
    ]
    with FakeSiliconFlow().threaded() as server:
        variables = {"SILICONFLOW_API_KEY": "k", "SILICONFLOW_BASE_URL": server.base_url, "NO_PROXY": "127.0.0.1"}
        with (
            running(serve, tmp_path / "app.log", cwd=tmp_path, env=environment() | variables),
            running(scrape, tmp_path / "prometheus.log", env=environment()),
        ):
            answers = [fetch(f"http://127.0.0.1:{at_app}/ask", question=f"Question {number}?") for number in range(3)]
            assert all("Question" in answer for answer in answers)
            api = f"http://127.0.0.1:{at_prometheus}/api/v1/query"
            deadline = time.monotonic() + SECONDS
            calls = 'gen_ai_client_operation_duration_seconds_count{gen_ai_request_model="Qwen/Qwen3-8B"}'
            while not (found := fetch(api, query=calls)["data"]["result"]) or found[0]["value"][1] != "3":
                assert time.monotonic() < deadline, found
                time.sleep(0.05)
            for query in QUERIES:
                answer = fetch(api, query=query.replace("$model", ".*").replace("$__rate_interval", "1m"))
                assert answer["status"] == "success"
            total = fetch(api, query="sum by (gen_ai_token_type) (gen_ai_client_token_usage_sum)")["data"]["result"]
            tokens = {series["metric"]["gen_ai_token_type"]: float(series["value"][1]) for series in total}
    assert tokens.keys() == {"input", "output"}
    assert all(count > 0 for count in tokens.values())
