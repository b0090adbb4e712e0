"""A key that a server, or a gateway or proxy before it, says back: it shows in nothing that is made of the answer."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
from base64 import b64encode
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import anyio
import pytest

from siliconflow_async import (
    APIStatusError,
    AsyncSiliconFlow,
    BadRequestError,
    ContextLengthError,
    InsufficientBalanceError,
    RateLimitError,
    SiliconFlowError,
    Timeouts,
)
from siliconflow_async.batch import run_batch
from siliconflow_async.testing import FakeSiliconFlow, Rst, Stall, Trickle
from siliconflow_async.wire.events import Seam, error_event

from ..asking import ASK, NO_WAIT, chunk
from ..connect_proxy import ConnectProxy
from ..programs import environment
from .telling import lines_with, told_by_libraries

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[2]
KEY = "sk-" + "said/back+0123456789"
ESCAPED = "".join(f"\\u{ord(char):04X}" for char in KEY)

# How the key is said, as it stands within a JSON text.
FORMS: dict[str, str] = {
    "plain": KEY,
    "with its scheme": f"Bearer {KEY}",
    "escaped": ESCAPED,
    "partly escaped": "\\u0073k-" + KEY[3:].replace("/", "\\/"),
    "in JSON within JSON": json.dumps('{"key": "' + ESCAPED + '"}')[1:-1],
    "in a URL": "https://x.test/?key=" + quote(KEY, safe=""),
    "in a URL, to the last letter": "".join(f"%{ord(char):02x}" for char in KEY),
    "base64": b64encode(KEY.encode()).decode(),
    "Basic": b64encode(f"user:{KEY}".encode()).decode(),
    "Basic, moved": b64encode(f"a.user:{KEY}".encode()).decode(),
    "in capitals": KEY.upper(),
    "in HTML": KEY.replace("/", "&#x2F;").replace("+", "&#43;").replace("sk", "&#115;k"),
}


def headers(said: str) -> dict[str, str]:
    return {
        "x-siliconcloud-trace-id": f"ti_{said}",
        "location": f"https://x.test/?key={said}",
        "www-authenticate": f'Bearer error="{said}"',
        "set-cookie": f"session={said}; {said}[]=; Path={said}",
    }


def frame(data: str, event: str = "") -> bytes:
    return f"{event and f'event: {event}'}\ndata: {data}\n\n".lstrip("\n").encode()


def raw(server: FakeSiliconFlow, said: str, *steps: Any, **options: Any) -> None:
    server.raw(steps, times=None, headers=headers(said), **options)


def verbatim(server: FakeSiliconFlow, *lines: str) -> None:
    server.raw(["\r\n".join(lines).encode()], framing="verbatim", times=None)


def piecewise(server: FakeSiliconFlow, *lines: str) -> None:
    """So that the headers have been taken before what follows them is read."""
    server.raw([Trickle("\r\n".join(lines).encode())], framing="verbatim", times=None)


SCRIPTS: dict[str, Callable[[FakeSiliconFlow, str], Any]] = {
    "message": lambda server, said: server.fail(401, f'{{"message": "No: {said}"}}'.encode(), headers(said), None),
    "code": lambda server, said: server.fail(
        400, f'{{"error": {{"code": "{said}", "message": "No."}}}}'.encode(), headers(said), None
    ),
    "twice in one object": lambda server, said: server.fail(
        400, f'{{"message": "{said}", "message": "No."}}'.encode(), headers(said), None
    ),
    "a name in JSON": lambda server, said: server.fail(
        400, f'{{"message": "No.", "data": {{"{said}": 1}}}}'.encode(), headers(said), None
    ),
    "text": lambda server, said: server.fail(403, f"No: {said}".encode(), headers(said), None),
    "HTML": lambda server, said: server.fail(502, f"<title>{said}</title>{said}".encode(), headers(said), None),
    "at the cut of the words": lambda server, said: server.fail(400, f"{'x' * 185} {said}".encode(), None, None),
    "at the cut of the body": lambda server, said: server.fail(400, f"{'x' * 65_520} {said}".encode(), None, None),
    "at the cut of the body, piece by piece": lambda server, said: raw(
        server, said, b"x" * 65_516, Trickle(f" {said}, no".encode()), status=400, framing="length"
    ),
    "a body that does not end": lambda server, said: raw(
        server, said, f"No: {said}".encode(), Stall(), status=400, framing="chunked"
    ),
    "redirect": lambda server, said: server.fail(307, b"", headers(said), None),
    "error under 200": lambda server, said: server.fail(
        200, f'{{"code": 50000, "message": "{said}", "data": "{said}"}}'.encode(), headers(said), None
    ),
    "JSON broken off, under 200": lambda server, said: server.fail(
        200, f'{{"a": "{said}", '.encode(), headers(said), None
    ),
    "odd encoding under 200": lambda server, said: server.fail(
        200, f'{{"message": "{said}'.encode() + b'\xff"}', headers(said), None
    ),
    "a list under 200": lambda server, said: server.fail(200, f'["{said}"]'.encode(), headers(said), None),
    "text under 200": lambda server, said: server.fail(200, f"{'x' * 60} {said}".encode(), headers(said), None),
    "HTML under 200": lambda server, said: server.fail(
        200, f"<html>{'x' * 60} {said} {'x' * 100}".encode(), headers(said), None
    ),
    "error frame": lambda server, said: raw(server, said, frame(f'{{"error": {{"message": "{said}"}}}}')),
    "error frame, its code": lambda server, said: raw(
        server, said, frame(f'{{"error": {{"message": "No.", "code": "{said}"}}}}')
    ),
    "error frame of text": lambda server, said: raw(server, said, frame(f'{{"error": "{said}"}}')),
    "event of an error": lambda server, said: raw(server, said, frame(f'"{said}"', "error")),
    "event of an error, no JSON": lambda server, said: raw(server, said, frame(said, "error")),
    "no JSON": lambda server, said: raw(server, said, frame(f"{'x' * 60} {said}")),
    "no object": lambda server, said: raw(server, said, frame(f'["{"x" * 50}", "{said}"]')),
    "no event stream": lambda server, said: raw(server, said, f"{'x' * 60} {said}\n\n".encode()),
    "error frame after a chunk": lambda server, said: raw(
        server, said, chunk("a"), frame(f'{{"error": {{"message": "{said}", "code": "{said}"}}}}')
    ),
    "cut short": lambda server, said: raw(server, said, chunk("a"), f": {said}\n\n".encode(), Rst()),
    "silence": lambda server, said: raw(server, said, chunk("a"), f": {said}\n\n".encode(), Stall()),
    "broken framing": lambda server, said: verbatim(
        server, "HTTP/1.1 200 OK", "Transfer-Encoding: chunked", f"X-A: {said}", "", f"{said}", ""
    ),
    "broken framing after a piece": lambda server, said: piecewise(
        server, "HTTP/1.1 200 OK", "Transfer-Encoding: chunked", "", "6", ": any\n", f"no size: {said}", ""
    ),
    "an extension of a chunk": lambda server, said: piecewise(
        server, "HTTP/1.1 200 OK", "Transfer-Encoding: chunked", "", f"6;a={said}", ": any\n", "?", ""
    ),
    "a trailer": lambda server, said: piecewise(
        server,
        "HTTP/1.1 200 OK",
        "Transfer-Encoding: chunked",
        "",
        "6",
        ": any\n",
        "0",
        f"X-A: {said}",
        f"X A {said}",
        "",
    ),
    "words of the status": lambda server, said: verbatim(
        server, f"HTTP/1.1 401 No: {said}", "Content-Length: 0", f"X-A: {said}", "", ""
    ),
    "words of a good status": lambda server, said: verbatim(
        server, f"HTTP/1.1 200 Yes: {said}", "Content-Length: 9", f"X-A: {said}", "", "no answer"
    ),
    "no status line": lambda server, said: verbatim(server, f"HTTP/1.1 what? {said}", "", ""),
    "no header": lambda server, said: verbatim(server, "HTTP/1.1 200 OK", f"X A: {said}", "", ""),
    "headers broken off": lambda server, said: verbatim(server, "HTTP/1.1 200 OK", f"X-A: {said}", "X-B: "),
}
LIMITS = Timeouts(first_token=0.3, idle=0.1, total=0.6)


def made(base_url: str, **options: Any) -> AsyncSiliconFlow:
    return AsyncSiliconFlow(KEY, **{"base_url": base_url, "retry": NO_WAIT, "max_retries": 1, **options})


async def create(client: AsyncSiliconFlow) -> None:
    await client.chat.completions.create(**ASK)


async def stream(client: AsyncSiliconFlow) -> None:
    async with client.chat.completions.stream(**ASK) as answer:
        await answer.completion()


async def split(client: AsyncSiliconFlow) -> None:
    await (await client.chat.completions.create(**ASK, stream=True, split_think=True)).completion()


async def resumed(client: AsyncSiliconFlow) -> None:
    async with client.chat.completions.stream(**ASK, resume=1) as answer:
        await answer.completion()


async def mapped(client: AsyncSiliconFlow) -> None:
    async with client.chat.completions.map([ASK]) as results:
        async for result in results:
            if result.error is not None:
                raise result.error


async def listed(client: AsyncSiliconFlow) -> None:
    await client.models.list()


CALLS: dict[str, Callable[[AsyncSiliconFlow], Awaitable[None]]] = {
    "create": create,
    "stream": stream,
    "split_think": split,
    "resume": resumed,
    "map": mapped,
    "models.list": listed,
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("name", SCRIPTS)
async def test_a_key_that_is_said_back_is_not_told(name: str, call: str, caplog: pytest.LogCaptureFixture) -> None:
    """Not by the error, its causes or their frames, not to the log, not to a browser; in whatever form it was said."""
    caplog.set_level(logging.DEBUG)

    async def tell(form: str, said: str) -> None:
        async with FakeSiliconFlow() as server, made(server.base_url, timeouts=LIMITS) as client:
            SCRIPTS[name](server, said)
            with pytest.raises(SiliconFlowError) as caught:
                await CALLS[call](client)
            assert server.requests
        told = told_by_libraries(caught.value, __file__)
        assert (form, lines_with(KEY[:12], told)) == (form, [])
        assert (form, lines_with(KEY[:12], error_event(caught.value).to_json())) == (form, [])

    # At once, each at a server of its own, since some wait for a clock to run out.
    async with anyio.create_task_group() as forms:
        for form, said in FORMS.items():
            forms.start_soon(tell, form, said)
    assert lines_with(KEY[:12], caplog.text) == []


def test_a_broken_body_does_not_tell_in_the_words_of_aiohttps_python_parser_either() -> None:
    """Where aiohttp has no extension in C, its own error quotes what broke the body."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider", __file__]
    env = environment() | {"AIOHTTP_NO_EXTENSIONS": "1"}
    done = subprocess.run(
        [*command, "-k", "framing and (create or stream)"],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout
    assert "4 passed" in done.stdout


async def test_good_answers_do_not_tell_either() -> None:
    """Their headers and trace id are masked; what the model wrote, and the bytes of it, are as they came."""
    async with FakeSiliconFlow() as server, made(server.base_url) as client:
        for said in FORMS.values():
            for _ in range(3):
                server.reply(KEY, headers=headers(said))
            done = await client.chat.completions.create(**ASK)
            async with client.chat.completions.stream(**ASK) as answer:
                assert (await answer.completion()).content == done.content == KEY
                shown = [repr(answer), answer.trace_id, answer.headers, answer.partial.headers, answer.partial.trace_id]
            assert json.dumps(KEY).encode() in (done.raw or b"")
            shown += [done.headers, done.trace_id]
            assert lines_with(KEY[:12], "\n".join(map(str, shown))) == []
            assert "***" in done.headers["location"]
            assert done.headers["content-type"].startswith("application/json")


async def test_a_list_of_models_does_not_tell() -> None:
    """Nor do its headers."""
    async with FakeSiliconFlow() as server, made(server.base_url) as client:
        server.fail(200, b'{"data": [{"id": "a/b"}]}', headers(KEY))
        models = await client.models.list()
        assert [model.id for model in models.data] == ["a/b"]
        assert lines_with(KEY[:12], f"{models.headers} {models.trace_id}") == []


async def test_a_seam_does_not_tell() -> None:
    """What broke the stream is told to the browser, in words without the key."""
    async with FakeSiliconFlow() as server, made(server.base_url) as client:
        said = frame(f'{{"error": {{"message": "{KEY}", "code": 50505}}}}')
        server.raw([chunk("a"), said], headers=headers(KEY))
        server.reply("b")
        async with client.chat.completions.stream(**ASK, resume=1) as answer:
            (seam,) = [event async for event in answer.events() if isinstance(event, Seam)]
    assert (seam.message, seam.trace_id) == ("code 50505: ***", "ti_***")


async def test_the_lines_of_a_batch_do_not_tell(tmp_path: Path) -> None:
    """Neither bodies nor words nor trace ids of requests that failed."""
    requests, results = tmp_path / "requests.jsonl", tmp_path / "results.jsonl"
    requests.write_text("".join(json.dumps({**ASK, "custom_id": form}) + "\n" for form in FORMS))
    async with FakeSiliconFlow() as server, made(server.base_url) as client:
        for said in FORMS.values():
            server.fail(400, f'{{"code": "{said}", "message": "{said}"}}'.encode(), headers(said))
        await run_batch(client, requests, results)
    errors = (tmp_path / "results.errors.jsonl").read_text()
    assert len(errors.splitlines()) == len(FORMS)
    assert all("***" in line for line in errors.splitlines())
    assert lines_with(KEY[:12], errors) == []


GIVEN: dict[str, dict[str, str]] = {
    "another key": {"Authorization": "Bearer another-key-0123"},
    "no scheme": {"Authorization": "another-key-0123"},
    "a name of its own": {"X-Api-Key": "another-key-0123"},
    "Basic": {"Authorization": "Basic " + b64encode(b"me:another-key-0123").decode()},
    "a cookie": {"Cookie": "theme=dark; session=another-key-0123"},
}


@pytest.mark.parametrize("way", GIVEN)
@pytest.mark.parametrize("where", ["headers", "extra_headers"])
async def test_what_is_sent_in_other_headers_is_masked_too(where: str, way: str) -> None:
    """By their names; and the client's own key where another was sent."""
    async with FakeSiliconFlow() as server:
        options = {"headers": GIVEN[way]} if where == "headers" else {}
        async with made(server.base_url, **options) as client:
            server.fail(401, f"No: another-key-0123, in a dark place; and not {KEY}")
            extra = {"extra_headers": GIVEN[way]} if where == "extra_headers" else {}
            with pytest.raises(APIStatusError) as caught:
                await client.chat.completions.create(**ASK, **extra)
        hidden = "***" if way == "a cookie" else "dark"
        assert caught.value.message == f"No: ***, in a {hidden} place; and not ***"


async def test_each_call_has_the_mask_of_its_own_headers() -> None:
    """Not that of the call before it."""
    async with FakeSiliconFlow() as server, made(server.base_url) as client:
        for own in (None, "key-of-the-second", "key-of-the-third", None):
            server.fail(401, f"No: {own}, {KEY}")
            with pytest.raises(APIStatusError) as caught:
                await client.chat.completions.create(**ASK, extra_headers={"X-Api-Key": own})
            assert caught.value.message == ("No: None, ***" if own is None else "No: ***, ***")


@pytest.mark.parametrize("key", ["x", "q", "0", "_", "e", "400", "null", "true", "code", "max_seq", "m", "len"])
async def test_a_key_of_a_few_letters_changes_nothing(key: str) -> None:
    """Servers without keys are given "x" or "0": codes, classes, meters and JSON are what they are without."""
    async with FakeSiliconFlow() as server, AsyncSiliconFlow(key, base_url=server.base_url, max_retries=0) as client:

        async def error(status: int, body: dict[str, Any], **options: Any) -> Any:
            server.fail(status, body, **options)
            with pytest.raises(SiliconFlowError) as caught:
                await client.chat.completions.create(**ASK)
            return caught.value

        body = {"code": 20015, "message": "length of prompt exceeds max_seq_len 400", "data": None, "ok": True, "n": 0}
        overflow = await error(400, body)
        assert (type(overflow), overflow.code) == (ContextLengthError, 20015)
        assert json.loads(overflow.body).keys() >= {"data", "ok", "n"}
        assert json.loads(overflow.body)["data"] is None
        assert overflow.message == body["message"]
        refused = await error(403, {"code": 30001, "message": "e", "data": None})
        assert (type(refused), refused.code) == (InsufficientBalanceError, 30001)
        limited = await error(429, {"code": 50603, "message": "RPM limit"}, headers={"retry-after": "400"})
        assert (type(limited), limited.meter, limited.retry_after) == (RateLimitError, "rpm", 400)
        odd = await error(400, {"error": {"code": "x", "message": "m"}})
        assert (type(odd), odd.code) == (BadRequestError, "x")


async def test_what_is_hidden_was_judged_before() -> None:
    """A key that is the very word by which an error is known changes no class."""
    async with FakeSiliconFlow() as server, AsyncSiliconFlow("max_seq_len", base_url=server.base_url) as client:
        server.fail(400, {"code": 20015, "message": "length of prompt exceeds max_seq_len 400"})
        with pytest.raises(ContextLengthError) as caught:
            await client.chat.completions.create(**ASK)
    assert caught.value.message == "length of prompt exceeds *** 400"


async def test_a_short_key_is_masked_as_a_word() -> None:
    """Not within others, of which it is a part."""
    async with FakeSiliconFlow() as server, AsyncSiliconFlow("hush", base_url=server.base_url) as client:
        server.fail(401, "No hush: hushed, re-hush, 'hush'")
        with pytest.raises(APIStatusError) as caught:
            await client.chat.completions.create(**ASK)
    assert caught.value.message == "No ***: hushed, re-hush, '***'"


PASSWORD = "of-the-" + "proxy/0123456789"
SAYING = {
    "plain": PASSWORD,
    "in a URL": quote(PASSWORD, safe=""),
    "Basic": b64encode(f"me:{PASSWORD}".encode()).decode(),
}


@pytest.mark.parametrize("said", SAYING)
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_that_says_its_password_back_is_not_quoted(
    scheme: str, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither its words nor its headers nor its body, for a tunnel and for a request in plain http."""
    caplog.set_level(logging.DEBUG)
    words = SAYING[said]
    refusal = f"HTTP/1.1 407 No: {words}\r\nX-A: {words}\r\nConnection: close\r\n\r\nNo: {words}".encode()
    async with ConnectProxy(refusal=refusal) as proxy:
        user = f"me:{quote(PASSWORD, safe='')}"
        async with made(f"{scheme}://127.0.0.1:9", proxy=proxy.url(user)) as client, asyncio.timeout(5):
            with pytest.raises(SiliconFlowError, match="407") as caught:
                await create(client)
    assert lines_with(PASSWORD, told_by_libraries(caught.value, __file__)) == []
    assert lines_with(PASSWORD, caplog.text) == []
