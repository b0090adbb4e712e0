"""LangChain's content blocks as parts of a message that the service takes.

Blocks of LangChain's standard form, of the Chat Completions form and of Anthropic's are known. What the service has no
part for raises InvalidRequestError that names the block; nothing is left out in silence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from ...errors import InvalidRequestError

__all__ = ["content_of", "refuse"]

# A block's type: that of the service's part, and what may stand beside its URL.
_MEDIA = {
    "image": ("image_url", ("detail",)),
    "audio": ("audio_url", ()),
    "video": ("video_url", ("detail", "max_frames", "fps")),
}
_OWN = {part: kind for kind, (part, _) in _MEDIA.items()}


def content_of(content: str | Sequence[str | Mapping[Any, Any]], where: str) -> str | list[dict[str, Any]]:
    """Return a message's content: a text as it is, also one that is the only block; else parts.

    Raises InvalidRequestError; `where` names the message there.
    """
    if isinstance(content, str):
        return content
    parts = [_part(block, f"{where}.content[{at}]") for at, block in enumerate(content)]
    if not parts:
        return ""  # a list has at least one part
    if len(parts) == 1 and parts[0]["type"] == "text":
        text: str = parts[0]["text"]
        return text
    return parts


def refuse(where: str, why: str) -> NoReturn:
    """Raise InvalidRequestError for a message, or a part of one."""
    raise InvalidRequestError(f"{where}: {why}", param="messages")


def _part(block: str | Mapping[Any, Any], where: str) -> dict[str, Any]:
    if isinstance(block, str):
        return {"type": "text", "text": block}
    kind = str(block.get("type"))
    if kind in ("text", "text-plain") and isinstance(block.get("text"), str):
        # Without what others' blocks carry beside it, such as `cache_control`.
        return {"type": "text", "text": block["text"]}
    if kind in _OWN:
        given = block.get(kind)
        media = {"url": given} if isinstance(given, str) else given
        if not isinstance(media, Mapping) or not isinstance(media.get("url"), str):
            refuse(where, f"{kind} must be a URL, or an object with one")
        return {"type": kind, kind: dict(media)}
    if kind in _MEDIA:
        return _media(block, kind, where)
    refuse(where, f"the service takes text, pictures, sound and video, and no {kind!r}")


def _media(block: Mapping[Any, Any], kind: str, where: str) -> dict[str, Any]:
    part, options = _MEDIA[kind]
    extras = block.get("extras")
    beside = {**extras, **block} if isinstance(extras, Mapping) else block
    chosen = {name: beside[name] for name in options if beside.get(name) is not None}
    return {"type": part, part: {"url": _url(block, kind, where), **chosen}}


def _url(block: Mapping[Any, Any], kind: str, where: str) -> str:
    source = block.get("source")
    if isinstance(source, Mapping):  # Anthropic's
        block = {"url": source.get("url"), "base64": source.get("data"), "mime_type": source.get("media_type")}
    url, data, media_type = block.get("url"), block.get("base64"), block.get("mime_type")
    if isinstance(url, str):
        return url
    if not isinstance(data, str):
        refuse(where, f"the service takes a {kind} by `url` or `base64`")
    if not isinstance(media_type, str):
        refuse(where, f"a {kind} by `base64` needs its `mime_type`")
    return f"data:{media_type};base64,{data}"
