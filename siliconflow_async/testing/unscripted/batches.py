"""Batches of the stand-in: accepted as the service documents it, answered once they were asked about often enough."""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from ..serving.refusals import Refused, refuse
from .chat import answered
from .filestore import StoredBatch, StoredFile
from .models import is_model
from .question import Question, World

__all__ = ["ANSWERS"]

_ENDPOINT = "/v1/chat/completions"
_MOST_LINES = 5000
_MOST_PAIRS = 16
# Lines that are answered before the loop has a turn.
_BREATH = 50
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


async def _create(question: Question) -> None:
    """Answer `POST /batches`."""
    request = question.json()
    world = question.world
    file_id = request.get("input_file_id")
    file = world.files.find(file_id) if isinstance(file_id, str) else None
    if file is None:
        refuse("input_file_id: no such file")
    if request.get("endpoint") != _ENDPOINT:
        refuse(f"endpoint: must be {_ENDPOINT}")
    if not _is_window(request.get("completion_window")):
        refuse("completion_window: must be from 24h to 336h")
    metadata = request.get("metadata") or {}
    if not isinstance(metadata, dict) or len(metadata) > _MOST_PAIRS:
        refuse(f"metadata: at most {_MOST_PAIRS} pairs")
    total = _checked(file)
    question.fail()
    told = {
        "id": f"batch_{secrets.token_hex(10)}",
        "object": "batch",
        "endpoint": _ENDPOINT,
        "errors": None,
        "input_file_id": file.id,
        "completion_window": request["completion_window"],
        "status": "in_queue",
        "output_file_id": None,
        "error_file_id": None,
        "created_at": int(time.time()),
        "request_counts": {"total": total, "completed": 0, "failed": 0},
        "metadata": metadata or None,
    }
    replace = request.get("replace") or {}
    world.batches[told["id"]] = StoredBatch(told, replace.get("model"))
    await question.writer.whole(200, _encode(told))


def _is_window(value: Any) -> bool:
    found = re.fullmatch(r"(\d{1,3})h", value) if isinstance(value, str) else None
    return found is not None and 24 <= int(found[1]) <= 336


def _checked(file: StoredFile) -> int:
    """Return how many requests a file has; raise Refused for one that can't be run."""
    seen: set[str] = set()
    for number, line in enumerate(_lines(file), 1):
        if number > _MOST_LINES:
            refuse(f"the file has more than {_MOST_LINES} lines", code=20074)
        custom_id: Any = None
        try:
            request = _decode(line)
            custom_id = request["custom_id"]
            fits = request["method"] == "POST" and request["url"] == _ENDPOINT and isinstance(request["body"], dict)
        except (ValueError, KeyError, TypeError):
            fits = False
        if not fits or not isinstance(custom_id, str):
            refuse(f"line {number} is no request", code=20071)
        if custom_id in seen:
            refuse(f"custom_id {custom_id!r} is there twice", code=20072)
        seen.add(custom_id)
    if not seen:
        refuse("the file is empty", code=20073)
    return len(seen)


def _lines(file: StoredFile) -> Iterator[bytes]:
    return (line for line in file.data.split(b"\n") if line.strip())


async def _retrieve(question: Question) -> None:
    """Answer `GET /batches/{id}`."""
    question.fail()
    batch = _found(question)
    batch.asked += 1
    told = batch.told
    if told["status"] == "cancelling":
        told |= {"status": "cancelled", "cancelled_at": int(time.time())}
    elif told["status"] in ("in_queue", "in_progress"):
        if batch.asked >= question.world.batch_polls:
            # A status that nobody else finishes meanwhile.
            before, told["status"] = told["status"], "finalizing"
            try:
                await _finish(question.world, batch)
            except BaseException:  # whoever asked has gone: the next who asks has it finished
                told["status"] = before
                raise
        else:
            told |= {"status": "in_progress", "in_progress_at": told.get("in_progress_at") or int(time.time())}
    await question.writer.whole(200, _encode(told))


async def _finish(world: World, batch: StoredBatch) -> None:
    """Answer all requests of a batch."""
    told = batch.told
    results, errors = bytearray(), bytearray()
    counts = told["request_counts"] = {"total": told["request_counts"]["total"], "completed": 0, "failed": 0}
    for number, line in enumerate(_lines(world.files.get(told["input_file_id"])), 1):
        request = _decode(line)
        if batch.replaced is not None:
            request["body"]["model"] = batch.replaced
        status, body = _answer(world, request["body"])
        response = {"status_code": status, "request_id": f"ti_{secrets.token_hex(8)}", "body": msgspec.Raw(body)}
        done = {"id": f"batch_req_{number}", "custom_id": request["custom_id"], "response": response, "error": None}
        (results if status == 200 else errors).extend(_encode(done) + b"\n")
        counts["completed" if status == 200 else "failed"] += 1
        if number % _BREATH == 0:
            await asyncio.sleep(0)
    for what, data in (("output", results), ("error", errors)):
        if data:
            stored = world.files.add(StoredFile(bytes(data), f"{told['id']}_{what}.jsonl", f"batch_{what}"))
            told[f"{what}_file_id"] = stored.id
    told |= {"status": "completed", "completed_at": int(time.time())}


def _answer(world: World, request: Mapping[str, Any]) -> tuple[int, bytes]:
    """Return status and body of the answer to one request."""
    try:
        name = request.get("model")
        if not isinstance(name, str) or not is_model(name, world.models):
            refuse("Model does not exist. Please check it carefully.", code=20012)
        return 200, answered(request, name).body()
    except Refused as refused:
        return refused.status, refused.body


async def _list(question: Question) -> None:
    """Answer `GET /batches`: all of them, the newest first."""
    question.fail()
    batches = [batch.told for batch in reversed(question.world.batches.values())]
    ends = {"first_id": batches[0]["id"], "last_id": batches[-1]["id"]} if batches else {}
    await question.writer.whole(200, _encode({"object": "list", "data": batches, **ends, "has_more": False}))


async def _cancel(question: Question) -> None:
    """Answer `POST /batches/{id}/cancel`."""
    question.fail()
    told = _found(question).told
    if told["status"] not in ("in_queue", "in_progress"):
        refuse(f"the batch is {told['status']}", code=20075)
    told |= {"status": "cancelling", "cancelling_at": int(time.time())}
    await question.writer.whole(200, _encode(told))


def _found(question: Question) -> StoredBatch:
    """Return the batch that the path names; raise Refused if there is no such batch."""
    batch = question.world.batches.get(question.named["id"])
    if batch is None:
        refuse("Batch not found.", code=20063, status=404)
    return batch


ANSWERS = {
    ("POST", "/batches"): _create,
    ("GET", "/batches"): _list,
    ("GET", "/batches/{id}"): _retrieve,
    ("POST", "/batches/{id}/cancel"): _cancel,
}
