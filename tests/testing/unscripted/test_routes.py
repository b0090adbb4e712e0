from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from siliconflow_async.testing import FakeSiliconFlow

if TYPE_CHECKING:
    import aiohttp

    from ..conftest import Client

pytestmark = pytest.mark.anyio

THINKS = "Qwen/Qwen3-8B"
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city"],
        },
    },
}
CLOCK = {"type": "function", "function": {"name": "clock"}}


def joined(chunks: list[Any], field: str, index: int = 0) -> str:
    choices = [choice for chunk in chunks for choice in chunk["choices"] if choice["index"] == index]
    return "".join(choice["delta"].get(field) or "" for choice in choices)


def reasons(chunks: list[Any]) -> list[str]:
    found = [choice["finish_reason"] for chunk in chunks for choice in chunk["choices"]]
    return [reason for reason in found if reason is not None]


async def test_a_plain_model_answers_with_the_words_of_the_user(client: Client) -> None:
    text = "Say 你好 to 👩‍👩‍👧, please"
    seen = await client.chunks(text)
    assert f"“{text}”" in joined(seen, "content")
    assert joined(seen, "reasoning_content") == ""
    assert reasons(seen) == ["stop"]
    tokens = [chunk["usage"]["completion_tokens"] for chunk in seen]
    assert tokens == sorted(tokens)
    assert tokens[-1] == len(seen) - 2


async def test_a_whole_answer_says_what_a_stream_says(client: Client) -> None:
    for model in ("org/plain", THINKS):
        seen = await client.chunks(model=model)
        whole = await client.whole(model=model)
        message = whole["choices"][0]["message"]
        assert message["content"] == joined(seen, "content")
        assert message.get("reasoning_content", "") == joined(seen, "reasoning_content")
        assert whole["usage"] == seen[-1]["usage"]
        assert whole["model"] == model


async def test_a_hybrid_model_thinks_unless_told_not_to(client: Client) -> None:
    for more, thinks in [({}, True), ({"enable_thinking": True}, True), ({"enable_thinking": False}, False)]:
        seen = await client.chunks(model=THINKS, **more)
        assert bool(joined(seen, "reasoning_content")) is thinks
        assert joined(seen, "content")
    assert joined(await client.chunks(model="deepseek-ai/DeepSeek-R1"), "reasoning_content")


async def test_the_thinking_budget_bounds_the_reasoning(client: Client) -> None:
    prompt = "many words " * 200
    thoughts = []
    for more in ({}, {"thinking_budget": 128}):
        whole = await client.whole(prompt, THINKS, **more)
        thoughts.append(whole["usage"]["completion_tokens_details"]["reasoning_tokens"])
        assert whole["choices"][0]["message"]["content"]
    assert thoughts[0] > thoughts[1] == 128


async def test_n_choices_are_interleaved_and_differ(client: Client) -> None:
    seen = await client.chunks(n=3)
    texts = {joined(seen, "content", index) for index in range(3)}
    assert len(texts) == 3
    assert reasons(seen) == ["stop"] * 3
    assert [chunk["choices"][0]["index"] for chunk in seen[:6]] == [0, 1, 2, 0, 1, 2]
    assert len((await client.whole(n=3))["choices"]) == 3


async def test_logprobs_come_with_each_token_of_the_content(client: Client) -> None:
    """Streams and whole answers carry the same ones, per choice, with as many alternatives as were asked for."""
    ask = {"logprobs": True, "top_logprobs": 2, "n": 2, "model": THINKS}
    whole = (await client.whole(**ask))["choices"]
    seen = [choice for chunk in await client.chunks(**ask) for choice in chunk["choices"]]
    for index in range(2):
        tokens = whole[index]["logprobs"]["content"]
        assert "".join(token["token"] for token in tokens) == whole[index]["message"]["content"]
        assert all(token["logprob"] <= 0 and len(token["top_logprobs"]) == 2 for token in tokens)
        assert bytes(tokens[0]["bytes"]).decode() == tokens[0]["token"] == tokens[0]["top_logprobs"][0]["token"]
        mine = [choice for choice in seen if choice["index"] == index and "logprobs" in choice]
        assert [token for choice in mine for token in choice["logprobs"]["content"]] == tokens
        assert all(choice["delta"]["content"] for choice in mine)
    assert "logprobs" not in (await client.whole(top_logprobs=2))["choices"][0]
    assert (await client.whole(logprobs=True))["choices"][0]["logprobs"]["content"][0]["top_logprobs"] == []


@pytest.mark.parametrize("model", ["org/plain", THINKS])
async def test_max_tokens_counts_deltas(client: Client, model: str) -> None:
    seen = await client.chunks(model=model, max_tokens=7)
    assert seen[-1]["usage"]["completion_tokens"] == 7
    assert len(seen) == 9
    assert reasons(seen) == ["length"]
    assert reasons(await client.chunks(model=model, max_tokens=100_000)) == ["stop"]


@pytest.mark.parametrize("stop", ["stand-in", ["never", "stand-in", "machine"]])
async def test_stop_ends_the_text_before_the_first_match(client: Client, stop: Any) -> None:
    full = joined(await client.chunks(), "content")
    seen = await client.chunks(stop=stop)
    assert joined(seen, "content") == full[: full.index("stand-in")]
    assert reasons(seen) == ["stop"]
    assert joined(await client.chunks(stop=["", "nowhere"]), "content") == full


@pytest.mark.parametrize("before", ["", "Once upon a time. "])
async def test_a_prefix_is_continued_where_it_ends(client: Client, before: str) -> None:
    """Whatever part of the answer the prefix ends with, the rest comes, without thinking first."""
    whole = (await client.whole("hi", model=THINKS))["choices"][0]["message"]["content"]
    for size in (1, 7, len(whole) // 2, len(whole)):
        seen = await client.chunks("hi", model=THINKS, prefix=before + whole[:size])
        assert joined(seen, "content") == whole[size:]
        assert joined(seen, "reasoning_content") == ""
        assert reasons(seen) == ["stop"]
    assert joined(await client.chunks("hi", prefix="Nothing of it"), "content").startswith("You said")


async def test_a_suffix_ends_what_fills_in(client: Client) -> None:
    seen = await client.chunks("hi", prefix="You said: ", suffix=" I am")
    assert joined(seen, "content") == "“hi”."
    assert joined(await client.chunks("hi", prefix="You said: ", suffix="never"), "content").startswith("“hi”. I am")


async def test_tools_are_called_when_the_user_spoke_last(client: Client) -> None:
    seen = await client.chunks(tools=[WEATHER, CLOCK])
    fragments = [call for chunk in seen for call in chunk["choices"][0]["delta"].get("tool_calls", [])]
    assert fragments[0]["function"]["name"] == "weather"
    text = "".join(call["function"]["arguments"] for call in fragments)
    assert json.loads(text) == {"city": "Shanghai"}
    assert joined(seen, "content") == ""
    assert reasons(seen) == ["tool_calls"]
    (call,) = (await client.whole(tools=[WEATHER, CLOCK]))["choices"][0]["message"]["tool_calls"]
    assert call["id"] == fragments[0]["id"]
    assert call["function"] == {"name": "weather", "arguments": text}


async def test_tool_choice_picks_the_tool(client: Client) -> None:
    both = [WEATHER, CLOCK]
    named = await client.whole(tools=both, tool_choice=CLOCK)
    assert named["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "clock"
    required = await client.whole(tools=both, tool_choice="required")
    assert "tool_calls" in required["choices"][0]["message"]
    none = await client.whole(tools=both, tool_choice="none")
    assert "tool_calls" not in none["choices"][0]["message"]
    assert none["choices"][0]["finish_reason"] == "stop"


async def test_a_tool_call_can_be_cut_by_max_tokens(client: Client) -> None:
    (choice,) = (await client.whole(tools=[WEATHER], max_tokens=3))["choices"]
    assert choice["finish_reason"] == "length"
    assert choice["message"]["tool_calls"][0]["function"]["arguments"] == '{"'


async def test_an_answer_to_a_tool_mentions_its_result(client: Client) -> None:
    first = (await client.whole(tools=[WEATHER]))["choices"][0]["message"]
    result = {"role": "tool", "tool_call_id": first["tool_calls"][0]["id"], "content": "sunny, 21 °C"}
    body = {
        "model": "org/plain",
        "messages": [{"role": "user", "content": "Hi"}, first, result],
        "tools": [WEATHER],
    }
    async with client.post(body) as response:
        (choice,) = (await response.json())["choices"]
    assert "sunny, 21 °C" in choice["message"]["content"]
    assert "tool_calls" not in choice["message"]


async def test_json_formats_give_json(client: Client) -> None:
    whole = await client.whole("Say “hi”", response_format={"type": "json_object"})
    assert "Say “hi”" in json.loads(whole["choices"][0]["message"]["content"])["answer"]
    schema = {"type": "object", "properties": {"count": {"type": "integer"}}, "required": ["count"]}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    whole = await client.whole(response_format=form)
    assert json.loads(whole["choices"][0]["message"]["content"]) == {"count": 1}


async def test_media_and_parts_count_in_the_prompt(client: Client) -> None:
    image = {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}
    parts = [{"type": "text", "text": "What is "}, image, {"type": "text", "text": "this?"}]
    body = {"model": "Qwen/Qwen2.5-VL-7B-Instruct", "messages": [{"role": "user", "content": parts}]}
    async with client.post(body) as response:
        whole = await response.json()
    assert "“What is this?”" in whole["choices"][0]["message"]["content"]
    assert whole["usage"]["prompt_tokens"] > 256


@pytest.mark.parametrize(
    ("authorization", "status", "message"),
    [
        ("", 401, "Invalid token"),
        ("Bearer ", 401, "Invalid token"),
        ("Basic good", 401, "Invalid token"),
        ("Bearer bad", 401, "Api key is invalid"),
        ("bearer good", 400, None),
    ],
)
async def test_the_key_is_checked(
    session: aiohttp.ClientSession, authorization: str, status: int, message: str | None
) -> None:
    async with (
        FakeSiliconFlow(api_key="good") as server,
        session.post(
            f"{server.base_url}/chat/completions", json={}, headers={"authorization": authorization}
        ) as response,
    ):
        assert response.status == status
        assert message is None or await response.json() == message


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        ({}, 20015, "model: Must be a string"),
        ([], 20015, "The parameter is invalid. Please check again."),
        ({"model": "gpt-4o"}, 20012, "Model does not exist. Please check it carefully."),
        ({"model": "org/m"}, 20015, "messages: Must be a list with at least one message"),
    ],
)
async def test_a_bad_request_is_refused(client: Client, body: Any, code: int, message: str) -> None:
    envelope = {"code": code, "message": message, "data": None}
    async with client.session.post(client.url, json=body) as response:
        assert (response.status, await response.json()) == (400, envelope)


@pytest.mark.parametrize("body", [b"", b"{", b'"\xff"', b"[" * 100_000])
async def test_what_is_no_json_is_refused(client: Client, body: bytes) -> None:
    async with client.session.post(client.url, data=body) as response:
        assert (response.status, (await response.json())["code"]) == (400, 20015)


async def test_every_answer_has_a_trace_id(client: Client) -> None:
    body = {"model": "org/m", "messages": [{"role": "user", "content": "Hi"}], "top_p": 2}
    assert await client.error(body) == (
        400,
        {"code": 20015, "message": "top_p: Must be less than or equal to 1", "data": None},
    )
    async with client.ask(stream=True) as response:
        assert response.headers["x-siliconcloud-trace-id"].startswith("ti_")


async def test_a_list_of_models_leaves_out_all_others(session: aiohttp.ClientSession) -> None:
    async with FakeSiliconFlow(models=["org/a"]) as server:
        statuses = []
        for model in ("org/a", "org/b"):
            body = {"model": model, "messages": [{"role": "user", "content": "Hi"}]}
            async with session.post(f"{server.base_url}/chat/completions", json=body) as response:
                statuses.append(response.status)
    assert statuses == [200, 400]


@pytest.mark.parametrize(("words", "max_tokens"), [(140_000, None), (100_000, 40_000)])
async def test_prompt_and_answer_beyond_the_context_are_refused(
    client: Client, words: int, max_tokens: int | None
) -> None:
    content = "a " * words
    body = {"model": "org/m", "messages": [{"role": "user", "content": content}], "max_tokens": max_tokens}
    status, envelope = await client.error(body)
    assert (status, envelope["code"]) == (400, 20015)
    assert envelope["message"].endswith(" must be less than max_seq_len (131072).")


async def test_one_model_takes_tools_only_without_thinking(client: Client) -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]
    body = {"model": "deepseek-ai/DeepSeek-V3.1", "messages": [{"role": "user", "content": "Hi"}], "tools": tools}
    status, envelope = await client.error(body)
    assert (status, envelope["message"]) == (400, "tools: This model takes them only with enable_thinking=false")
    able = await client.whole(model="deepseek-ai/DeepSeek-V3.1", tools=tools, enable_thinking=False)
    assert able["choices"][0]["message"]["tool_calls"]


@pytest.mark.parametrize(("method", "path"), [("GET", "/chat/completions"), ("POST", "/models"), ("POST", "")])
async def test_other_paths_are_not_found(
    server: FakeSiliconFlow, session: aiohttp.ClientSession, method: str, path: str
) -> None:
    async with session.request(method, server.base_url + path) as response:
        assert (response.status, await response.json()) == (404, "404 page not found")
