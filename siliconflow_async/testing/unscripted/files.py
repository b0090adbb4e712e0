"""What the stand-in answers of files: `create` as the service does, the others as the openai package has them."""

from __future__ import annotations

import msgspec

from ..serving.refusals import refuse
from .filestore import StoredFile
from .forms import read_form
from .question import Question

__all__ = ["ANSWERS"]

# Lists of the openai package have pages of this length.
_PAGE = 10_000
_encode = msgspec.json.Encoder().encode


async def _create(question: Question) -> None:
    """Answer `POST /files`, wrapped, as the service does."""
    form = read_form(question.writer.recorded)
    file, purpose = form.get("file"), form.get("purpose")
    if file is None or file.filename is None:
        refuse("file: is required")
    if purpose is None or purpose.text != "batch":
        refuse("purpose: must be batch")
    question.fail()
    stored = question.world.files.add(StoredFile(file.data, file.filename, purpose.text))
    body = {"code": 20000, "message": "Ok", "status": True, "data": stored.as_object()}
    await question.writer.whole(200, _encode(body))


async def _list(question: Question) -> None:
    """Answer `GET /files`."""
    question.fail()
    query = question.writer.recorded.query
    files = question.world.files.all()
    if query.get("order") == "asc":
        files.reverse()
    if "purpose" in query:
        files = [file for file in files if file.purpose == query["purpose"]]
    ids = [file.id for file in files]
    if query.get("after") in ids:
        files = files[ids.index(query["after"]) + 1 :]
    limit = int(query["limit"]) if query.get("limit", "").isdigit() else _PAGE
    page = files[:limit]
    body = {"object": "list", "data": [file.as_object() for file in page], "has_more": len(files) > limit}
    if page:
        body |= {"first_id": page[0].id, "last_id": page[-1].id}
    await question.writer.whole(200, _encode(body))


async def _retrieve(question: Question) -> None:
    """Answer `GET /files/{id}`."""
    question.fail()
    file = question.world.files.get(question.named["id"])
    await question.writer.whole(200, _encode(file.as_object()))


async def _delete(question: Question) -> None:
    """Answer `DELETE /files/{id}`."""
    question.fail()
    question.world.files.remove(question.named["id"])
    await question.writer.whole(200, _encode({"id": question.named["id"], "object": "file", "deleted": True}))


async def _content(question: Question) -> None:
    """Answer `GET /files/{id}/content`."""
    question.fail()
    file = question.world.files.get(question.named["id"])
    await question.writer.whole(200, file.data, {"content-type": "application/octet-stream"})


ANSWERS = {
    ("POST", "/files"): _create,
    ("GET", "/files"): _list,
    ("GET", "/files/{id}"): _retrieve,
    ("DELETE", "/files/{id}"): _delete,
    ("GET", "/files/{id}/content"): _content,
}
