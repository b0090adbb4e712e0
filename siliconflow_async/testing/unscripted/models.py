"""What a model can do, by its name.

A small table of name patterns instead of a catalogue, which changes monthly: every `org/name` is a model, and the
patterns say which ones think, see, hear, call tools and answer in JSON.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import lru_cache
from typing import Literal, TypeAlias

import msgspec

__all__ = ["EXAMPLES", "Capabilities", "capabilities", "is_model"]

Thinking: TypeAlias = Literal["none", "hybrid", "always"]

# One of each kind, for a list of models that has to name some.
EXAMPLES = (
    "Qwen/Qwen3-8B",
    "Qwen/Qwen2.5-7B-Instruct",
    "Qwen/Qwen3-VL-8B-Instruct",
    "Qwen/Qwen3-Omni-30B-A3B-Instruct",
    "deepseek-ai/DeepSeek-V3",
    "deepseek-ai/DeepSeek-R1",
    "Pro/zai-org/GLM-4.7",
)

_TABLE: dict[str, re.Pattern[str]] = {
    name: re.compile(pattern, re.IGNORECASE)
    for name, pattern in {
        "always": r"deepseek-r1|thinking|qwq|qvq|glm-z1|minimax-m\d|gpt-oss|/step3",
        "hybrid": r"/qwen3(\.[5-9])?-(?!.*(instruct|coder|omni|next|vl))|deepseek-v(3\.[1-9]|[4-9])"
        r"|/glm-(4\.[5-9]|[5-9])|kimi-k2\.[5-9]|hunyuan-a13b",
        "vision": r"[-/.\d]vl\d?\b|qvq|omni|/glm-[\d.]+v|kimi-k2\.[5-9]|/qwen3\.[5-9]|/step3|vision|deepseek-ocr",
        "audio": r"omni",
        "video": r"omni|/qwen\S*-vl|/glm-[\d.]+v|/qwen3\.[5-9]",
        "no_tools": r"deepseek-vl|qvq",
        "no_json": r"deepseek-r1",
        "tools_without_thinking": r"deepseek-v3\.1",
    }.items()
}


class Capabilities(msgspec.Struct, frozen=True):
    """What one model can do.

    "hybrid" models think unless `enable_thinking` is false; "always" models don't know that parameter. `context` is the
    most that prompt and answer come to, in tokens of the stand-in. `tools_without_thinking`: it takes tools only with
    `enable_thinking=False`.
    """

    thinking: Thinking
    vision: bool
    audio: bool
    video: bool
    tools: bool
    json: bool
    tools_without_thinking: bool = False
    context: int = 131_072


@lru_cache(maxsize=1024)
def capabilities(model: str) -> Capabilities:
    """Return what a model can do. `Pro/org/name` is the paid copy of `org/name`: the same."""
    name = model.removeprefix("Pro/")

    def has(feature: str) -> bool:
        return _TABLE[feature].search(name) is not None

    return Capabilities(
        thinking="always" if has("always") else "hybrid" if has("hybrid") else "none",
        vision=has("vision"),
        audio=has("audio"),
        video=has("video"),
        tools=not has("no_tools"),
        json=not has("no_json"),
        tools_without_thinking=has("tools_without_thinking"),
    )


def is_model(model: str, known: Collection[str] | None) -> bool:
    """Tell whether there is such a model: any `org/name`, or one of `known` where that is given."""
    if known is not None:
        return model in known
    org, _, name = model.removeprefix("Pro/").partition("/")
    return bool(org and name)
