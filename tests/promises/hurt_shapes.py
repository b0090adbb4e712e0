"""Answers made to hurt, as a hostile server would send them: many small parts in few bytes, or slow to put together.

`HURTFUL` maps a shape's name to what is sent and how it is read; `BIG` are answers as large that are what they should
be. Both are built when asked for, since together they are a gigabyte.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

KIB = 1024
MIB = 1024 * KIB
DONE = b"data: [DONE]\n\n"
JSON = {"headers": {"content-type": "application/json"}}


class Shape(NamedTuple):
    """A body, how it is read (see `hostile.py`), and the error that ends it; None where it is a good answer."""

    body: Callable[[], bytes]
    asks: tuple[str, ...]
    error: str | None = "MalformedStreamError"


def event(payload: bytes) -> bytes:
    return b"data: " + payload + b"\n\n"


def filled(start: bytes, item: bytes, end: bytes, size: int, between: bytes = b",") -> bytes:
    """`start`, as many items as fit into so many bytes, and `end`."""
    count = max(1, (size - len(start) - len(end)) // (len(item) + len(between)))
    return start + between.join([item] * count) + end


def one_event(start: bytes, item: bytes, end: bytes, size: int = 8 * MIB) -> Callable[[], bytes]:
    return lambda: event(filled(start, item, end, size)) + DONE


def one_body(start: bytes, item: bytes, end: bytes, size: int = 4 * MIB, between: bytes = b",") -> Callable[[], bytes]:
    return lambda: filled(start, item, end, size, between)


def events(payload: bytes, size: int = 2 * MIB) -> Callable[[], bytes]:
    """The same event again and again."""
    return lambda: event(payload) * (size // len(event(payload))) + DONE


def counted(template: bytes, count: int, between: bytes = b"") -> bytes:
    """The template so many times, each with its number."""
    return between.join([template % at for at in range(count)])


def calls(fragment: bytes) -> bytes:
    return b'{"choices":[{"delta":{"tool_calls":[' + fragment + b"]}}]}"


def logprobs(item: bytes) -> tuple[bytes, bytes, bytes]:
    return b'{"choices":[{"logprobs":{"content":[', item, b"]}}]}"


CHOICES = b'{"choices":['
CONTENT = b'{"choices":[{"delta":{"content":"x"}}]}'
STREAMED = ("events", "completion")
OPENED = event(calls(b'{"index":0,"id":"a","function":{"name":"f","arguments":"%s"}}'))

HURTFUL: dict[str, Shape] = {
    # One event, as large as one may be.
    "choices": Shape(one_event(CHOICES, b"{}", b"]}"), ("events",)),
    "choices, read with care": Shape(one_event(CHOICES, b"{}", b'],"object":5}'), ("stream",)),
    "choices with an empty delta": Shape(one_event(CHOICES, b'{"delta":{}}', b"]}"), ("events",)),
    "tool calls": Shape(one_event(b'{"choices":[{"delta":{"tool_calls":[', b"{}", b"]}}]}"), ("events",)),
    "tool calls, read with care": Shape(
        one_event(b'{"choices":[{"delta":{"tool_calls":[', b"{}", b']}}],"id":1}'), ("stream",)
    ),
    "tool calls with functions": Shape(
        one_event(b'{"choices":[{"delta":{"tool_calls":[', b'{"function":{}}', b"]}}]}"), ("events",)
    ),
    "logprobs of empty lists": Shape(one_event(*logprobs(b"[]")), ("stream",)),
    "logprobs of empty objects": Shape(one_event(*logprobs(b"{}")), ("completion",)),
    "logprobs of small objects": Shape(one_event(*logprobs(b'{"a":1}')), ("completion",)),
    "logprobs of short texts": Shape(one_event(*logprobs(b'"\xc3\xa9"')), ("completion",)),
    "logprobs of lists in lists": Shape(one_event(*logprobs(b"[[[[1]]]]")), ("completion",)),
    "logprobs with a key for each": Shape(
        lambda: event(b'{"choices":[{"logprobs":{' + counted(b'"%x":1', 1_400_000, b",") + b"}}]}") + DONE,
        ("completion",),
    ),
    "content as a list of parts": Shape(one_event(b'{"choices":[{"delta":{"content":[', b"{}", b"]}}]}"), ("stream",)),
    "content as a list of texts": Shape(one_event(b'{"choices":[{"delta":{"content":[', b'"a"', b"]}}]}"), ("stream",)),
    "arguments as an object": Shape(
        one_event(b'{"choices":[{"delta":{"tool_calls":[{"function":{"name":"f","arguments":[', b"[]", b"]}}]}}]}"),
        ("stream",),
    ),
    "fields that nobody knows": Shape(
        one_event(b'{"id":1,"x":[', b"[]", b'],"choices":[{"delta":{"content":"a"}}]}'), ("stream",)
    ),
    "an error of many": Shape(one_event(b'{"error":[', b"{}", b"]}"), ("stream",), "StreamAPIError"),
    "an error beside many": Shape(
        one_event(CHOICES, b"{}", b'],"error":{"message":"no","code":50505}}'), ("stream",), "StreamAPIError"
    ),
    "an error beside what many": Shape(
        one_event(b'{"code":50505,"message":"no","data":[', b"{}", b"]}"), ("stream",), "StreamAPIError"
    ),
    "an error event of many": Shape(
        lambda: b"event: error\n" + event(filled(b"[", b"{}", b"]", 8 * MIB)), ("stream",), "StreamAPIError"
    ),
    "a list": Shape(one_event(b"[", b"{}", b"]"), ("stream",)),
    "texts that are none": Shape(
        one_event(b'{"choices":[{"delta":{"content":"\xff"}}],"x":[', b"{}", b"]}"), ("stream",)
    ),
    "half emoji": Shape(one_event(b'{"choices":[{"delta":{"content":"', b"\\ud83d", b'"}}]}'), ("completion",), None),
    # Bodies that are no event stream.
    "bare objects": Shape(one_body(b"", b"{}", b"", between=b""), ("stream", "whole")),
    "bare objects with a choice": Shape(one_body(b"", b'{"choices":[{}]}', b"", between=b""), ("stream", "whole")),
    "bare objects with an emoji": Shape(
        one_body(b'{"id":"\xf0\x9f\x98\x80"}', CONTENT, b'{"choices":[{"finish_reason":"stop"}]}', between=b""),
        ("stream", "whole"),
        None,
    ),
    "a body of choices": Shape(one_body(CHOICES, b"{}", b"]}"), ("stream", "whole")),
    "a body with an error of many": Shape(one_body(b'{"error":[', b"{}", b"]}"), ("stream", "whole"), "APIStatusError"),
    "a body with a code and many": Shape(
        one_body(b'{"code":50505,"message":"no","data":[', b"{}", b"]}"), ("stream", "whole"), "OverloadedError"
    ),
    "a body that is a list": Shape(one_body(b"[", b"{}", b"]"), ("stream", "whole")),
    "a body cut off": Shape(
        one_body(b'{"choices":[{"message":{"content":["', b"a", b"", between=b""), ("whole",), "TruncatedStreamError"
    ),
    "a body cut off after many": Shape(one_body(CHOICES, b"{}", b",{"), ("whole",)),
    "braces": Shape(one_body(b"", b'{"a":', b"", between=b""), ("stream", "whole")),
    "brackets": Shape(one_body(b"", b"[", b"", between=b""), ("stream", "whole")),
    # Whole answers, as large as one may be.
    "an answer of choices": Shape(one_body(CHOICES, b"{}", b"]}", 32 * MIB), ("whole",)),
    "an answer of tool calls": Shape(
        one_body(b'{"choices":[{"message":{"tool_calls":[', b"{}", b"]}}]}", 32 * MIB), ("whole",)
    ),
    "an answer of logprobs": Shape(
        one_body(b'{"choices":[{"message":{"content":"a"},"logprobs":{"content":[', b'{"a":1}', b"]}}]}", 32 * MIB),
        ("whole",),
    ),
    "an answer of bare chunks": Shape(
        one_body(CONTENT, CONTENT, b'{"choices":[{"finish_reason":"stop"}]}', 16 * MIB, b""), ("whole",), None
    ),
    "an answer as a stream": Shape(lambda: event(CONTENT) * (32 * MIB // len(event(CONTENT))) + DONE, ("whole",), None),
    "an answer as a stream of next to nothing": Shape(lambda: event(b"{}") * (16 * MIB // 10) + DONE, ("whole",), None),
    # Many small events.
    "small events": Shape(events(CONTENT), (*STREAMED, "text", "held", "run", "think"), None),
    "events of next to nothing": Shape(events(b"{}"), ("events", "held"), None),
    "events of a thousand choices": Shape(events(filled(CHOICES, b"{}", b"]}", 3000)), STREAMED, None),
    "events of many choices with care": Shape(events(filled(CHOICES, b"{}", b'],"object":5}', 3000)), STREAMED, None),
    "events of a few choices with care": Shape(
        events(b'{"choices":[{"a":1},{"a":1},{"a":1},{"a":1}],"id":5}'), STREAMED, None
    ),
    "events of many calls with care": Shape(
        events(filled(b'{"choices":[{"delta":{"tool_calls":[', b"{}", b']}}],"object":5}', 3000)), STREAMED, None
    ),
    "events of 60 KiB of choices": Shape(events(filled(CHOICES, b"{}", b"]}", 60 * KIB)), ("events",)),
    "events of 250 KiB of choices": Shape(events(filled(CHOICES, b"{}", b"]}", 250 * KIB)), ("stream",)),
    "events of fragments that say nothing": Shape(
        events(filled(b'{"choices":[{"delta":{"tool_calls":[', b"{}", b"]}}]}", 3000)), ("events", "run"), None
    ),
    "events of fragments of ids": Shape(
        events(filled(b'{"choices":[{"delta":{"tool_calls":[', b'{"id":"a"}', b"]}}]}", 3000)), STREAMED, None
    ),
    "events of logprobs": Shape(events(filled(*logprobs(b"[]"), 60 * KIB), 16 * MIB), ("stream", "completion")),
    "events of small logprobs": Shape(events(b'{"choices":[{"logprobs":{"content":[[],[],[],[]]}}]}'), ("completion",)),
    "events with care": Shape(events(b'{"id":1}'), ("stream",), None),
    "events of a type that nobody knows": Shape(
        lambda: b"event:x\ndata:y\n\n" * (2 * MIB // 16) + event(CONTENT) + DONE, ("stream",), None
    ),
    "an index for each": Shape(
        lambda: counted(b'data: {"choices":[{"index":%d,"delta":{"content":"x"}}]}\n\n', 40_000) + DONE,
        (*STREAMED, "think"),
    ),
    "an index for each, many in an event": Shape(
        lambda: event(CHOICES + counted(b'{"index":%d}', 300_000, b",") + b"]}") + DONE, STREAMED
    ),
    "a call for each": Shape(
        lambda: counted(b'data: {"choices":[{"delta":{"tool_calls":[{"index":%d}]}}]}\n\n', 40_000) + DONE,
        ("events", "run"),
    ),
    "a finish for each": Shape(events(b'{"choices":[{"finish_reason":"a"}]}'), STREAMED, None),
    "usage for each": Shape(
        events(b'{"usage":{"prompt_tokens_details":{},"completion_tokens_details":{}}}'), ("stream", "held"), None
    ),
    # Tool calls from fragments.
    "calls without an index": Shape(
        lambda: (
            counted(b'data: {"choices":[{"delta":{"tool_calls":[{"id":"%d","function":{"name":"f"}}]}}]}\n\n', 16_000)
            + DONE
        ),
        ("events", "run"),
    ),
    "names again, and a brace": Shape(
        events(calls(b'{"function":{"name":"f","arguments":"}"}}'), 1536 * KIB), ("events", "run"), None
    ),
    "names again, a bracket and a space": Shape(
        lambda: (
            event(calls(b'{"function":{"name":"f","arguments":"["}}'))
            + event(calls(b'{"function":{"name":"f","arguments":" }"}}')) * 18_000
            + DONE
        ),
        ("events", "run"),
        None,
    ),
    "names again, and whole arguments": Shape(
        events(calls(b'{"function":{"name":"f","arguments":"{}"}}'), 1536 * KIB), STREAMED
    ),
    "names again, within a text": Shape(
        lambda: (
            event(calls(b'{"function":{"name":"f","arguments":"{\\"a\\":\\""}}'))
            + event(calls(b'{"function":{"name":"f","arguments":"' + b" " * 20 + b'}"}}')) * 16_000
            + DONE
        ),
        ("events", "run"),
        None,
    ),
    "names again, and JSON that ends again and again": Shape(
        lambda: event(calls(b'{"function":{"name":"f","arguments":"{\\"a\\":1,' + b" " * 20 + b'}"}}')) * 16_000 + DONE,
        ("events", "run"),
        None,
    ),
    "names again, and a long space": Shape(
        lambda: (
            event(calls(b'{"function":{"name":"f","arguments":"{}' + b" " * MIB + b'x"}}'))
            + event(calls(b'{"function":{"name":"f","arguments":"}"}}')) * 18_000
            + DONE
        ),
        STREAMED,
        None,
    ),
    "names again, many in an event": Shape(
        one_event(
            b'{"choices":[{"delta":{"tool_calls":[', b'{"function":{"name":"f","arguments":"}"}}', b"]}}]}", 1536 * KIB
        ),
        STREAMED,
    ),
    "fragments of one call": Shape(
        lambda: OPENED % b"{" + event(calls(b'{"index":0,"function":{"arguments":" "}}')) * 30_000 + DONE,
        ("events", "run"),
        None,
    ),
    "calls finished again and again": Shape(
        lambda: (
            counted(
                b'data: {"choices":[{"delta":{"tool_calls":[{"index":%d,"function":{"arguments":"xxxxxxxx"}}]}}]}\n\n',
                900,
            )
            + event(b'{"choices":[{"finish_reason":"tool_calls"}]}') * 30_000
            + DONE
        ),
        STREAMED,
        None,
    ),
    # A block of thoughts.
    "white space before no block": Shape(events(b'{"choices":[{"delta":{"content":" "}}]}'), ("think",), None),
    "half closing tags": Shape(events(b'{"choices":[{"delta":{"content":"<think></think"}}]}'), ("think",), None),
    # Lines.
    "tiny lines of data": Shape(lambda: b"data:{\n" + b"data:1\n" * (8 * MIB // 7) + b"\n", ("stream",)),
    "lines of data without a value": Shape(
        lambda: b"data\n" * (8 * MIB // 5) + b"\n" + event(CONTENT) + DONE, ("stream",), None
    ),
    "comments": Shape(lambda: event(CONTENT) + b":\n" * (2 * MIB) + DONE, ("stream",), None),
    "empty lines": Shape(lambda: event(CONTENT) + b"\n" * (4 * MIB) + DONE, ("stream",), None),
    "line ends of both kinds": Shape(lambda: event(CONTENT) + b"\r\n\r" * MIB + DONE, ("stream",), None),
    "lines of no field": Shape(lambda: event(CONTENT) + b"a\n" * (2 * MIB) + DONE, ("stream",), None),
    "ids": Shape(lambda: event(CONTENT) + b"id:a\n" * MIB + DONE, ("stream",), None),
    "names of events": Shape(lambda: event(CONTENT) + b"event:a\n" * MIB + DONE, ("stream",), None),
    "retries": Shape(lambda: event(CONTENT) + b"retry:1\n" * MIB + DONE, ("stream",), None),
    "empty data": Shape(lambda: event(CONTENT) + b"data:\n\n" * MIB + DONE, ("stream",), None),
}


def message(content: str) -> dict[str, Any]:
    return {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}


def dump(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def of_content(content: str, **more: Any) -> bytes:
    return dump({"choices": [{"index": 0, "delta": {"content": content}, "finish_reason": "stop"}], **more})


def token(text: str, at: int) -> dict[str, Any]:
    return {"token": text, "logprob": -0.01 * (at + 1), "bytes": list(text.encode())}


def probabilities(count: int, top: int) -> dict[str, Any]:
    return {
        "content": [{**token(" the", at), "top_logprobs": [token(" a", k) for k in range(top)]} for at in range(count)]
    }


BRACES = '{"a": [1, 2, {"b": []}], "c": "\\"{}\\\\"}, ' * 200_000
BASE64 = "iVBORw0KGgo+/AAA" * (640 * KIB)
FUNCTIONS = [
    {"id": f"call_{at}", "type": "function", "function": {"name": "f", "arguments": "{}"}} for at in range(128)
]

BIG: dict[str, Shape] = {
    "10 MiB of content": Shape(
        lambda: event(of_content("hello wo\\n" * MIB)) + DONE, (*STREAMED, "text", "think"), None
    ),
    "10 MiB of content, read with care": Shape(
        lambda: event(of_content("hello wo\\n" * MIB, id=5)) + DONE, ("stream",), None
    ),
    "JSON in content": Shape(lambda: event(of_content(BRACES)) + DONE, ("completion",), None),
    "JSON in content, read with care": Shape(lambda: event(of_content(BRACES, id=5)) + DONE, ("completion",), None),
    "an answer of JSON in content": Shape(lambda: dump({"choices": [message(BRACES * 6)]}), ("whole",), None),
    "an answer of emoji": Shape(lambda: dump({"choices": [message("😀" * 3 * MIB)]}), ("whole", "stream"), None),
    "an answer of base64": Shape(lambda: dump({"choices": [message(BASE64)]}), ("whole", "stream"), None),
    "64,000 deltas": Shape(
        lambda: event(of_content("word")[:-2].replace(b'"stop"', b"null") + b"]}") * 64_000 + DONE,
        ("completion", "held", "run"),
        None,
    ),
    "64,000 deltas as bare objects": Shape(
        lambda: b'{"choices":[{"index":0,"delta":{"content":"word"},"finish_reason":null}]}\n' * 64_000 + b"[DONE]",
        ("completion",),
        None,
    ),
    "logprobs of 8,000 tokens": Shape(
        lambda: dump({"choices": [{**message("x"), "logprobs": probabilities(8000, 20)}]}), ("whole", "stream"), None
    ),
    "logprobs of 8,000 tokens, read with care": Shape(
        lambda: dump({"id": 5, "choices": [{**message("x"), "logprobs": probabilities(8000, 20)}]}), ("whole",), None
    ),
    "logprobs of 8,000 tokens in an event": Shape(
        lambda: (
            event(
                dump(
                    {
                        "choices": [
                            {"delta": {"content": "x"}, "finish_reason": "stop", "logprobs": probabilities(8000, 20)}
                        ]
                    }
                )
            )
            + DONE
        ),
        ("completion",),
        None,
    ),
    "logprobs of a token for each event": Shape(
        lambda: event(dump({"choices": [{"delta": {"content": "x"}, "logprobs": probabilities(1, 20)}]})) * 8000 + DONE,
        ("completion",),
        None,
    ),
    "128 choices": Shape(
        lambda: event(dump({"choices": [{"index": at, "delta": {"content": "x"}} for at in range(128)]})) * 500 + DONE,
        STREAMED,
        None,
    ),
    "128 choices in an answer": Shape(
        lambda: dump({"choices": [{**message("x"), "index": at} for at in range(128)]}), ("whole",), None
    ),
    "128 tool calls": Shape(
        lambda: event(dump({"choices": [{"delta": {"tool_calls": FUNCTIONS}, "finish_reason": "tool_calls"}]})) + DONE,
        ("events", "completion"),
        None,
    ),
    "128 tool calls in an answer": Shape(
        lambda: dump(
            {"choices": [{"message": {"content": None, "tool_calls": FUNCTIONS}, "finish_reason": "tool_calls"}]}
        ),
        ("whole",),
        None,
    ),
}
