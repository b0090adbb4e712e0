"""The SSE decoder, after WHATWG HTML §9.2.6: every vector whole, byte by byte, at every split, and with more behind."""

from __future__ import annotations

import re
import sys

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from siliconflow_async.errors import EventTooLargeError
from siliconflow_async.wire.sse import SSEDecoder, SSEEvent

from .pieces import chunkings, cuts


def ev(data: bytes, event: str = "message", last_id: str = "", retry: int | None = None) -> SSEEvent:
    return SSEEvent(event, data, last_id, retry)


VECTORS: dict[str, tuple[bytes, list[SSEEvent]]] = {
    # Line ends.
    "LF": (b"data: a\n\n", [ev(b"a")]),
    "CR": (b"data: a\r\r", [ev(b"a")]),
    "CRLF": (b"data: a\r\n\r\n", [ev(b"a")]),
    "LF then CR": (b"data: a\n\r", [ev(b"a")]),
    "CR then CRLF": (b"data: a\r\r\ndata: b\r\r\n", [ev(b"a"), ev(b"b")]),
    "CRLF then LF": (b"data: a\r\n\ndata: b\r\n\n", [ev(b"a"), ev(b"b")]),
    "CRLF then CR": (b"data: a\r\n\rdata: b\r\n\r", [ev(b"a"), ev(b"b")]),
    "LF then CRLF": (b"data: a\n\r\ndata: b\n\r\n", [ev(b"a"), ev(b"b")]),
    "LF CR LF is two line ends": (b"data: a\n\r\ndata: b\n\n", [ev(b"a"), ev(b"b")]),
    "each line its own end": (b"data: a\rdata: b\ndata: c\r\n\n", [ev(b"a\nb\nc")]),
    "CR CR dispatches at once": (b"data: a\r\rdata: b", [ev(b"a")]),
    "blank lines in a row": (b"\n\n\ndata: a\n\n\n\n\r\r\ndata: b\n\n", [ev(b"a"), ev(b"b")]),
    # What is no line end.
    "U+2028, U+2029": ("data: a\u2028b\u2029c\n\n".encode(), [ev("a\u2028b\u2029c".encode())]),
    "U+0085": ("data: a\u0085b\n\n".encode(), [ev("a\u0085b".encode())]),
    "VT, FF, FS, GS, RS": (b"data: a\x0bb\x0cc\x1cd\x1de\x1ef\n\n", [ev(b"a\x0bb\x0cc\x1cd\x1de\x1ef")]),
    "NUL in data": (b"data: a\x00b\n\n", [ev(b"a\x00b")]),
    # The byte order mark.
    "BOM": (b"\xef\xbb\xbfdata: a\n\n", [ev(b"a")]),
    "BOM only once": (b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\ndata: b\n\n", [ev(b"b")]),
    "BOM later is part of the field's name": (b"\n\xef\xbb\xbfdata: a\n\ndata: b\n\n", [ev(b"b")]),
    "BOM in data is data": (b"data: \xef\xbb\xbfa\n\n", [ev(b"\xef\xbb\xbfa")]),
    "BOM then comment": (b"\xef\xbb\xbf: c\ndata: a\n\n", [ev(b"a")]),
    "half a BOM is a field's name": (b"\xef\xbbdata: a\n\ndata: b\n\n", [ev(b"b")]),
    "BOM alone": (b"\xef\xbb\xbf", []),
    "part of a BOM alone": (b"\xef\xbb", []),
    # Fields.
    "no space": (b"data:a\n\n", [ev(b"a")]),
    "one leading space only": (b"data:  a \n\n", [ev(b" a ")]),
    "a tab stays": (b"data:\ta\n\n", [ev(b"\ta")]),
    "colons in the value": (b"data: a:b: c\n\n", [ev(b"a:b: c")]),
    "lines joined by LF": (b"data: a\ndata: b\r\ndata:\ndata: c\n\n", [ev(b"a\nb\n\nc")]),
    "no colon: empty value": (b"data\n\n", [ev(b"")]),
    "no colon, two lines": (b"data\ndata\n\n", [ev(b"\n")]),
    "empty data": (b"data:\n\n", [ev(b"")]),
    "data of one space": (b"data: \n\n", [ev(b"")]),
    "names are exact": (b"Data: a\ndata : b\n data: c\ndatas: d\n\ndata: e\n\n", [ev(b"e")]),
    "unknown fields": (b"foo: x\nbar\ndata: a\nid2: 7\n\n", [ev(b"a")]),
    "empty name is a comment": (b":data: a\n:\n::\ndata: b\n\n", [ev(b"b")]),
    "comment inside an event": (b"data: a\n: keep-alive\ndata: b\n\n", [ev(b"a\nb")]),
    "comments alone": (b": ping\n\n: ping\n\n", []),
    # event.
    "event": (b"event: x\ndata: a\n\n", [ev(b"a", "x")]),
    "the last event wins": (b"event: x\nevent: y\ndata: a\n\n", [ev(b"a", "y")]),
    "event after data": (b"data: a\nevent: x\n\n", [ev(b"a", "x")]),
    "empty event means message": (b"event: x\nevent:\ndata: a\n\n", [ev(b"a")]),
    "event resets": (b"event: x\ndata: a\n\ndata: b\n\n", [ev(b"a", "x"), ev(b"b")]),
    "event without data resets too": (b"event: x\n\ndata: b\n\n", [ev(b"b")]),
    "event in bad UTF-8": (b"event: \xff\xe4\ndata: a\n\n", [ev(b"a", "\ufffd\ufffd")]),
    "event in UTF-8": ("event: é\ndata: a\n\n".encode(), [ev(b"a", "é")]),
    # id.
    "id": (b"id: 1\ndata: a\n\n", [ev(b"a", last_id="1")]),
    "id sticks": (b"id: 1\ndata: a\n\ndata: b\n\n", [ev(b"a", last_id="1"), ev(b"b", last_id="1")]),
    "id of a block without data sticks": (b"id: 1\n\ndata: b\n\n", [ev(b"b", last_id="1")]),
    "id with NUL is ignored": (
        b"id: 1\ndata: a\n\nid: 2\x003\ndata: b\n\n",
        [ev(b"a", last_id="1"), ev(b"b", last_id="1")],
    ),
    "empty id resets": (b"id: 1\ndata: a\n\nid\ndata: b\n\n", [ev(b"a", last_id="1"), ev(b"b")]),
    "id in bad UTF-8": (b"id: a\xff\ndata: a\n\n", [ev(b"a", last_id="a\ufffd")]),
    "id makes no phantom events": (b"id: 1\ndata: a\n\n\n\n: x\n\n", [ev(b"a", last_id="1")]),
    # retry.
    "retry": (b"retry: 3000\ndata: a\n\ndata: b\n\n", [ev(b"a", retry=3000), ev(b"b")]),
    "retry 0": (b"retry: 0\ndata: a\n\n", [ev(b"a", retry=0)]),
    "retry with zeros in front": (b"retry:007\ndata: a\n\n", [ev(b"a", retry=7)]),
    "retry -5": (b"retry: -5\ndata: a\n\n", [ev(b"a")]),
    "retry +5": (b"retry: +5\ndata: a\n\n", [ev(b"a")]),
    "retry 5s": (b"retry: 5s\ndata: a\n\n", [ev(b"a")]),
    "retry 1.5": (b"retry: 1.5\ndata: a\n\n", [ev(b"a")]),
    "retry with spaces": (b"retry:  5\nretry: 5 \ndata: a\n\n", [ev(b"a")]),
    "retry 1_000": (b"retry: 1_000\ndata: a\n\n", [ev(b"a")]),
    "retry in full-width digits": ("retry: ５\ndata: a\n\n".encode(), [ev(b"a")]),
    "retry superscript": ("retry: ²\ndata: a\n\n".encode(), [ev(b"a")]),
    "retry empty": (b"retry:\nretry\ndata: a\n\n", [ev(b"a")]),
    "retry of 10,000 digits": (b"retry: " + b"9" * 10_000 + b"\ndata: a\n\n", [ev(b"a")]),
    "rubbish does not unset retry": (b"retry: 5\nretry: x\ndata: a\n\n", [ev(b"a", retry=5)]),
    # Dispatch.
    "nothing": (b"", []),
    "no dispatch without data": (b"event: x\nid: 1\nretry: 5\n\n", []),
    "an unterminated event is discarded": (b"data: a\n\ndata: b\n", [ev(b"a")]),
    "an unterminated line is discarded": (b"data: a\n\ndata: b", [ev(b"a")]),
    "data of bad UTF-8 stays as sent": (b"data: \xff\xfe\xed\xa0\x80\n\n", [ev(b"\xff\xfe\xed\xa0\x80")]),
    "many": (b"data: a\n\ndata: bb\n\ndata: ccc\n\n", [ev(b"a"), ev(b"bb"), ev(b"ccc")]),
    # The example of the standard's text.
    "the standard's first": (
        b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event",
        [ev(b"first event", last_id="1"), ev(b"second event")],
    ),
    "the standard's second": (b"data\n\ndata\ndata\n\ndata:", [ev(b""), ev(b"\n")]),
    "the standard's third": (b"data:test\n\ndata: test\n\n", [ev(b"test"), ev(b"test")]),
}


def decode(pieces: list[bytes], max_event_size: int = 1 << 24) -> list[SSEEvent]:
    decoder = SSEDecoder(max_event_size)
    return [event for piece in pieces for event in decoder.feed(piece)]


def decode_by_payloads(pieces: list[bytes]) -> list[bytes]:
    decoder = SSEDecoder()
    found = []
    for piece in pieces:
        payloads = decoder.feed_payloads(piece)
        found += payloads if payloads is not None else [event.data for event in decoder.feed(piece)]
    return found


def reference(body: bytes) -> list[SSEEvent]:
    """Read a whole stream as the standard's text says it, on str, with each byte as one character."""
    text = body.decode("latin-1").removeprefix("\xef\xbb\xbf")
    *lines, _unfinished = re.split("\r\n|\r|\n", text)
    events = []
    data, name, last_id, retry = "", "", "", None
    for line in lines:
        if line == "":
            if data != "":
                events.append(SSEEvent(utf8(name) or "message", data[:-1].encode("latin-1"), utf8(last_id), retry))
            data, name, retry = "", "", None
            continue
        match = re.fullmatch("([^:]*)(?:: ?(.*))?", line, re.DOTALL)
        assert match
        field, value = match[1], match[2] or ""
        if field == "data":
            data += value + "\n"
        elif field == "event":
            name = value
        elif field == "id" and "\0" not in value:
            last_id = value
        elif field == "retry" and re.fullmatch("[0-9]{1,18}", value):
            retry = int(value)
    return events


def utf8(characters: str) -> str:
    return characters.encode("latin-1").decode("utf-8", "replace")


LONG = 2_000


@pytest.mark.parametrize("name", VECTORS)
def test_events_do_not_depend_on_how_the_bytes_are_cut(name: str) -> None:
    """A vector gives its events whole, byte by byte, and split in two anywhere."""
    body, expected = VECTORS[name]
    for pieces in cuts(body, step=97 if len(body) > LONG else 1):
        assert decode(pieces) == expected, pieces


@pytest.mark.parametrize("name", VECTORS)
def test_an_unfinished_event_behind_changes_nothing_before_it(name: str) -> None:
    """A vector that ends its last block gives the same events with more bytes behind it."""
    body, expected = VECTORS[name]
    if not body.endswith((b"\n", b"\r")):
        body += b"\n\n"
        expected = reference(body)
    for trailing in (b"data: unfinished", b"event: y\n", b": c", b"id: 9\n", b"\xef\xbb\xbf"):
        assert decode([body + trailing]) == expected
        assert decode([body, trailing]) == expected


@pytest.mark.parametrize("name", VECTORS)
def test_an_event_behind_is_found(name: str) -> None:
    """After a blank line the next event comes out whole, with the id in force."""
    body = VECTORS[name][0] + b"\n\ndata: last\n\n"
    assert decode([body])[-1].data.endswith(b"last")
    for pieces in cuts(body, step=97 if len(body) > LONG else 1):
        assert decode(pieces) == reference(body)


@pytest.mark.parametrize("name", VECTORS)
def test_the_reference_of_these_tests_agrees(name: str) -> None:
    """The reference that the random tests compare with gives the vectors' events."""
    body, expected = VECTORS[name]
    assert reference(body) == expected


@pytest.mark.parametrize("name", VECTORS)
def test_the_short_cut_gives_the_same_payloads(name: str) -> None:
    """`feed_payloads`, and `feed` where it answers None, give the data of the same events."""
    body, expected = VECTORS[name]
    for pieces in cuts(body, step=97 if len(body) > LONG else 1):
        assert decode_by_payloads(pieces) == [event.data for event in expected], pieces


def test_a_blank_line_by_cr_dispatches_before_the_next_byte() -> None:
    """The second CR of CR CR ends the event; nobody waits for an LF."""
    decoder = SSEDecoder()
    assert decoder.feed(b"data: a\r") == []
    assert decoder.feed(b"\r") == [ev(b"a")]
    assert decoder.feed(b"\ndata: b\n\n") == [ev(b"b")]


def test_an_lf_after_a_cr_at_the_end_of_a_read_is_swallowed_once() -> None:
    """CR | LF is one line end, CR | LF LF is two."""
    decoder = SSEDecoder()
    assert decoder.feed(b"data: a\r") == []
    assert decoder.feed(b"\n") == []
    assert decoder.feed(b"\n") == [ev(b"a")]


def test_the_last_event_id_can_be_read() -> None:
    """`last_event_id` is the id in force, also from a block that dispatched nothing."""
    decoder = SSEDecoder()
    decoder.feed(b"id: 7\n\n")
    assert decoder.last_event_id == "7"


PIECES = [
    *(b"data", b"event", b"id", b"retry", b"foo", b": ", b":", b" ", b"\n", b"\r", b"\r\n", b"\n\n", b"\r\r"),
    *(b"data: ", b"data: x\n\n", b"data: {}\n\n", b"data:y\r\n\r\n", b"event: e\n", b"id: 1\n", b"id\n", b"id: \x00\n"),
    *(b"retry: 12\n", b"retry: -1\n", b": ping\n\n", b"\xef\xbb\xbf", b"\xef", b"\xbb\xbf", b"\x00", b"\xff", b"\x85"),
    *("\u2028".encode(), "é".encode(), b"[DONE]", b"x" * 50, b"\x0b"),
]
bodies = st.lists(st.sampled_from(PIECES), max_size=30).map(b"".join)


@settings(max_examples=1500)
@given(chunkings(bodies))
@example((b"\r\n", [b"\r", b"\n"]))
def test_any_chunking_of_any_bytes_gives_what_the_standard_says(drawn: tuple[bytes, list[bytes]]) -> None:
    """Random streams, cut anywhere, give the events of the reference, by both ways of feeding."""
    body, pieces = drawn
    expected = reference(body)
    assert decode(pieces) == expected
    assert decode([body]) == expected
    assert decode_by_payloads(pieces) == [event.data for event in expected]
    assert decode_by_payloads([body]) == [event.data for event in expected]


chat_reads = st.lists(
    st.sampled_from(
        [b"data: a\n\n", b"data: \n\n", b"data:  b\n\n", b"data: [DONE]\n\n", b"\n", b"data: c\ndata: d\n\n"]
    ),
    max_size=12,
).map(b"".join)


@settings(max_examples=500)
@given(chunkings(chat_reads))
def test_the_short_cut_agrees_on_streams_made_for_it(drawn: tuple[bytes, list[bytes]]) -> None:
    """Streams that the short cut takes for the most part give the same payloads by it, however cut."""
    body, pieces = drawn
    assert decode_by_payloads(pieces) == [event.data for event in reference(body)]


def test_the_short_cut_takes_whole_events_and_keeps_the_unfinished_one() -> None:
    """Several whole events and the start of the next, in one read, need no other way."""
    decoder = SSEDecoder()
    assert decoder.feed_payloads(b"data: a\n\ndata: b\n\ndata: c") == [b"a", b"b"]
    assert decoder.feed_payloads(b"c\n\n") == [b"cc"]


@pytest.mark.parametrize(
    "read",
    [
        b"",
        b"data: a\n",
        b"data:a\n\n",
        b": c\n\n",
        b"data: a\n\n\n",
        b"data: a\r\n\r\n",
        b"data: a\nid: 1\n\n",
        b"\n\n",
    ],
)
def test_the_short_cut_touches_nothing_when_it_declines(read: bytes) -> None:
    """After None, `feed` gives what it would have given without the attempt."""
    decoder = SSEDecoder()
    assert decoder.feed_payloads(read) is None
    assert decoder.feed(read) + decoder.feed(b"\n\ndata: z\n\n") == reference(read + b"\n\ndata: z\n\n")


def test_the_short_cut_leaves_the_decoder_where_feed_would() -> None:
    """After it, a BOM is no start of a stream, an LF belongs to no CR before, and a type waits for its event."""
    decoder = SSEDecoder()
    assert decoder.feed_payloads(b"data: a\n\n") == [b"a"]
    assert decoder.feed(b"\xef\xbb\xbfdata: b\n\n") == []
    decoder = SSEDecoder()
    assert decoder.feed(b"data: a\r\r") == [ev(b"a")]
    assert decoder.feed_payloads(b"data: b\n\ndata: c") is None
    assert decoder.feed(b"data: b\n\ndata: c") == [ev(b"b")]
    assert decoder.feed(b"\n") + decoder.feed(b"\n") == [ev(b"c")]
    decoder.feed(b"event: x\n")
    assert decoder.feed_payloads(b"data: d\n\n") is None
    decoder.feed(b"\nretry: 5\n")
    assert decoder.feed_payloads(b"data: d\n\n") is None


def test_the_cap_counts_what_the_short_cut_kept() -> None:
    """The unfinished event that the short cut keeps is part of the line that goes on."""
    decoder = SSEDecoder(20)
    assert decoder.feed_payloads(b"data: a\n\ndata: bbbb") == [b"a"]
    assert decoder.feed(b"b" * 10) == []
    with pytest.raises(EventTooLargeError):
        decoder.feed(b"b")


# What a cap of 20 bytes refuses, with the events that come before.
TOO_LARGE = {
    "a line": (b"data: a\n\ndata: " + b"x" * 15 + b"\n\n", [ev(b"a")]),
    "a line without end": (b"data: a\n\ndata: " + b"x" * 100, [ev(b"a")]),
    "an event of many lines": (b"data: a\n\n" + b"data: 1234\n" * 4 + b"\n", [ev(b"a")]),
    "an event of many empty lines": (b"data\n" * 30 + b"\n", []),
    "a comment": (b"data: a\n\n:" + b"x" * 20 + b"\n\n", [ev(b"a")]),
    "a comment without end": (b":" + b"x" * 100, []),
    "an unknown field": (b"foo: " + b"x" * 20 + b"\n\n", []),
    "an id": (b"data: a\n\nid: " + b"1" * 30 + b"\n", [ev(b"a")]),
    "spaces": (b" " * 50, []),
    "after a CR": (b"data: a\r\rdata: " + b"x" * 20, [ev(b"a")]),
}


@pytest.mark.parametrize("name", TOO_LARGE)
def test_what_is_larger_than_the_cap_ends_the_decoder_after_the_events_before_it(name: str) -> None:
    """Events before a line or event that is too large are given out, then the error, and nothing after it."""
    body, expected = TOO_LARGE[name]
    for pieces in cuts(body + b"\n\ndata: later\n\n"):
        decoder = SSEDecoder(20)
        events, errors = [], 0
        for piece in [*pieces, b"data: z\n\n"]:
            try:
                events += decoder.feed(piece)
            except EventTooLargeError:
                errors += 1
        assert events == expected
        assert errors
        assert isinstance(decoder.failure, EventTooLargeError)
        assert decoder.feed_payloads(b"data: z\n\n") is None
        with pytest.raises(EventTooLargeError, match="20 bytes"):
            decoder.feed(b"data: z\n\n")


def test_what_just_fits_the_cap_comes_out() -> None:
    """A line as long as the cap, and any number of events and comments below it, are fine."""
    body = (b"data: " + b"x" * 14 + b"\n\n" + b": keep-alive\n\n") * 5
    for pieces in cuts(body):
        assert decode(pieces, 20) == [ev(b"x" * 14)] * 5


def test_endless_comments_are_not_kept() -> None:
    """Keep-alives between events count toward no limit, and nor do blank lines."""
    decoder = SSEDecoder(20)
    for _ in range(1000):
        assert decoder.feed(b": keep-alive\n\n\r\n") == []
    assert decoder.feed(b"data: a\n\n") == [ev(b"a")]


@pytest.mark.parametrize("size", [1, 2, 1024])
def test_a_long_line_in_small_reads_is_held_once(size: int) -> None:
    """However small the reads, an unfinished line takes hardly more memory than its bytes."""
    pieces = [b"data: ", *([b"x" * size] * 10_000)]
    decoder = SSEDecoder()
    for piece in pieces:
        assert decoder.feed_payloads(piece) is None
        assert decoder.feed(piece) == []
    assert sys.getsizeof(decoder._partial) < 1.2 * size * 10_000 + 100
    assert decode_by_payloads([*pieces, b"\n\n"]) == [b"x" * size * 10_000]


@pytest.mark.parametrize(
    ("body", "stray"),
    [
        (b"upstream connect error", b"upstream connect error"),
        (b"Bad Gateway\r\n", b"Bad Gateway"),
        (b"\n\nerror: no\n\ndata: a\n\n", b"error: no"),
        (b": c\ndata: a\n\nid: 1\nretry: 5\nevent: e\n\n", b""),
        (b"", b""),
        (b"dat", b""),
        (b"data: a", b""),
        (b": unfinished", b""),
        (b"x" * 10_000, b"x" * 8192),
    ],
)
def test_text_that_is_no_event_stream_is_remembered(body: bytes, stray: bytes) -> None:
    """`stray_text` is the start of the first line that the standard has no use for."""
    for pieces in cuts(body):
        decoder = SSEDecoder()
        for piece in pieces:
            decoder.feed(piece)
        assert decoder.stray_text() == stray
