"""What a type checker knows of results and events after a look at them; see `structured.py`."""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from typing import assert_never, assert_type

from siliconflow_async import (
    AsyncSiliconFlow,
    ChatCompletion,
    ContentDelta,
    ErrorEvent,
    Event,
    Finished,
    MapDone,
    MapFailed,
    MapResult,
    ReasoningDelta,
    RunEvent,
    Seam,
    SiliconFlowError,
    Started,
    ToolCallDelta,
    ToolCallDone,
    ToolResult,
)


async def results(client: AsyncSiliconFlow) -> list[MapResult[ChatCompletion]]:
    kept: list[MapResult[ChatCompletion]] = []
    async with client.chat.completions.map([], model="m") as results:
        async for result in results:
            kept.append(result)
            if result.error is None:
                assert_type(result.completion, ChatCompletion)
                print(result.completion.content)
            else:
                assert_type(result.error, SiliconFlowError)
                assert_type(result.completion, None)
            if result.completion is not None:
                assert_type(result.error, None)
            match result:
                case MapDone(completion=completion, index=index):
                    assert_type(completion, ChatCompletion)
                    assert_type(index, int)
                case MapFailed(error=error):
                    assert_type(error, SiliconFlowError)
                case _:
                    assert_never(result)
    return kept


def of_a_stream(event: Event) -> str:
    match event:
        case ReasoningDelta(text=text) | ContentDelta(text=text):
            return text
        case ToolCallDelta(arguments=arguments) | ToolCallDone(arguments=arguments):
            return arguments
        case Started(model=model):
            return model
        case Finished(reason=reason):
            return reason or ""
        case ErrorEvent(message=message) | Seam(message=message):
            return message


def of_a_run(event: RunEvent) -> str:
    match event:
        case ToolResult(content=content):
            return content
        case _:
            return of_a_stream(event)


def one_left_out(event: Event) -> str:  # type: ignore
    match event:
        case Started() | ReasoningDelta() | ContentDelta() | ToolCallDelta() | ToolCallDone() | Finished():
            return ""
        case ErrorEvent():
            return ""
