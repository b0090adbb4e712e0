"""The playground's server, as a browser or something worse would ask it; the page itself is tested in a browser."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import signal
import socket
import struct
import sys
import zipapp
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

import siliconflow_async
from siliconflow_async import AsyncSiliconFlow, CallState, Limit, RetryPolicy
from siliconflow_async.cli import playground
from siliconflow_async.cli.playground import Playground
from siliconflow_async.cli.playground.markdown import render
from siliconflow_async.cli.playground.snippet import snippet
from siliconflow_async.testing import FakeSiliconFlow, Stall

from ..asking import chunk, served

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from .conftest import Command

pytestmark = pytest.mark.anyio

ASK = {"model": "Qwen/Qwen3-8B", "messages": [{"role": "user", "content": "Why?"}]}
PAGE = Path(playground.__file__).parent / "page"
FILES = sorted(path.name for path in PAGE.iterdir())
PATHS = ("/", "/page.css", "/page.js", "/favicon.ico", "/api/settings", "/api/models")


def E(tag: str, *children: Any, **attributes: Any) -> list[Any]:
    """An element of a tree."""
    return [tag, attributes, list(children)]


def P(*children: Any) -> list[Any]:
    return E("p", *children)


class Browser:
    """Asks a playground. `told` is everything that it ever said, headers included."""

    def __init__(self, session: aiohttp.ClientSession, page: Playground) -> None:
        self._session = session
        self.url = page.url.rstrip("/")
        self.told = ""

    async def get(self, path: str, **headers: str) -> tuple[int, str, Any]:
        """Return status, body and headers."""
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self._session.get(self.url + path, headers=names) as response:
            text = await response.text()
            self.told += f"{response.headers}{text}"
            return response.status, text, response.headers

    async def post(self, path: str, value: Any, **headers: str) -> tuple[int, str]:
        """Return status and body."""
        body = io.BytesIO(json.dumps(value).encode())
        async with self._session.post(self.url + path, data=body, headers=headers) as response:
            return response.status, await response.text()

    @asynccontextmanager
    async def asking(self, request: Any = ASK, **headers: str) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        # A server that takes no notice of leaving is left hanging for longer than any test waits.
        patience = aiohttp.ClientWSTimeout(ws_close=60)
        async with self._session.ws_connect(f"{self.url}/api/chat", headers=headers, timeout=patience) as ws:
            await ws.send_str(request if isinstance(request, str) else json.dumps(request))
            yield ws

    async def ask(self, request: Any = ASK) -> list[Any]:
        """Return all frames of an answer."""
        async with self.asking(request, Origin=self.url) as ws:
            texts = [message.data async for message in ws]
        self.told += "".join(texts)
        return [json.loads(text) for text in texts]


@asynccontextmanager
async def played(**options: Any) -> AsyncIterator[tuple[FakeSiliconFlow, Browser]]:
    """A stand-in, a playground on it, and a browser."""
    async with (
        served() as (server, client),
        Playground(client, **options) as page,
        aiohttp.ClientSession() as session,
    ):
        yield server, Browser(session, page)


async def until(ws: aiohttp.ClientWebSocketResponse, kind: str) -> Any:
    """Return the next frame of a kind."""
    while (frame := await ws.receive_json())["type"] != kind:
        pass
    return frame


@pytest.mark.parametrize("path", [*PATHS, "/nothing", "/../server.py", "/%2e%2e/server.py", "/page/index.html"])
async def test_every_answer_says_what_the_browser_is_to_enforce(path: str) -> None:
    """Nothing but the page's own files runs, nothing is sniffed, framed or kept; what is no file of it is not there."""
    async with played() as (_, browser):
        for headers in ({}, {"Host": "evil.example"}):
            status, _, answer = await browser.get(path, **headers)
            assert status == (403 if headers else 204 if "icon" in path else 200 if path in PATHS else 404)
            policy = answer["Content-Security-Policy"]
            assert "default-src 'self'" in policy
            assert "frame-ancestors 'none'" in policy
            assert "unsafe" not in policy
            assert answer["X-Content-Type-Options"] == "nosniff"
            assert answer["Cross-Origin-Resource-Policy"] == "same-origin"
            assert answer["Cache-Control"] == "no-store"


async def test_it_listens_on_loopback_only() -> None:
    """The address is 127.0.0.1, with a port of its own."""
    async with played() as (_, browser):
        assert re.fullmatch(r"http://127\.0\.0\.1:[1-9]\d*", browser.url)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:9000", "127.0.0.2", "[::1]:8", "a.localhost"])
async def test_names_of_this_machine_are_answered_to(host: str) -> None:
    """Any port goes: it may be forwarded."""
    async with played() as (_, browser):
        assert (await browser.get("/", Host=host))[0] == 200
        assert (await browser.get("/api/models", Host=host, Origin=f"http://{host.lower()}"))[0] == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8765",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "192.168.0.1",
        "0.0.0.0",
        "[::]",
        "[::ffff:192.168.0.1]",
        "localhost@evil.example",
        "localhost:x",
        "127.1",
        "",
    ],
)
async def test_other_hosts_are_refused(host: str) -> None:
    """A name that someone else points to this machine gets nothing, with an Origin to match or without."""
    async with played() as (server, browser):
        for path in (*PATHS, "/api/chat"):
            assert (await browser.get(path, Host=host))[0] == 403
            assert (await browser.get(path, Host=host, Origin=f"http://{host}"))[0] == 403
        assert server.requests == []


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1", "http://localhost:{port}", "https://127.0.0.1:{port}"]
)
async def test_other_pages_are_refused(origin: str) -> None:
    """Also those on another port or under another name of this machine; the websocket's handshake as well."""
    async with played() as (server, browser):
        origin = origin.format(port=browser.url.rpartition(":")[2])
        for path in PATHS:
            assert (await browser.get(path, Origin=origin))[0] == 403
        with pytest.raises(aiohttp.WSServerHandshakeError, match="403"):
            async with browser.asking(Origin=origin):
                pass
        assert server.requests == []


async def test_what_other_pages_embed_is_refused_and_their_links_work() -> None:
    """Images and scripts come without an Origin, but with Sec-Fetch-Site."""
    async with played() as (server, browser):
        for site in ("cross-site", "same-site"):
            for path in PATHS:
                assert (await browser.get(path, Sec_Fetch_Site=site, Sec_Fetch_Mode="no-cors"))[0] == 403
            assert (await browser.get("/", Sec_Fetch_Site=site, Sec_Fetch_Mode="navigate"))[0] == 200
        assert (await browser.get("/page.js", Sec_Fetch_Site="same-origin", Sec_Fetch_Mode="cors"))[0] == 200
        assert server.requests == []


async def test_the_key_is_never_sent_to_the_page() -> None:
    """Not with a file, a setting, an answer, or an error of the service or of the request."""
    async with played() as (server, browser):
        for path in PATHS:
            await browser.get(path)
        await browser.ask()
        server.fail(401)
        await browser.ask()
        server.fail(401)
        await browser.get("/api/models")
        await browser.ask({**ASK, "extra_headers": {}})
        assert all(request.headers["Authorization"] == "Bearer test-key" for request in server.requests)
        assert len(server.requests) == 4
    assert "Why?" in browser.told
    assert "test-key" not in browser.told
    assert "Bearer" not in browser.told


async def test_an_answer_comes_as_events_between_the_request_and_the_summary() -> None:
    """What is asked reaches the service as it is; the summary has the tokens, the times and the trace id."""
    async with played() as (server, browser):
        server.reply("Hello there", reasoning="Hm.", tool_calls=[{"name": "f", "arguments": {"a": 1}}])
        first, *events, last = await browser.ask({**ASK, "temperature": 0.5, "enable_thinking": True})
        request = server.requests[0]
        assert request.json == {**ASK, "temperature": 0.5, "enable_thinking": True, "stream": True}
    assert first == {
        "type": "asked",
        "python": snippet({**ASK, "temperature": 0.5, "enable_thinking": True}),
    }
    assert "".join(event["text"] for event in events if event["type"] == "content_delta") == "Hello there"
    assert "".join(event["text"] for event in events if event["type"] == "reasoning_delta") == "Hm."
    assert [event["arguments"] for event in events if event["type"] == "tool_call_done"] == ['{"a":1}']
    assert events[-1]["type"] == "finished"
    assert last.pop("first_token") <= last.pop("total")
    usage = events[-1]["usage"]
    assert last == {
        "type": "summary",
        "ended": "done",
        "trace_id": request.trace_id,
        "prompt_tokens": usage["prompt_tokens"],
        "tokens": usage["completion_tokens"],
        "reasoning_tokens": usage["completion_tokens_details"]["reasoning_tokens"],
    }


async def test_an_error_of_the_service_is_told_with_its_trace_id() -> None:
    """Before the answer, and in the middle of it, where what had arrived counts."""
    async with played() as (server, browser):
        server.fail(400)
        _, error, summary = await browser.ask()
        assert (error["type"], error["error"], error["code"]) == ("error", "BadRequestError", 20015)
        assert (summary["ended"], summary["trace_id"]) == ("error", server.requests[0].trace_id)
        server.raw([chunk("Hel")])
        *_, delta, error, summary = await browser.ask()
        assert (delta["text"], error["error"]) == ("Hel", "TruncatedStreamError")
        assert (summary["ended"], summary["trace_id"]) == ("error", server.requests[1].trace_id)
        assert summary["tokens"] is None


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ("{", "not JSON"),
        ("[]", "must be a JSON object"),
        ("[" * 100_000, "not JSON"),
        ({"messages": []}, "model is missing"),
        ({"model": "a/b"}, "messages is missing"),
        ({**ASK, "extra_headers": {"Authorization": "x"}}, "'extra_headers' is no parameter"),
        ({**ASK, "timeout": 1}, "'timeout' is no parameter"),
        ({**ASK, "messages": "x"}, "messages must be a list"),
        ({**ASK, "messages": [1]}, "messages[0]"),
        ({**ASK, "model": None}, "model must not be None"),
    ],
)
async def test_a_request_that_cannot_be_sent_is_named(request_: Any, words: str) -> None:
    """Nothing is sent, and the page is told what is wrong."""
    async with played() as (server, browser):
        *_, error, summary = await browser.ask(request_)
        assert (error["type"], error["error"], summary["ended"]) == ("error", "InvalidRequestError", "error")
        assert words in error["message"]
        assert server.requests == []


def close_frame(ws: aiohttp.ClientWebSocketResponse) -> Any:
    return ws.close()


async def word(ws: aiohttp.ClientWebSocketResponse) -> None:
    await ws.send_str("stop")


async def reset(ws: aiohttp.ClientWebSocketResponse) -> None:
    transport = ws.get_extra_info("socket")
    transport.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert ws._response.connection is not None
    assert ws._response.connection.transport is not None
    ws._response.connection.transport.abort()


@pytest.mark.parametrize("leave", [close_frame, word, reset])
@pytest.mark.parametrize("begun", [False, True], ids=["before the first token", "after it"])
async def test_leaving_aborts_upstream(leave: Any, begun: bool) -> None:
    """By the stop button, a closed tab, or a lost connection."""
    async with played() as (server, browser):
        if begun:
            server.raw([chunk("Hel"), Stall()])
        else:
            server.reply("x", before=[Stall()])
        async with browser.asking() as ws:
            await until(ws, "content_delta" if begun else "asked")
            await server.received()
            async with asyncio.timeout(10):
                await leave(ws)
                await server.left_early()
            if leave is word:
                summary = await until(ws, "summary")
                assert summary["ended"] == "left"
                assert summary["trace_id"] == (server.requests[0].trace_id if begun else None)


async def test_closing_the_playground_ends_answers() -> None:
    """Upstream is left, and the page is told that the server goes."""
    async with served() as (server, client), aiohttp.ClientSession() as session:
        page = Playground(client)
        await page.start()
        browser = Browser(session, page)
        server.raw([chunk("Hel"), Stall()])
        async with browser.asking() as ws:
            await until(ws, "content_delta")
            async with asyncio.timeout(10):
                _, message = await asyncio.gather(page.aclose(), ws.receive())
                await server.left_early()
        assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1001)
        with pytest.raises(aiohttp.ClientConnectorError):
            await browser.get("/")


async def test_the_models_and_the_settings_are_told() -> None:
    """The models to chat with, or why there are none."""
    async with played(model="org/first", demo=True) as (server, browser):
        assert json.loads((await browser.get("/api/settings"))[1]) == {"model": "org/first", "demo": True}
        status, text, _ = await browser.get("/api/models")
        assert status == 200
        assert "Qwen/Qwen3-8B" in json.loads(text)["models"]
        assert server.requests[0].query == {"type": "text", "sub_type": "chat"}
        server.fail(403)
        status, text, _ = await browser.get("/api/models")
        assert status == 502
        assert "HTTP 403: Forbidden" in json.loads(text)["message"]


async def test_retries_are_told_as_they_happen() -> None:
    """What an attempt failed of before the wait for the next one; the client's own observers are told too."""
    told: list[str] = []

    class Observer:
        def retried(self, state: CallState) -> None:
            told.append(type(state.error).__name__)

    retry = RetryPolicy(max_attempts=3, base=0.01, cap=30)
    async with (
        FakeSiliconFlow() as server,
        AsyncSiliconFlow("k", base_url=server.base_url, retry=retry, observers=[Observer()]) as client,
        Playground(client) as page,
        aiohttp.ClientSession() as session,
    ):
        browser = Browser(session, page)
        server.fail(503)
        server.fail(429, headers={"Retry-After": "29"})
        async with browser.asking() as ws:
            failed = await until(ws, "failed")
            assert failed["message"].startswith("OverloadedError: HTTP 503")
            assert 0 < failed["seconds"] <= 0.01
            retried = await until(ws, "retried")
            assert (retried["attempt"], retried["message"]) == (2, failed["message"])
            assert retried["seconds"] > 0
            failed = await until(ws, "failed")
            assert (failed["message"].partition(":")[0], failed["seconds"]) == ("RateLimitError", 29)
            await ws.send_str("stop")
            assert (await until(ws, "summary"))["ended"] == "left"
    assert told == ["OverloadedError", "RateLimitError"]


async def test_a_wait_for_room_in_the_limits_is_told() -> None:
    """With the seconds that it took."""
    async with (
        FakeSiliconFlow() as server,
        AsyncSiliconFlow("k", base_url=server.base_url, limits=Limit(rpm=1, window=0.5)) as client,
        Playground(client) as page,
        aiohttp.ClientSession() as session,
    ):
        browser = Browser(session, page)
        await browser.ask()
        _, waited, *_ = await browser.ask()
        assert waited["type"] == "waited"
        assert waited["seconds"] > 0


HOSTILE = "\"\"\"'''\\ \n\t\r\x00\x1b\x7f {x} %s \u2028\u202e\ufeff 你好 😀\\"


@pytest.mark.parametrize(
    "params",
    [
        ASK,
        {
            "model": 'a/"b',
            "messages": [{"role": "system", "content": HOSTILE}, {"role": "user", "content": "x" * 200}],
            "temperature": 0.1,
            "enable_thinking": False,
            "stop": [],
            "tools": [
                {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}},
            ],
        },
    ],
)
async def test_the_snippet_makes_the_same_request(params: Any) -> None:
    """As a program of its own, whatever the messages hold."""
    async with FakeSiliconFlow() as server:
        server.reply("Hello")
        program = snippet(params, base_url=server.base_url)
        compile(program, "snippet", "exec")
        env = {**os.environ, "SILICONFLOW_API_KEY": "key", "PYTHONIOENCODING": "utf-8"}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-", env=env, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        out, _ = await process.communicate(program.encode())
        assert (process.returncode, out) == (0, b"Hello")
        assert server.requests[0].json == {**params, "stream": True}
    assert all(char.isprintable() or char == "\n" for char in program)


async def test_the_page_is_whole_by_itself() -> None:
    """No address of another place, nothing that runs within the page, no way for text to become markup."""
    texts = {name: (PAGE / name).read_text(encoding="utf-8") for name in FILES}
    html = texts["index.html"]
    js = "".join(text for name, text in texts.items() if name.endswith(".js"))
    for text in texts.values():
        assert not re.search(r"https?:|//[\w.-]+\.\w|@import|url\(", text)
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]* src=)|javascript:", html)
    assert not re.search(r"(inner|outer)HTML|insertAdjacentHTML|document\.write|srcdoc|\beval\b|new Function", js)
    used = set(re.findall(r"\bel\(\"([\w-]+)\"\)", js))
    assert used <= set(re.findall(r'\sid="([\w-]+)"', html))


@pytest.mark.skipif(os.name == "nt", reason="sends POSIX signals")
async def test_the_page_is_served_from_within_a_zip_file(command: Command, tmp_path: Path) -> None:
    """The package in one file that Python runs, as zipapp makes it, with what it needs installed beside."""
    root = Path(siliconflow_async.__file__).parent
    zipapp.create_archive(
        root.parent,
        tmp_path / "app.pyz",
        main="siliconflow_async.cli:main",
        filter=lambda path: path.parts[0] == root.name and "__pycache__" not in path.parts,
    )
    arguments = [str(tmp_path / "app.pyz"), "playground", "--demo", "--port", "0"]
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, env=command.env, cwd=tmp_path, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        url = (await process.stdout.readline()).decode().split()[-1]
        async with aiohttp.ClientSession() as session:
            for name in FILES:
                async with session.get(url + name.replace("index.html", "")) as response:
                    assert (response.status, await response.read()) == (200, (PAGE / name).read_bytes())
    finally:
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 0


@pytest.mark.skipif(os.name == "nt", reason="sends POSIX signals")
async def test_the_demo_works_from_the_command_to_the_answer(command: Command) -> None:
    """Without a key; the address is alone on stdout, and Ctrl-C ends with 0 in the middle of an answer."""
    with command.start("playground", "--port", "0", "--demo", env={"SILICONFLOW_API_KEY": ""}) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        first = (await asyncio.to_thread(process.stdout.readline)).decode().rstrip()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", first)
        async with aiohttp.ClientSession(first) as session:
            async with session.get("api/settings") as response:
                assert await response.json() == {"model": "Qwen/Qwen3-8B", "demo": True}
            async with session.ws_connect("api/chat") as ws:
                await ws.send_json({**ASK, "max_tokens": 3})
                summary = await until(ws, "summary")
                assert (summary["ended"], summary["tokens"]) == ("done", 3)
            async with session.ws_connect("api/chat") as ws:
                await ws.send_json(ASK)
                await until(ws, "reasoning_delta")
                process.send_signal(signal.SIGINT)
                assert await asyncio.to_thread(process.wait) == 0
        assert process.stderr.read().decode().count("\n") == 1


async def test_the_command_asks_the_service_with_the_key(command: Command, server: FakeSiliconFlow) -> None:
    """The key and the base URL of the environment, and the model of the option."""
    with command.start("playground", "--port", "0", "--model", "org/mine") as process:
        assert process.stdout is not None
        url = (await asyncio.to_thread(process.stdout.readline)).decode().rstrip()
        async with aiohttp.ClientSession(url) as session:
            async with session.get("api/settings") as response:
                assert await response.json() == {"model": "org/mine", "demo": False}
            async with session.get("api/models") as response:
                assert response.status == 200
    assert server.requests[0].headers["Authorization"] == "Bearer test-key"


def test_what_cannot_be_played_is_one_line(command: Command) -> None:
    """No key, a port in use, a demo with a service, a base URL that is none."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        busy = command.run("playground", "--port", port)
    assert busy.stderr == f"error: 127.0.0.1:{port} is in use; choose another --port (0 takes a free one)\n"
    keyless = command.run("playground", SILICONFLOW_API_KEY="")
    assert "siliconflow-async playground --demo" in keyless.stderr
    both = command.run("playground", "--demo", "--base-url", "http://127.0.0.1:1")
    nowhere = command.run("playground", "--port", "0", "--base-url", "nowhere")
    for done in (busy, keyless, both, nowhere):
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        assert done.stderr.startswith("error: ")


async def test_a_client_of_ones_own_is_left_open() -> None:
    """Closing the playground closes none but its own connections."""
    async with FakeSiliconFlow() as server, AsyncSiliconFlow("k", base_url=server.base_url) as client:
        async with Playground(client):
            pass
        assert (await client.models.list()).data


@pytest.mark.parametrize(
    ("text", "trees"),
    [
        (
            "a *b* **c** `d` ~~e~~",
            [P("a ", E("em", "b"), " ", E("strong", "c"), " ", E("code", "d"), " ", E("s", "e"))],
        ),
        ("a\nb  \nc", [P("a", E("br"), "b", E("br"), "c")]),
        ("# a\n\n### b", [E("h3", "a", level=1), E("h3", "b", level=3)]),
        ("- a\n- b", [E("ul", E("li", "a"), E("li", "b"))]),
        ("3. a\n\n   b", [E("ol", E("li", P("a"), P("b")), start=3)]),
        ("> a\n***", [E("blockquote", P("a")), E("hr")]),
        ("```py x\n<b>\n```", [E("pre", E("span", "<b>\n"), language="py")]),
        ("    a", [E("pre", E("span", "a\n"), language="")]),
        (
            "|a|b|\n|-|-:|\n|1|2|",
            [
                E(
                    "table",
                    E("thead", E("tr", E("th", "a"), E("th", "b", align="right"))),
                    E("tbody", E("tr", E("td", "1"), E("td", "2", align="right"))),
                )
            ],
        ),
        ("[a *b*](https://c.d/?e=f)", [P(E("a", "a ", E("em", "b"), href="https://c.d/?e=f"))]),
        (
            "<mailto:a@b.c> [r]\n\n[r]: HTTP://x",
            [P(E("a", "mailto:a@b.c", href="mailto:a@b.c"), " ", E("a", "r", href="HTTP://x"))],
        ),
    ],
)
def test_markdown_becomes_trees(text: str, trees: Any) -> None:
    """Of the few elements that the page knows."""
    assert render(text, {}).blocks == trees


@pytest.mark.parametrize(
    "target",
    [
        "javascript:alert(1)",
        "JaVaScRiPt:x",
        "data:text/html,x",
        "data:image/png;base64,x",
        "file:///etc",
        "vbscript:x",
        "/api/models",
        "//evil.example",
        "#log",
        "page.js",
        "blob:x",
        "about:blank",
        "&#106;avascript:x",
        "\tjavascript:x",
        "https:x",
    ],
)
def test_links_lead_to_the_web_alone(target: str) -> None:
    """Written in any way; what is left is the text."""
    for text in (f"[a]({target})", f"[a](<{target}>)", f"![a]({target})", f"<{target}>", f"[a]\n\n[a]: {target}"):
        assert '"href"' not in json.dumps(render(text, {}).blocks)
    assert '"href"' not in json.dumps(render("[a]", {"A": {"href": target, "title": ""}}).blocks)


def test_a_picture_of_an_answer_is_a_link() -> None:
    """Whoever fetched it would tell its server what the address holds."""
    assert render("![a](https://evil.example/?q=secret)", {}).blocks == [
        P(E("a", "image: a", href="https://evil.example/?q=secret"))
    ]


def test_markup_in_markdown_is_text() -> None:
    """Also within a block that HTML would be."""
    for html in ("<b>x</b>", "<script>\nx\n</script>", "<!-- x -->", "a <img src=x onerror=y> b"):
        tags = set(re.findall(r'\["(\w+)", \{', json.dumps(render(html, {}).blocks)))
        assert tags <= {"p", "br"}


GROWING = """# Title
Text with *emphasis
over* lines, and [a link](https://a.b) [r]
===
- one
- two

  more
1. x
> quote
lazy

| a | b |
|---|---|
| 1 | 2 |
text
```py
x = 1

y = 2
```
para
#tag
***bold***
```inline``` code
***

    code

    more

end\r\nof it\r\n\r\n[r]: https://r.example
"""


@pytest.mark.parametrize("at", range(len(GROWING)))
def test_closed_blocks_are_the_same_however_the_text_goes_on(at: int) -> None:
    """What is closed where a text is cut anywhere, and what follows from the line that is told, make the whole."""
    beginning = render(GROWING[:at], {})
    lines = re.findall(r"[^\r\n]*(?:\r\n|\n)|[^\r\n]+", GROWING)
    whole = render(GROWING, {})
    rest = render("".join(lines[beginning.line :]), {})
    known = render(GROWING[:at], whole.references)
    assert (known.closed, known.line) == (beginning.closed, beginning.line)
    assert known.blocks[: known.closed] + rest.blocks == whole.blocks


def test_long_code_comes_in_pieces_of_whole_lines() -> None:
    """Of which the page lays out the last alone when it grows."""
    code = "".join(f"line {number}\n" for number in range(100))
    ((tag, _, pieces),) = render(f"```\n{code}", {}).blocks
    texts = [text for _, _, (text,) in pieces]
    assert (tag, "".join(texts), len(texts)) == ("pre", code, 3)


def test_a_table_that_would_be_endless_is_text() -> None:
    """Its short rows would be filled up."""
    text = "|a" * 200 + "\n" + "|-" * 200 + "\n" + "|a|b\n" * 4000
    assert render(text, {}).blocks == [P(text)]


async def test_markdown_is_rendered_for_the_page_alone() -> None:
    """What it can't have asked for is refused, and so is what other pages ask."""
    async with played() as (_, browser):
        status, text = await browser.post("/api/markdown", {"text": "*a*"})
        assert (status, json.loads(text)) == (
            200,
            {"blocks": [["p", {}, [["em", {}, ["a"]]]]], "closed": 0, "line": 0, "references": {}},
        )
        for wrong in ({}, {"text": 1}, [], {"text": "a", "references": {"A": {}}}):
            assert (await browser.post("/api/markdown", wrong))[0] == 400
        assert (await browser.post("/api/markdown", {"text": "a" * 1024 * 1024}))[0] == 413
        assert (await browser.post("/api/markdown", {"text": "a"}, Origin="http://evil.example"))[0] == 403
