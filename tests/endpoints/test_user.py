"""`client.user.info`: the account, with exact balances, from an endpoint that may be gone."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from siliconflow_async import APIStatusError, AuthenticationError, MalformedStreamError

from ..asking import served

pytestmark = pytest.mark.anyio
JSON = {"content-type": "application/json"}


async def test_the_account_is_told_with_exact_balances() -> None:
    """As the stand-in has it, wrapped as the service wraps it."""
    async with served() as (server, client):
        user = await client.user.info(extra_headers={"X-A": "a"})
    (request,) = server.requests
    assert (request.method, request.path, request.body, request.headers["x-a"]) == ("GET", "/v1/user/info", b"", "a")
    assert (user.id, user.status, user.is_admin) == ("stand-in", "normal", False)
    assert (user.balance, user.charge_balance, user.total_balance) == (
        Decimal("0.88"),
        Decimal("88.00"),
        Decimal("88.88"),
    )
    assert user.trace_id == request.trace_id
    assert json.loads(user.to_json())["chargeBalance"] == "88.00"


@pytest.mark.parametrize(
    ("data", "amount"),
    [
        ({"id": "a", "totalBalance": "0.1"}, Decimal("0.1")),
        ({"id": "a", "totalBalance": 0.1}, Decimal("0.1")),
        ({"id": "a", "totalBalance": -3}, Decimal(-3)),
        ({"totalBalance": " 12.340 "}, Decimal("12.340")),
        ({"id": "a", "totalBalance": "NaN"}, None),
        ({"id": "a", "totalBalance": True}, None),
        ({"id": "a", "totalBalance": "much", "isAdmin": "no", "name": 7}, None),
    ],
)
@pytest.mark.parametrize("wrapped", [True, False])
async def test_what_can_be_read_is_kept(data: dict[str, Any], amount: Decimal | None, wrapped: bool) -> None:
    body = {"code": 20000, "message": "Ok", "status": True, "data": data} if wrapped else data
    async with served() as (server, client):
        server.raw([json.dumps(body).encode()], headers=JSON)
        user = await client.user.info()
    assert user.total_balance == amount
    assert user.is_admin is user.name is user.email is None
    assert user.raw == json.dumps(body).encode()


@pytest.mark.parametrize("body", [b"[]", b'"x"', b"{}", b"<html>", b'{"code":20000,"data":null}', b'{"data":[]}'])
async def test_what_is_no_account_is_malformed(body: bytes) -> None:
    async with served() as (server, client):
        server.raw([body], headers=JSON)
        with pytest.raises(MalformedStreamError, match="no account"):
            await client.user.info()


async def test_an_endpoint_that_is_gone_says_so() -> None:
    """It is not asked again."""
    async with served() as (server, client):
        server.fail(410, {"code": 41000, "message": "deprecated", "data": None})
        with pytest.raises(APIStatusError, match="no longer has this endpoint") as caught:
            await client.user.info()
    assert (caught.value.status, caught.value.attempts, len(server.requests)) == (410, 1, 1)


async def test_other_refusals_are_those_of_every_call() -> None:
    async with served() as (server, client):
        server.fail(401)
        with pytest.raises(AuthenticationError):
            await client.user.info()
        server.fail(503)
        assert (await client.user.info()).timing.attempts == 2
        with pytest.raises(TypeError, match="'tiemout'; did you mean 'timeout'"):
            await client.user.info(tiemout=3)  # type: ignore[call-arg]
