"""The request that asks for the rest of a text, and which requests may be continued so."""

from __future__ import annotations

from typing import Any

import msgspec

from ..checks import is_count
from ..errors import InvalidRequestError
from ..wire import jsontext

__all__ = ["continued_body", "resume_attempts"]


def resume_attempts(attempts: Any, body: bytes, *, streaming: bool, split_think: bool) -> int:
    """Return how often a call may be continued; raise InvalidRequestError for one that asks for more than text."""
    if attempts is None:
        return 0
    if not is_count(attempts, 0):
        raise InvalidRequestError(f"resume must be an integer >= 0, not {attempts!r}", param="resume")
    if not attempts:
        return 0
    sent = {name: jsontext.parse(value) for name, value in _fields(body).items() if name in _NOT_TEXT}
    wanted = sent.get("response_format")
    for is_so, name in (
        (not streaming, "an answer that is no stream"),
        (split_think, "split_think"),
        (bool(sent.get("tools")), "tools"),
        (sent.get("n") not in (None, 1), "n > 1"),
        (wanted is not None and wanted != {"type": "text"}, "response_format"),
    ):
        if is_so:
            raise InvalidRequestError(f"resume continues streams of text alone: not with {name}", param="resume")
    return attempts


_NOT_TEXT = frozenset({"tools", "n", "response_format"})


def continued_body(body: bytes, text: str, tokens: int | None) -> bytes | None:
    """Return the request that asks for what comes after `text`, which took `tokens`; None if those were all it had."""
    fields = _fields(body)
    limit = jsontext.parse(fields.get("max_tokens", b"null"))
    if isinstance(limit, int) and tokens is not None:
        if limit <= tokens:
            return None
        fields["max_tokens"] = jsontext.encode(limit - tokens)
    before = jsontext.parse(fields.get("prefix", b'""'))
    if text and isinstance(before, str):
        fields["prefix"] = jsontext.encode(before + text)
    return msgspec.json.encode(fields)


def _fields(body: bytes) -> dict[str, msgspec.Raw]:
    # Messages may hold megabytes of pictures: they are passed on as they are.
    return _FIELDS.decode(body)


_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
