"""`client.videos`: jobs that take their time, that outlive whoever waits, and the films that come of them."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
from typing import TYPE_CHECKING, Any

import pytest

from siliconflow_async import (
    APIConnectionError,
    APITimeoutError,
    AsyncSiliconFlow,
    BadRequestError,
    ContentFlaggedError,
    InvalidRequestError,
    MalformedStreamError,
    NotFoundError,
    ServerError,
    SiliconFlowError,
    VideoError,
    image,
)
from siliconflow_async.testing import FakeSiliconFlow, Pause, Stall

from ..asking import NO_WAIT, served

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio
JSON = {"content-type": "application/json"}
FILM: dict[str, Any] = {"model": "Wan-AI/Wan2.2-T2V-A14B", "prompt": "a cat"}
PNG = b"\x89PNG\r\n\x1a\n" + bytes(10)


def body(**told: Any) -> bytes:
    return json.dumps(told).encode()


class TestMaking:
    """What is asked for."""

    async def test_only_what_was_given_is_sent(self) -> None:
        """The openai package's name for the size too; a picture as a data URL."""
        async with served() as (server, client):
            job = await client.videos.create(**FILM)
            await client.videos.create(
                **FILM, image_size="720x1280", negative_prompt="dogs", seed=7, image=PNG, extra_body={"new": 1}
            )
            await client.videos.create(**FILM, size="960x960")
        plain, full, theirs = server.requests
        assert (plain.method, plain.path, plain.json) == ("POST", "/v1/video/submit", FILM)
        url = image(PNG).to_dict()["image_url"]["url"]
        options = {"image_size": "720x1280", "negative_prompt": "dogs", "seed": 7, "image": url, "new": 1}
        assert full.json == {**FILM, **options}
        assert theirs.json == {**FILM, "image_size": "960x960"}
        assert (job.status, job.is_done, job.videos, job.trace_id) == (None, False, [], plain.trace_id)

    async def test_one_is_never_made_twice(self) -> None:
        """What may have been begun is not sent again, what was surely not is."""
        async with served() as (server, client):
            server.fail(500)
            with pytest.raises(ServerError) as caught:
                await client.videos.create(**FILM)
            assert caught.value.attempts == 1
            server.fail(503)
            await client.videos.create(**FILM)
            server.fail(451)
            with pytest.raises(ContentFlaggedError):
                await client.videos.create(**FILM)
        assert len(server.requests) == 4

    @pytest.mark.parametrize("told", [b"{}", b'{"requestId":7}', b"[]", b"<html>"])
    async def test_an_answer_without_an_id_is_malformed(self, told: bytes) -> None:
        """Nobody could ask for that video."""
        async with served() as (server, client):
            server.raw([told], headers=JSON)
            with pytest.raises(MalformedStreamError):
                await client.videos.create(**FILM)

    async def test_what_can_not_be_sent_is_named(self) -> None:
        """Before anything is sent."""
        async with served() as (server, client):
            for given, name in (({"image": b"no"}, "image"), ({"size": "a", "image_size": "a"}, "size")):
                with pytest.raises(InvalidRequestError) as caught:
                    await client.videos.create(**FILM, **given)  # type: ignore[arg-type]
                assert caught.value.param == name
            for job_id in ("", None, 7):
                with pytest.raises(InvalidRequestError, match="job_id"):
                    await client.videos.get(job_id)  # type: ignore[arg-type]
            assert server.requests == []


class TestWaiting:
    """Until it is there."""

    async def test_a_job_is_asked_for_until_it_is_done(self, tmp_path: Path) -> None:
        """Then it can be saved, read and streamed, without the key."""
        async with FakeSiliconFlow(video_polls=4) as server, asking(server) as client:
            job = await client.videos.create(**FILM, seed=7)
            seen: list[str | None] = []
            assert await job.wait(interval=0, on_progress=lambda job: seen.append(job.status)) is job
            assert seen == ["InQueue", "InProgress", "InProgress", "Succeed"]
            assert (job.is_done, job.has_failed, job.seed, job.reason) == (True, False, 7, None)
            assert job.timings is not None
            path = tmp_path / "film.avi"
            assert await job.save(path) == len(path.read_bytes())
            assert await job.videos[0].read() == path.read_bytes()
            # Once it is done, nothing is asked again.
            asked = len(server.requests)
            await job.wait()
            assert len(server.requests) == asked
        assert server.requests[1].json == {"requestId": job.id}
        assert "authorization" not in server.requests[-1].headers

    async def test_saving_waits(self, tmp_path: Path) -> None:
        """One call for all of it."""
        async with FakeSiliconFlow(video_polls=1) as server, asking(server) as client:
            job = await client.videos.create(**FILM)
            await job.save(tmp_path / "film.avi")
        assert os.listdir(tmp_path) == ["film.avi"]

    async def test_another_process_gets_the_job_by_its_id(self) -> None:
        """With another client; nothing else is needed."""
        async with FakeSiliconFlow(video_polls=2) as server:
            async with asking(server) as client:
                job_id = (await client.videos.create(**FILM)).id
            async with asking(server) as client:
                job = await client.videos.get(job_id)
                assert job.status == "InQueue"
                assert (await job.wait(interval=0)).is_done
                with pytest.raises(TypeError, match=r"videos\.get\(job\.id\)"):
                    pickle.dumps(job)

    async def test_a_failure_has_its_reason(self, tmp_path: Path) -> None:
        """Each time that it is waited for; no file is there."""
        async with served() as (server, client):
            job = await client.videos.create(**FILM)
            server.raw([body(status="Failed", reason="NSFW", results=None)], headers=JSON)
            for wait in (job.wait(), job.save(tmp_path / "a"), job.wait()):
                with pytest.raises(VideoError, match="NSFW") as caught:
                    await wait
                assert (caught.value.reason, caught.value.id) == ("NSFW", job.id)
                assert caught.value.trace_id == server.requests[-1].trace_id
            assert len(server.requests) == 2
            assert isinstance(caught.value, SiliconFlowError)
            assert os.listdir(tmp_path) == []

    async def test_an_unknown_one_is_not_found(self) -> None:
        """Or one that the service has forgotten."""
        async with served() as (_, client):
            with pytest.raises(NotFoundError) as caught:
                await client.videos.get("none")
            assert caught.value.code == 20063

    async def test_a_service_that_is_away_is_waited_for(self) -> None:
        """Beyond the client's own retries; its last error is raised once patience is over."""
        async with served(max_retries=0) as (server, client):
            job = await client.videos.create(**FILM)
            server.fail(503, times=3)
            server.fail(500)
            server.fail(429)
            assert (await job.wait(interval=0)).is_done
            other = await client.videos.create(**FILM)
            server.fail(503)
            with pytest.raises(ServerError):
                await other.wait(interval=0, patience=0)
            server.fail(400)
            with pytest.raises(BadRequestError):
                await other.wait(interval=0)
            assert (await other.wait(interval=0)).is_done
        with pytest.raises(APIConnectionError):
            async with AsyncSiliconFlow("k", base_url=server.base_url, retry=NO_WAIT) as client:
                await client.videos.get(job.id)

    async def test_patience_begins_anew_with_each_answer(self) -> None:
        """However long the video takes: what counts is how long the service has been away."""
        async with served(max_retries=0) as (server, client):
            job = await client.videos.create(**FILM)
            server.raw([Pause(0.6), body(status="InProgress")], headers=JSON)
            server.fail(503)
            assert (await job.wait(interval=0, patience=0.5)).is_done

    async def test_it_goes_on_when_nobody_waits_any_more(self) -> None:
        """After a timeout, or a cancellation, amid a question or between two."""
        async with served() as (server, client):
            job = await client.videos.create(**FILM)
            server.raw([body(status="InProgress")], headers=JSON)
            with pytest.raises(APITimeoutError, match=r"not there after 0\.05 s \(InProgress\)") as caught:
                await job.wait(timeout=0.05, interval=60)
            assert (caught.value.clock, caught.value.seconds) == ("total", 0.05)
            server.raw([Stall()])
            with pytest.raises(APITimeoutError):
                await job.wait(timeout=0.05)
            await server.disconnected()
            task = asyncio.create_task(job.wait(interval=60))
            await server.received(4)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert (await job.wait(interval=0)).is_done

    async def test_odd_statuses_are_read_as_they_are_meant(self) -> None:
        """What is neither done nor failed goes on; done without a video is malformed."""
        async with served() as (server, client):
            job = await client.videos.create(**FILM)
            for told in ({"status": "Paused"}, {"status": "InProgress", "results": 7}):
                server.raw([body(**told)], headers=JSON)
                assert not (await job.refresh()).is_done
            server.raw([body(status="Succeeded", results={"videos": ["https://h/a"]})], headers=JSON)
            assert [file.url for file in (await job.refresh()).videos] == ["https://h/a"]
            for odd in (b"{}", b'{"status":7}', b'{"status":"Succeed","results":{"videos":[]}}', b"[]"):
                server.raw([odd], headers=JSON)
                with pytest.raises(MalformedStreamError):
                    await job.refresh()

    @pytest.mark.parametrize("name", ["timeout", "interval", "patience"])
    async def test_a_time_that_is_none_is_named(self, name: str) -> None:
        """Before anything is asked."""
        async with served() as (_, client):
            job = await client.videos.create(**FILM)
            with pytest.raises(InvalidRequestError, match=name):
                await job.wait(**{name: -1})


def asking(server: FakeSiliconFlow) -> AsyncSiliconFlow:
    return AsyncSiliconFlow("k", base_url=server.base_url, retry=NO_WAIT)
