"""LangChain's own standard tests, of a model on a stand-in that answers what each of them asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any, Literal, TypeAlias

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests

from siliconflow_async.integrations.langchain import ChatSiliconFlow
from siliconflow_async.testing import FakeSiliconFlow

pytestmark = pytest.mark.anyio

Details: TypeAlias = dict[Literal["invoke", "stream"], list[Any]]

# The module: its package has a function of that name.
LOAD: Any = import_module("langchain_core.load.load")
SUITE: Any = import_module("langchain_tests.integration_tests.chat_models")

# As much of them as tells what they are.
PNG = b"\x89PNG\r\n\x1a\n"
WAV = b"RIFF\x24\0\0\0WAVE"

JOKE = '{"setup": "Why did the cat sit on the keyboard?", "punchline": "To watch the mouse."}'
MAGIC = {"name": "magic_function", "arguments": {"input": 3}}
CUSTOMER = {"description": "A company"}


class Siliconflow:
    """What both suites are told of the model.

    Of what is left at False, the service takes no PDF, and VCR's recordings have no place where every answer is
    scripted: the time of a stream is measured by this project's benchmarks.
    """

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatSiliconFlow

    @property
    def supports_json_mode(self) -> bool:
        return True

    @property
    def supports_image_inputs(self) -> bool:
        return True

    @property
    def supports_image_urls(self) -> bool:
        return True

    @property
    def supports_image_tool_message(self) -> bool:
        return True

    @property
    def supports_audio_inputs(self) -> bool:
        return True

    @property
    def supports_video_inputs(self) -> bool:
        return True

    @property
    def supports_anthropic_inputs(self) -> bool:
        return True

    @property
    def supported_usage_metadata_details(self) -> Details:
        # The service tells neither of sound nor of what it puts into its cache.
        return {"invoke": ["reasoning_output", "cache_read_input"], "stream": ["reasoning_output", "cache_read_input"]}


class TestUnit(Siliconflow, ChatModelUnitTests):
    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": "Qwen/Qwen3-8B"}

    @property
    def init_from_env_params(self) -> tuple[dict[str, str], dict[str, Any], dict[str, Any]]:
        environment = {"SILICONFLOW_API_KEY": "sk-test", "SILICONFLOW_BASE_URL": "http://127.0.0.1:9/v1"}
        return environment, {"model": "org/model"}, {"api_key": "sk-test", "base_url": "http://127.0.0.1:9/v1"}

    @pytest.fixture(autouse=True)
    def _known(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SILICONFLOW_API_KEY", "sk-test")
        # The suite loads a dumped model by a list of classes that LangChain has itself, in which the packages of others
        # have no place; `test_model` loads one as its user would.
        name = tuple(ChatSiliconFlow.lc_id())
        monkeypatch.setitem(LOAD.ALL_SERIALIZABLE_MAPPINGS, name, name)
        monkeypatch.setattr(LOAD, "_default_class_paths_cache", {})


def jokes(server: FakeSiliconFlow, times: int) -> None:
    server.reply(JOKE, times=times)


def calls(*called: dict[str, Any]) -> Callable[[FakeSiliconFlow], None]:
    def script(server: FakeSiliconFlow) -> None:
        for call in called:
            server.reply(tool_calls=[call])

    return script


# What a real model would have to find out from the words of a prompt. To the others the stand-in answers by itself.
SCRIPTS: dict[str, Callable[[FakeSiliconFlow], None]] = {
    "test_tool_calling": calls(MAGIC, MAGIC),
    "test_tool_calling_async": calls(MAGIC, MAGIC),
    "test_unicode_tool_call_integration": calls(
        {"name": "unicode_customer", "arguments": {"customer_name": "你好啊集团", **CUSTOMER}},
        {"name": "unicode_customer", "arguments": {"customer_name": "こんにちは株式会社", **CUSTOMER}},
    ),
    "test_json_mode": lambda server: jokes(server, 4),
}


class TestIntegration(Siliconflow, ChatModelIntegrationTests):
    @property
    def chat_model_params(self) -> dict[str, Any]:
        # A model that thinks, sees, hears and calls tools.
        return {"model": "org/thinking-omni", "base_url": self.server.base_url, "api_key": "sk-test"}

    @property
    def model_override_value(self) -> str:
        return "org/another"

    @pytest.fixture(autouse=True)
    def _scripted(
        self, request: pytest.FixtureRequest, server: FakeSiliconFlow, monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[None]:
        self.server = server
        script = SCRIPTS.get(request.node.originalname)
        if script is not None:
            script(server)
        # The suite has its pictures and sounds from far away.
        monkeypatch.setattr(SUITE.httpx, "get", fetch)
        monkeypatch.setenv("LANGCHAIN_TESTS_USER_AGENT", "none is asked")
        yield
        # Each was asked for what it scripted, and whatever was sent is what the service takes.
        assert server.script == []
        assert {seen.status for seen in server.requests} <= {200}

    def invoke_with_reasoning_output(self, *, stream: bool = False) -> AIMessage:
        return self.answered("Why?", stream=stream)

    def invoke_with_cache_read_input(self, *, stream: bool = False) -> AIMessage:
        details = {"prompt_tokens_details": {"cached_tokens": 6}}
        self.server.reply("ok", usage={"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10, **details})
        return self.answered("Again.", stream=stream)

    def answered(self, prompt: str, *, stream: bool) -> AIMessage:
        model = ChatSiliconFlow(**self.chat_model_params)
        if not stream:
            return model.invoke(prompt)
        first, *others = model.stream(prompt)
        assert isinstance(first, AIMessageChunk)
        return first + others


class Fetched:
    def __init__(self, content: bytes) -> None:
        self.content = content


def fetch(url: str, **options: Any) -> Fetched:
    return Fetched(PNG if url.endswith(".png") else WAV)
