"""The benchmarks read what they say they read, and every case runs; how fast, is for `python -m benchmarks` to say.

All cases take more than a minute, even at their smallest, and with SILICONFLOW_BENCHMARKS=all they run; else those that
take a second.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from websockets.asyncio.server import ServerConnection, serve

from benchmarks import OURS, RAW, UNIT, guard, report
from benchmarks.__main__ import CASES, LONG
from benchmarks.contestants import usable
from benchmarks.entries import load
from benchmarks.fanouts import AT_ONCE, BEYOND, CPU, FANOUTS, MAP, SELF, FanOut, asked
from benchmarks.fixtures import NAMES, Fixture, huge_event, make, whole_answer
from benchmarks.measure import Row, WrongAnswer, compare, rows
from benchmarks.refusals import GIVEN, IN_VAIN, LOST, RATIO, REFUSED
from benchmarks.relay_clients import WebSocketClient
from benchmarks.together import check
from benchmarks.weather import CALLS, FAILED
from siliconflow_async import AsyncSiliconFlow, ChatCompletion
from siliconflow_async.testing import FakeSiliconFlow
from siliconflow_async.wire.accumulate import Accumulator
from siliconflow_async.wire.protocol import ChatProtocol, decode_completion

ROOT = Path(__file__).parent.parent
CHUNKS = 200
ALL = os.environ.get("SILICONFLOW_BENCHMARKS") == "all"
SOON = {"bulk", "inputs", "whole", "first-token", "construction", "scaling", "streams", "map", "items"}
assert CASES.keys() >= SOON
RUN = [case for case in CASES if ALL or case in SOON]
of_all = pytest.mark.skipif(not ALL, reason="takes long: SILICONFLOW_BENCHMARKS=all")


def assert_folds(done: ChatCompletion, fixture: Fixture) -> None:
    calls = tuple((call.id, call.function.name, call.function.arguments) for call in done.tool_calls or ())
    assert (done.content, done.reasoning_content, calls) == (fixture.content, fixture.reasoning, fixture.calls)
    assert done.usage is not None
    assert done.usage.to_dict() == fixture.usage
    assert done.finish_reason == fixture.finish_reason


@pytest.mark.parametrize("name", NAMES)
def test_a_fixture_decodes_and_folds_to_its_expected_result(name: str) -> None:
    fixture = make(name, CHUNKS)
    protocol, accumulator, count = ChatProtocol(1 << 20), Accumulator(), 0
    for block in fixture.blocks:
        chunks = list(protocol.feed(block))
        accumulator.fold(chunks)
        count += len(chunks)
    assert protocol.done
    assert count == CHUNKS
    assert_folds(accumulator.completion(), fixture)
    assert all(json.loads(call[2]) for call in fixture.calls)


@pytest.mark.parametrize("name", NAMES)
def test_the_client_reads_a_fixture_as_it_was_meant(name: str) -> None:
    fixture = make(name, CHUNKS)

    async def main() -> None:
        url = "http://127.0.0.1:9/v1"
        async with (
            guard.session(fixture.blocks) as session,
            AsyncSiliconFlow("key", base_url=url, session=session) as client,
            client.chat.completions.stream(model="m", messages=[{"role": "user", "content": "hi"}]) as stream,
        ):
            count = 0
            async for _ in stream:
                count += 1
            assert count == CHUNKS
            assert stream.ended == "done"
            assert_folds(await stream.completion(), fixture)

    asyncio.run(main())


def test_fixtures_are_the_same_in_every_process() -> None:
    script = "import zlib\nfor name in NAMES: print(zlib.crc32(b''.join(make(name, 50).blocks)))"
    python = [sys.executable, "-c", f"from benchmarks.fixtures import *\n{script}"]
    runs = {subprocess.run(python, cwd=ROOT, capture_output=True, check=True).stdout for _ in range(2)}
    assert len(runs) == 1


def test_a_chunk_of_text_has_the_size_of_a_real_one() -> None:
    fixture = make("text", 1_000)
    assert 400 < sum(map(len, fixture.blocks)) / fixture.chunks < 460


def test_each_way_of_cutting_stresses_its_branch() -> None:
    cut = {name: make(name, 2_000).blocks for name in NAMES}
    assert b": ping" in b"".join(cut["comments"])
    assert b"\n" not in b"".join(cut["crlf"]).replace(b"\r\n", b"")
    assert max(map(len, cut["tiny-reads"])) <= 256
    assert len(cut["huge-reads"][0]) == 256 * 1024


def test_the_huge_event_and_the_whole_answer_hold_their_content() -> None:
    event, content = huge_event(64 * 1024)
    (chunk,) = ChatProtocol(1 << 20).feed(event)
    assert chunk.content == content
    body, content = whole_answer()
    assert decode_completion(body).content == content


def test_a_wrong_answer_is_refused() -> None:
    fixture = make("text", 10)
    with pytest.raises(WrongAnswer):
        check(load(OURS)(""), fixture, [fixture.said[:-1]])
    with pytest.raises(WrongAnswer):
        check(load(UNIT)(""), fixture, [fixture.said])
    with pytest.raises(WrongAnswer):
        check(load(RAW)(""), fixture, ["x"] * 9)


TOKENS = ["1" * 19, "2" * 19, "3" * 19]


@pytest.mark.parametrize(
    "texts",
    [
        [TOKENS[0], TOKENS[0]],
        [TOKENS[1], TOKENS[0]],
        [TOKENS[1] + TOKENS[0], TOKENS[2]],
        [TOKENS[0] + TOKENS[1][:9], TOKENS[1][9:]],
        TOKENS[:1],
        TOKENS,
    ],
    ids=["twice", "order", "merged order", "cut", "too few", "too many"],
)
@pytest.mark.parametrize("framed", [str, lambda text: json.dumps({"type": "content_delta", "index": 0, "text": text})])
def test_a_wrong_relay_is_refused(texts: list[str], framed: Callable[[str], str]) -> None:
    async def endpoint(connection: ServerConnection) -> None:
        await connection.recv()
        for text in texts:
            await connection.send(framed(text))

    async def main() -> None:
        async with serve(endpoint, "127.0.0.1", 0) as server:
            port = next(iter(server.sockets)).getsockname()[1]
            client = await WebSocketClient.connect(port, "name.now.2.1.19")
            await client.ended(2)

    with pytest.raises(WrongAnswer):
        asyncio.run(main())


@pytest.mark.parametrize("name", usable(FANOUTS)[0])
def test_every_way_of_asking_many_answers_each_once(name: str) -> None:
    """Those that are installed."""
    way = usable(FANOUTS, [name])[0][name]

    async def main() -> int:
        async with FakeSiliconFlow(tokens_per_second=500) as server, way(server.base_url) as asker:
            answers = dict(await asker.ask(2 * AT_ONCE))
            assert sorted(answers) == list(range(2 * AT_ONCE))
            assert len(set(answers.values())) == 1
            return len(server.requests)

    assert asyncio.run(main()) == 2 * AT_ONCE


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ([(0, "yes"), (0, "yes")], "lost or doubled"),
        ([(0, "yes")], "lost or doubled"),
        ([(0, "yes"), (1, "no")], "1 wrong"),
    ],
)
def test_a_way_that_loses_or_doubles_or_garbles_answers_is_refused(answers: list[Any], words: str) -> None:
    class Careless(FanOut):
        async def ask(self, count: int) -> list[Any]:
            return answers

    with pytest.raises(WrongAnswer, match=words):
        asyncio.run(asked(Careless(""), 2, "yes"))


def test_rounds_are_interleaved_and_ratios_taken_within_them() -> None:
    order: list[str] = []
    figures = {UNIT: [9.0, 2.0, 4.0, 1.0], "other": [9.0, 3.0, 4.0, 4.0]}

    async def run(name: str) -> dict[str, float]:
        order.append(name)
        return {"figure": figures[name][order.count(name) - 1]}

    async def main() -> list[Row]:
        runs = {name: lambda name=name: run(name) for name in figures}
        found = await compare(runs, rounds=3, note=lambda text: None)
        return rows(found, case="c", variant="v", loop="l", ratios=("figure",))

    unit, other = asyncio.run(main())
    assert [set(order[at : at + 2]) for at in range(0, 8, 2)] == [set(figures)] * 4
    assert (unit.value, unit.ratio) == (2.0, 1.0)
    assert (other.value, other.ratio) == (4.0, 1.5)


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], str]:
    """What one quick run of the cases wrote and said."""
    path = tmp_path_factory.mktemp("benchmarks") / "results.json"
    only = [argument for name in (UNIT, RAW, OURS) for argument in ("--only", name)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick", "--json", str(path), *only, *RUN],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return path, json.loads(path.read_text()), done.stdout


@pytest.mark.parametrize("case", RUN)
def test_every_case_measures_this_library(quick: tuple[Path, dict[str, Any], str], case: str) -> None:
    if case == "memory" and sys.platform != "linux":
        pytest.skip("only Linux tells the memory of a process")
    result = quick[1]
    assert result["failed"] == {}
    ours = [
        row
        for row in result["results"]
        if row["case"] == case and row["contestant"].startswith((OURS, "siliconflow_async"))
    ]
    assert ours
    # What is left when something is taken off may be less than nothing.
    assert all(
        row["value"] > 0
        for row in ours
        if row["case"] != "memory"
        and "growth" not in row["metric"]
        and not row["metric"].startswith("beyond")
        and row["metric"] not in (REFUSED, IN_VAIN, LOST, FAILED)
    )
    assert f"\n{case}: " in quick[2]


@of_all
def test_the_plain_relays_run() -> None:
    pytest.importorskip("openai")
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick", "--json", "-", "--only", "openai", "left", "relay"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    names = {(row["case"], row["contestant"]) for row in json.loads(done.stdout)["results"]}
    assert names == {(case, name) for case in ("left", "relay") for name in ("openai", "openai async with")}


def test_what_a_way_costs_beyond_the_requests_is_taken_off_in_each_round(
    quick: tuple[Path, dict[str, Any], str],
) -> None:
    rows = [row for row in quick[1]["results"] if row["case"] == "map"]
    samples = {(row["contestant"], row["metric"]): row["samples"] for row in rows}
    (beyond,) = samples[MAP, BEYOND]
    (whole,), (requests,) = samples[MAP, CPU], samples[SELF, CPU]
    assert beyond == pytest.approx(whole - requests)
    assert (SELF, BEYOND) not in samples


@of_all
def test_where_limits_are_given_nothing_is_refused_and_no_time_is_impossible(
    quick: tuple[Path, dict[str, Any], str],
) -> None:
    rows = {row["metric"]: row["value"] for row in quick[1]["results"] if row["contestant"] == GIVEN}
    assert rows[REFUSED] == 0
    assert rows[RATIO] >= 1


@of_all
def test_an_outage_loses_nothing(quick: tuple[Path, dict[str, Any], str]) -> None:
    rows = [row for row in quick[1]["results"] if row["case"] == "outages" and row["metric"] == LOST]
    assert rows
    assert not any(row["value"] for row in rows)


@of_all
def test_in_bad_weather_only_silence_and_a_kill_may_fail_a_call(quick: tuple[Path, dict[str, Any], str]) -> None:
    weather = [row for row in quick[1]["results"] if row["case"] == "weather"]
    failed = {(row["variant"], row["contestant"]): row["value"] for row in weather if row["metric"] == FAILED}
    calls = {(row["variant"], row["contestant"]): row["value"] for row in weather if row["metric"] == CALLS}
    assert failed.keys() == calls.keys()
    silent = {key for key in failed if key[0].startswith("silent")}
    # Nobody could have noticed so soon, and else it would be no silence.
    assert all(failed[key] == calls[key] == 1 for key in silent)
    kills = {key for key in failed if key[0].startswith("hard kill") and key[1] == OURS}
    assert kills
    assert not any(failed[key] for key in failed.keys() - silent - kills)


def test_a_run_says_where_it_ran(quick: tuple[Path, dict[str, Any], str]) -> None:
    facts = quick[1]["facts"]
    assert facts["versions"].keys() >= {"aiohttp", "msgspec"}
    assert facts["python"] in quick[2]
    assert facts["cpu"] in quick[2]
    assert report.head(facts) in quick[2]


def test_the_figure_shows_every_contestant(quick: tuple[Path, dict[str, Any], str], tmp_path: Path) -> None:
    figure = tmp_path / "figure.svg"
    assert report.plot([str(quick[0]), "-o", str(figure)]) == 0
    texts = ["".join(element.itertext()) for element in ElementTree.parse(figure).iter()]
    assert {UNIT, RAW, OURS, "concurrent streams"} <= set(texts)


def test_the_list_names_every_case_and_those_that_run_only_when_named() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--list"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    listed = {line.split()[0]: line for line in done.stdout.split("\n\n")[0].splitlines()}
    assert listed.keys() == CASES.keys()
    assert {case for case, line in listed.items() if "only when named" in line} == LONG
