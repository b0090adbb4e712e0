"""The shapes of messages, for type checkers and editors.

Each union ends in `Mapping[str, Any]`, so that nothing which the service may take is refused: an editor offers the
keys and values of the shapes before it. At run time all of them are plain dicts, which nobody checks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Required, TypeAlias, TypedDict

from ..wire.structs import AssistantMessage, ToolCall
from .content import Detail, MediaPart

__all__ = [
    "AssistantMessageParam",
    "AudioPartParam",
    "AudioURLParam",
    "ContentPartParam",
    "ImagePartParam",
    "ImageURLParam",
    "MessageParam",
    "SystemMessageParam",
    "TextPartParam",
    "ToolCallFunctionParam",
    "ToolCallParam",
    "ToolMessageParam",
    "UserMessageParam",
    "VideoPartParam",
    "VideoURLParam",
]


class TextPartParam(TypedDict):
    """A text among the parts of a message's content."""

    type: Literal["text"]
    text: str


class ImageURLParam(TypedDict, total=False):
    """Where a picture is: `url` is an http, https or `data:` URL; `detail` is how closely to look."""

    url: Required[str]
    detail: Detail


class ImagePartParam(TypedDict):
    """A picture among the parts of a message's content; `image(…)` makes one of a file."""

    type: Literal["image_url"]
    image_url: ImageURLParam


class AudioURLParam(TypedDict):
    """Where a sound is: `url` is an http, https or `data:` URL; up to 30 s are advised."""

    url: str


class AudioPartParam(TypedDict):
    """A sound among the parts of a message's content; `audio(…)` makes one of a file."""

    type: Literal["audio_url"]
    audio_url: AudioURLParam


class VideoURLParam(TypedDict, total=False):
    """Where a video is, as for a picture; `max_frames` and `fps`: how many frames to look at, in all and a second."""

    url: Required[str]
    detail: Detail
    max_frames: int
    fps: float


class VideoPartParam(TypedDict):
    """A video among the parts of a message's content; `video(…)` makes one of a file."""

    type: Literal["video_url"]
    video_url: VideoURLParam


ContentPartParam: TypeAlias = (
    TextPartParam | ImagePartParam | AudioPartParam | VideoPartParam | MediaPart | Mapping[str, Any]
)


class SystemMessageParam(TypedDict):
    """What the model is to be and do."""

    role: Literal["system"]
    content: str | Sequence[ContentPartParam]


class UserMessageParam(TypedDict):
    """What the user says: a text, or parts of which at least one is there."""

    role: Literal["user"]
    content: str | Sequence[ContentPartParam]


class ToolCallFunctionParam(TypedDict):
    """What a tool call calls; `arguments` is JSON text."""

    name: str
    arguments: str


class ToolCallParam(TypedDict):
    """A call that the model made of a tool."""

    id: str
    type: Literal["function"]
    function: ToolCallFunctionParam


class AssistantMessageParam(TypedDict, total=False):
    """What the model said; an answer's own message serves as it is, `messages.append(done.choices[0].message)`."""

    role: Required[Literal["assistant"]]
    content: str | Sequence[ContentPartParam] | None
    reasoning_content: str | None
    tool_calls: Sequence[ToolCallParam | ToolCall | Mapping[str, Any]] | None


class ToolMessageParam(TypedDict):
    """What a tool returned for the call that had the id `tool_call_id`."""

    role: Literal["tool"]
    tool_call_id: str
    content: str | Sequence[ContentPartParam]


MessageParam: TypeAlias = (
    SystemMessageParam
    | UserMessageParam
    | AssistantMessageParam
    | ToolMessageParam
    | AssistantMessage
    | Mapping[str, Any]
)
