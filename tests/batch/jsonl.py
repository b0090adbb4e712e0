"""Lines of requests and of results, and files of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ..asking import ASK

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def request(custom_id: str, **body: Any) -> dict[str, Any]:
    body = {**ASK, "max_tokens": 3, **body}
    return {"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": body}


def bad_request(custom_id: str) -> dict[str, Any]:
    # The stand-in refuses it by itself, as the service would.
    return request(custom_id, temperature=9)


def write(path: Path, lines: Iterable[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def ids(path: Path) -> list[str]:
    return sorted(line["custom_id"] for line in read(path))


class Files:
    """Twelve requests, one of which fails, and where their results go."""

    def __init__(self, folder: Path) -> None:
        names = [f"id-{i:02}" for i in range(12)]
        self.lines = [bad_request(name) if name == "id-07" else request(name) for name in names]
        self.requests = write(folder / "requests.jsonl", self.lines)
        self.results = folder / "results.jsonl"
        self.errors = folder / "results.errors.jsonl"
        self.good = [name for name in names if name != "id-07"]
