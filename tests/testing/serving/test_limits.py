"""The stand-in keeps the limits that it is given, as the service would."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from siliconflow_async.testing import FakeSiliconFlow, Meter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ..conftest import Client

pytestmark = pytest.mark.anyio

MODEL = "org/plain"


def ask(**more: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], **more}


class TestRequests:
    """RPM: at most two requests in a window of a minute."""

    @pytest.fixture
    async def server(self) -> AsyncIterator[FakeSiliconFlow]:
        async with FakeSiliconFlow(limits={MODEL: (2, None)}) as server:
            yield server

    async def test_one_too_many_is_refused_with_50601(self, client: Client) -> None:
        """The third request of a window gets the service's own 429."""
        await client.whole()
        await client.chunks()
        status, body = await client.error(ask())
        assert (status, body["code"]) == (429, 50601)
        assert "RPM limit reached" in body["message"]

    async def test_another_model_has_no_limit(self, client: Client) -> None:
        """A model that is not named is not limited."""
        for _ in range(4):
            await client.whole(model="org/other")

    async def test_a_request_that_fails_counts(self, client: Client, server: FakeSiliconFlow) -> None:
        """Requests with bad parameters use up the limit, and so do refused ones."""
        for _ in range(2):
            assert (await client.error(ask(temperature=5)))[0] == 400
        assert (await client.error(ask()))[0] == 429
        assert (server.meters[MODEL].requests, server.meters[MODEL].refused) == (3, 1)

    async def test_a_scripted_answer_stands_outside(self, client: Client, server: FakeSiliconFlow) -> None:
        """What the script says is answered, whatever the limits."""
        server.reply("a", times=5)
        for _ in range(5):
            await client.whole()
        assert server.meters[MODEL].requests == 0


class TestTokens:
    """TPM: at most 30 tokens in a window of a minute."""

    @pytest.fixture
    async def server(self) -> AsyncIterator[FakeSiliconFlow]:
        async with FakeSiliconFlow(limits={MODEL: (None, 30)}) as server:
            yield server

    @pytest.mark.parametrize("stream", [False, True])
    async def test_prompt_and_answer_are_charged(self, client: Client, server: FakeSiliconFlow, stream: bool) -> None:
        """Usage and meter agree, for whole answers and streams; a full window refuses with 50602."""
        if stream:
            usage = (await client.chunks(max_tokens=26))[-1]["usage"]
        else:
            usage = (await client.whole(max_tokens=26))["usage"]
        meter = server.meters[MODEL]
        assert meter.tokens == usage["total_tokens"] == 30
        status, body = await client.error(ask())
        assert (status, body["code"]) == (429, 50602)
        assert meter.peak_tokens == 30

    async def test_an_empty_window_takes_a_prompt_above_the_limit(
        self, client: Client, server: FakeSiliconFlow
    ) -> None:
        """A request that is larger than the limit runs alone; the next one is refused."""
        await client.whole("word " * 50, max_tokens=1)
        assert server.meters[MODEL].tokens > 50
        assert (await client.error(ask()))[0] == 429


class TestPace:
    """Tokens of a paced stream."""

    @pytest.fixture
    async def server(self) -> AsyncIterator[FakeSiliconFlow]:
        async with FakeSiliconFlow(limits={MODEL: (None, 1000)}, tokens_per_second=1000) as server:
            yield server

    async def test_tokens_are_charged_as_they_are_sent(self, client: Client, server: FakeSiliconFlow) -> None:
        """In the middle of a stream the meter holds the prompt and what was sent, no more."""
        async with client.ask(stream=True, max_tokens=100) as response:
            lines = (line async for line in response.content if line.startswith(b"data: {"))
            async for line in lines:
                usage = json.loads(line.removeprefix(b"data: "))["usage"]
                if usage["completion_tokens"] == 20:
                    break
            assert usage["total_tokens"] <= server.meters[MODEL].tokens < 100


class TestEveryModel:
    """One pair of limits, which every model has for itself."""

    @pytest.fixture
    async def server(self) -> AsyncIterator[FakeSiliconFlow]:
        async with FakeSiliconFlow(limits=(1, 1000)) as server:
            yield server

    async def test_each_has_its_own_meter(self, client: Client, server: FakeSiliconFlow) -> None:
        """What one has used is no matter to another."""
        assert server.meters == {}
        await client.whole()
        await client.whole(model="org/other")
        assert (await client.error(ask()))[0] == 429
        assert {name: meter.requests for name, meter in server.meters.items()} == {MODEL: 2, "org/other": 1}

    async def test_what_is_no_model_has_no_meter(self, client: Client, server: FakeSiliconFlow) -> None:
        """It is refused before anything is counted."""
        assert (await client.error(ask(model="nonsense")))[0] == 400
        assert server.meters == {}


async def test_a_window_passes() -> None:
    """What is older than the window counts no more."""
    meter = Meter(1, None, 0.05)
    meter.arrive()
    async with asyncio.timeout(10):
        while meter.requests:
            await asyncio.sleep(0.01)
            meter.sent(0)
    meter.arrive()
    assert (meter.refused, meter.peak_requests) == (0, 1)


@pytest.mark.parametrize("limits", [{MODEL: (0, None)}, {MODEL: (None, -1)}, (0, None), (None, 0)])
def test_a_limit_below_one_is_refused(limits: Any) -> None:
    """A limit of nothing is a slip in the test."""
    with pytest.raises(ValueError, match="must be at least 1"):
        FakeSiliconFlow(limits=limits)


def test_a_window_of_nothing_is_refused() -> None:
    """A window has a length."""
    with pytest.raises(ValueError, match="window must be above 0"):
        FakeSiliconFlow(window=0)
