"""`ChatSiliconFlow` as its user makes it: parameters, clients, keys, loops, and what LangChain does with it."""

from __future__ import annotations

import asyncio
import copy
import json
import pickle
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import UsageMetadataCallbackHandler
from langchain_core.load import dumps, load
from langchain_core.load.dump import dumpd
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import ConfigurableField
from pydantic import BaseModel, SecretStr, ValidationError

from siliconflow_async import (
    APITimeoutError,
    AsyncSiliconFlow,
    ChatOptions,
    ClosedError,
    ConfigurationError,
    OverloadedError,
    RetryPolicy,
    Timeouts,
)
from siliconflow_async.integrations.langchain import ChatSiliconFlow
from siliconflow_async.testing import FakeSiliconFlow, Stall

pytestmark = pytest.mark.anyio

KEY = "sk-very-secret-0123456789"

# Parameters of a request that are no fields: tools have `bind_tools`, a schema has `with_structured_output`, headers
# belong to the client; the rest is for `model_kwargs`, or for one call.
NO_FIELDS = {
    "extra_headers",
    "extra_query",
    "parallel_tool_calls",
    "prefix",
    "stream_options",
    "suffix",
    "tool_choice",
    "tools",
}


def body(server: FakeSiliconFlow) -> dict[str, Any]:
    asked: dict[str, Any] = server.requests[-1].json
    return asked


class TestParameters:
    def test_those_of_a_request_are_fields_of_the_same_name(self) -> None:
        fields = ChatSiliconFlow.model_fields.keys()
        assert ChatOptions.__annotations__.keys() - fields == NO_FIELDS

    async def test_only_what_is_set_is_sent(self, server: FakeSiliconFlow, model: ChatSiliconFlow) -> None:
        await model.ainvoke("hi")
        assert body(server) == {"model": "org/model", "messages": [{"role": "user", "content": "hi"}]}

    async def test_fields_keywords_of_a_call_and_the_rest_are_sent(
        self, server: FakeSiliconFlow, made: Callable[..., ChatSiliconFlow]
    ) -> None:
        model = made(
            model="Qwen/Qwen3-8B",
            temperature=0,
            stop="\n",
            enable_thinking=False,
            extra_body={"own": 1},
            model_kwargs={"prefix": "You"},
        )
        await model.ainvoke("hi", temperature=1, max_tokens=5)
        sent = body(server)
        del sent["messages"]
        assert sent == {
            "model": "Qwen/Qwen3-8B",
            "temperature": 1,
            "stop": "\n",
            "enable_thinking": False,
            "own": 1,
            "prefix": "You",
            "max_tokens": 5,
        }

    @pytest.mark.parametrize(("given", "sent"), [(None, ["a"]), (["b"], ["b"]), ([], None)])
    async def test_a_stop_of_the_call_goes_before_the_models(
        self, server: FakeSiliconFlow, made: Callable[..., ChatSiliconFlow], given: Any, sent: Any
    ) -> None:
        await made(stop=["a"]).ainvoke("hi", stop=given)
        assert body(server).get("stop") == sent

    async def test_pictures_of_both_of_langchains_forms_reach_the_service(
        self, server: FakeSiliconFlow, made: Callable[..., ChatSiliconFlow]
    ) -> None:
        data = {"mime_type": "image/png"}
        blocks: list[Any] = [
            {"type": "text", "text": "What is this?"},
            {"type": "image", "source_type": "base64", "data": "iVBO", **data},
            {"type": "image", "source_type": "url", "url": "https://example.org/a.png"},
            {"type": "image", "base64": "iVBO", **data},
        ]
        await made(model="org/vl").ainvoke([HumanMessage(blocks)])
        inline = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBO"}}
        away = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}
        assert body(server)["messages"][0]["content"] == [blocks[0], inline, away, inline]

    def test_an_unknown_one_is_named_with_the_nearest(self) -> None:
        with pytest.raises(TypeError, match="'temprature'; did you mean 'temperature'"):
            ChatSiliconFlow(model="m", api_key=KEY, temprature=1)  # type: ignore[call-arg]

    def test_one_of_the_wrong_type_is_named_and_nothing_is_quoted(self) -> None:
        with pytest.raises(ValidationError, match="temperature") as caught:
            ChatSiliconFlow(model="m", api_key=KEY, temperature=KEY)  # type: ignore[arg-type]

        assert KEY not in str(caught.value)

    async def test_a_model_may_be_another_at_run_time_on_the_same_connections(self, server: FakeSiliconFlow) -> None:
        fields = {"model": ConfigurableField(id="model"), "temperature": ConfigurableField(id="heat")}
        async with AsyncSiliconFlow(KEY, base_url=server.base_url) as client:
            model = ChatSiliconFlow(model="org/model", client=client)
            free = model.configurable_fields(**fields)

            for heat in (0.5, 0.6):
                await free.ainvoke("hi", {"configurable": {"model": "org/other", "heat": heat}})
                assert (body(server)["model"], body(server)["temperature"]) == ("org/other", heat)
        assert server.connections.accepted == 1


class TestClient:
    async def test_one_that_is_given_runs_every_call_and_stays_open(self, server: FakeSiliconFlow) -> None:
        class Seen:
            def __init__(self) -> None:
                self.calls: list[str] = []

            def ended(self, call: Any) -> None:
                self.calls.append(call.ended)

        seen = Seen()
        async with AsyncSiliconFlow(KEY, base_url=server.base_url, observers=[seen]) as client:
            model = ChatSiliconFlow(model="org/model", client=client)
            await model.ainvoke("hi")
            async for _ in model.astream("hi"):
                pass
            model.invoke("hi")
            await model.aclose()
            assert seen.calls == ["done"] * 3
            assert (await model.ainvoke("hi")).text
        assert {asked.headers["authorization"] for asked in server.requests} == {f"Bearer {KEY}"}

    async def test_settings_beside_it_make_a_copy_on_the_same_connections(self, server: FakeSiliconFlow) -> None:
        async with AsyncSiliconFlow(KEY, base_url=server.base_url, retry=RetryPolicy(base=0)) as client:
            model = ChatSiliconFlow(model="org/model", client=client, max_retries=0, api_key="sk-other")

            server.fail(503)
            with pytest.raises(OverloadedError) as caught:
                await model.ainvoke("hi")
            assert caught.value.attempts == 1
            await client.models.list()
            assert server.connections.accepted == 1
            assert [asked.headers["authorization"] for asked in server.requests] == ["Bearer sk-other", f"Bearer {KEY}"]

    def test_what_the_environment_has_is_not_the_given_ones(
        self, server: FakeSiliconFlow, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SILICONFLOW_API_KEY", "sk-of-the-environment")
        monkeypatch.setenv("SILICONFLOW_BASE_URL", "http://127.0.0.1:9")
        client = AsyncSiliconFlow(KEY, base_url=server.base_url)
        model = ChatSiliconFlow(model="org/model", client=client)
        assert (model.api_key, model.base_url) == (None, server.base_url)
        assert model.invoke("hi").text
        assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"
        model.close()
        asyncio.run(client.aclose())

    def test_a_model_without_a_key_is_refused_by_the_librarys_own_error(self) -> None:
        with pytest.raises(ConfigurationError, match="SILICONFLOW_API_KEY"):
            ChatSiliconFlow(model="org/model")

    async def test_the_models_own_closes_with_it(
        self, server: FakeSiliconFlow, made: Callable[..., ChatSiliconFlow]
    ) -> None:
        model = made()
        await model.ainvoke("hi")
        model.invoke("hi")
        await model.aclose()
        await server.disconnected()
        with pytest.raises(ClosedError):
            await model.ainvoke("hi")
        with pytest.raises(ClosedError):
            model.invoke("hi")

    async def test_clocks_are_the_calls(self, server: FakeSiliconFlow, made: Callable[..., ChatSiliconFlow]) -> None:
        server.raw([], before=[Stall()])
        with pytest.raises(APITimeoutError) as caught:
            await made(timeout=Timeouts(total=0.05)).ainvoke("hi")
        assert caught.value.clock == "total"

    async def test_retries_are_the_clients(self, server: FakeSiliconFlow, made: Callable[..., ChatSiliconFlow]) -> None:
        server.fail(503)
        with pytest.raises(OverloadedError):
            await made(max_retries=0).ainvoke("hi")
        assert len(server.requests) == 1


class TestSecrets:
    def test_the_key_is_in_no_repr_dump_or_pickle(self, made: Callable[..., ChatSiliconFlow]) -> None:
        model = made(api_key=KEY)
        bound = model.bind(stop=["a"])
        shown = [repr(model), str(model), repr(bound), dumps(model), dumps(bound), model.model_dump_json()]
        shown += [repr(model.asdict()), repr(model._get_llm_string()), repr(pickle.dumps(model))]
        assert [text for text in shown if KEY in text] == []
        assert isinstance(model.api_key, SecretStr)

    async def test_the_key_is_in_no_local_of_ours(
        self, server: FakeSiliconFlow, made: Callable[..., ChatSiliconFlow]
    ) -> None:
        server.fail(401)
        with pytest.raises(ConfigurationError) as wrong:
            ChatSiliconFlow(model="org/model", api_key=SecretStr(KEY), base_url="ftp://a")
        with pytest.raises(Exception, match="401") as refused:
            await made(api_key=KEY).ainvoke("hi")
        for error in (wrong.value, refused.value):
            for frame, _ in traceback.walk_tb(error.__traceback__):
                if frame.f_globals.get("__name__", "").startswith("siliconflow_async."):
                    assert KEY not in repr(frame.f_locals)

    @pytest.mark.filterwarnings("ignore:The function `load` is in beta")  # which it says once in a process
    def test_a_dumped_model_loads_with_the_key_of_where_it_is_loaded(
        self, server: FakeSiliconFlow, made: Callable[..., ChatSiliconFlow], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        model = made(api_key=KEY, temperature=0.5, enable_thinking=False, model_kwargs={"seed": 1})
        monkeypatch.setenv("SILICONFLOW_API_KEY", "sk-there")
        loaded = load(
            json.loads(dumps(model)),
            allowed_objects=[ChatSiliconFlow],
            valid_namespaces=["siliconflow_async"],
            secrets_from_env=True,
        )
        assert isinstance(loaded, ChatSiliconFlow)
        assert loaded.asdict() == model.asdict()
        assert dumpd(loaded) == dumpd(model)
        assert loaded.api_key == SecretStr("sk-there")
        loaded.close()

    def test_a_pickled_model_works_with_the_key_of_where_it_is_unpickled(
        self, server: FakeSiliconFlow, made: Callable[..., ChatSiliconFlow], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        model = made(api_key=KEY, temperature=0.5, tags=["a"])
        model.invoke("hi")
        monkeypatch.setenv("SILICONFLOW_API_KEY", "sk-there")
        other = pickle.loads(pickle.dumps(model))
        assert (other.asdict(), other.tags, other.base_url) == (model.asdict(), ["a"], server.base_url)
        assert other.invoke("hi").text
        assert server.requests[-1].headers["authorization"] == "Bearer sk-there"
        other.close()

    def test_copies_work(self, server: FakeSiliconFlow, model: ChatSiliconFlow) -> None:
        for other in (copy.copy(model), copy.deepcopy(model), model.model_copy(update={"temperature": 1.0})):
            assert other.invoke("hi").text
        assert server.connections.accepted == 1


class TestLoops:
    def test_a_model_works_in_one_loop_after_another(self, server: FakeSiliconFlow, model: ChatSiliconFlow) -> None:
        async def both() -> str:
            pieces = [piece async for piece in model.astream("hi")]
            return (await model.ainvoke("hi")).text + pieces[-2].text

        assert asyncio.run(both()) == asyncio.run(both())
        assert model.invoke("hi").text

    def test_a_model_works_in_threads_with_loops_and_without_at_once(
        self, server: FakeSiliconFlow, model: ChatSiliconFlow
    ) -> None:
        def waits(number: int) -> str:
            return model.invoke(f"{number}").text

        def runs(number: int) -> str:
            return asyncio.run(model.ainvoke(f"{number}")).text

        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(waits, range(16))) + list(pool.map(runs, range(16)))
        assert [text for number, text in enumerate(found) if f"“{number % 16}”" not in text] == []
        # The ones that wait share connections, the others have a loop each.
        assert server.connections.accepted <= 8 + 16

    async def test_a_batch_is_answered_side_by_side(self, server: FakeSiliconFlow, model: ChatSiliconFlow) -> None:
        found = await model.abatch(["a", "b", "c"])
        assert [f"“{word}”" in message.text for word, message in zip("abc", found, strict=True)] == [True] * 3
        results = [number async for number, _ in model.abatch_as_completed(["a", "b"])]
        assert sorted(results) == [0, 1]


class TestLangChain:
    async def test_chains_and_events(self, server: FakeSiliconFlow, model: ChatSiliconFlow) -> None:
        chain = ChatPromptTemplate([("system", "Be {mood}."), ("user", "{words}")]) | model
        server.reply(["a", "b"])
        asked = {"mood": "short", "words": "hi"}
        streamed = [
            event["data"]["chunk"].content
            async for event in chain.astream_events(asked)
            if event["event"] == "on_chat_model_stream"
        ]
        assert "".join(streamed) == "ab"
        assert body(server)["messages"] == [
            {"role": "system", "content": "Be short."},
            {"role": "user", "content": "hi"},
        ]

    async def test_usage_is_counted_by_langchains_callback(
        self, server: FakeSiliconFlow, model: ChatSiliconFlow
    ) -> None:
        usage = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
        server.reply("a", usage=usage, times=2)
        counter = UsageMetadataCallbackHandler()
        await model.ainvoke("hi", {"callbacks": [counter]})
        async for _ in model.astream("hi", {"callbacks": [counter]}):
            pass
        assert counter.usage_metadata["org/model"]["total_tokens"] == 26

    async def test_a_cache_answers_what_was_asked_before(
        self, server: FakeSiliconFlow, made: Callable[..., ChatSiliconFlow]
    ) -> None:
        cache = InMemoryCache()
        first = await made(cache=cache, temperature=0).ainvoke("hi")
        again = await made(cache=cache, temperature=0).ainvoke("hi")
        assert again.text == first.text
        assert len(server.requests) == 1
        await made(cache=cache, temperature=1).ainvoke("hi")
        assert len(server.requests) == 2

    async def test_a_fallback_answers_where_the_library_raised(
        self, server: FakeSiliconFlow, made: Callable[..., ChatSiliconFlow]
    ) -> None:
        server.fail(503)
        model = made(max_retries=0).with_fallbacks([made(model="org/other")])
        assert (await model.ainvoke("hi")).response_metadata["model_name"] == "org/other"

    def test_traces_are_told_the_provider_and_the_parameters(self, made: Callable[..., ChatSiliconFlow]) -> None:
        told = made(temperature=0.5, max_tokens=9, stop="a")._get_ls_params()
        assert told == {
            "ls_provider": "siliconflow",
            "ls_model_type": "chat",
            "ls_model_name": "org/model",
            "ls_temperature": 0.5,
            "ls_max_tokens": 9,
            "ls_stop": ["a"],
        }
        metadata = made().metadata
        assert metadata is not None
        assert "siliconflow-async" in metadata["lc_versions"]

    async def test_streaming_models_answer_whole_from_a_stream(
        self, server: FakeSiliconFlow, made: Callable[..., ChatSiliconFlow]
    ) -> None:
        message = await made(streaming=True).ainvoke([SystemMessage("a"), HumanMessage("b")])
        assert message.usage_metadata
        assert body(server)["stream"] is True
        for wanted in (True, False):
            await made().ainvoke("hi", stream=wanted)
            assert body(server).get("stream", False) is wanted


class Add(BaseModel):
    """Add two numbers."""

    a: int
    b: int


def now() -> str:
    """Say what time it is."""
    return "12:00"


class TestTools:
    @pytest.mark.parametrize(
        ("choice", "sent"),
        [
            (None, None),
            (False, None),
            ("auto", "auto"),
            ("none", "none"),
            ("any", "required"),
            ("required", "required"),
            (True, "required"),
            ("Add", {"type": "function", "function": {"name": "Add"}}),
            ({"type": "function", "function": {"name": "now"}}, {"type": "function", "function": {"name": "now"}}),
        ],
    )
    async def test_a_choice_is_sent_in_the_services_words(
        self, server: FakeSiliconFlow, model: ChatSiliconFlow, choice: Any, sent: Any
    ) -> None:
        await model.bind_tools([Add, now], tool_choice=choice, parallel_tool_calls=False).ainvoke("hi")
        asked = body(server)
        assert asked.get("tool_choice") == sent
        assert asked["parallel_tool_calls"] is False
        assert [tool["function"]["name"] for tool in asked["tools"]] == ["Add", "now"]
        assert asked["tools"][0]["function"]["parameters"]["required"] == ["a", "b"]

    def test_a_choice_of_no_tool_is_refused(self, model: ChatSiliconFlow) -> None:
        with pytest.raises(ValueError, match="no tool is called 'ad', but 'Add', 'now'"):
            model.bind_tools([Add, now], tool_choice="ad")

    async def test_strict_is_sent_with_each_tool(self, server: FakeSiliconFlow, model: ChatSiliconFlow) -> None:
        await model.bind_tools([Add], strict=True).ainvoke("hi")
        function = body(server)["tools"][0]["function"]
        assert function["strict"] is True
        assert function["parameters"]["additionalProperties"] is False

    async def test_no_tools_are_not_sent(self, server: FakeSiliconFlow, model: ChatSiliconFlow) -> None:
        await model.bind_tools([]).ainvoke("hi")
        assert "tools" not in body(server)
