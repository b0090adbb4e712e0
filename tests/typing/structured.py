"""What a type checker says of parsed answers; `tests/test_typing.py` runs mypy and pyright over it.

An `ignore` that hides nothing is an error itself, so each of them asserts that its line is refused.
"""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from dataclasses import dataclass
from typing import TypedDict, assert_type

from msgspec import Struct

from siliconflow_async import AsyncSiliconFlow, ChatCompletion, ChatStream, ParsedChatCompletion

MESSAGES = [{"role": "user", "content": "hi"}]


class Person(Struct):
    name: str


@dataclass
class Trip:
    days: int


class Place(TypedDict):
    city: str


async def types(client: AsyncSiliconFlow) -> None:
    chat = client.chat.completions
    assert_type((await chat.create(model="m", messages=MESSAGES, response_format=Person)).parsed, Person)
    assert_type((await chat.create(model="m", messages=MESSAGES, response_format=Trip)).parsed, Trip)
    assert_type((await chat.create(model="m", messages=MESSAGES, response_format=Place)).parsed, Place)
    assert_type((await chat.create(model="m", messages=MESSAGES, response_format=list[Person])).parsed, list[Person])
    async with chat.stream(model="m", messages=MESSAGES, response_format=Trip) as stream:
        assert_type((await stream.completion()).parsed, Trip)
    await chat.stream(model="m", messages=MESSAGES)  # type: ignore
    [chunk async for chunk in chat.stream(model="m", messages=MESSAGES)]  # type: ignore
    list(chat.stream(model="m", messages=MESSAGES))  # type: ignore
    opened = await chat.create(model="m", messages=MESSAGES, response_format=list[Trip], stream=True)
    assert_type(await opened.completion(), ParsedChatCompletion[list[Trip]])
    assert_type(await chat.create(model="m", messages=MESSAGES), ChatCompletion)
    assert_type(await chat.create(model="m", messages=MESSAGES, response_format={"type": "text"}), ChatCompletion)
    assert_type(await chat.create(model="m", messages=MESSAGES, stream=True), ChatStream)
    async with chat.map([], model="m", response_format=Trip) as parsed_results:
        async for parsed_result in parsed_results:
            assert_type(parsed_result.completion, ParsedChatCompletion[Trip] | None)
    async with chat.map([], model="m") as results:
        async for result in results:
            assert_type(result.completion, ChatCompletion | None)


async def errors(client: AsyncSiliconFlow) -> None:
    chat = client.chat.completions
    await chat.create(model="m", messages=MESSAGES, temprature=1)  # type: ignore[call-overload]
    await chat.create(model="m", messages=MESSAGES, response_format=5)  # type: ignore[call-overload]
    chat.map([], model="m", temprature=1)  # type: ignore[call-overload]
    chat.stream(model="m", messages=MESSAGES, temperature="hot")  # type: ignore[call-overload]
    chat.stream(model="m", messages=MESSAGES, response_formt=Person)  # type: ignore[call-overload]
    print((await chat.create(model="m", messages=MESSAGES)).parsed)  # type: ignore[attr-defined]
