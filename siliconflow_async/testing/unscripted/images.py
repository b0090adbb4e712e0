"""Pictures that the stand-in makes of prompts: the same one of the same prompt, and another for another seed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from zlib import crc32

import msgspec

from ..serving.refusals import refuse
from .made import url_of
from .question import Question
from .rules import Range, check_number, require

__all__ = ["check_prompt", "check_size", "images", "seed_of"]

_SIZE = re.compile(r"([1-9][0-9]{0,3})x([1-9][0-9]{0,3})")
_RANGES = {
    "batch_size": Range(int, 1, 4),
    "num_inference_steps": Range(int, 1, 100),
    "guidance_scale": Range(float, 0, 20),
    "cfg": Range(float, 0.1, 20),
}
_SEED = Range(int, 0, 9_999_999_999)
_IMAGES = ("image", "image2", "image3")
_encode = msgspec.json.Encoder().encode


async def images(question: Question) -> None:
    """Answer `POST /images/generations`."""
    request = question.json()
    question.model(request)
    prompt = check_prompt(request)
    for name, limits in _RANGES.items():
        if request.get(name) is not None:
            check_number(name, request[name], limits)
    size = check_size(request.get("image_size") or "1024x1024")
    seed = seed_of(request, prompt)
    told = [f"{prompt}\0{seed}\0{at}" for at in range(int(request.get("batch_size") or 1))]
    urls = [{"url": url_of(question, text, size, "png")} for text in told]
    body = {"images": urls, "data": urls, "timings": {"inference": 0.01 * len(urls)}, "seed": seed}
    await question.writer.whole(200, _encode(body))


def check_prompt(request: Mapping[str, Any]) -> str:
    """Return the prompt, or raise Refused for none, and for pictures that are no URLs."""
    prompt = request.get("prompt")
    if not isinstance(prompt, str) or not prompt:
        refuse("prompt: Must be a string")
    for name in _IMAGES:
        url = request.get(name)
        is_url = isinstance(url, str) and url.startswith(("http://", "https://", "data:"))
        require(url is None or is_url, f"{name}: Must be a http, https or data URL")
    return prompt


def check_size(size: Any) -> str:
    """Return a size, or raise Refused."""
    if not isinstance(size, str) or not _SIZE.fullmatch(size):
        refuse("image_size: Must be width x height, such as 1024x1024")
    return size


def seed_of(request: Mapping[str, Any], prompt: str) -> int:
    """Return the seed that was given, or one of the prompt's; raise Refused for one that is none."""
    seed = request.get("seed")
    if seed is None:
        return crc32(prompt.encode("utf-8", "replace"))
    check_number("seed", seed, _SEED)
    return int(seed)
