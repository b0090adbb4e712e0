"""Content blocks of every form become the service's parts, or are refused by name."""

from __future__ import annotations

from typing import Any

import pytest

from siliconflow_async import InvalidRequestError
from siliconflow_async.integrations.langchain.parts import content_of

DATA = "data:image/png;base64,iVBO"


def only(*blocks: Any) -> Any:
    content = content_of(blocks, "messages[0]")
    assert isinstance(content, list)
    (part,) = content
    return part


def test_a_text_stays_a_text() -> None:
    assert content_of("hi", "messages[0]") == "hi"


@pytest.mark.parametrize(
    "block",
    [
        "hi",
        {"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}},
        {"type": "text-plain", "text": "hi"},
    ],
)
def test_the_text_of_an_only_block_is_sent_as_a_text(block: Any) -> None:
    assert content_of([block], "messages[0]") == "hi"


def test_texts_beside_others_are_parts_without_what_others_add_to_them() -> None:
    blocks: list[Any] = ["a", {"type": "text", "text": "b", "index": 0}, {"type": "image_url", "image_url": DATA}]
    assert content_of(blocks, "messages[0]") == [
        {"type": "text", "text": "a"},
        {"type": "text", "text": "b"},
        {"type": "image_url", "image_url": {"url": DATA}},
    ]


def test_no_blocks_are_an_empty_text() -> None:
    assert content_of([], "messages[0]") == ""


@pytest.mark.parametrize(
    "block",
    [
        {"type": "image", "base64": "iVBO", "mime_type": "image/png"},
        {"type": "image", "url": DATA, "id": "block"},
        {"type": "image_url", "image_url": {"url": DATA}},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBO"}},
        {"type": "image", "source": {"type": "url", "url": DATA}},
    ],
)
def test_a_picture_of_any_form_is_an_image_url(block: dict[str, Any]) -> None:
    assert only(block) == {"type": "image_url", "image_url": {"url": DATA}}


def test_sound_and_video_have_parts_of_their_own() -> None:
    assert only({"type": "audio", "base64": "UklG", "mime_type": "audio/wav"}) == {
        "type": "audio_url",
        "audio_url": {"url": "data:audio/wav;base64,UklG"},
    }
    assert only({"type": "video", "url": "https://example.org/a.mp4", "extras": {"fps": 1, "max_frames": 8}}) == {
        "type": "video_url",
        "video_url": {"url": "https://example.org/a.mp4", "fps": 1, "max_frames": 8},
    }


@pytest.mark.parametrize("block", [{"detail": "low"}, {"extras": {"detail": "low", "other": 1}}])
def test_the_detail_of_a_picture_may_stand_in_the_block_or_its_extras(block: dict[str, Any]) -> None:
    assert only({"type": "image", "url": DATA, **block})["image_url"] == {"url": DATA, "detail": "low"}


def test_the_services_own_part_keeps_what_it_has() -> None:
    part = {"type": "video_url", "video_url": {"url": "https://example.org/a.mp4", "fps": 2}}
    assert only(part) == part


@pytest.mark.parametrize(
    ("block", "why"),
    [
        ({"type": "file", "base64": "JVBE", "mime_type": "application/pdf"}, "no 'file'"),
        ({"type": "image", "file_id": "f1"}, "`url` or `base64`"),
        ({"type": "image", "base64": "iVBO"}, "mime_type"),
        ({"type": "image_url", "image_url": {"detail": "low"}}, "must be a URL"),
        ({"type": "text", "text": None}, "no 'text'"),
        ({"no": "type"}, "no 'None'"),
    ],
)
def test_what_the_service_has_no_part_for_is_refused_by_its_place(block: dict[str, Any], why: str) -> None:
    with pytest.raises(InvalidRequestError, match=why) as caught:
        content_of(["a", block], "messages[3]")
    assert str(caught.value).startswith("messages[3].content[1]: ")
    assert caught.value.param == "messages"
