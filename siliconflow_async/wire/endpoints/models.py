"""The list of models: what `GET /models` sends back.

`decode_models` raises APIStatusError for an error under 200, MalformedStreamError for what is no list. An entry without
an id is left out; of one with fields of odd types, what can be read is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ..failures import Mask, malformed, unmasked, value_in
from ..lenient import to_integer, to_text
from ..plain import Headed, Plain, nothing, told

__all__ = ["Model", "ModelList", "decode_models"]

_NONE = "no list of models"


class Model(Plain):
    """One model; `id` is the name to ask it by."""

    id: str
    object: str = told("model")
    created: int = told(0)
    owned_by: str = told("")


class ModelList(Headed, Plain):
    """The models that the service has, in `data`.

    `raw` is the body as it came, `headers` the answer's headers with lower-case names, `trace_id` what SiliconFlow's
    support asks for.
    """

    object: str = told("list")
    data: list[Model] = msgspec.field(default_factory=nothing)


def decode_models(body: bytes, mask: Mask = unmasked) -> ModelList:
    """Decode the body of an answer."""
    value = value_in(body, _NONE, mask)
    entries = value.get("data") if isinstance(value, dict) else None
    if not isinstance(entries, list):
        raise malformed(body, "no data", _NONE, mask)
    models = [_model(entry) for entry in entries if isinstance(entry, dict) and to_text(entry.get("id"))]
    listed = ModelList(data=models)
    listed.raw = body
    return listed


def _model(entry: Mapping[str, Any]) -> Model:
    created = entry.get("created")
    return Model(
        id=entry["id"],
        object=to_text(entry.get("object")) or "model",
        created=0 if isinstance(created, float) else to_integer(created) or 0,
        owned_by=to_text(entry.get("owned_by")) or "",
    )
