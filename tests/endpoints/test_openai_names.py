"""What the openai package has beyond its basics: it is here under the same name, or what is raised says what to write.

The same snippets run against both packages, where openai 3 is installed (extra `test`); what it has is read from it.
"""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import io
import json
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

import siliconflow_async
from siliconflow_async import NOT_GIVEN, AsyncSiliconFlow, ParsedChatCompletion
from siliconflow_async.testing import FakeSiliconFlow

from ..asking import ASK, served

pytestmark = pytest.mark.anyio

# The streams of versions before leave a task to the loop when they end.
HAS_OPENAI = importlib.util.find_spec("openai") is not None and int(version("openai").partition(".")[0]) >= 3
PACKAGES = [
    "siliconflow_async",
    pytest.param("openai", marks=pytest.mark.skipif(not HAS_OPENAI, reason="no openai 3")),
]


@pytest.fixture(params=PACKAGES)
async def client(request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    async with FakeSiliconFlow() as server:
        if request.param == "openai":
            from openai import AsyncOpenAI

            kind: Any = AsyncOpenAI
        else:
            kind = AsyncSiliconFlow
        async with kind(api_key="sk-test", base_url=server.base_url, max_retries=0) as client:
            yield client


async def answer(client: Any) -> None:
    done = await client.chat.completions.create(**ASK)
    assert done.model_dump()["choices"][0]["message"]["content"] == done.choices[0].message.content
    assert done.model_dump(exclude_none=True)["object"] == "chat.completion"
    assert json.loads(done.model_dump_json())["id"] == done.id
    assert "\n  " in done.model_dump_json(indent=2)
    assert done.choices[0].message.model_dump(exclude_none=True)["role"] == "assistant"
    assert done.usage.model_dump()["total_tokens"] == done.usage.total_tokens
    assert done.to_dict()["id"] == json.loads(done.to_json())["id"] == done.id


async def chunks(client: Any) -> None:
    async for chunk in await client.chat.completions.create(**ASK, stream=True):
        assert chunk.model_dump(exclude_none=True)["object"] == "chat.completion.chunk"
        json.loads(chunk.model_dump_json())


async def messages(client: Any) -> None:
    done = await client.chat.completions.create(**ASK)
    history = [*ASK["messages"], done.choices[0].message.model_dump(exclude_none=True)]
    await client.chat.completions.create(model=ASK["model"], messages=history)


async def raw(client: Any) -> None:
    response = await client.chat.completions.with_raw_response.create(**ASK)
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("application/json")
    done = response.parse()
    assert json.loads(response.text) == json.loads(response.content)
    assert json.loads(response.text)["id"] == done.id


async def raw_stream(client: Any) -> None:
    response = await client.chat.completions.with_raw_response.create(**ASK, stream=True)
    assert response.headers["content-type"].startswith("text/event-stream")
    stream = response.parse()
    assert [chunk async for chunk in stream]


async def key(client: Any) -> None:
    assert client.api_key == "sk-test"
    assert client.with_options(api_key="sk-other").api_key == "sk-other"


async def models(client: Any) -> None:
    seen = [model.id async for model in client.models.list()]
    listed = await client.models.list()
    assert seen == [model.id for model in listed.data]
    assert seen


async def embeddings(client: Any) -> None:
    answer = await client.embeddings.create(model=ASK["model"], input=["one", "two"], encoding_format="float")
    assert [item.index for item in answer.data] == [0, 1]
    assert len(answer.data[0].embedding) == 1024
    assert answer.usage.prompt_tokens == answer.usage.total_tokens > 0
    assert answer.model_dump()["data"][0]["object"] == answer.data[0].object == "embedding"
    text = await client.embeddings.create(model=ASK["model"], input="one", encoding_format="base64")
    assert isinstance(text.data[0].embedding, str)


async def completions(client: Any) -> None:
    done = await client.completions.create(model=ASK["model"], prompt="Once", max_tokens=5)
    assert done.choices[0].text
    assert done.choices[0].finish_reason == "length"
    assert done.model_dump()["object"] == done.object == "text_completion"
    text = ""
    async for chunk in await client.completions.create(model=ASK["model"], prompt="Once", max_tokens=5, stream=True):
        text += chunk.choices[0].text
    assert text == done.choices[0].text


async def final(client: Any) -> None:
    async with client.chat.completions.stream(**ASK) as stream:
        done = await stream.get_final_completion()
    assert done.choices[0].message.content


async def not_given(client: Any) -> None:
    module = __import__("openai") if type(client).__name__ == "AsyncOpenAI" else siliconflow_async
    nothing = module.NOT_GIVEN
    await client.chat.completions.create(**ASK, temperature=nothing, stop=nothing, tools=nothing)


LINE = {"custom_id": "request-1", "method": "POST", "url": "/v1/chat/completions", "body": ASK}


async def upload(client: Any, file: Any) -> Any:
    made = await client.files.create(file=file, purpose="batch")
    # What the service wraps its answer in, theirs does not see through.
    return made if made.id else SimpleNamespace(**made.data)


async def files(client: Any) -> None:
    data = json.dumps(LINE).encode()
    uploaded = await upload(client, ("batchinput.jsonl", io.BytesIO(data)))
    assert uploaded.filename == (await client.files.retrieve(uploaded.id)).filename == "batchinput.jsonl"
    assert [file.id async for file in client.files.list()] == [uploaded.id]
    content = await client.files.content(uploaded.id)
    assert content.text == content.read().decode() == data.decode()
    assert (await client.files.delete(uploaded.id)).deleted


async def batches(client: Any) -> None:
    file = await upload(client, json.dumps(LINE).encode())
    batch = await client.batches.create(
        input_file_id=file.id,
        endpoint="/v1/chat/completions",
        completion_window="24h",
        metadata={"description": "nightly eval job"},
    )
    assert [listed.id async for listed in client.batches.list(limit=10)] == [batch.id]
    while batch.status not in ("completed", "failed"):
        batch = await client.batches.retrieve(batch.id)
    assert batch.request_counts.completed == batch.request_counts.total == 1
    assert batch.metadata == {"description": "nightly eval job"}
    content = await client.files.content(batch.output_file_id)
    (result,) = map(json.loads, content.text.splitlines())
    assert result["custom_id"] == "request-1"
    assert result["response"]["body"]["choices"][0]["message"]["content"]
    with_another = await client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    assert (await client.batches.cancel(with_another.id)).status == "cancelling"


async def images(client: Any) -> None:
    result = await client.images.generate(
        model="Kwai-Kolors/Kolors", prompt="A cute baby sea otter", n=1, size="1024x1024"
    )
    assert result.data[0].url.startswith("http")


async def speech(client: Any) -> None:
    response = await client.audio.speech.create(
        model="FunAudioLLM/CosyVoice2-0.5B",
        voice="FunAudioLLM/CosyVoice2-0.5B:anna",
        input="The quick brown fox jumped over the lazy dog.",
    )
    assert response.content == response.read()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speech.mp3"
        response.write_to_file(path)
        assert path.read_bytes() == response.content


async def transcriptions(client: Any) -> None:
    with tempfile.NamedTemporaryFile(suffix=".mp3") as audio_file:
        audio_file.write(b"ID3".ljust(1000))
        audio_file.seek(0)
        transcription = await client.audio.transcriptions.create(
            model="FunAudioLLM/SenseVoiceSmall", file=audio_file.file
        )
        assert transcription.text
        again = await client.audio.transcriptions.create(
            model="FunAudioLLM/SenseVoiceSmall", file=Path(audio_file.name)
        )
        assert again.text


async def saved(client: Any) -> None:
    file = await upload(client, b"{}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "output.jsonl"
        (await client.files.content(file.id)).write_to_file(path)
        assert path.read_bytes() == b"{}"


SNIPPETS = [
    *(answer, chunks, messages, raw, raw_stream, key, models, final, not_given),
    *(completions, embeddings, images, speech, transcriptions, files, saved, batches),
]
PATHS = [
    *("", "audio", "audio.speech", "audio.transcriptions", "batches", "chat", "chat.completions", "embeddings"),
    *("files", "images", "models"),
]


@pytest.mark.parametrize("snippet", SNIPPETS, ids=lambda snippet: snippet.__name__)
async def test_a_snippet_runs(client: Any, snippet: Callable[[Any], Awaitable[None]]) -> None:
    """With its import changed, and as it was."""
    await snippet(client)


class Person(msgspec.Struct):
    name: str


async def test_parse_is_create_with_a_type() -> None:
    async with served() as (server, client):
        server.reply('{"name": "Ada"}')
        done = await client.chat.completions.parse(**ASK, response_format=Person)
        assert isinstance(done, ParsedChatCompletion)
        assert done.parsed == Person("Ada")
        server.reply('{"name": "Ada"}')
        async with client.chat.completions.stream(**ASK, response_format=Person) as stream:
            assert (await stream.get_final_completion()).parsed == Person("Ada")


async def test_the_list_of_models_is_a_coroutine_too() -> None:
    """A task can be made of it; one that is never awaited is warned of."""
    async with served() as (_, client):
        listed = await asyncio.create_task(client.models.list(type="text"))
        assert listed.data
        client.models.list().close()
        with pytest.raises(TypeError, match="'typ'"):
            client.models.list(typ="text")  # type: ignore[call-arg]


def test_not_given_is_not_set() -> None:
    assert NOT_GIVEN is None


async def test_the_key_shows_in_no_repr() -> None:
    client = AsyncSiliconFlow("sk-secret")
    assert client.api_key == "sk-secret"
    assert "sk-secret" not in repr([client.api_key])
    await client.aclose()


ELSEWHERE = [
    ("beta", "parse("),
    ("responses", "client.chat.completions.create("),
    ("embeddings.with_raw_response", "headers"),
    ("organization", "API key alone"),
    ("copy", "with_options("),
    ("with_raw_response", "client.chat.completions.with_raw_response"),
    ("chat.completions.retrieve", "keeps no answers"),
    ("chat.completions.with_streaming_response", "create(…, stream=True)"),
    ("chat.with_raw_response", "client.chat.completions.with_raw_response"),
    ("models.retrieve", "client.models.list()"),
    ("files.retrieve_content", "client.files.content("),
    ("batches.with_raw_response", "headers and raw"),
]


@pytest.mark.parametrize(("path", "words"), ELSEWHERE)
async def test_a_name_that_is_not_here_says_what_to_write(path: str, words: str) -> None:
    async with AsyncSiliconFlow("key") as client:
        with pytest.raises(AttributeError) as caught:
            get(client, path)
        assert words in str(caught.value)
        assert not hasattr(client.chat.completions, "nothing_of_the_kind")


@pytest.mark.parametrize(
    ("keyword", "words"),
    [("organization", "API key alone"), ("http_client", "session="), ("default_query", "extra_query=")],
)
def test_a_keyword_of_the_client_that_is_not_here_says_what_to_write(keyword: str, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        AsyncSiliconFlow("key", **{keyword: "x"})  # type: ignore[arg-type]


@pytest.mark.parametrize(("keyword", "words"), [("max_completion_tokens", "max_tokens="), ("user", "extra_body")])
async def test_a_keyword_of_a_call_that_is_not_here_says_what_to_write(keyword: str, words: str) -> None:
    async with AsyncSiliconFlow("key") as client:
        with pytest.raises(TypeError, match=words):
            await client.chat.completions.create(**ASK, **{keyword: "x"})
        with pytest.raises(TypeError, match=words):
            client.chat.completions.stream(**ASK, **{keyword: "x"})


@pytest.mark.parametrize("name", ["text", "events", "completion", "get_final_completion", "partial"])
async def test_a_manager_used_as_a_stream_says_how_it_is_opened(name: str) -> None:
    async with AsyncSiliconFlow("key") as client:
        manager = client.chat.completions.stream(**ASK)
        with pytest.raises(AttributeError, match=r"async with … \.stream\(…\) as stream"):
            getattr(manager, name)
        with pytest.raises(TypeError, match=r"async with … \.stream\(…\) as stream"):
            [chunk async for chunk in manager]
        with pytest.raises(AttributeError, match=r"'nothing'$"):
            manager.nothing  # noqa: B018


def get(client: Any, path: str) -> Any:
    for name in path.split("."):
        client = getattr(client, name)
    return client


@pytest.mark.skipif(not HAS_OPENAI, reason="no openai 3")
class TestNothingIsLeftOut:
    """Each public name of openai's is here, or explained."""

    @pytest.mark.parametrize(
        "path",
        [
            "",
            "audio",
            "audio.speech",
            "audio.transcriptions",
            "batches",
            "chat",
            "chat.completions",
            "completions",
            "embeddings",
            "files",
            "images",
            "models",
        ],
    )
    async def test_attributes(self, path: str) -> None:
        from openai import AsyncOpenAI

        theirs = AsyncOpenAI(api_key="key")
        async with AsyncSiliconFlow("key") as ours:
            there, here = (get(client, path) if path else client for client in (theirs, ours))
            for name in dir(there):
                if name.startswith("_") or hasattr(here, name):
                    continue
                with pytest.raises(AttributeError, match=f"'{name}': "):
                    getattr(here, name)

    def test_keywords_of_the_client(self) -> None:
        from openai import AsyncOpenAI

        for name in inspect.signature(AsyncOpenAI.__init__).parameters:
            if name in ("self", "api_key") or name in siliconflow_async.ClientOptions.__annotations__:
                continue
            with pytest.raises(TypeError, match=f"'{name}': "):
                AsyncSiliconFlow("key", **{name: None})  # type: ignore[arg-type]

    async def test_keywords_of_create(self) -> None:
        from openai.resources.chat.completions import AsyncCompletions

        async with AsyncSiliconFlow("key") as client:
            for name in inspect.signature(AsyncCompletions.create).parameters:
                if name in ("self", "stream", "response_format", *siliconflow_async.ChatParams.__annotations__):
                    continue
                with pytest.raises(TypeError, match=f"'{name}': "):
                    client.chat.completions.stream(**ASK, **{name: None})
