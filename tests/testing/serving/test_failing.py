"""The stand-in refuses a share of the requests by chance, the same ones in every run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from siliconflow_async.testing import FakeSiliconFlow
from siliconflow_async.testing.serving.failing import Failures

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ..conftest import Client

pytestmark = pytest.mark.anyio

MODEL = "org/plain"


def drawn(shares: dict[int, float], count: int = 2000) -> list[int | None]:
    failures = Failures(shares)
    return [failures.draw() for _ in range(count)]


def test_each_status_gets_its_share() -> None:
    found = drawn({503: 0.1, 429: 0.3})
    assert found.count(503) == pytest.approx(200, abs=50)
    assert found.count(429) == pytest.approx(600, abs=80)
    assert found.count(None) == 2000 - found.count(503) - found.count(429)


def test_every_run_draws_the_same() -> None:
    assert drawn({503: 0.5}) == drawn({503: 0.5})


@pytest.mark.parametrize(("share", "found"), [(0.0, {None}), (1.0, {500})])
def test_all_and_nothing_are_shares(share: float, found: set[int | None]) -> None:
    assert {*drawn({500: share})} == found


def test_ten_tenths_are_one() -> None:
    shares = {500 + i: 0.1 for i in range(10)}
    assert None not in drawn(shares)


@pytest.mark.parametrize(
    ("failures", "words"),
    [
        ({200: 0.1}, "200 is no status of an error"),
        ({600: 0.1}, "600 is no status of an error"),
        ({503: 1.1}, "the share of 503 must be from 0 to 1, not 1.1"),
        ({503: -0.1}, "the share of 503"),
        ({503: float("nan")}, "the share of 503"),
        ({503: 0.6, 429: 0.6}, "more than 1 in all"),
    ],
)
def test_what_is_no_share_of_errors_is_refused(failures: dict[int, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        FakeSiliconFlow(failures=failures)


class TestServer:
    """With failures of every request."""

    @pytest.fixture
    async def server(self) -> AsyncIterator[FakeSiliconFlow]:
        async with FakeSiliconFlow(failures={503: 1.0}, api_key="right", limits=(1, None)) as server:
            yield server

    @staticmethod
    def ask(key: str = "right") -> dict[str, Any]:
        body = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]}
        return {"body": body, "headers": {"authorization": f"Bearer {key}"}}

    async def test_a_failure_has_the_body_of_its_status(self, client: Client) -> None:
        status, body = await client.error(**self.ask())
        assert (status, body["code"]) == (503, 50505)

    async def test_it_counts_for_the_limits(self, client: Client, server: FakeSiliconFlow) -> None:
        """As failed requests do at the service; what is beyond a limit is refused for that."""
        await client.error(**self.ask())
        assert (await client.error(**self.ask()))[0] == 429
        assert server.meters[MODEL].requests == 2

    async def test_a_wrong_key_is_refused_for_that(self, client: Client) -> None:
        assert (await client.error(**self.ask("wrong")))[0] == 401

    async def test_the_list_of_models_fails_too(self, client: Client, server: FakeSiliconFlow) -> None:
        headers = {"authorization": "Bearer right"}
        async with client.session.get(f"{server.base_url}/models", headers=headers) as response:
            assert response.status == 503

    async def test_a_scripted_answer_stands_outside(self, client: Client, server: FakeSiliconFlow) -> None:
        server.reply("a")
        await client.whole()
