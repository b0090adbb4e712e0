from __future__ import annotations

import json
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from siliconflow_async import ConfigurationError, InvalidRequestError
from siliconflow_async.batch import lines
from siliconflow_async.batch.lines import (
    BAD,
    BLANK,
    LONGEST_LINE,
    PENDING,
    LineReader,
    check,
    parse_line,
    split_lines,
)

if TYPE_CHECKING:
    from pathlib import Path

BODY = {"model": "org/m", "messages": [{"role": "user", "content": "Hi"}]}


def wrapped(**changes: Any) -> bytes:
    line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": BODY}
    return json.dumps(line | changes).encode()


def bare(**changes: Any) -> bytes:
    return json.dumps(BODY | changes).encode()


def test_a_line_of_openais_batch_files_gives_its_body_and_id() -> None:
    """The body's parameters and the custom_id come out; the number of the line is kept beside them."""
    request = parse_line(wrapped(), 7, None)
    assert request == {**BODY, "custom_id": "a"}
    assert request is not None
    assert request.line == 7


def test_a_bare_body_is_a_request_known_by_its_line_or_its_own_id() -> None:
    """A body without an envelope gets an id from its number, unless it holds one."""
    assert parse_line(bare(), 7, None) == {**BODY, "custom_id": "line-7"}
    assert parse_line(bare(custom_id="b"), 7, None) == {**BODY, "custom_id": "b"}


def test_a_given_model_takes_the_place_of_the_lines_own() -> None:
    """The override counts with and without a model in the line."""
    assert parse_line(wrapped(), 1, "org/other") == {**BODY, "model": "org/other", "custom_id": "a"}
    request = parse_line(json.dumps({"messages": []}).encode(), 1, "org/other")
    assert request is not None
    assert request["model"] == "org/other"


def test_what_the_library_does_not_know_or_keeps_for_code_goes_into_the_body_as_it_is() -> None:
    """Unknown parameters reach the service; a file can't set headers."""
    request = parse_line(bare(user="me", extra_headers={"Authorization": "x"}, seed=1, stream=False), 1, None)
    assert request == {
        **BODY,
        "seed": 1,
        "custom_id": "line-1",
        "extra_body": {"user": "me", "extra_headers": {"Authorization": "x"}},
    }


def test_a_byte_order_mark_and_blank_lines_are_no_trouble() -> None:
    """The mark is dropped from the first line; white space alone is no request."""
    assert parse_line(b"\xef\xbb\xbf" + bare(), 1, None) is not None
    assert parse_line(b"\xef\xbb\xbf", 1, None) is None
    assert parse_line(b" \r", 2, None) is None


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_is_named_as_such(encoding: str) -> None:
    """By its mark, at once, and not as bad lines, of which it would have nothing else."""
    data = f"\ufeff{json.dumps(BODY)}".encode(encoding)
    with pytest.raises(ConfigurationError, match=r"the requests are in UTF-16, .*: save them as UTF-8"):
        parse_line(data, 1, None)
    with pytest.raises(InvalidRequestError, match="line 2: not JSON"):
        parse_line(data, 2, None)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"{", "not JSON: "),
        (b'"\xff"', "not JSON: "),
        (b"[" * 100_000, "not JSON: "),
        (b'{"messages": ["\\ud800"]}', "not JSON: "),
        (b"[]", "not a JSON object"),
        (wrapped(custom_id=3), "custom_id must be text, not 3"),
        (wrapped(method="GET"), "method must be POST, not 'GET'"),
        (wrapped(url="/v1/embeddings"), "url must be /v1/chat/completions, not '/v1/embeddings'"),
        (wrapped(url=None), "url must be /v1/chat/completions, not None"),
        (wrapped(body=[]), "body must be an object"),
        (wrapped(body={"messages": []}), "no model"),
        (bare(messages="Hi"), "no list of messages"),
        (b" " + b"x" * LONGEST_LINE, f"longer than {LONGEST_LINE} bytes"),
    ],
    ids=lambda value: value[:30].decode(errors="replace") if isinstance(value, bytes) else "",
)
def test_a_bad_line_is_named_by_its_number(data: bytes, why: str) -> None:
    """The error says which line it is and what is wrong with it."""
    with pytest.raises(InvalidRequestError) as caught:
        parse_line(data, 12, None)
    assert str(caught.value).startswith(f"line 12: {why}")


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=3)))
def test_an_id_is_that_of_the_first_line_that_has_it(names: list[str]) -> None:
    """A later line of the same id is a bad one, and names the first."""
    reader = LineReader(None)
    lines: dict[str, int] = {}
    for number, name in enumerate(names, 1):
        data = wrapped(custom_id=name)
        if name in lines:
            with pytest.raises(InvalidRequestError, match=f"line {number}: .* is that of line {lines[name]}$"):
                reader.read(data, number)
        else:
            assert reader.read(data, number) is not None
            lines[name] = number
    assert {name: reader.line_of(name) for name in names} == lines
    assert reader.line_of("a longer one") == 0


def test_ids_are_held_in_few_bytes_however_long_they_are() -> None:
    """Thirty thousand ids of 200 characters are all found again, and the peak of memory is below 75 bytes for each."""
    names = [f"{i:0200}" for i in range(30_000)]
    reader = LineReader(None)
    tracemalloc.start()
    try:
        for number, name in enumerate(names, 1):
            reader.read(wrapped(custom_id=name), number)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 75 * len(names)
    assert all(reader.line_of(name) == number for number, name in enumerate(names, 1))


@given(st.binary(max_size=30).map(lambda data: data.replace(b"x", b"\n")), st.integers(1, 7))
def test_lines_are_the_same_however_a_file_is_cut_into_pieces(data: bytes, size: int) -> None:
    """Only a line feed ends a line, and the last line needs none."""
    expected = data.split(b"\n")
    if not expected[-1]:
        expected.pop()
    assert list(split_lines(data[i : i + size] for i in range(0, len(data), size))) == expected


def test_an_endless_line_is_not_held() -> None:
    """Beyond the longest line nothing is kept, and the next line is read as if nothing had been."""
    piece = b"x" * (LONGEST_LINE // 4)
    first, second = split_lines([*[piece] * 9, b"\nnext"])
    assert (len(first), second) == (LONGEST_LINE + 1, b"next")


@pytest.mark.anyio
async def test_the_first_pass_says_which_lines_are_bad_and_sends_nothing(tmp_path: Path) -> None:
    """Bad lines and duplicates are told by number, and end it; or they are skipped, and the first of two counts."""
    path = tmp_path / "requests.jsonl"
    path.write_bytes(b"\n".join([wrapped(), b"", b"{", wrapped(), wrapped(custom_id="b")]))
    told: list[str] = []
    with pytest.raises(InvalidRequestError, match=r"2 bad lines, nothing was sent; the first is line 3: not JSON"):
        await check(path, None, on_bad=told.append)
    assert [line.partition(":")[0] for line in told] == ["line 3", "line 4"]
    assert told[1] == "line 4: custom_id 'a' is that of line 1"
    checked = await check(path, None, skip_bad=True)
    assert checked.bad == 2
    assert list(checked.states[1:]) == [PENDING, BLANK, BAD, BAD, PENDING]
    assert (checked.lines.line_of("a"), checked.lines.line_of("b")) == (1, 5)


@pytest.mark.anyio
async def test_a_file_that_is_not_there_or_can_be_read_only_once_is_refused(tmp_path: Path) -> None:
    """The error names the path."""
    for path in (tmp_path / "nothing", tmp_path):
        with pytest.raises(ConfigurationError, match=str(path)):
            await check(path, None)


@pytest.mark.anyio
async def test_the_fingerprint_is_that_of_the_bytes(tmp_path: Path) -> None:
    """Another file with the same bytes has the same one; one byte more makes another."""
    prints = []
    for name, more in (("a", b""), ("b", b""), ("c", b" ")):
        (tmp_path / name).write_bytes(wrapped() + more)
        prints.append((await check(tmp_path / name, None)).fingerprint)
    assert prints[0] == prints[1] != prints[2]


def test_two_ids_of_one_digest_are_two_ids() -> None:
    """As good as never seen, so that the table is given one of the digests beforehand, as another id's."""
    reader = LineReader(None)
    key, rest = lines._digest("a")
    reader._lines.put(key, 7 << lines._REST_BITS | (rest ^ 1))
    data = bare(custom_id="a")
    assert reader.line_of("a") == 0
    assert reader.read(data, 8) is not None
    assert reader.line_of("a") == 8
    with pytest.raises(InvalidRequestError, match="custom_id 'a' is that of line 8"):
        reader.read(data, 9)
