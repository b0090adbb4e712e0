"""What a prompt weighs before it is sent: the bytes of all its text, and something for what is no text."""

from __future__ import annotations

from typing import Any

import pytest

from siliconflow_async import AssistantMessage
from siliconflow_async.limits.estimate import weigh

FRAME = 12
MEDIA = 1024


def said(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


@pytest.mark.parametrize(
    ("params", "size", "tokens"),
    [
        ({"messages": [said("four")]}, 4 + FRAME, 0),
        ({"messages": [said("four"), said("five!")]}, 9 + 2 * FRAME, 0),
        ({"messages": [said("你好")]}, 6 + FRAME, 0),
        ({"messages": [said("\ud800")]}, 1 + FRAME, 0),
        ({"messages": [AssistantMessage(content="before")]}, 6 + FRAME, 0),
        ({"messages": [said([{"type": "text", "text": "four"}])]}, 4 + FRAME, 0),
        ({"messages": [said([{"type": "text", "text": "four"}, {"type": "image_url"}])]}, 4 + FRAME, MEDIA),
        ({"messages": [said(({"type": "video_url"}, {"type": "audio_url"}))]}, FRAME, 2 * MEDIA),
        ({"messages": [said("four")], "prefix": "begins"}, 10 + FRAME, 0),
        ({"messages": [said("four")], "tools": [{"a": 1}]}, 4 + FRAME + len("[{'a': 1}]"), 0),
        ({"input": "four"}, 4, 0),
        ({"input": ["four", "你好"]}, 10, 0),
        ({"query": "four", "documents": ("five!", "six")}, 12, 0),
        ({"prompt": "four", "suffix": "five!"}, 9, 0),
    ],
)
def test_all_that_is_sent_weighs_something(params: dict[str, Any], size: int, tokens: int) -> None:
    """Text by its bytes, so that Chinese counts as much as English; a picture, sound or clip by a flat sum."""
    assert weigh(params) == (size, tokens)


@pytest.mark.parametrize(
    ("params", "size"),
    [
        ({}, 0),
        ({"input": [5, None, "a"]}, 1),
        ({"prompt": 5}, 0),
        ({"messages": "text"}, 0),
        ({"messages": [5]}, FRAME),
        ({"messages": [said(None)], "prefix": 5}, FRAME),
    ],
)
def test_what_can_not_be_sent_is_weighed_without_an_error(params: dict[str, Any], size: int) -> None:
    """What is wrong with it is said where the request is made."""
    assert weigh(params) == (size, 0)
