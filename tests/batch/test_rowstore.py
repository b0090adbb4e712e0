"""A row store holds what was answered, whoever wrote it, and whatever was cut off."""

from __future__ import annotations

import os
import secrets
import threading
from typing import TYPE_CHECKING

import pytest

from siliconflow_async import ConfigurationError, InvalidRequestError
from siliconflow_async.batch.records import PREFIX
from siliconflow_async.batch.rowstore import RowStore, key_of_line, key_of_row

if TYPE_CHECKING:
    from pathlib import Path

ASK = {"model": "org/m", "messages": [{"role": "user", "content": "Hi"}]}
KEYS = [key_of_row(f"id-{i}", ASK) for i in range(20)]


@pytest.fixture(params=["folder", "memory"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A folder, and a store on fsspec that no other test sees."""
    return str(tmp_path / "rows") if request.param == "folder" else f"memory://{secrets.token_hex(8)}/rows"


def line(key: str, text: str = "Hello", *, retryable: bool | None = None) -> bytes:
    """The line of a row that was answered, or that failed."""
    error = "null"
    if retryable is not None:
        error = f'{{"type":"E","message":"{text}","retryable":{str(retryable).lower()}}}'
    return f'{{"id":"{PREFIX}{key}","custom_id":"x","response":{{"body":"{text}"}},"error":{error}}}'.encode()


def written(store: RowStore, *lines: bytes, failed: bool = False) -> RowStore:
    for each in lines:
        store.add(each, failed=failed)
    store.cut()()
    return store


def read(where: str, run: str = "later", **options: bool) -> RowStore:
    store = RowStore(where, run, **options)
    store.refresh()
    return store


def test_what_one_process_writes_another_finds(where: str) -> None:
    """By the row's fingerprint, as soon as it is written; the writer itself finds it too."""
    writer = written(RowStore(where, "r1"), *map(line, KEYS[:3]))
    reader = read(where)
    assert [reader.find(key) for key in KEYS[:3]] == [line(key) for key in KEYS[:3]]
    assert reader.find(KEYS[3]) is None
    assert [writer.find(key) for key in KEYS[:3]] == [line(key) for key in KEYS[:3]]
    writer.close()
    reader.close()


def test_what_was_written_since_is_found_once_there_is_a_new_writer(where: str) -> None:
    """Only then is it looked for, in all that grew, as nobody else is given rows that another has."""
    writer = written(RowStore(where, "r1"), line(KEYS[0]))
    reader = read(where)
    written(writer, line(KEYS[1]))
    successor = written(RowStore(where, "r1"), line(KEYS[2]))
    reader.refresh()
    assert [reader.find(key) for key in KEYS[:3]] == [line(key) for key in KEYS[:3]]
    assert len(reader) == 3
    for store in (writer, successor, reader):
        store.close()


def test_a_torn_last_line_is_ignored_wherever_it_was_cut(tmp_path: Path) -> None:
    """The lines before it are found, and no other."""
    written(RowStore(tmp_path, "r1"), *map(line, KEYS[:2])).close()
    (segment,) = tmp_path.iterdir()
    whole = segment.read_bytes()
    size = len(line(KEYS[0])) + 1
    for cut in range(size, len(whole)):
        segment.write_bytes(whole[:cut])
        store = read(str(tmp_path))
        assert (store.find(KEYS[0]), store.find(KEYS[1])) == (line(KEYS[0]), None)
        store.close()


def test_a_line_that_was_torn_is_found_once_it_is_whole(tmp_path: Path) -> None:
    """As a reader sees what another process is in the middle of writing."""
    written(RowStore(tmp_path, "r1"), *map(line, KEYS[:2])).close()
    (segment,) = tmp_path.iterdir()
    whole = segment.read_bytes()
    segment.write_bytes(whole[:-5])
    reader = read(str(tmp_path))
    segment.write_bytes(whole)
    written(RowStore(tmp_path, "r2"), line(KEYS[2])).close()
    reader.refresh()
    assert reader.find(KEYS[1]) == line(KEYS[1])


def test_two_writers_of_one_run_never_share_a_segment(where: str) -> None:
    """Nor do a reader's segments show before there is a line in them."""
    first, second, silent = (RowStore(where, "r1") for _ in range(3))
    written(first, line(KEYS[0]))
    written(second, line(KEYS[1]))
    written(first, line(KEYS[2], retryable=False), failed=True)
    reader = read(where)
    assert len(reader) == 3
    for store in (first, second, silent, reader):
        store.close()
    assert len(read(where)) == 3


def test_a_failure_is_for_good_in_its_own_run_and_later_if_it_was_refused(where: str) -> None:
    """An open one is asked again by the next run; a refused one only with `retry_failed`."""
    open_line, refused = line(KEYS[0], retryable=True), line(KEYS[1], retryable=False)
    written(RowStore(where, "r1"), open_line, refused, failed=True).close()
    same = read(where, "r1", retry_failed=True)
    assert (same.find(KEYS[0]), same.find(KEYS[1])) == (open_line, refused)
    later = read(where)
    assert (later.find(KEYS[0]), later.find(KEYS[1])) == (None, refused)
    retrying = read(where, retry_failed=True)
    assert (retrying.find(KEYS[0]), retrying.find(KEYS[1])) == (None, None)


def test_an_answer_counts_before_a_failure_in_whatever_order_they_are_read(where: str) -> None:
    """Before and after it; of two failures it is the last that counts in a process."""
    store = written(RowStore(where, "r1"), line(KEYS[0], "first", retryable=False), failed=True)
    written(store, line(KEYS[0], "second", retryable=False), failed=True)
    assert store.find(KEYS[0]) == line(KEYS[0], "second", retryable=False)
    written(store, line(KEYS[0], "answered"))
    written(store, line(KEYS[0], "too late", retryable=False), failed=True)
    assert store.find(KEYS[0]) == line(KEYS[0], "answered")
    store.close()
    assert read(where, "r1").find(KEYS[0]) == line(KEYS[0], "answered")


def test_rows_are_told_apart_by_id_and_by_each_part_of_the_request() -> None:
    """The order of a request's names says nothing."""
    assert key_of_row("a", ASK) == key_of_row("a", dict(reversed(ASK.items())))
    others = [("b", ASK), ("a", {**ASK, "model": "org/n"}), ("a", {**ASK, "top_p": 0.5}), ("a", {**ASK, "top_p": 0.6})]
    assert len({key_of_row(*row) for row in [("a", ASK), *others]}) == 5
    assert key_of_row('a"', {}) != key_of_row("a", {})


@pytest.mark.parametrize("value", [object(), "\ud800", {1.5: 2, b"a": 1}])
def test_a_request_that_json_can_not_hold_is_named(value: object) -> None:
    with pytest.raises(InvalidRequestError, match="row 'a' can't be sent as JSON"):
        key_of_row("a", {"seed": value})


def test_a_row_whose_line_was_removed_is_asked_again(tmp_path: Path) -> None:
    """What is not there any more is not taken for an answer."""
    written(RowStore(tmp_path, "r1"), line(KEYS[0])).close()
    reader = read(str(tmp_path))
    for segment in tmp_path.iterdir():
        os.unlink(segment)
    assert reader.find(KEYS[0]) is None


def test_two_rows_of_one_digest_are_not_taken_for_each_other(where: str) -> None:
    """A table of eight bytes for each row may confuse two; the line itself decides."""
    other = KEYS[0][:16] + "f" * 16
    written(RowStore(where, "r1"), line(other)).close()
    assert read(where).find(KEYS[0]) is None
    assert read(where).find(other) == line(other)


@pytest.mark.parametrize("name", ["part-r1-0.jsonl", "part-r1-0.errors.jsonl"])
def test_a_file_of_something_else_is_named(tmp_path: Path, name: str) -> None:
    """It is nobody's segment, though its name is one's. Files of other names don't count."""
    (tmp_path / "notes.jsonl").write_text("{}\n")
    (tmp_path / name).write_text('{"custom_id": "a"}\n')
    with pytest.raises(ConfigurationError, match=f"{name} is no segment of a row store"):
        read(str(tmp_path))


@pytest.mark.parametrize("where", ["nowhere://a/b", "s3"])
def test_a_place_that_can_not_be_used_is_named(tmp_path: Path, where: str) -> None:
    """A scheme that fsspec does not know, and a folder's path that is a file's."""
    if where == "s3":
        where = str(tmp_path / "s3")
        (tmp_path / "s3").write_text("")
    with pytest.raises(ConfigurationError, match=f"can't write {where}"):
        RowStore(where, "r1")


def test_a_file_url_is_a_folder(tmp_path: Path) -> None:
    """It needs no fsspec, and is written line by line."""
    store = RowStore(f"file://{tmp_path}/rows", "r1")
    assert store.delay is None
    written(store, line(KEYS[0])).close()
    assert read(str(tmp_path / "rows")).find(KEYS[0]) == line(KEYS[0])


def test_a_run_has_a_plain_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="letters and digits, not 'a-b'"):
        RowStore(tmp_path, "a-b")


def test_it_is_read_in_one_thread_while_another_writes(where: str) -> None:
    """Nothing is lost of either."""
    many = [key_of_row(f"other-{i}", ASK) for i in range(5_000)]
    written(RowStore(where, "r1"), *map(line, many)).close()
    store = RowStore(where, "r2")
    reading = threading.Thread(target=store.refresh)
    reading.start()
    written(store, *map(line, KEYS))
    reading.join()
    assert len(store) == len(many) + len(KEYS)
    assert [store.find(key) for key in KEYS] == [line(key) for key in KEYS]
    assert all(store.find(key) for key in many[::97])
    store.close()


def test_a_line_of_something_else_has_no_key() -> None:
    with pytest.raises(ValueError, match="not a line of a row's result"):
        key_of_line(b'{"id":"batch_req_7","custom_id":"a"}')
