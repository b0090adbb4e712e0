"""The stand-in's vectors: the same for the same text, near for texts that share words, refused as the service does."""

from __future__ import annotations

import base64
import math
import struct
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from siliconflow_async.testing import FakeSiliconFlow

    from ..conftest import Client

pytestmark = pytest.mark.anyio
MODEL = "BAAI/bge-m3"


async def ask(client: Client, server: FakeSiliconFlow, status: int = 200, **request: Any) -> Any:
    url = f"{server.base_url}/embeddings"
    headers = {"Authorization": "Bearer key"}
    async with client.session.post(url, json={"model": MODEL, **request}, headers=headers) as response:
        assert response.status == status
        return await response.json(content_type=None)


async def test_a_text_has_one_vector_of_length_one(client: Client, server: FakeSiliconFlow) -> None:
    """Of numbers that float32 holds, so that both forms say the same."""
    floats = await ask(client, server, input=["blue sky", "blue sky"])
    encoded = await ask(client, server, input="blue sky", encoding_format="base64")
    one, same = (item["embedding"] for item in floats["data"])
    assert one == same == list(struct.unpack("<1024f", base64.b64decode(encoded["data"][0]["embedding"])))
    assert math.isclose(sum(number * number for number in one), 1.0, rel_tol=1e-6)
    assert floats["usage"]["prompt_tokens"] == 2 * encoded["usage"]["prompt_tokens"] > 0


async def test_texts_that_share_words_are_near(client: Client, server: FakeSiliconFlow) -> None:
    given = ["the sky is blue", "Blue is the sky today", "天空是蓝色的", "天空", "how to bake bread"]
    vectors = [item["embedding"] for item in (await ask(client, server, input=given))["data"]]

    def near(one: int, other: int) -> float:
        return math.sumprod(vectors[one], vectors[other]) if hasattr(math, "sumprod") else dot(one, other)

    def dot(one: int, other: int) -> float:
        return sum(a * b for a, b in zip(vectors[one], vectors[other], strict=True))

    assert near(0, 1) > 0.6 > 0.3 > near(0, 4)
    assert near(2, 3) > 0.4 > near(2, 4)


@pytest.mark.parametrize(
    ("model", "size"),
    [("Qwen/Qwen3-Embedding-8B", 4096), ("Qwen/Qwen3-Embedding-4B", 2048), ("Qwen/Qwen3-Embedding-0.6B", 1024)],
)
async def test_some_models_make_shorter_vectors(client: Client, server: FakeSiliconFlow, model: str, size: int) -> None:
    assert len((await ask(client, server, model=model, input="a"))["data"][0]["embedding"]) == size
    short = await ask(client, server, model=model, input="a", dimensions=5)
    assert len(short["data"][0]["embedding"]) == 5
    await ask(client, server, 400, model=model, input="a", dimensions=size + 1)
    await ask(client, server, 400, model=model, input="a", dimensions=0)


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        ({}, 400, 20015),
        ({"input": []}, 400, 20015),
        ({"input": ["a", ""]}, 400, 20015),
        ({"input": [5]}, 400, 20015),
        ({"input": "a", "dimensions": 64}, 400, 20015),
        ({"input": "a", "encoding_format": "int8"}, 400, 20015),
        ({"input": "a", "model": "no-such-model"}, 400, 20012),
        ({"input": ["a"] * 65}, 413, 20042),
        ({"input": "a b " * 300, "model": "BAAI/bge-large-zh-v1.5"}, 413, 20042),
    ],
)
async def test_what_the_service_refuses_it_refuses(
    client: Client, server: FakeSiliconFlow, request_: dict[str, Any], status: int, code: int
) -> None:
    assert (await ask(client, server, status, **request_))["code"] == code
