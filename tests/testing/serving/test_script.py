from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from siliconflow_async.testing import FakeSiliconFlow

    from ..conftest import Client

pytestmark = pytest.mark.anyio


async def test_answers_are_given_in_order_and_then_the_service_speaks(server: FakeSiliconFlow, client: Client) -> None:
    server.reply("first")
    server.fail(503)
    server.raw([b"third"])
    async with client.ask() as response:
        assert (await response.json())["choices"][0]["message"]["content"] == "first"
    async with client.ask() as response:
        assert response.status == 503
    async with client.ask() as response:
        assert await response.read() == b"third"
    assert "You said" in (await client.whole())["choices"][0]["message"]["content"]


async def test_times_repeats_an_answer(server: FakeSiliconFlow, client: Client) -> None:
    failure = server.fail(500, times=2)
    server.reply("then", times=None)
    statuses = []
    for _ in range(5):
        async with client.ask() as response:
            statuses.append(response.status)
    assert statuses == [500, 500, 200, 200, 200]
    assert failure.used == 2
    assert [entry.used for entry in server.script] == [3]


async def test_a_request_knows_the_answer_that_it_got(server: FakeSiliconFlow, client: Client) -> None:
    scripted = server.reply("a")
    await client.whole()
    await client.whole()
    assert [request.scripted for request in server.requests] == [scripted, None]


def test_a_wrong_script_fails_where_it_is_written() -> None:
    from siliconflow_async.testing import FakeSiliconFlow

    server = FakeSiliconFlow()
    with pytest.raises(ValueError, match="times must be at least 1"):
        server.reply("a", times=0)
    with pytest.raises(TypeError):
        server.fail(400, {"no json": object()})
    assert server.script == []
