"""The forgiving JSON parser: what it takes beyond RFC 8259, and that it raises ValueError for the rest."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from siliconflow_async.wire.jsontext import encode, parse, parse_each, without_none
from siliconflow_async.wire.plain import Plain
from siliconflow_async.wire.protocol import ChatProtocol, decode_completion


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b'{"a":[1,2.5,null,true,"\xc3\xa9"]}', {"a": [1, 2.5, None, True, "é"]}),
        (b' \n{"a":1}\r\n ', {"a": 1}),
        (b'"a\xffb"', "a\ufffdb"),
        (b'{"\xff":"\xe4\xbd"}', {"\ufffd": "\ufffd"}),
        (b'"\\ud83d"', "\ufffd"),
        (b'["\\ud83d", {"\\ude04": ["\\udfff"]}]', ["\ufffd", {"\ufffd": ["\ufffd"]}]),
        (b'"\\ud83d\\ude04"', "😄"),
        (b'"\xed\xa0\xbd"', "\ufffd\ufffd\ufffd"),
        (b"[Infinity, -Infinity]", [math.inf, -math.inf]),
        (b"1e999", math.inf),
        (b"123456789012345678901234567890", 123456789012345678901234567890),
    ],
)
def test_what_servers_really_send_is_read(data: bytes, value: Any) -> None:
    """Bad UTF-8 and lone surrogates become U+FFFD; numbers out of range are numbers."""
    assert parse(data) == value


def test_nan_is_read() -> None:
    """NaN, which no JSON has, is a float."""
    assert math.isnan(parse(b'{"a":NaN}')["a"])


@pytest.mark.parametrize(
    "data",
    [b"", b" ", b"{", b"nul", b"{'a':1}", b'{"a":1}{}', b'"a\nb"', b"[1,]", b"\xef\xbb\xbf{}", b"1" * 10_000, b"\x00"],
)
def test_what_is_no_json_is_a_value_error(data: bytes) -> None:
    """Anything else raises ValueError and nothing but ValueError."""
    with pytest.raises(ValueError, match=r"."):
        parse(data)


@pytest.mark.parametrize("opener", [b"[", b'{"a":', b'[{"a":'])
def test_nesting_that_is_too_deep_is_a_value_error(opener: bytes) -> None:
    """A hundred thousand levels are refused, closed or not."""
    closer = b"".join(
        {b"[": b"]", b"{": b"}"}[opener[i : i + 1]] for i in range(len(opener) - 1, -1, -1) if opener[i] in b"[{"
    )
    for data in (opener * 100_000, opener * 100_000 + b"1" + closer * 100_000):
        with pytest.raises(ValueError, match=r"deep|memory"):
            parse(data)
        with pytest.raises(ValueError, match=r"deep|memory"):
            list(parse_each(b"{} " + data))


@pytest.mark.parametrize("depth", [100, 300, 450, 500, 600, 900, 990, 1100])
@pytest.mark.parametrize("inside", [b"1", b"NaN", b'"\xff"'])
def test_every_depth_is_read_or_refused(depth: int, inside: bytes) -> None:
    """At any depth there is a value that can be written again or left out, or a ValueError; never a RecursionError."""
    for data in (b"[" * depth + inside + b"]" * depth, b'{"a":' * depth + inside + b"}" * depth):
        try:
            values = [parse(data), *(value for value, _ in parse_each(b"{}" + data))]
        except ValueError as error:
            values = [str(error)]
        for value in values:
            assert isinstance(bytes(encode(value)), bytes)
            without_none(value)


@pytest.mark.parametrize("frames", [0, 50, 100, 200, 300])
def test_log_probabilities_of_any_depth_can_be_encoded_from_any_depth_of_calls(frames: int) -> None:
    """What is nested so deep that writing it might fail is absent, whichever way it was read."""
    for depth in (2, 8, 20, 400, 850):
        deep = b'{"a":' + b"[" * depth + b"]" * depth + b"}"
        [one] = ChatProtocol(1 << 20).feed(b'data: {"choices":[{"logprobs":%b}]}\n\n' % deep)
        answers: list[Plain] = [one, decode_completion(b'{"choices":[{"logprobs":%b}]}' % deep)]

        def deeper(left: int, answers: list[Plain] = answers) -> list[dict[str, Any]]:
            if left:
                return deeper(left - 1)
            assert all(json.loads(answer.to_json()) == answer.to_dict() for answer in answers)
            return [answer.to_dict()["choices"][0]["logprobs"] for answer in answers]

        assert (deeper(frames)[0] == json.loads(deep)) is (depth <= 8)
        assert deeper(frames)[0] == deeper(frames)[1]


@pytest.mark.parametrize(
    ("data", "texts"),
    [
        (b"{}", [b"{}"]),
        (b" {} ", [b" {} "]),
        (b'{"a":1}{"b":2}', [b'{"a":1}', b'{"b":2}']),
        (b'\n{"a":1}\r\n\r\n[2] "c"4', [b'{"a":1}', b"[2]", b'"c"', b"4"]),
        (b'{"a":"\xff\xe4"}{"b":"\xc3\xa9"}', [b'{"a":"\xff\xe4"}', b'{"b":"\xc3\xa9"}']),
        (b'{"a":NaN}{"a":"\\ud83d"}', [b'{"a":NaN}', b'{"a":"\\ud83d"}']),
        (b'{"a":1}{"b', [b'{"a":1}']),
        (b'{"a":1}{"b":[1', [b'{"a":1}']),
        (b'{"a":"\xe4', []),
        (b"[", []),
        (b"", []),
        (b" \n", []),
    ],
)
def test_texts_that_follow_one_another_come_with_their_bytes(data: bytes, texts: list[bytes]) -> None:
    """Each text comes with its own bytes as sent; one that is cut short is dropped."""
    found = list(parse_each(data))
    assert [raw for _, raw in found] == texts
    assert all(encode(value) == encode(parse(raw)) for value, raw in found)


@pytest.mark.parametrize("data", [b"{}x", b"{}{'a':1}", b"x", b'{"a":1},{"b":2}', b'{"a":nul}', b"[DONE]"])
def test_what_is_no_text_ends_the_sequence(data: bytes) -> None:
    """Texts before rubbish are yielded; then it is a ValueError."""
    found = []
    with pytest.raises(ValueError, match="Expecting"):  # noqa: PT012 - what came before the error is looked at
        for value, _ in parse_each(data):
            found.append(value)
    assert len(found) == (data[:1] == b"{" and data != b'{"a":nul}')


def test_keys_that_are_null_can_be_left_out() -> None:
    """`without_none` drops null in objects, at any level, and keeps it in lists."""
    assert without_none({"a": None, "b": {"c": None, "d": [None, {"e": None}]}}) == {"b": {"d": [None, {}]}}


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(), inner, max_size=4)),
    max_leaves=12,
)


@given(json_values)
def test_any_json_is_read_as_the_standard_library_reads_it(value: Any) -> None:
    """JSON of any value comes back, alone and in a sequence, and `encode` is the way back."""
    text = json.dumps(value).encode()
    assert parse(text) == value
    assert parse(encode(value)) == value
    assert [item for item, _ in parse_each(text + b"\n" + text)] == [value, value]


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_a_value_error(data: bytes) -> None:
    """No bytes raise anything else, and what was read can be written."""
    try:
        values = [value for value, _ in parse_each(data)]
    except ValueError:
        return
    assert all(bytes(encode(value)) for value in values)
