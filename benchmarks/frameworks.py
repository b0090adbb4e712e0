"""What a framework's user gains by the facade: `python -m benchmarks.frameworks [--rounds N] [--quick]`.

CPU time of this process, for a whole answer and for a chunk of a stream, with openai's own client and with
OpenAIClient, alone and under each framework that is installed: pydantic-ai, openai-agents and langchain-openai beside
openai 3, instructor and llama-index beside openai 2.54.

Both clients take turns in one process, in another order each round; figures are medians. An answer that is not what the
server sent is an error.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import importlib.util
import random
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import openai

from siliconflow_async.integrations.openai import OpenAIClient

from .fixtures import make, whole_answer
from .server import Server

_MODEL = "stand-in/Large-Instruct-2507"
_QUESTION = "Say something long."
_MESSAGES: Any = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": _QUESTION}]
_PER_BLOCK = 4

Ask = Callable[[Any], Awaitable[str]]
"""Asks by a client, and returns the text of the answer."""


async def _alone(client: Any) -> str:
    done = await client.chat.completions.create(model=_MODEL, messages=_MESSAGES)
    return done.choices[0].message.content or ""


async def _alone_streamed(client: Any) -> str:
    stream = await client.chat.completions.create(model=_MODEL, messages=_MESSAGES, stream=True)
    return "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])


def _pydantic_ai() -> tuple[Ask, Ask]:
    from pydantic_ai import Agent
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    def agent(client: Any) -> Any:
        return Agent(OpenAIChatModel(_MODEL, provider=OpenAIProvider(openai_client=client)), instructions="Be brief.")

    async def ask(client: Any) -> str:
        return str((await agent(client).run(_QUESTION)).output)

    async def stream(client: Any) -> str:
        async with agent(client).run_stream(_QUESTION) as result:
            return "".join([text async for text in result.stream_text(delta=True, debounce_by=None)])

    return ask, stream


def _openai_agents() -> tuple[Ask, Ask]:
    from agents import Agent, OpenAIChatCompletionsModel, Runner, set_tracing_disabled

    set_tracing_disabled(True)

    def agent(client: Any) -> Any:
        model = OpenAIChatCompletionsModel(model=_MODEL, openai_client=client)
        return Agent(name="agent", instructions="Be brief.", model=model)

    async def ask(client: Any) -> str:
        return str((await Runner.run(agent(client), _QUESTION)).final_output)

    async def stream(client: Any) -> str:
        result = Runner.run_streamed(agent(client), _QUESTION)
        async for _ in result.stream_events():
            pass
        return str(result.final_output)

    return ask, stream


def _langchain() -> tuple[Ask, Ask]:
    from langchain_openai import ChatOpenAI

    def chat(client: Any) -> Any:
        given: Any = {"async_client": client.chat.completions, "root_async_client": client}
        return ChatOpenAI(model=_MODEL, api_key="unused", **given)

    async def ask(client: Any) -> str:
        return str((await chat(client).ainvoke(_MESSAGES)).content)

    async def stream(client: Any) -> str:
        return "".join([piece.text async for piece in chat(client).astream(_MESSAGES)])

    return ask, stream


def _llama_index() -> tuple[Ask, Ask]:
    from llama_index.core.llms import ChatMessage
    from llama_index.llms.openai_like import OpenAILike

    asked = [ChatMessage(**message) for message in _MESSAGES]

    def llm(client: Any) -> Any:
        return OpenAILike(model=_MODEL, async_openai_client=client, api_key="unused", is_chat_model=True, max_retries=0)

    async def ask(client: Any) -> str:
        return str((await llm(client).achat(asked)).message.content)

    async def stream(client: Any) -> str:
        return "".join([piece.delta or "" async for piece in await llm(client).astream_chat(asked)])

    return ask, stream


def _instructor() -> tuple[Ask, Ask]:
    import instructor

    async def ask(client: Any) -> str:
        wrapped = instructor.from_openai(client)
        done = await wrapped.chat.completions.create(model=_MODEL, messages=_MESSAGES, response_model=None)
        return str(done.choices[0].message.content)

    async def stream(client: Any) -> str:
        wrapped = instructor.from_openai(client)
        chunks = await wrapped.chat.completions.create(
            model=_MODEL, messages=_MESSAGES, response_model=None, stream=True
        )
        return "".join([chunk.choices[0].delta.content or "" async for chunk in chunks if chunk.choices])

    return ask, stream


_FRAMEWORKS: dict[str, tuple[str, Callable[[], tuple[Ask, Ask]]]] = {
    "pydantic-ai": ("pydantic_ai", _pydantic_ai),
    "openai-agents": ("agents", _openai_agents),
    "langchain-openai": ("langchain_openai", _langchain),
    "instructor": ("instructor", _instructor),
    "llama-index": ("llama_index", _llama_index),
}


def _installed() -> Iterator[tuple[str, Ask, Ask]]:
    yield "the client alone", _alone, _alone_streamed
    for name, (package, made) in _FRAMEWORKS.items():
        if importlib.util.find_spec(package) is not None:
            yield name, *made()


def _clients(url: str) -> dict[str, Any]:
    return {
        "openai": openai.AsyncOpenAI(api_key="key", base_url=url, max_retries=0),
        "facade": OpenAIClient("key", base_url=url),
    }


async def _cpu(
    clients: dict[str, Any], ask: Ask, expected: str, rounds: int, times: int, each: int
) -> dict[str, float]:
    """Return the CPU of each client, in microseconds by `each`."""
    found: dict[str, list[float]] = {name: [] for name in clients}
    order = list(clients)
    rng = random.Random(0)
    for number in range(rounds + 1):
        rng.shuffle(order)
        for name in order:
            gc.collect()
            gc.freeze()
            began = time.process_time()
            for _ in range(times):
                if await ask(clients[name]) != expected:
                    raise SystemExit(f"{name}: an answer is not what was sent")
            if number:  # the first was to warm up
                found[name].append((time.process_time() - began) * 1e6 / times / each)
    return {name: statistics.median(values) for name, values in found.items()}


async def _measure(rounds: int, requests: int, chunks: int) -> None:
    print(f"CPython {sys.version.split()[0]}, openai {openai.__version__}: CPU, µs, medians of {rounds}")
    print(f"{'':18}{'a whole answer':>33}{'a chunk of a stream':>33}")
    print(f"{'':18}" + f"{'openai':>12}{'facade':>12}{'':9}" * 2)
    async with Server() as server:
        wholes, streams = _clients(server.url("whole")), _clients(server.url("bulk", "text", chunks, _PER_BLOCK))
        for name, ask, stream in _installed():
            line = f"{name:18}"
            for clients, how, expected, times, each in (
                (wholes, ask, whole_answer()[1], requests, 1),
                (streams, stream, make("text", chunks, _PER_BLOCK).said, 1, chunks),
            ):
                cpu = await _cpu(clients, how, expected, rounds, times, each)
                line += f"{cpu['openai']:12.1f}{cpu['facade']:12.1f}{cpu['openai'] / cpu['facade']:7.1f} ×"
            print(line, flush=True)
        for client in (*wholes.values(), *streams.values()):
            await client.close()


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.frameworks", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=11, metavar="N", help="how often each has its turn")
    parser.add_argument("--quick", action="store_true", help="tiny counts: does it run? The figures mean nothing")
    options = parser.parse_args(arguments)
    rounds, requests, chunks = (1, 3, 20) if options.quick else (options.rounds, 40, 1_000)
    asyncio.run(_measure(rounds, requests, chunks))


if __name__ == "__main__":
    main(sys.argv[1:])
