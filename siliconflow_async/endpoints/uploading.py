"""How an endpoint is sent a file, in a form that is read as it goes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import InvalidRequestError
from ..request.plain import kind_of
from ..request.uploads import UploadProgress, form
from ..transport.answer import Decode, Headed

if TYPE_CHECKING:
    from ..calls.service import Service

__all__ = ["upload"]

T = TypeVar("T", bound=Headed)


async def upload(
    service: Service,
    path: str,
    decode: Decode[T],
    params: Mapping[str, Any],
    fields: Mapping[str, Any],
    *,
    repeatable: bool = True,
    weighs: Mapping[str, Any] | None = None,
) -> T:
    """Post `fields` and the `file` of `params`, and return what `decode` makes of the answer.

    `on_progress` of `params` is told how it gets on; what that raises ends the call, and is raised. Other errors are
    those of `Service.fetch`, and InvalidRequestError for a file that can't be read.
    """
    tell = params.get("on_progress")
    if tell is not None and not callable(tell):
        raise InvalidRequestError(f"on_progress must be a function, not {kind_of(tell)}", param="on_progress")
    progress = None if tell is None else UploadProgress(tell)
    body = await form(params["file"], fields, extra_body=params.get("extra_body"), on_progress=progress)
    asking = service.fetch("POST", path, decode, params, body=body, repeatable=repeatable, weighs=weighs)
    if progress is None:
        return await asking
    with progress.raised():
        return await asking
