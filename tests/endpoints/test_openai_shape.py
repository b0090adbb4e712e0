"""Code written for the `openai` package runs with nothing but its import changed.

The bodies of these tests are snippets in the words of that package's users.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from siliconflow_async import APIStatusError, APITimeoutError, AuthenticationError, BadRequestError, RateLimitError
from siliconflow_async import AsyncSiliconFlow as AsyncOpenAI
from siliconflow_async.testing import FakeSiliconFlow, Stall

pytestmark = pytest.mark.anyio

MODEL = "Qwen/Qwen2.5-7B-Instruct"
HELLO = [{"role": "user", "content": "Hello!"}]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Get the current weather in a given location",
            "parameters": {
                "type": "object",
                "properties": {"location": {"type": "string"}, "unit": {"enum": ["celsius", "fahrenheit"]}},
                "required": ["location"],
            },
        },
    }
]


@pytest.fixture
def server() -> Iterator[FakeSiliconFlow]:
    with FakeSiliconFlow().threaded() as server:
        yield server


async def test_create(server: FakeSiliconFlow) -> None:
    """The quick start: a whole answer, its message and its usage."""
    client = AsyncOpenAI(api_key="sk-test", base_url=server.base_url)
    completion = await client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "system", "content": "Be brief."}, *HELLO],
        temperature=0.7,
        max_tokens=256,
        stop=None,
    )
    assert completion.choices[0].message.role == "assistant"
    assert completion.choices[0].message.content is not None
    assert "Hello!" in completion.choices[0].message.content
    assert completion.choices[0].message.tool_calls is None
    assert completion.choices[0].finish_reason == "stop"
    assert completion.usage is not None
    assert completion.usage.total_tokens == completion.usage.prompt_tokens + completion.usage.completion_tokens
    assert (completion.object, completion.model) == ("chat.completion", MODEL)
    await client.close()
    assert server.requests[0].json == {
        "model": MODEL,
        "messages": [{"role": "system", "content": "Be brief."}, *HELLO],
        "temperature": 0.7,
        "max_tokens": 256,
    }


async def test_stream(server: FakeSiliconFlow) -> None:
    """`create(stream=True)` is awaited and iterated for its deltas."""
    async with AsyncOpenAI(api_key="sk-test", base_url=server.base_url) as client:
        stream = await client.chat.completions.create(
            model=MODEL, messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
        text = ""
        async for chunk in stream:
            if chunk.choices and chunk.choices[0].delta.content is not None:
                text += chunk.choices[0].delta.content
            if chunk.usage is not None:
                usage = chunk.usage
        assert "Hello!" in text
        assert usage.completion_tokens > 0
    assert server.requests[0].json["stream"] is True
    assert server.requests[0].json["stream_options"] == {"include_usage": True}


async def test_stream_as_a_context(server: FakeSiliconFlow) -> None:
    """`async with` on the stream closes the response, and so does its `close()`."""
    async with AsyncOpenAI(api_key="sk-test", base_url=server.base_url) as client:
        server.raw([b'data: {"choices":[{"index":0,"delta":{"content":"Hi"}}]}\n\n', Stall()], times=2)
        async with await client.chat.completions.create(model=MODEL, messages=HELLO, stream=True) as stream:
            async for chunk in stream:
                assert chunk.choices[0].delta.content == "Hi"
                break
        await server.left_early()

        stream = await client.chat.completions.create(model=MODEL, messages=HELLO, stream=True)
        await stream.close()
        await server.left_early(2)


async def test_tools(server: FakeSiliconFlow) -> None:
    """The tool loop: the answer's message is appended as it is, then the tool's."""
    async with AsyncOpenAI(api_key="sk-test", base_url=server.base_url) as client:
        messages = [{"role": "user", "content": "What's the weather like in Shanghai?"}]
        response = await client.chat.completions.create(model=MODEL, messages=messages, tools=TOOLS, tool_choice="auto")
        response_message = response.choices[0].message
        tool_calls = response_message.tool_calls
        assert response.choices[0].finish_reason == "tool_calls"
        assert tool_calls
        messages.append(response_message)
        for tool_call in tool_calls:
            assert tool_call.type == "function"
            assert tool_call.function.name == "get_weather"
            arguments = json.loads(tool_call.function.arguments)
            messages.append(
                {"tool_call_id": tool_call.id, "role": "tool", "name": "get_weather", "content": arguments["location"]}
            )
        second = await client.chat.completions.create(model=MODEL, messages=messages, tools=TOOLS)
        assert "The tool answered: Shanghai" in second.choices[0].message.content
    assistant = server.requests[1].json["messages"][1]
    assert assistant == {"role": "assistant", "content": "", "tool_calls": [tool_calls[0].to_dict()]}


async def test_streamed_tools(server: FakeSiliconFlow) -> None:
    """Fragments are put together by index, as everyone's own loop does."""
    async with AsyncOpenAI(api_key="sk-test", base_url=server.base_url) as client:
        stream = await client.chat.completions.create(
            model=MODEL, messages=HELLO, tools=TOOLS, tool_choice="auto", stream=True
        )
        final_tool_calls = {}
        async for chunk in stream:
            for tool_call in chunk.choices[0].delta.tool_calls or []:
                index = tool_call.index
                if index not in final_tool_calls:
                    final_tool_calls[index] = tool_call
                else:
                    final_tool_calls[index].function.arguments += tool_call.function.arguments
        assert final_tool_calls[0].function.name == "get_weather"
        assert final_tool_calls[0].id
        assert json.loads(final_tool_calls[0].function.arguments) == {"location": "Shanghai"}


async def test_image_parts(server: FakeSiliconFlow) -> None:
    """Parts of a message go out as they are; a model without eyes refuses them."""
    content = [
        {"type": "text", "text": "What's in this image?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo=", "detail": "high"}},
    ]
    messages = [{"role": "user", "content": content}]
    async with AsyncOpenAI(api_key="sk-test", base_url=server.base_url) as client:
        completion = await client.chat.completions.create(model="Qwen/Qwen3-VL-8B-Instruct", messages=messages)
        assert "What's in this image?" in completion.choices[0].message.content
        assert server.requests[0].json["messages"] == messages
        with pytest.raises(BadRequestError) as caught:
            await client.chat.completions.create(model=MODEL, messages=messages)
        assert caught.value.code == 20041


async def test_response_format(server: FakeSiliconFlow) -> None:
    """JSON by word and by schema."""
    schema = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    async with AsyncOpenAI(api_key="sk-test", base_url=server.base_url) as client:
        completion = await client.chat.completions.create(
            model=MODEL, messages=HELLO, response_format={"type": "json_object"}
        )
        assert json.loads(completion.choices[0].message.content)["answer"] == "You said: Hello!"
        completion = await client.chat.completions.create(
            model=MODEL,
            messages=HELLO,
            response_format={"type": "json_schema", "json_schema": {"name": "person", "schema": schema}},
        )
        assert json.loads(completion.choices[0].message.content) == {"name": "Ada"}


async def test_extras(server: FakeSiliconFlow) -> None:
    """`extra_body`, `extra_headers` and `extra_query` add to one request, `default_headers` to all."""
    async with AsyncOpenAI(
        api_key="sk-test", base_url=server.base_url, default_headers={"X-App": "a", "X-Trace-Id": "1"}
    ) as client:
        await client.chat.completions.create(
            model="Qwen/Qwen3-8B",
            messages=HELLO,
            extra_body={"enable_thinking": False, "top_k": 20},
            extra_headers={"x-trace-id": "2"},
            extra_query={"debug": "1"},
        )
        await client.chat.completions.create(model=MODEL, messages=HELLO)
    first, second = server.requests
    assert (first.json["enable_thinking"], first.json["top_k"]) == (False, 20)
    assert dict(first.query) == {"debug": "1"}
    assert (first.headers["x-app"], first.headers["x-trace-id"]) == ("a", "2")
    assert (second.headers["x-app"], second.headers["x-trace-id"]) == ("a", "1")
    assert second.json.keys() == {"model", "messages"}
    assert first.headers["authorization"] == "Bearer sk-test"


async def test_timeouts(server: FakeSiliconFlow) -> None:
    """`timeout=` in seconds, for the client, for a copy of it, and for a request."""
    async with AsyncOpenAI(api_key="sk-test", base_url=server.base_url, timeout=60.0, max_retries=0) as client:
        server.raw([Stall()], times=3)
        with pytest.raises(APITimeoutError):
            await client.chat.completions.create(model=MODEL, messages=HELLO, timeout=0.05)
        with pytest.raises(APITimeoutError):
            await client.with_options(timeout=0.05).chat.completions.create(model=MODEL, messages=HELLO)
        with pytest.raises(APITimeoutError):
            await client.chat.completions.create(model=MODEL, messages=HELLO, timeout=0.05, stream=True)
        server.reset()  # a call that was too late even to be sent has left its Stall
        completion = await client.chat.completions.create(model=MODEL, messages=HELLO)
        assert completion.choices[0].message.content


async def test_max_retries(server: FakeSiliconFlow) -> None:
    """`max_retries` counts the retries, for the client and for a copy of it."""
    async with AsyncOpenAI(api_key="sk-test", base_url=server.base_url, max_retries=0) as client:
        server.fail(429, headers={"Retry-After": "0"}, times=4)
        with pytest.raises(RateLimitError):
            await client.chat.completions.create(model=MODEL, messages=HELLO)
        assert len(server.requests) == 1
        with pytest.raises(RateLimitError):
            await client.with_options(max_retries=2).chat.completions.create(model=MODEL, messages=HELLO)
        assert len(server.requests) == 4


async def test_errors(server: FakeSiliconFlow) -> None:
    """`status_code`, `request_id`, `code` and `message` on a refusal, the same classes by status."""
    async with AsyncOpenAI(api_key="sk-test", base_url=server.base_url) as client:
        with pytest.raises(APIStatusError) as caught:
            await client.chat.completions.create(model=MODEL, messages=HELLO, temperature=3)
        e = caught.value
        assert isinstance(e, BadRequestError)
        assert e.status_code == 400
        assert e.request_id == server.requests[0].trace_id
        assert e.code == 20015
        assert "temperature" in e.message
        server.fail(401)
        with pytest.raises(AuthenticationError):
            await client.chat.completions.create(model=MODEL, messages=HELLO)


async def test_an_unknown_keyword_is_a_type_error(server: FakeSiliconFlow) -> None:
    """As there, a keyword that is none is a mistake of the caller."""
    async with AsyncOpenAI(api_key="sk-test", base_url=server.base_url) as client:
        with pytest.raises(TypeError, match="'max_token'"):
            await client.chat.completions.create(model=MODEL, messages=HELLO, max_token=1)  # type: ignore[call-overload]
