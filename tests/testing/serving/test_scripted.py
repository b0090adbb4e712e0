from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from siliconflow_async.testing import FakeSiliconFlow

    from ..conftest import Client

pytestmark = pytest.mark.anyio


async def test_a_reply_serves_a_stream_and_a_whole_answer(server: FakeSiliconFlow, client: Client) -> None:
    call = {"name": "look", "arguments": '{"a": 1}', "id": "x"}
    server.reply(["He", "llo"], "Hm", [call], model="org/other", times=2)
    message = (await client.whole())["choices"][0]["message"]
    seen = await client.chunks()
    assert message["content"] == "Hello"
    assert message["reasoning_content"] == "Hm"
    assert message["tool_calls"][0]["function"] == {"name": "look", "arguments": '{"a": 1}'}
    assert {chunk["model"] for chunk in seen} == {"org/other"}
    texts = [chunk["choices"][0]["delta"]["content"] for chunk in seen]
    assert "".join(text or "" for text in texts) == "Hello"


async def test_a_reply_takes_the_model_of_the_request(server: FakeSiliconFlow, client: Client) -> None:
    server.reply("a")
    assert (await client.whole(model="any/thing"))["model"] == "any/thing"


@pytest.mark.parametrize("body", [b"", b"no json", b"[1]", b'{"model": 5}', b"\xff"])
async def test_a_reply_answers_even_what_is_no_chat_request(
    server: FakeSiliconFlow, client: Client, body: bytes
) -> None:
    server.reply("a")
    async with client.session.put(server.base_url + "/elsewhere", data=body) as response:
        assert (await response.json())["choices"][0]["message"]["content"] == "a"


async def test_replies_have_a_trace_id_unless_it_is_left_out(server: FakeSiliconFlow, client: Client) -> None:
    server.reply("a", headers={"X-Extra": "1"})
    server.reply("a", headers={"X-SiliconCloud-Trace-Id": None})
    async with client.ask(stream=True) as response:
        assert response.headers["x-siliconcloud-trace-id"] == server.requests[0].trace_id
        assert response.headers["x-extra"] == "1"
        assert response.content_type == "text/event-stream"
    async with client.ask() as response:
        assert "x-siliconcloud-trace-id" not in response.headers
        assert response.content_type == "application/json"


@pytest.mark.parametrize(
    ("body", "sent", "kind"),
    [
        ({"code": 1}, b'{"code":1}', "application/json"),
        ("words", b'"words"', "application/json"),
        (b"{", b"{", "application/json"),
        (b" <html>", b" <html>", "text/html"),
        (b"", b"", "application/json"),
    ],
)
async def test_a_failure_sends_its_body(
    server: FakeSiliconFlow, client: Client, body: Any, sent: bytes, kind: str
) -> None:
    server.fail(418, body, {"retry-after": "3"})
    async with client.ask() as response:
        assert (response.status, await response.read()) == (418, sent)
        assert response.headers["retry-after"] == "3"
        assert response.content_type == kind


async def test_a_failure_may_be_a_redirect(server: FakeSiliconFlow, client: Client) -> None:
    server.fail(302, headers={"location": "/v1/elsewhere"})
    async with client.post({}, allow_redirects=False) as response:
        assert response.status == 302
        assert response.headers["location"] == "/v1/elsewhere"
        assert await response.read() == b""
