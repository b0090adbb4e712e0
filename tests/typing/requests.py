"""What a type checker says of what is asked for; see `structured.py`."""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, assert_type

from msgspec import Meta, Struct

from siliconflow_async import (
    NOT_GIVEN,
    AssistantMessage,
    AssistantMessageParam,
    AsyncSiliconFlow,
    ChatCompletion,
    ChatOptions,
    ChatStream,
    ClientOptions,
    ContentPartParam,
    ImagePartParam,
    MessageParam,
    Model,
    ModelList,
    ParsedChatCompletion,
    ResponseFormatParam,
    SystemMessageParam,
    TextPartParam,
    Tool,
    ToolChoiceParam,
    ToolMessageParam,
    ToolParam,
    UserMessageParam,
    image,
)


class Cat(Struct):
    name: str


@dataclass
class Dog:
    age: int


def find(city: str) -> str:
    return city


async def messages(client: AsyncSiliconFlow, done: ChatCompletion, raw: Mapping[str, Any]) -> None:
    """Whatever was accepted when a message was any mapping."""
    chat = client.chat.completions
    plain = [{"role": "user", "content": "hi"}]
    mixed = [{"role": "user", "content": [{"type": "text", "text": "hi"}, image("cat.jpg")]}]
    await chat.create(model="m", messages=plain)
    await chat.create(model="m", messages=tuple(plain))
    await chat.create(model="m", messages=iter(plain))
    await chat.create(model="m", messages=mixed)
    await chat.create(model="m", messages=[raw, done.choices[0].message, AssistantMessage(content="yes")])
    await chat.create(model="m", messages=[{"role": "developer", "content": "Be brief."}])
    await chat.create(model="m", messages=[{"role": "user", "content": "hi", "name": "Ann"}])
    await chat.create(model="m", messages=[{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}])
    await chat.create(model="m", messages=[dict(role="user", content="hi")])  # noqa: C408
    await chat.create(model="m", messages=({"role": "user", "content": text} for text in ("a", "b")))


async def annotated(client: AsyncSiliconFlow, done: ChatCompletion) -> None:
    """Lists that the user annotates, and goes on with."""
    history: list[MessageParam] = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}]
    history.append(done.choices[0].message)
    history.append({"role": "tool", "tool_call_id": "1", "content": "22 °C"})
    for call in done.tool_calls or []:
        history.append({"role": "tool", "tool_call_id": call.id, "content": call.function.arguments})
    history += [SystemMessageParam(role="system", content="Be long."), {"role": "user", "content": "why"}]
    text: TextPartParam = {"type": "text", "text": "What is this?"}
    picture: ImagePartParam = {"type": "image_url", "image_url": {"url": "https://example.com", "detail": "low"}}
    parts: list[ContentPartParam] = [text, picture, image("cat.jpg")]
    parts.append({"type": "video_url", "video_url": {"url": "https://example.com", "fps": 1, "max_frames": 8}})
    user: UserMessageParam = {"role": "user", "content": parts}
    only_pictures: UserMessageParam = {"role": "user", "content": [picture]}
    assistant: AssistantMessageParam = {"role": "assistant", "tool_calls": done.tool_calls}
    tool: ToolMessageParam = {"role": "tool", "tool_call_id": "1", "content": "22 °C"}
    history += [user, only_pictures, assistant, tool]
    weather: ToolParam = Tool(find, name="weather")
    search = {"type": "function", "function": {"name": "search", "parameters": {"type": "object"}}}
    tools: list[ToolParam] = [weather, search, find]
    tools.append({"type": "function", "function": {"name": "other", "strict": True}})
    choice: ToolChoiceParam = {"type": "function", "function": {"name": "search"}}
    form: ResponseFormatParam = {"type": "json_schema", "json_schema": {"name": "n", "schema": {}, "strict": True}}
    await client.chat.completions.create(
        model="m", messages=history, tools=tools, tool_choice=choice, response_format=form
    )
    picture["image_url"]["detail"] = "close"  # type: ignore[typeddict-item]
    user["role"] = "system"  # type: ignore[typeddict-item]


async def options(client: AsyncSiliconFlow, stops: Iterable[str], schema: dict[str, object]) -> None:
    chat = client.chat.completions
    ask: list[MessageParam] = [{"role": "user", "content": "hi"}]
    for stop in ("a", ["a", "b"], ("a", "b"), stops, None):
        await chat.create(model="m", messages=ask, stop=stop)
    await chat.create(model="m", messages=ask, top_k=50.0, temperature=1, min_p=0)
    await chat.create(model="m", messages=ask, logit_bias={50256: -100})
    await chat.create(model="m", messages=ask, logit_bias={"50256": -100.5})
    await chat.create(model="m", messages=ask, reasoning_effort="max")
    await chat.create(model="m", messages=ask, reasoning_effort="a new one")
    await chat.create(model="m", messages=ask, tools=[schema, find], tool_choice="required")
    await chat.create(model="m", messages=ask, tools=(find,), tool_choice={"type": "function"})
    given: ChatOptions = {"stop": ("a", "b"), "logit_bias": {1: 2}, "reasoning_effort": "low"}
    await chat.create(model="m", messages=ask, **given)
    settings: ClientOptions = {"timeout": 5, "max_retries": 1}
    AsyncSiliconFlow("key", **settings)
    await chat.create(model="m", messages=ask, stop=[1])  # type: ignore[list-item]
    await chat.create(model="m", messages=ask, logit_bias={1.5: 1})  # type: ignore[arg-type]


async def forms(client: AsyncSiliconFlow, flag: bool, form: dict[str, Any] | None, kind: type[Cat]) -> None:
    """Each form of a type, and what `parsed` is then; mappings and None as ever."""
    chat = client.chat.completions
    ask: list[MessageParam] = [{"role": "user", "content": "hi"}]
    assert_type((await chat.create(model="m", messages=ask, response_format=Cat | Dog)).parsed, Cat | Dog)
    assert_type((await chat.create(model="m", messages=ask, response_format=Cat | None)).parsed, Cat | None)
    assert_type((await chat.create(model="m", messages=ask, response_format=list[Cat | Dog])).parsed, list[Cat | Dog])
    choice = await chat.create(model="m", messages=ask, response_format=Literal["yes", "no"])
    assert_type(choice.parsed, Literal["yes", "no"])
    bounded = await chat.create(model="m", messages=ask, response_format=Annotated[int, Meta(ge=0)])
    assert_type(bounded.parsed, int)
    assert_type((await chat.create(model="m", messages=ask, response_format=kind)).parsed, Cat)
    async with chat.stream(model="m", messages=ask, response_format=Cat | None) as stream:
        assert_type((await stream.completion()).parsed, Cat | None)
    run = chat.run_tools(model="m", messages=ask, response_format=Literal[1, 2])
    assert_type((await run.completion()).parsed, Literal[1, 2])
    async with chat.map([], model="m", response_format=Cat | Dog) as results:
        async for result in results:
            assert_type(result.completion, ParsedChatCompletion[Cat | Dog] | None)
    assert_type(await chat.create(model="m", messages=ask, response_format=None), ChatCompletion)
    assert_type(await chat.create(model="m", messages=ask, response_format=form), ChatCompletion)
    assert_type(await chat.create(model="m", messages=ask, response_format={"type": "new"}), ChatCompletion)
    async with chat.stream(model="m", messages=ask, response_format=form) as plain:
        assert_type(await plain.completion(), ChatCompletion)
    either = await chat.create(model="m", messages=ask, stream=flag)
    if isinstance(either, ChatCompletion):
        assert_type(either, ChatCompletion)
    print((await chat.create(model="m", messages=ask, response_format=form)).parsed)  # type: ignore[attr-defined]
    await chat.create(model="m", messages=ask, response_format=Cat(""))  # type: ignore[call-overload]


async def openai_names(client: AsyncSiliconFlow) -> None:
    """Names that the openai package has too."""
    chat = client.chat.completions
    ask: list[MessageParam] = [{"role": "user", "content": "hi"}]
    parsed = await chat.parse(model="m", messages=ask, response_format=Cat | None, temperature=NOT_GIVEN)
    assert_type(parsed.parsed, Cat | None)
    raw = await chat.with_raw_response.create(model="m", messages=ask)
    assert_type(raw.parse(), ChatCompletion)
    assert_type((await chat.with_raw_response.create(model="m", messages=ask, stream=True)).parse(), ChatStream)
    async for model in client.models.list():
        assert_type(model, Model)
    assert_type(await client.models.list(), ModelList)
    async with chat.stream(model="m", messages=ask, response_format=Dog) as stream:
        assert_type((await stream.get_final_completion()).parsed, Dog)
    assert_type(client.api_key, str)
    print(client.beta)  # type: ignore
    print(chat.retrieve)  # type: ignore
    chat.stream(model="m", messages=ask).text()  # type: ignore
