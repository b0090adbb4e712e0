"""`client.images`: what is asked for, what comes back, and the files that it names."""

from __future__ import annotations

import asyncio
import copy
import json
import pickle
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pytest

from siliconflow_async import (
    AsyncSiliconFlow,
    AuthenticationError,
    BadRequestError,
    ConfigurationError,
    ContentFlaggedError,
    EventTooLargeError,
    InvalidRequestError,
    Limit,
    MalformedStreamError,
    SiliconFlowError,
    TruncatedStreamError,
    audio,
    image,
)
from siliconflow_async.testing import Stall

from ..asking import served

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio
JSON = {"content-type": "application/json"}
PAINT: dict[str, Any] = {"model": "Kwai-Kolors/Kolors", "prompt": "a cat"}
PNG = b"\x89PNG\r\n\x1a\n"


class TestAsking:
    """What goes to the service."""

    async def test_only_what_was_given_is_sent_under_the_services_names(self) -> None:
        """Those of the openai package mean the same."""
        async with served() as (server, client):
            await client.images.generate(**PAINT)
            await client.images.generate(
                **PAINT,
                image_size="768x512",
                batch_size=2,
                negative_prompt="dogs",
                seed=7,
                num_inference_steps=20,
                guidance_scale=7.5,
                extra_body={"new": 1},
            )
            await client.images.generate(**PAINT, size="768x512", n=2, seed=None)
        plain, full, theirs = (request.json for request in server.requests)
        assert plain == PAINT
        assert full == {
            **PAINT,
            "image_size": "768x512",
            "batch_size": 2,
            "negative_prompt": "dogs",
            "seed": 7,
            "num_inference_steps": 20,
            "guidance_scale": 7.5,
            "new": 1,
        }
        assert theirs == {**PAINT, "image_size": "768x512", "batch_size": 2}
        assert {(request.method, request.path) for request in server.requests} == {("POST", "/v1/images/generations")}

    @pytest.mark.parametrize("large", [False, True])
    async def test_a_picture_to_start_from_may_be_anything_that_a_chat_takes(self, tmp_path: Path, large: bool) -> None:
        """A path, bytes, an open file, a part: all are one data URL; a URL goes as it is. Large ones off the loop."""
        data = PNG + bytes(1_000_000 if large else 10)
        path = tmp_path / "a.bin"
        path.write_bytes(data)
        url = image(data).to_dict()["image_url"]["url"]
        async with served() as (server, client):
            for source in (path, str(path), data, BytesIO(data), image(path), url):
                await client.images.generate(**PAINT, image=source, image2="https://h/b.png", image3=None)
        for request in server.requests:
            assert request.json == {**PAINT, "image": url, "image2": "https://h/b.png"}

    async def test_what_can_not_be_sent_is_named_before_anything_is(self, tmp_path: Path) -> None:
        """With the parameter that it was given as."""
        async with served() as (server, client):
            bad: list[tuple[dict[str, Any], str, str]] = [
                ({"image2": tmp_path / "none.png"}, "image2", "can't read"),
                ({"image": b"no picture"}, "image", "no image of a known type"),
                ({"image": audio(b"ID3" + bytes(64))}, "image", "no image"),
                ({"image": 7}, "image", "must be a path"),
                ({"size": "1x1", "image_size": "1x1"}, "size", "give one of them"),
                ({"n": 1, "batch_size": 1}, "n", "give one of them"),
                ({"prompt": None}, "prompt", "must not be None"),
                ({"guidance_scale": float("nan")}, "guidance_scale", "not a JSON number"),
            ]
            for given, name, words in bad:
                with pytest.raises(InvalidRequestError, match=words) as caught:
                    await client.images.generate(**{**PAINT, **given})
                assert caught.value.param == name
                assert str(caught.value).startswith(name)
            with pytest.raises(TypeError, match="'promt'; did you mean 'prompt'"):
                await client.images.generate(**PAINT, promt="a")  # type: ignore[call-arg]
            with pytest.raises(TypeError, match="'prompt'"):
                await client.images.generate(model="a/b")  # type: ignore[call-arg]
            assert server.requests == []

    async def test_its_limits_are_kept(self) -> None:
        """The model has a gate like any other."""
        async with served(limits=Limit(rpm=5)) as (_, client):
            await client.images.generate(**PAINT)
            assert client.limits[PAINT["model"]].requests == 1


class TestAnswers:
    """What comes back."""

    async def test_it_has_what_the_service_sent(self) -> None:
        """Whole, under both names; what the structs don't know is in `raw`."""
        body = b'{"images":[{"url":"https://h/a"}],"data":[{"url":"https://h/a"}],"timings":{"inference":0.5},"seed":7,"x":1}'
        async with served() as (server, client):
            server.raw([body], headers=JSON)
            done = await client.images.generate(**PAINT)
        assert done.to_dict() == {"images": [{"url": "https://h/a"}], "timings": {"inference": 0.5}, "seed": 7}
        assert done.data is done.images
        assert done.raw == body
        assert done.trace_id == server.requests[0].trace_id
        assert done.timing.attempts == 1

    @pytest.mark.parametrize(
        ("body", "urls"),
        [
            ({"data": [{"url": "u"}], "created": 1}, ["u"]),
            ({"images": ["u", {"url": "v"}, {}, 7, {"url": None}]}, ["u", "v"]),
            ({"images": [], "data": [{"url": "u"}], "timings": 1, "seed": "x"}, ["u"]),
            ({"images": [{"url": "u"}], "timings": {"inference": True}, "seed": True}, ["u"]),
        ],
    )
    async def test_odd_forms_are_read_as_far_as_they_go(self, body: Any, urls: list[str]) -> None:
        """Either name, plain URLs, fields of wrong types."""
        async with served() as (server, client):
            server.raw([json.dumps(body).encode()], headers=JSON)
            done = await client.images.generate(**PAINT)
        assert [file.url for file in done.images] == urls
        assert done.seed is None

    @pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}", b'{"images":[]}', b'{"images":{}}', b'"no"', b"\xff"])
    async def test_what_has_no_picture_is_malformed(self, body: bytes) -> None:
        """Whatever else comes under 200."""
        async with served() as (server, client):
            server.raw([body], headers=JSON)
            with pytest.raises(MalformedStreamError) as caught:
                await client.images.generate(**PAINT)
            assert caught.value.trace_id == server.requests[0].trace_id

    @pytest.mark.parametrize(
        ("status", "kind"), [(401, AuthenticationError), (451, ContentFlaggedError), (400, BadRequestError)]
    )
    async def test_a_refusal_is_the_error_of_every_other_call(self, status: int, kind: type[SiliconFlowError]) -> None:
        """Flagged content has its own, also by its code under 200."""
        async with served() as (server, client):
            server.fail(status)
            with pytest.raises(kind):
                await client.images.generate(**PAINT)
            server.fail(200, {"code": 20021, "message": "The content was flagged."})
            with pytest.raises(ContentFlaggedError):
                await client.images.generate(**PAINT)
            server.fail(503, times=2)
            assert (await client.images.generate(**PAINT)).timing.attempts == 3

    async def test_a_cancelled_call_leaves_at_once(self) -> None:
        """And one that breaks off is an error."""
        async with served() as (server, client):
            server.raw([b'{"images":', Stall()], headers=JSON)
            task = asyncio.create_task(client.images.generate(**PAINT))
            await server.received()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await server.disconnected()
            server.raw([b""], headers=JSON, times=4)
            with pytest.raises(TruncatedStreamError):
                await client.images.generate(**PAINT)


class TestFiles:
    """The pictures themselves."""

    async def test_a_picture_is_saved_read_and_streamed_without_the_key(self, tmp_path: Path) -> None:
        """The stand-in refuses one that is sent there."""
        async with served(headers={"X-Tenant": "mine"}) as (server, client):
            done = await client.images.generate(**PAINT, n=2)
            first, second = done.images
            path = tmp_path / "cat.png"
            assert await first.save(path) == len(path.read_bytes())
            assert await first.read() == path.read_bytes()
            async with await first.stream() as stream:
                assert b"".join([piece async for piece in stream]) == path.read_bytes()
            assert path.read_bytes().startswith(PNG)
            assert await second.read() != path.read_bytes()
        _, *gets = server.requests
        assert len(gets) == 4
        assert not any({"authorization", "x-tenant"} & {name.lower() for name in get.headers} for get in gets)

    async def test_a_copy_can_be_saved_and_what_was_pickled_says_why_not(self) -> None:
        """A pickle carries neither client nor key."""
        async with served() as (_, client):
            (file,) = (await client.images.generate(**PAINT)).images
            assert await copy.copy(file).read() == await file.read()
            twin = pickle.loads(pickle.dumps(file))
            assert twin == file
            with pytest.raises(ConfigurationError, match="pickle"):
                await twin.read()

    async def test_what_is_read_is_bounded_and_what_is_no_url_is_named(self) -> None:
        """By the client's own bound; the service may send anything."""
        async with served(max_body_size=1000) as (server, client):
            (file,) = (await client.images.generate(**PAINT)).images
            with pytest.raises(EventTooLargeError):
                await file.read()
            server.raw([b'{"images":[{"url":"file:///etc/passwd"}]}'], headers=JSON)
            (file,) = (await client.images.generate(**PAINT)).images
            with pytest.raises(InvalidRequestError, match="no http or https URL"):
                await file.read()

    async def test_with_options_counts_for_its_files(self) -> None:
        """A copy of the client gets what it asked for by its own clocks and bounds."""
        async with served() as (_, client):
            narrow: AsyncSiliconFlow = client.with_options(max_body_size=1000)
            (file,) = (await narrow.images.generate(**PAINT)).images
            with pytest.raises(EventTooLargeError):
                await file.read()


class TestStandIn:
    """It answers as the service does."""

    async def test_the_same_request_has_the_same_picture_of_its_size(self) -> None:
        """Another prompt, or another seed, has another."""
        async with served() as (_, client):

            async def paint(**given: Any) -> bytes:
                done = await client.images.generate(**{**PAINT, **given})
                return await done.images[0].read()

            first = await paint(size="64x32", seed=1)
            assert first == await paint(size="64x32", seed=1)
            assert first[16:24] == bytes([0, 0, 0, 64, 0, 0, 0, 32])
            assert len({first, await paint(size="64x32", seed=2), await paint(size="64x32", seed=1, prompt="b")}) == 3

    @pytest.mark.parametrize(
        "given",
        [
            {"seed": -1},
            {"batch_size": 5},
            {"image_size": "large"},
            {"image_size": "0x10"},
            {"prompt": ""},
            {"num_inference_steps": 0},
            {"guidance_scale": 21},
            {"extra_body": {"image": "none"}},
        ],
    )
    async def test_it_refuses_what_the_service_refuses(self, given: dict[str, Any]) -> None:
        """With 400, code 20015; an unknown model with 20012."""
        async with served() as (_, client):
            with pytest.raises(BadRequestError) as caught:
                await client.images.generate(**{**PAINT, **given})
            assert caught.value.code == 20015
            with pytest.raises(BadRequestError, match="does not exist"):
                await client.images.generate(**{**PAINT, "model": "none"})
