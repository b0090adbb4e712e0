"""One chat stream as a state machine: every shape of stream, cut in every way, gives one result."""

from __future__ import annotations

import gc
import tracemalloc

import pytest

from siliconflow_async.errors import (
    APIStatusError,
    EventTooLargeError,
    MalformedStreamError,
    OverloadedError,
    RateLimitError,
    StreamAPIError,
)
from siliconflow_async.wire.protocol import ChatProtocol, decode_completion

from .build import DONE, ID, MODEL, data, dump, small
from .runs import run, run_every_way
from .streams import STREAMS


@pytest.mark.parametrize("name", STREAMS)
def test_every_shape_folds_to_its_answer_however_it_is_cut(name: str) -> None:
    """A stream's chunks, answer and end do not depend on how its bytes arrive."""
    stream = STREAMS[name]
    result = run_every_way(stream.body)
    assert result.failure is None
    assert result.done is stream.done
    assert result.answer["choices"] == stream.choices
    assert result.answer.get("usage") == stream.usage
    assert result.finished is all("finish_reason" in item for item in stream.choices)


def test_the_head_of_the_answer_is_that_of_its_chunks() -> None:
    """id, created, model and fingerprint come from the stream; the object is a whole answer."""
    answer = run([STREAMS["text"].body]).answer
    assert {key: value for key, value in answer.items() if key not in ("choices", "usage")} == {
        "id": ID,
        "object": "chat.completion",
        "created": 1764681242,
        "model": MODEL,
        "system_fingerprint": "",
    }


def test_raw_is_the_bytes_of_the_event() -> None:
    """Each chunk carries its own bytes, also where several come in one event's lines or without framing."""
    one, two = dump(small({"content": "a"}, unknown=[1])), b'{"choices":[{"delta":{"content":"\xff"}}]}'
    for body in (data(one, two) + DONE, one + two, one + b"\n" + two, one + two + b"[DONE]"):
        assert [raw for _, raw in run_every_way(body).chunks] == [one, two]
    assert run([b"data: {\ndata: }\n\n"]).chunks == [
        ({"id": "", "object": "chat.completion.chunk", "created": 0, "model": "", "choices": []}, b"{\n}")
    ]


def test_the_wire_cannot_set_raw() -> None:
    """A key of the name under which raw is kept is overwritten, whatever its value."""
    for value in ("aGVsbG8=", None, 7, {"a": 1}, "not base64!"):
        payload = dump(small({"content": "a"}, **{"$raw": value}))
        [(chunk, raw)] = run([data(payload)]).chunks
        assert raw == payload
        assert "$raw" not in chunk


HELLO = data(small({"content": "Hel"}), small({"content": "lo"}))
# What ends a stream as an error: the code and the message that come of it.
ERRORS: dict[str, tuple[bytes, int | str | None, str]] = {
    "house envelope": (
        data({"code": 50505, "message": "Model service overloaded.", "data": None}),
        50505,
        "Model service overloaded.",
    ),
    "house envelope, choices null": (data({"choices": None, "code": 20015, "message": "no"}), 20015, "no"),
    "house envelope, choices empty": (data({"choices": [], "code": "20015", "message": "no"}), "20015", "no"),
    "house envelope, words in data": (data({"code": 1, "message": "", "data": "no"}), 1, "no"),
    "code alone": (data({"code": 50507}), 50507, ""),
    "message alone": (data({"message": "no"}), None, "no"),
    "error object": (data({"error": {"message": "no", "type": "x", "param": None, "code": "y"}}), "y", "no"),
    "error object, code in numbers": (data({"error": {"message": "no", "code": 503}}), 503, "no"),
    "error text": (data({"error": "no"}), None, "no"),
    "error text with a code beside": (data({"error": "no", "code": 7}), 7, "no"),
    "error of another type": (data({"error": True}), None, "True"),
    "error beside choices": (data(small({"content": ""}, "error", error={"message": "no", "code": 502})), 502, "no"),
    "event: error with JSON": (b"event: error\n" + data({"error": {"message": "no", "code": 5}}), 5, "no"),
    "event: error, envelope": (b"event: error\n" + data({"code": 6, "message": "no"}), 6, "no"),
    "event: error, other JSON": (b"event: error\n" + data({"detail": "no"}), None, "no"),
    "event: error, JSON text": (b'event: error\ndata: "no"\n\n', None, "no"),
    "event: error, text": (b"event: error\ndata: no\ndata: way\n\n", None, "no\nway"),
    "event: error, bad UTF-8": (b"event: error\ndata: n\xff\n\n", None, "n\ufffd"),
    "event: error, nothing": (b"event: error\ndata:\n\n", None, ""),
    "event: error after the data": (b"data: no\nevent: error\n\n", None, "no"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_frame_ends_the_stream_after_the_chunks_before_it(name: str) -> None:
    """Chunks before an error frame are given out first, nothing after it; code and message are the service's."""
    frame, code, message = ERRORS[name]
    result = run_every_way(HELLO + frame + data(small({"content": "never"}, "stop")) + DONE)
    assert result.content == "Hello"
    assert not result.done
    protocol = ChatProtocol(1000)
    protocol.feed(frame)
    assert isinstance(protocol.failure, StreamAPIError)
    assert (protocol.failure.code, protocol.failure.message) == (code, message)
    assert result.failure == (StreamAPIError, str(protocol.failure))


MALFORMED: dict[str, bytes] = {
    "not JSON": b"data: hello\n\n",
    "half an object": b'data: {"choices":[\n\n',
    "two objects": b"data: {}{}\n\n",
    "a list": b"data: [1]\n\n",
    "a string": b'data: "hello"\n\n',
    "null": b"data: null\n\n",
    "a number": b"data: 5\n\n",
    "HTML": b"data: <html>\n\n",
    "nested too deep": b'data: {"choices":' + b"[" * 200_000 + b"\n\n",
    "lists nested too deep": b"data: " + b"[" * 5000 + b"]" * 5000 + b"\n\n",
    "a number of 10,000 digits": b'data: {"created":' + b"1" * 10_000 + b"}\n\n",
    "a key of one quote": b"data: {'a': 1}\n\n",
}


@pytest.mark.parametrize("name", MALFORMED)
def test_what_is_no_object_ends_the_stream_after_the_chunks_before_it(name: str) -> None:
    """An event that holds no JSON object is a MalformedStreamError that shows its start."""
    body = HELLO + MALFORMED[name] + data(small({"content": "never"})) + DONE
    result = run([body]) if len(body) > 1000 else run_every_way(body)
    assert result.content == "Hello"
    assert result.failure is not None
    assert result.failure[0] is MalformedStreamError
    assert len(result.failure[1]) < 400


@pytest.mark.parametrize(
    ("body", "error", "words"),
    [
        (b"<!DOCTYPE html><html><head><title>502</title></head>" + b"x" * 200, MalformedStreamError, "HTML"),
        (b" \r\n<html>", MalformedStreamError, "<html>"),
        (b"\xef\xbb\xbf<?xml version='1.0'?>", MalformedStreamError, "HTML or XML"),
        (b'"Invalid token"', MalformedStreamError, "Invalid token"),
        (b"[1, 2]", MalformedStreamError, "not an object"),
        (b'{"a": nul}', MalformedStreamError, "not a chat answer"),
        (b"{" * 100_000 + b"}", MalformedStreamError, "not a chat answer"),
        (b'{"a":' * 40_000 + b"1" + b"}" * 40_000, MalformedStreamError, "too deep"),
        (b"upstream connect error or disconnect", MalformedStreamError, "upstream connect"),
        (b"Internal Server Error\n", MalformedStreamError, "text"),
        (b"error: upstream\n\n", MalformedStreamError, "text"),
        (b'{"code":50505,"message":"Busy.","data":null}', OverloadedError, "Busy."),
        (b'{"code":"50602","message":"Busy."}', RateLimitError, "Busy."),
        (b'{"error":{"message":"Slow down.","code":429}}', RateLimitError, "Slow down."),
        (b'{"error":"What?"}', APIStatusError, "What?"),
        (b'{"code":77777,"message":"What?"}', APIStatusError, "What?"),
        (b'\n{\n  "message": "What?"\n}\n', APIStatusError, "What?"),
    ],
)
def test_a_body_under_200_that_is_no_stream_says_what_it_is(body: bytes, error: type[Exception], words: str) -> None:
    """HTML, text, strings and error objects raise; an error's class goes by its code."""
    result = run([body]) if len(body) > 1000 else run_every_way(body)
    assert result.chunks == []
    assert result.failure is not None
    assert result.failure[0] is error
    assert words in result.failure[1]


def test_an_error_behind_bare_chunks_comes_after_them() -> None:
    """Bare objects before an error object, or before rubbish, are given out first."""
    chunks = dump(small({"content": "Hel"})) + dump(small({"content": "lo"}))
    for tail, error in (
        (b'{"code":50505,"message":"Busy."}', StreamAPIError),
        (b"oops", MalformedStreamError),
        (b"oops[DONE]", MalformedStreamError),
        (b'{"a":oops}', MalformedStreamError),
        (b"[]", MalformedStreamError),
    ):
        result = run_every_way(chunks + tail)
        assert result.content == "Hello"
        assert result.failure is not None
        assert result.failure[0] is error


@pytest.mark.parametrize(
    "body",
    [b"", b"\n\n", b" ", b": ping\n\n", b"\xef\xbb\xbf", b"\xef\xbb", b"data: {", b"dat", b'{"choices":[', b'"Inv'],
)
def test_a_body_that_ends_before_it_says_anything_is_no_failure(body: bytes) -> None:
    """Nothing, or the start of something, gives no chunk and no failure: whoever reads knows that it is truncated."""
    result = run_every_way(body)
    assert (result.chunks, result.done, result.failure) == ([], False, None)


def test_text_after_chunks_is_no_failure() -> None:
    """Once chunks came, a line that is no field is what the standard says it is: nothing."""
    result = run_every_way(HELLO + b"upstream connect error")
    assert (result.content, result.done, result.failure) == ("Hello", False, None)


def test_many_spaces_before_a_body_are_read_alike_however_cut() -> None:
    """What a body is gets settled within its first 80 bytes, not by the first read."""
    for spaces in (1, 40, 78, 79, 80, 81, 200):
        run_every_way(b" " * spaces + dump(small({"content": "a"})))
        run_every_way(b"\n" * spaces + data(small({"content": "a"})) + DONE)
        run_every_way(b"\xef\xbb\xbf" + b" " * spaces + b"<html>")


@pytest.mark.parametrize(
    "tail",
    [
        data(small({"content": "x" * 300})),
        b"data: " + b"x" * 300,
        b": " + b"x" * 300,
        b"data: xxxxxxxxx\n" * 30 + b"\n",
        b"x" * 300,
    ],
)
def test_an_event_that_is_too_large_comes_after_the_chunks_before_it(tail: bytes) -> None:
    """The cap on an event ends the stream with its own error, after what fitted."""
    result = run_every_way(HELLO + tail + DONE, max_event_size=250)
    assert result.content == "Hello"
    assert result.failure == (EventTooLargeError, "an event of the stream is larger than 250 bytes")


def test_a_body_that_is_no_event_stream_has_the_cap_too() -> None:
    """A JSON body is kept only up to the limit."""
    result = run_every_way(dump(small({"content": "x" * 300})), max_event_size=250)
    assert result.failure == (EventTooLargeError, "the body is larger than 250 bytes")


@pytest.mark.parametrize(
    "body",
    [
        data(small({"content": "x" * 300})),
        b"data: {\n\n",
        b"<html>" * 50,
        b"{" + b"x" * 300,
        *(ERRORS[k][0] for k in ERRORS),
    ],
)
def test_a_failed_stream_is_freed_without_the_garbage_collector(body: bytes) -> None:
    """Its failure holds no traceback back to the stream."""
    gc.collect()
    run([HELLO + body], max_event_size=250)
    run([body], max_event_size=250)
    assert gc.collect() == 0


def test_done_counts_also_with_a_huge_event_behind() -> None:
    """After [DONE] nothing is a failure."""
    result = run_every_way(data(small({"content": "a"}, "stop")) + DONE + b"x" * 600, max_event_size=250)
    assert (result.done, result.failure) == (True, None)


def test_a_large_event_is_weighed_however_it_comes() -> None:
    """In one read or in many, what would take many times its size is not decoded."""
    body = b'data: {"choices":[{"logprobs":{"content":[%s]}}]}\n\n' % b",".join([b"[]"] * 300_000)
    for size in (len(body), 1000, 100_000):
        protocol = ChatProtocol(1 << 24)
        for at in range(0, len(body), size):
            assert protocol.feed(body[at : at + size]) == []
        assert "of memory" in str(protocol.failure)


def test_bare_objects_end_where_they_are_too_many_for_their_bytes() -> None:
    """Next to nothing, again and again, is malformed; as many real chunks are an answer."""
    count = 20_000
    protocol = ChatProtocol(1 << 24)
    protocol.feed(b"{}" * count)
    protocol.eof()
    assert f"more than {4096 + 2 * count // 32:,} objects in {2 * count:,} bytes" in str(protocol.failure)
    real = b'{"choices":[{"index":0,"delta":{"content":"a"}}]}'
    protocol = ChatProtocol(1 << 24)
    protocol.feed(real * count)
    assert len(protocol.eof()) == count
    assert protocol.failure is None


def test_objects_of_any_size_follow_one_another() -> None:
    """Bare objects are found whatever their size is, beside the pieces in which they are looked for."""
    sizes = (1, 262_100, 262_144, 5, 700_000, 262_143)
    texts = [letter * size for letter, size in zip("a\u00e9\u20acb\U0001f600c", sizes, strict=True)]
    protocol = ChatProtocol(1 << 24)
    protocol.feed(b" \n".join(dump({"choices": [{"delta": {"content": text}}]}) for text in texts))
    assert [chunk.content for chunk in protocol.eof()] == texts


def test_an_answer_that_came_as_a_stream_is_read_piece_by_piece() -> None:
    """Its chunks together would take many times its bytes."""
    body = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n' + b"data: {}\n\n" * 200_000
    tracemalloc.start()
    try:
        completion = decode_completion(body)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert completion.finish_reason == "stop"
    assert peak < 2 * len(body)
