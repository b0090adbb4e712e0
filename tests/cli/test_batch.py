from __future__ import annotations

import json
import os
import random
import re
import signal
import struct
from typing import TYPE_CHECKING, Any

import pytest

from siliconflow_async.testing import Gate, Stall, Until

if TYPE_CHECKING:
    from pathlib import Path

    from siliconflow_async.testing import FakeSiliconFlow

    from .conftest import Command

# The long command: SILICONFLOW_KILLS=50 python -m pytest tests/cli/test_batch.py -k kill
KILLS = int(os.environ.get("SILICONFLOW_KILLS", "5"))


def request(custom_id: str, **body: Any) -> str:
    body = {"model": "org/m", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 3, **body}
    return json.dumps({"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": body}) + "\n"


def ids(path: Path) -> list[str]:
    return sorted(json.loads(line)["custom_id"] for line in path.read_text().splitlines())


@pytest.fixture
def requests(tmp_path: Path) -> Path:
    path = tmp_path / "requests.jsonl"
    path.write_text("".join(request(f"id-{i}") for i in range(5)))
    return path


def test_a_file_is_run_into_a_file(command: Command, server: FakeSiliconFlow, requests: Path, tmp_path: Path) -> None:
    """All done is exit code 0, one closing line, and nothing on stdout; the same command again asks for nothing."""
    results = tmp_path / "results.jsonl"
    done = command.run("batch", str(requests), "-o", str(results))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "5 done\n")
    assert ids(results) == [f"id-{i}" for i in range(5)]
    done = command.run("batch", str(requests), "-o", str(results))
    assert (done.returncode, done.stderr) == (0, "going on: 5 of 5 lines are finished\n5 done\n")
    assert len(server.requests) == 5


@pytest.mark.parametrize("source", ["file", "stdin"])
def test_utf_16_is_named_before_anything_is_sent(
    command: Command, server: FakeSiliconFlow, tmp_path: Path, source: str
) -> None:
    """As PowerShell writes it; in one line, also where bad lines may be skipped."""
    path = tmp_path / "requests.jsonl"
    path.write_text("".join(request(f"id-{i}") for i in range(5)), encoding="utf-16")
    name, stdin = (str(path), b"") if source == "file" else ("-", path.read_bytes())
    done = command.run("batch", name, "-o", str(tmp_path / "r.jsonl"), "--skip-bad", stdin=stdin)
    assert (done.returncode, done.stderr) == (
        2,
        "error: the requests are in UTF-16, as their first two bytes say: save them as UTF-8\n",
    )
    assert len(server.requests) == 0


def test_the_options_reach_the_run(command: Command, server: FakeSiliconFlow, requests: Path, tmp_path: Path) -> None:
    """Model, errors file, order, retries and limits are those that were asked for."""
    server.fail(400, {"code": 20015, "message": "No."})
    options = ["--model", "org/other", "--errors", str(tmp_path / "e.jsonl"), "--ordered", "--max-retries", "0"]
    limits = ["--concurrency", "1", "--rpm", "1000", "--tpm", "100000"]
    args = ["batch", str(requests), "-o", str(tmp_path / "r.jsonl"), *options, *limits]
    done = command.run(*args)
    trace = server.requests[0].trace_id
    assert (done.returncode, done.stderr) == (
        1,
        f"4 done\n1 failed, BadRequestError: HTTP 400, code 20015: No. [trace id {trace}]; see {tmp_path}/e.jsonl; "
        "--retry-failed asks it again\n",
    )
    assert {record.json["model"] for record in server.requests} == {"org/other"}
    assert ids(tmp_path / "e.jsonl") == ["id-0"]
    lines = (tmp_path / "r.jsonl").read_text().splitlines()
    assert [json.loads(line)["custom_id"] for line in lines] == ["id-1", "id-2", "id-3", "id-4"]
    assert len(server.requests) == 5
    done = command.run(*args)
    assert (done.returncode, len(server.requests)) == (1, 5)
    done = command.run(*args, "--retry-failed")
    assert (done.returncode, done.stderr) == (0, "going on: 4 of 5 lines are finished\n5 done\n")
    assert (tmp_path / "e.jsonl").read_text() == ""
    assert len(server.requests) == 6


def test_lines_that_failed_for_passing_reasons_are_asked_by_the_same_command(
    command: Command, server: FakeSiliconFlow, requests: Path, tmp_path: Path
) -> None:
    """The closing lines tell open ones from refused ones, with the commonest error, and what asks them again."""
    results = tmp_path / "results.jsonl"
    # No two in a row for want of the service, which would be an outage.
    for status, code in ((503, 50505), (400, 20015), (503, 50505), (None, None), (500, 50502)):
        if status is None:
            server.reply("Fine.")
        else:
            server.fail(status, {"code": code, "message": "No, " * 100})
    args = ["batch", str(requests), "-o", str(results), "--max-retries", "0", "-c", "1"]
    done = command.run(*args)
    first, failed, still_open = done.stderr.splitlines()
    assert (done.returncode, first) == (1, "1 done")
    beside = tmp_path / "results.errors.jsonl"
    assert failed.startswith("1 failed, BadRequestError: HTTP 400, code 20015: No, No, ")
    assert failed.endswith(f"...; see {beside}; --retry-failed asks it again")
    assert still_open.startswith("3 open, 2 of them OverloadedError: HTTP 503, code 50505: No, ")
    assert still_open.endswith(f"...; see {beside}; the same command asks them again")
    done = command.run(*args)
    assert done.stderr.splitlines()[:2] == ["going on: 2 of 5 lines are finished", "4 done"]
    assert len(server.requests) == 8
    done = command.run(*args, "--retry-failed")
    assert (done.returncode, done.stderr) == (0, "going on: 4 of 5 lines are finished\n5 done\n")


def test_a_wrong_key_ends_a_run_with_the_reason(
    command: Command, server: FakeSiliconFlow, requests: Path, tmp_path: Path
) -> None:
    """With 1, after the first refusal; nothing counts as finished, and the right key does it all."""
    args = ["batch", str(requests), "-o", str(tmp_path / "r.jsonl"), "-c", "1"]
    done = command.run(*args, SILICONFLOW_API_KEY="wrong")
    assert done.returncode == 1
    error, note = done.stderr.splitlines()
    assert error.startswith("error: HTTP 401")
    assert note == "stopped at 0 done, as no other line would fare better; the same command goes on from here"
    assert len(server.requests) <= 2
    done = command.run(*args)
    assert (done.returncode, done.stderr) == (0, "5 done\n")
    done = command.run("batch", "-", stdin=request("a").encode(), SILICONFLOW_API_KEY="wrong")
    assert done.returncode == 1
    assert done.stderr.endswith("\nstopped at 0 done, as no other line would fare better\n")


@pytest.mark.skipif(os.name == "nt", reason="limits the size of files, and closes what a shell opens")
def test_what_can_not_be_written_is_named(command: Command, requests: Path, tmp_path: Path) -> None:
    """A file that may not grow is an error with its name, and so is stdout; a closed one is refused before."""
    results = tmp_path / "r.jsonl"

    def run(shell: str) -> tuple[int, str]:
        # What it imports for the first time would else be cut off in Python's cache, for whoever comes next.
        done = command.run("batch", str(requests), shell=shell, PYTHONDONTWRITEBYTECODE="1")
        return done.returncode, done.stderr

    assert run(f'ulimit -f 1; exec "$@" -o {results}') == (1, f"error: can't write {results}: File too large\n")
    assert 0 < results.stat().st_size <= 1024
    assert run(f'exec "$@" -o {results}')[0] == 0
    assert ids(results) == [f"id-{i}" for i in range(5)]
    code, told = run('exec "$@" -o - >&-')
    assert (code, told) == (2, "error: stdout is closed; name a file for the results: -o results.jsonl\n")
    if os.path.exists("/dev/full"):
        assert run('exec "$@" -o - > /dev/full') == (1, "error: can't write stdout: No space left on device\n")


def test_bad_lines_are_told_by_number_and_nothing_is_sent(
    command: Command, server: FakeSiliconFlow, requests: Path, tmp_path: Path
) -> None:
    """A file with bad lines is bad input, unless they are to be skipped; then the rest is run, and the code is 1."""
    with requests.open("a") as file:
        file.write("{\n" + request("id-0"))
    args = ["batch", str(requests), "-o", str(tmp_path / "results.jsonl")]
    done = command.run(*args)
    assert (done.returncode, done.stdout, server.requests) == (2, "", [])
    first, second, last = done.stderr.splitlines()
    assert first.startswith("line 6: not JSON: ")
    assert second == "line 7: custom_id 'id-0' is that of line 1"
    assert last.startswith("error: ")
    assert not (tmp_path / "results.jsonl").exists()
    done = command.run(*args, "--skip-bad")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "2 bad lines skipped"


def test_many_bad_lines_are_not_all_told(command: Command, tmp_path: Path) -> None:
    """A file of something else does not flood the terminal."""
    path = tmp_path / "requests.jsonl"
    path.write_text("x\n" * 1000)
    done = command.run("batch", str(path), "-o", str(tmp_path / "r.jsonl"))
    assert done.returncode == 2
    assert done.stderr.count("\n") == 22


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (["{requests}"], "-o"),
        (["{requests}", "-o", "{requests}"], "files of their own"),
        (["nothing.jsonl", "-o", "r.jsonl"], "nothing.jsonl"),
        (["{requests}", "-o", "/nowhere/r.jsonl"], "/nowhere/r.jsonl"),
        (["-", "--retry-failed"], "--retry-failed"),
        (["{requests}", "-o", "r.jsonl", "--rpm", "0"], "--rpm"),
        (["{requests}", "-o", "r.jsonl", "--base-url", "http://"], "base_url"),
    ],
    ids=lambda value: "" if isinstance(value, list) else value,
)
def test_bad_input_ends_with_2(
    command: Command, server: FakeSiliconFlow, requests: Path, args: list[str], why: str
) -> None:
    """The message names what is wrong."""
    done = command.run("batch", *(arg.format(requests=requests) for arg in args))
    assert (done.returncode, done.stdout) == (2, "")
    assert why in done.stderr
    assert server.requests == []


def test_without_a_key_it_says_what_to_do(command: Command, requests: Path) -> None:
    """One line, that names the variable."""
    done = command.run("batch", str(requests), "-o", "r.jsonl", SILICONFLOW_API_KEY="")
    assert done.returncode == 2
    assert "SILICONFLOW_API_KEY" in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_demo_needs_no_key(command: Command, server: FakeSiliconFlow, requests: Path, tmp_path: Path) -> None:
    """Its stand-in answers the file."""
    results = tmp_path / "results.jsonl"
    done = command.run("batch", "--demo", str(requests), "-o", str(results), SILICONFLOW_API_KEY="")
    assert (done.returncode, done.stdout) == (0, "")
    first, last = done.stderr.splitlines()
    assert first.startswith("demo: a stand-in on this machine answers, at ")
    assert last == "5 done"
    assert ids(results) == [f"id-{i}" for i in range(5)]
    assert server.requests == []


def test_the_demo_takes_no_other_service(command: Command, requests: Path, tmp_path: Path) -> None:
    args = ("--demo", "--base-url", "http://127.0.0.1:9", "-o", str(tmp_path / "r.jsonl"))
    done = command.run("batch", str(requests), *args)
    assert (done.returncode, done.stdout) == (2, "")
    assert "leave --base-url out" in done.stderr


def test_a_dash_reads_stdin_and_writes_stdout(command: Command, tmp_path: Path) -> None:
    """Results and errors are lines of stdout; the last line of stdin needs no end; errors may have a file."""
    lines = (request("a") + request("b", temperature=9) + request("c")).rstrip().encode()
    done = command.run("batch", "-", stdin=lines)
    assert done.returncode == 1
    assert re.fullmatch(r"2 done\n1 failed, BadRequestError: HTTP 400, code 20015: temp[^;]*\n", done.stderr)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert sorted((line["custom_id"], line["error"] is None) for line in answers) == [
        ("a", True),
        ("b", False),
        ("c", True),
    ]
    done = command.run("batch", "-", "-e", str(tmp_path / "errors.jsonl"), stdin=lines)
    assert len(done.stdout.splitlines()) == 2
    assert ids(tmp_path / "errors.jsonl") == ["b"]


def test_a_duplicate_on_stdin_is_an_error_when_its_line_is_read(command: Command) -> None:
    """What came before it is answered; reading ends there, with 2."""
    done = command.run("batch", "-", stdin=(request("a") + request("a") + request("b")).encode())
    assert done.returncode == 2
    assert "line 2: custom_id 'a' is that of line 1" in done.stderr
    assert [json.loads(line)["custom_id"] for line in done.stdout.splitlines()] == ["a"]


def test_an_answer_is_written_while_stdin_is_still_open(command: Command) -> None:
    """Each line is asked for as it comes; a reader that leaves ends the run though stdin goes on."""
    reader, writer = os.pipe()
    try:
        with command.start("batch", "-", stdin=reader) as process:
            os.close(reader)
            assert process.stdout is not None
            os.write(writer, request("a").encode())
            assert process.stdout.read(1) == b"{"
            process.stdout.close()
            os.write(writer, request("b").encode())
            assert process.wait() == 141
    finally:
        os.close(writer)


@pytest.mark.skipif(os.name == "nt", reason="sends POSIX signals")
def test_ctrl_c_leaves_at_once_and_the_same_command_goes_on(
    command: Command, server: FakeSiliconFlow, requests: Path, tmp_path: Path
) -> None:
    """What was finished stays; what was under way is asked for again."""
    results = tmp_path / "results.jsonl"
    server.reply("first", times=1)
    server.reply("never", before=[Stall()], times=1)
    args = ["batch", str(requests), "-o", str(results), "-c", "1"]
    with command.start(*args) as process:
        assert process.stderr is not None
        server.wait_received(2)
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
        assert process.stderr.read() == b"stopped; the same command goes on from here\n"
    assert ids(results) == ["id-0"]
    done = command.run(*args)
    assert (done.returncode, done.stderr) == (0, "going on: 1 of 5 lines are finished\n5 done\n")
    assert ids(results) == [f"id-{i}" for i in range(5)]


@pytest.mark.skipif(os.name == "nt", reason="sends POSIX signals")
def test_kill_9_at_random_points_loses_no_line_and_repeats_none(
    command: Command, server: FakeSiliconFlow, tmp_path: Path
) -> None:
    """After each kill the run goes on; in the end every line is in the results exactly once, and nothing else is."""
    rng = random.Random(os.environ.get("SILICONFLOW_KILLS_SEED", "kills"))
    path, results = tmp_path / "requests.jsonl", tmp_path / "results.jsonl"
    names = [f"id-{i:05}" for i in range(120 * KILLS)]
    path.write_text("".join(request(name) for name in names))
    args = ["batch", str(path), "-o", str(results), "-c", "8"]
    seen = 0
    for kill in range(KILLS):
        # Counted in requests and not in seconds, so that the kill falls into the work wherever it is run.
        with command.start(*args) as process:
            server.wait_received(len(server.requests) + rng.randrange(1, 90))
            process.kill()
            process.wait()
        whole = results.read_bytes().count(b"\n")
        assert seen <= whole < len(names), f"kill {kill}"
        seen = whole
        if kill % 2:
            # A machine that crashes may leave less of the last line than the process wrote.
            os.truncate(results, max(0, results.stat().st_size - rng.randrange(1, 300)))
            seen = results.read_bytes().count(b"\n")
    done = command.run(*args)
    assert done.returncode == 0, done.stderr
    assert ids(results) == names
    assert (tmp_path / "results.errors.jsonl").read_bytes() == b""


@pytest.mark.skipif(os.name == "nt", reason="needs a pseudo-terminal")
def test_a_terminal_gets_a_bar_that_notices_do_not_break(
    command: Command, server: FakeSiliconFlow, requests: Path, tmp_path: Path
) -> None:
    """The bar counts lines, and a warning stands on a line of its own."""
    server.fail(503, times=1)
    gate = Gate()
    server.reply("late", before=[Until(gate)], times=1)
    fcntl = pytest.importorskip("fcntl")
    termios = pytest.importorskip("termios")
    reader, writer = os.openpty()
    fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    shown = b""
    with command.start("batch", str(requests), "-o", str(tmp_path / "r.jsonl"), "-c", "1", stderr=writer) as process:
        os.close(writer)
        while b"0/5" not in shown:
            shown += os.read(reader, 4096)
        gate.set()
        try:
            while piece := os.read(reader, 4096):
                shown += piece
        except OSError:  # how Linux says that the other side has closed
            pass
        assert process.wait() == 0
    os.close(reader)
    assert b"5/5" in shown
    assert shown.replace(b"\r\n", b"\n").endswith(b"\n5 done\n")
    assert b"\x1b[?25l" not in shown


def test_a_line_that_has_waited_long_enough_for_a_service_is_open(
    command: Command, server: FakeSiliconFlow, requests: Path, tmp_path: Path
) -> None:
    """`--patience`: the run ends, says that it gave up, and the same command asks every line again."""
    args = ["batch", str(requests), "-o", str(tmp_path / "r.jsonl"), "--patience", "0.2", "--max-retries", "1"]
    away = server.fail(503, times=None)
    done = command.run(*args)
    assert done.returncode == 1
    assert "5 open" in done.stderr
    assert "gave up after waiting 0.2 s for the service" in done.stderr
    assert away.used <= 10
    server.reset()
    assert command.run(*args).stderr.endswith("5 done\n")
