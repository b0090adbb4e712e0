from __future__ import annotations

import json
from typing import Any

import pytest

from siliconflow_async.testing import sse, stream_events
from siliconflow_async.testing.serving.answers import CallPieces, ChatAnswer, ChoicePieces, deltas, new_id


def chunks(events: list[bytes]) -> list[Any]:
    assert all(event.startswith(b"data: ") and event.endswith(b"\n\n") for event in events)
    return [json.loads(event[6:]) for event in events if event != b"data: [DONE]\n\n"]


def test_small_pieces_of_a_text_join_to_the_text() -> None:
    text = "Hello, world!\n\n  One 1234 two. 你好，世界 👩‍👩‍👧 é́ ~ end "
    pieces = deltas(text)
    assert "".join(pieces) == text
    assert len(pieces) > 15
    assert max(map(len, pieces)) <= 8


def test_an_id_has_32_hex_digits_and_grows() -> None:
    first, second = new_id(), new_id()
    assert len(first) == 32
    assert int(first, 16) >> 80 <= int(second, 16) >> 80
    assert first != second


def test_an_event_is_its_data_and_an_empty_line() -> None:
    assert sse({"a": "é"}) == 'data: {"a":"é"}\n\n'.encode()
    assert sse("[DONE]") == sse(b"[DONE]") == b"data: [DONE]\n\n"


def test_a_text_stream_has_the_recorded_shape() -> None:
    events = stream_events(["你", "好"], model="org/m")
    assert events[-1] == b"data: [DONE]\n\n"
    seen = chunks(events)
    assert [chunk["choices"][0]["delta"] for chunk in seen] == [
        {"content": "", "reasoning_content": None, "role": "assistant"},
        {"content": "你", "reasoning_content": None},
        {"content": "好", "reasoning_content": None},
        {"content": "", "reasoning_content": None},
    ]
    assert [chunk["choices"][0]["finish_reason"] for chunk in seen] == [None, None, None, "stop"]
    assert [chunk["usage"]["completion_tokens"] for chunk in seen] == [0, 1, 2, 2]
    assert [*seen[0]] == ["id", "object", "created", "model", "choices", "system_fingerprint", "usage"]
    assert len({chunk["id"] for chunk in seen}) == 1
    assert seen[0]["object"] == "chat.completion.chunk"
    assert seen[0]["model"] == "org/m"
    assert seen[0]["system_fingerprint"] == ""


def test_reasoning_comes_first_and_is_counted() -> None:
    seen = chunks(stream_events(["b"], ["a"]))
    assert [chunk["choices"][0]["delta"] for chunk in seen] == [
        {"content": None, "reasoning_content": "", "role": "assistant"},
        {"content": None, "reasoning_content": "a", "role": "assistant"},
        {"content": "b", "reasoning_content": None, "role": "assistant"},
        {"content": "", "reasoning_content": None, "role": "assistant"},
    ]
    details = [chunk["usage"].get("completion_tokens_details") for chunk in seen]
    assert details == [None, *[{"reasoning_tokens": 1}] * 3]


def test_a_tool_call_is_an_opener_and_fragments() -> None:
    call = {"name": "look", "arguments": {"a": 1}, "id": "call_1"}
    deltas_seen = [chunk["choices"][0]["delta"] for chunk in chunks(stream_events(tool_calls=[call]))][1:-1]
    assert all(delta["content"] is delta["reasoning_content"] is None for delta in deltas_seen)
    opener, *fragments = [delta["tool_calls"][0] for delta in deltas_seen]
    assert opener == {
        "index": 0,
        "id": "call_1",
        "type": "function",
        "function": {"name": "look", "arguments": ""},
    }
    assert all(part["id"] is part["type"] is None and part["index"] == 0 for part in fragments)
    assert all([*part["function"]] == ["arguments"] for part in fragments)
    assert "".join(part["function"]["arguments"] for part in fragments) == '{"a":1}'


def test_calls_finish_with_tool_calls_unless_told_otherwise() -> None:
    calls = [{"name": "look"}]
    assert chunks(stream_events(tool_calls=calls))[-1]["choices"][0]["finish_reason"] == "tool_calls"
    events = stream_events(tool_calls=calls, finish_reason="stop")
    assert chunks(events)[-1]["choices"][0]["finish_reason"] == "stop"


def test_finish_and_done_can_be_left_out() -> None:
    events = stream_events(["a"], finish=False, done=False)
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks(events)] == [None, None]
    assert events[-1] != b"data: [DONE]\n\n"


def counted(prompt: int, completion: int) -> dict[str, object]:
    """A usage as the service tells it: what its cache held is part of it."""
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": 0},
        "prompt_cache_hit_tokens": 0,
        "prompt_cache_miss_tokens": prompt,
    }


def test_usage_can_come_once_in_a_last_chunk_without_choices() -> None:
    *others, last = chunks(stream_events(["a"], usage_on="last"))
    assert all("usage" not in chunk for chunk in others)
    assert last["choices"] == []
    assert last["usage"] == counted(1, 1)


def test_usage_can_be_left_out() -> None:
    assert all("usage" not in chunk for chunk in chunks(stream_events(["a"], usage_on="never")))
    assert "usage" not in json.loads(ChatAnswer([ChoicePieces(["a"])], "m", usage_on="never").body())


def test_a_given_usage_is_the_final_one() -> None:
    usage = {"prompt_tokens": 7, "completion_tokens": 8, "total_tokens": 15, "extra": 1}
    seen = chunks(stream_events(["a"], usage=usage))
    assert seen[-1]["usage"] == usage
    assert seen[-2]["usage"] != usage
    assert json.loads(ChatAnswer([ChoicePieces(["a"])], "m", usage=usage).body())["usage"] == usage


def test_choices_are_interleaved() -> None:
    events = ChatAnswer([ChoicePieces(["a", "b", "c"]), ChoicePieces(["x"])], "m").events()
    order = [chunk["choices"][0]["index"] for chunk in chunks(events)]
    assert order == [0, 1, 0, 1, 0, 1, 0, 0]


def test_a_model_name_is_sent_whatever_is_in_it() -> None:
    assert chunks(stream_events("a", model='or"g/100%d'))[0]["model"] == 'or"g/100%d'


def test_a_whole_answer_leaves_out_what_it_does_not_use() -> None:
    body = json.loads(ChatAnswer([ChoicePieces(["He", "llo"])], "org/m", prompt_tokens=3, id="0", created=1).body())
    assert body == {
        "id": "0",
        "object": "chat.completion",
        "created": 1,
        "model": "org/m",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello"},
                "finish_reason": "stop",
            }
        ],
        "usage": counted(3, 2),
        "system_fingerprint": "",
    }


def test_a_whole_answer_has_reasoning_and_calls() -> None:
    choice = ChoicePieces((), ["Hm"], [CallPieces("look", ["{", "}"], "id")], "tool_calls")
    message = json.loads(ChatAnswer([choice], "m").body())["choices"][0]["message"]
    assert message == {
        "role": "assistant",
        "content": "",
        "reasoning_content": "Hm",
        "tool_calls": [{"id": "id", "type": "function", "function": {"name": "look", "arguments": "{}"}}],
    }


def test_a_misspelt_tool_call_is_refused() -> None:
    with pytest.raises(ValueError, match="name, arguments and id"):
        stream_events(tool_calls=[{"nam": "look"}])
