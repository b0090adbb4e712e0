"""Streams in every shape that SiliconFlow, compatible servers and relays send, each with its folded answer.

The texts are this project's own; the shapes are those of the service's chat page and of recorded answers.
"""

from __future__ import annotations

from dataclasses import dataclass

from .build import (
    DONE,
    FULL_USAGE,
    ID,
    MODEL,
    WEATHER,
    Json,
    call,
    choice,
    chunk,
    data,
    dump,
    folded,
    made,
    message,
    small,
    text,
    tokens,
)


@dataclass(frozen=True)
class Stream:
    """A body, and what it comes to: `choices` and `usage` as in `ChatCompletion.to_dict()`."""

    body: bytes
    choices: list[Json]
    usage: Json | str | None = None
    done: bool = True


HELLO = [folded(message("Hello"))]

STREAMS: dict[str, Stream] = {
    # 1: data lines with LF, [DONE] last.
    "text": Stream(
        data(
            chunk(choice({"content": "", "reasoning_content": None, "role": "assistant"}), usage=tokens(9, 0)),
            text("Hel", usage=tokens(9, 1)),
            text("lo 😄", usage=tokens(9, 3)),
            text("", finish="stop", usage=tokens(9, 3)),
        )
        + DONE,
        [folded(message("Hello 😄"))],
        tokens(9, 3),
    ),
    "keep-alive comments": Stream(
        b": ping\n\n"
        + data(small({"content": "Hel"}))
        + b":\n\n: ping\n\n"
        + data(small({"content": "lo"}, "stop"))
        + DONE,
        HELLO,
    ),
    "CRLF, no space, ids and events": Stream(
        b"event: message\r\nid: 1\r\ndata:%b\r\n\r\nretry: 3000\r\ndata:%b\r\n\r\ndata:[DONE]\r\n\r\n"
        % (dump(small({"content": "Hel"})), dump(small({"content": "lo"}, "stop"))),
        HELLO,
    ),
    "a chunk over several data lines": Stream(
        b'data: {"choices":[{"index":0,\ndata: "delta":{"content":"Hello"},\ndata: "finish_reason":"stop"}]}\n\n'
        + DONE,
        HELLO,
    ),
    "BOM": Stream(b"\xef\xbb\xbf" + data(small({"content": "Hello"}, "stop")) + DONE, HELLO),
    "blank lines first": Stream(b"\n\r\n\n" + data(small({"content": "Hello"}, "stop")) + DONE, HELLO),
    # 2: usage, which is cumulative.
    "usage once, in a last chunk without choices": Stream(
        data(text("Hello"), text("", finish="stop"), chunk(usage=FULL_USAGE)) + DONE, HELLO, FULL_USAGE
    ),
    "usage null before and after": Stream(
        data(
            small({"content": "Hel"}, usage=None),
            small({"content": "lo"}, "stop", usage=tokens(4, 2)),
            {"choices": [], "usage": None},
        )
        + DONE,
        HELLO,
        tokens(4, 2),
    ),
    "usage does not mean the end": Stream(
        data(small({"content": "Hel"}, usage=tokens(4, 1)), small({"content": "lo"}), small({}, "stop")) + DONE,
        HELLO,
        tokens(4, 1),
    ),
    # 3, 4, 5: thinking first, then content; the other one is null; the role repeats.
    "reasoning, then content": Stream(
        data(
            chunk(choice({"content": None, "reasoning_content": "", "role": "assistant"}), usage=tokens(5, 0)),
            chunk(choice({"content": None, "reasoning_content": "Hm", "role": "assistant"}), usage=tokens(5, 1)),
            chunk(choice({"content": None, "reasoning_content": "m.", "role": "assistant"}), usage=tokens(5, 2)),
            chunk(choice({"content": "Hello", "reasoning_content": None, "role": "assistant"}), usage=tokens(5, 3)),
            chunk(choice({"content": "", "reasoning_content": None, "role": "assistant"}, "stop"), usage=tokens(5, 3)),
        )
        + DONE,
        [folded(message("Hello", "Hmm."))],
        tokens(5, 3),
    ),
    "filter results beside the delta": Stream(
        data(chunk(choice({"content": "Hello"}, "stop", content_filter_results={"hate": {"filtered": False}}))) + DONE,
        HELLO,
    ),
    # 6: tool calls in SiliconFlow's fragments.
    "tool call, name null later": Stream(
        data(
            small(call(0, "call_7f", "weather", role="assistant", content=None, reasoning_content=None)),
            small(call(0, None, None, '{"city":')),
            small(call(0, None, None, '"Köln"}')),
            small({"content": None}, "tool_calls"),
        )
        + DONE,
        [folded(message(calls=[WEATHER]), "tool_calls")],
    ),
    "tool call, name absent later": Stream(
        data(
            small(call(0, "functions.weather:0", "weather")),
            small(
                {"tool_calls": [{"index": 0, "id": None, "type": None, "function": {"arguments": "{}"}}]}, "tool_calls"
            ),
        )
        + DONE,
        [folded(message(calls=[made("functions.weather:0", "weather", "{}")]), "tool_calls")],
    ),
    "tool call, name empty later, after reasoning": Stream(
        data(
            small({"content": None, "reasoning_content": "Look."}),
            small(call(0, ID, "weather")),
            small(call(0, None, "", '{"a":1}'), "tool_calls"),
        )
        + DONE,
        [folded(message(None, "Look.", [made(ID, "weather", '{"a":1}')]), "tool_calls")],
    ),
    "two tool calls after content": Stream(
        data(
            small({"content": "Wait"}),
            small(call(0, "a", "f")),
            small(call(0, None, None, "{}")),
            small(call(1, "b", "g")),
            small(call(1, None, None, "[]"), "tool_calls"),
        )
        + DONE,
        [folded(message("Wait", None, [made("a", "f", "{}"), made("b", "g", "[]")]), "tool_calls")],
    ),
    "two tool calls, interleaved, the second first": Stream(
        data(
            small(call(1, "b", "g", "[")),
            small(call(0, "a", "f", "{")),
            small(call(1, None, None, "]")),
            small(call(0, None, None, "}"), "tool_calls"),
        )
        + DONE,
        [folded(message(calls=[made("a", "f", "{}"), made("b", "g", "[]")]), "tool_calls")],
    ),
    # 7: a forced call ends with "stop"; calls that can't be used still are what they are.
    "forced tool call that ends with stop": Stream(
        data(small(call(0, "call_7f", "weather", '{"city":"Köln"}')), small({"content": ""}, "stop")) + DONE,
        [folded(message("", None, [WEATHER]))],
    ),
    "tool calls without id and name": Stream(
        data(
            small(call(0, None, "", "look")), small(call(0, None, "", "_up\n")), small(call(0, None, "", '"}'), "stop")
        )
        + DONE,
        [folded(message(calls=[made("", "", 'look_up\n"}')]))],
    ),
    # 8: the whole answer as reasoning; nothing at all.
    "answer in reasoning": Stream(
        data(small({"content": None, "reasoning_content": "Hello"}), small({"content": ""}, "stop")) + DONE,
        [folded(message("", "Hello"))],
    ),
    "stop with nothing": Stream(data(small({"content": None}), small({}, "stop")) + DONE, [folded(message())]),
    # 9: ends without [DONE].
    "finish, no [DONE]": Stream(data(small({"content": "Hello"}, "stop")), HELLO, done=False),
    "finish, and [DONE] cut off": Stream(data(small({"content": "Hello"}, "stop")) + b"data: [DON", HELLO, done=False),
    "no finish, no [DONE]": Stream(
        data(small({"content": "Hel"}), small({"content": "lo"})) + b'data: {"choices":[{"ind',
        [folded(message("Hello"), None)],
        done=False,
    ),
    "[DONE] and no finish": Stream(data(small({"content": "Hello"})) + DONE, [folded(message("Hello"), None)]),
    # 11: what compatible servers and relays also send.
    "fragments without index": Stream(
        data(
            small(call(None, "a", "f")),
            small(call(None, None, None, "{")),
            small(call(None, None, None, "}")),
            small(call(None, "b", "g", "[]"), "tool_calls"),
        )
        + DONE,
        [folded(message(calls=[made("a", "f", "{}"), made("b", "g", "[]")]), "tool_calls")],
    ),
    "two fragments of one index in a chunk": Stream(
        data(
            small(
                {"tool_calls": [*call(0, "a", "f", "{")["tool_calls"], *call(0, None, "", "}")["tool_calls"]]},
                "tool_calls",
            )
        )
        + DONE,
        [folded(message(calls=[made("a", "f", "{}")]), "tool_calls")],
    ),
    "whole calls in one chunk": Stream(
        data(
            small(
                {"tool_calls": [*call(0, "a", "f", "{}")["tool_calls"], *call(1, "b", "f", "[]")["tool_calls"]]},
                "tool_calls",
            )
        )
        + DONE,
        [folded(message(calls=[made("a", "f", "{}"), made("b", "f", "[]")]), "tool_calls")],
    ),
    "choices null": Stream(
        data({"choices": None}, small({"content": "Hello"}, "stop"), {"choices": None, "usage": tokens(1, 1)}) + DONE,
        HELLO,
        tokens(1, 1),
    ),
    "finish_reason absent, then empty": Stream(
        data(
            {"choices": [{"index": 0, "delta": {"content": "Hel"}}]},
            small({"content": "lo"}, ""),
            small({"content": "", "reasoning_content": ""}, "stop"),
            small({}, ""),
        )
        + DONE,
        [folded(message("Hello", ""))],
    ),
    "reasoning under its other name": Stream(
        data(small({"content": None, "reasoning": "Hmm."}), small({"content": "Hello", "reasoning": None}, "stop"))
        + DONE,
        [folded(message("Hello", "Hmm."))],
    ),
    "arguments as an object": Stream(
        data(small(call(0, "call_7f", "weather", {"city": "Köln"}), "tool_calls")) + DONE,
        [folded(message(calls=[WEATHER]), "tool_calls")],
    ),
    "a new call id on each chunk": Stream(
        data(small(call(0, "a", "f", "{")), small(call(0, "b", "", "}")), small(call(0, "c", "f"), "tool_calls"))
        + DONE,
        [folded(message(calls=[made("a", "f", "{}")]), "tool_calls")],
    ),
    "frames after [DONE]": Stream(
        data(small({"content": "Hello"}, "stop"))
        + DONE
        + data(small({"content": " again"}), {"error": {"message": "late"}}, b"<html>", b"[DONE]"),
        HELLO,
    ),
    "id empty, role null": Stream(
        data(small({"role": None, "content": "Hel"}, id="", model=""), small({"content": "lo"}, "stop", id="")) + DONE,
        HELLO,
    ),
    "content as a list of parts": Stream(
        data(small({"content": [{"type": "text", "text": "Hel"}, "lo", {"type": "image"}, 5]}), small({}, "stop"))
        + DONE,
        HELLO,
    ),
    "n = 2, interleaved": Stream(
        data(
            chunk(choice({"content": "no"}, index=1)),
            chunk(choice({"content": "yes"}), choice({"content": "pe"}, index=1)),
            chunk(choice({}, "stop"), usage=tokens(3, 2)),
            chunk(choice({"content": "!"}, "length", index=1), usage=tokens(3, 4)),
        )
        + DONE,
        [folded(message("yes")), folded(message("nope!"), "length", 1)],
        tokens(3, 4),
    ),
    "logprobs": Stream(
        data(
            {
                "choices": [
                    choice(
                        {"content": "Hel"}, logprobs={"content": [{"token": "Hel", "logprob": -0.5}], "refusal": None}
                    )
                ]
            },
            {
                "choices": [
                    choice({"content": "lo"}, logprobs={"content": [{"token": "lo", "logprob": -1}], "refusal": None})
                ]
            },
            {"choices": [choice({}, "stop", logprobs=None)]},
        )
        + DONE,
        [HELLO[0] | {"logprobs": {"content": [{"token": "Hel", "logprob": -0.5}, {"token": "lo", "logprob": -1}]}}],
    ),
    "NaN among log probabilities": Stream(
        b'data: {"choices":[{"index":0,"delta":{"content":"Hello"},"finish_reason":"stop",'
        b'"logprobs":{"content":[{"token":"Hello","logprob":NaN,"top":[-Infinity]}]}}]}\n\n' + DONE,
        [HELLO[0] | {"logprobs": {"content": [{"token": "Hello", "top": [None]}]}}],
    ),
    "error, code and message null": Stream(
        data(small({"content": "Hello"}, "stop", error=None, code=None, message=None)) + DONE, HELLO
    ),
    "code 0 and an empty message": Stream(data(small({"content": "Hello"}, "stop", code=0, message="")) + DONE, HELLO),
    "bad UTF-8": Stream(
        b'data: {"choices":[{"index":0,"delta":{"content":"H\xffi\xe4\xbd"},"finish_reason":"stop"}]}\n\n' + DONE,
        [folded(message("H\ufffdi\ufffd"))],
    ),
    "an escaped emoji cut in two": Stream(
        data(b'{"choices":[{"delta":{"content":"a\\ud83d"}}]}', b'{"choices":[{"delta":{"content":"\\ude04b"}}]}')
        + DONE,
        [folded(message("a\ufffd\ufffdb"), None)],
    ),
    "wrong types all over": Stream(
        data(
            {
                "id": 7,
                "created": "now",
                "model": None,
                "choices": [{"index": "0", "delta": "x", "finish_reason": 3}, 5],
            },
            {"created": 1.5e9, "choices": {"a": 1}, "usage": "many", "system_fingerprint": []},
            {"choices": [{"index": 0.0, "delta": {"content": 5, "tool_calls": {"a": 1}}}]},
            {"choices": [{"delta": {"content": "Hello", "role": 1, "tool_calls": [None]}, "finish_reason": "stop"}]},
        )
        + DONE,
        HELLO,
    ),
    "usage of wrong types": Stream(
        data(
            small(
                {"content": "Hello"},
                "stop",
                usage={"prompt_tokens": "9", "completion_tokens": 2.0, "total_tokens": None},
            )
        )
        + DONE,
        HELLO,
        {"prompt_tokens": 0, "completion_tokens": 2, "total_tokens": 0},
    ),
    "a ping event that is no JSON": Stream(
        b"event: ping\ndata: still here\n\ndata:\n\n" + data(small({"content": "Hello"}, "stop")) + DONE, HELLO
    ),
    # Bodies that are no event stream.
    "bare objects with no separator": Stream(
        dump(small({"content": "Hel", "reasoning_content": ""}, ""))
        + dump(small({"content": "lo"}, "stop", usage=tokens(1, 2))),
        [folded(message("Hello", ""))],
        tokens(1, 2),
        done=False,
    ),
    "bare objects, a line each, [DONE]": Stream(
        b"\n" + dump(small({"content": "Hel"})) + b"\r\n" + dump(small({"content": "lo"}, "stop")) + b"\n[DONE]\n",
        HELLO,
    ),
    "bare objects, the last cut off": Stream(
        dump(small({"content": "Hello"}, "stop")) + b'{"choices":[{"index":0,"delta":{"cont', HELLO, done=False
    ),
    "a whole answer": Stream(
        b"\xef\xbb\xbf \n"
        + dump(
            {
                "id": ID,
                "object": "chat.completion",
                "model": MODEL,
                "choices": [{"index": 0, "message": message("Hello", "Hmm.", [WEATHER]), "finish_reason": "stop"}],
                "usage": FULL_USAGE,
            }
        ),
        [folded(message("Hello", "Hmm.", [WEATHER]))],
        FULL_USAGE,
        done=False,
    ),
}
