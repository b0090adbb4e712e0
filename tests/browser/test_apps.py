"""The apps of the chapter on relays in a real browser, as they stand there; React's page is bundled for it."""

from __future__ import annotations

import subprocess
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from anyio.from_thread import start_blocking_portal
from fastapi.responses import FileResponse, HTMLResponse

from siliconflow_async.testing import FakeSiliconFlow, Gate, Stall, Until

from ..asking import DONE, chunk
from ..frontends.conftest import Node, node, packages
from ..relay.apps import asgi
from ..test_readme import BLOCKS as MANUAL
from ..test_readme import compiled

try:
    from playwright.sync_api import expect
except ModuleNotFoundError:
    # The fixture `browser` says so, and skips or fails.
    expect: Any = None

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Locator, Page

__all__ = ["node", "packages"]

BLOCKS = {block.code.split()[1]: block for block in MANUAL if block.path.parent.name == "relay"}
(REACT,) = (block.code for block in MANUAL if block.kind == "jsx")
# What a page does with the component: it makes a new chat, or goes on with the one that its address names.
MAIN = """
import { createRoot } from "react-dom/client";
import { Chat } from "./Chat.jsx";

const id = new URLSearchParams(location.search).get("chat");
const options = {};
if (id) {
  options.id = id;
  options.resume = true;
  options.messages = await (await fetch(`/api/chat/${id}`)).json();
  options.onStop = () => fetch(`/api/chat/${id}/stop`, { method: "POST" });
}
createRoot(document.body).render(<Chat {...options} />);
"""
PAGE = '<!doctype html><html lang="en"><title>Chat</title><body></body><script type="module" src="/page.js"></script>'


class Site:
    """One of the apps, served in a thread of its own, with the stand-in behind it."""

    def __init__(self, server: FakeSiliconFlow, app: Any) -> None:
        self.server = server
        self.app = app
        self.url = ""

    def left_early(self) -> None:
        """Wait until upstream has been left."""
        self.server.wait_left_early()


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Site]]:
    with start_blocking_portal() as portal, ExitStack() as stack:
        server = stack.enter_context(portal.wrap_async_context_manager(FakeSiliconFlow()))
        monkeypatch.setenv("SILICONFLOW_BASE_URL", server.base_url)
        monkeypatch.setenv("SILICONFLOW_API_KEY", "key-of-the-manual")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")

        def serve(name: str, script: Path | None = None) -> Site:
            names: dict[str, Any] = {"__name__": name.removesuffix(".py")}
            exec(compiled(BLOCKS[name]), names)
            site = Site(server, names["app"])
            if script is not None:
                site.app.get("/")(lambda: HTMLResponse(PAGE))
                site.app.get("/page.js")(lambda: FileResponse(script, media_type="text/javascript"))
            address = stack.enter_context(portal.wrap_async_context_manager(asgi(site.app, lifespan="on")))
            site.url = f"http://{address}/"
            return site

        yield serve


@pytest.fixture(scope="module")
def script(node: Node, packages: Path) -> Path:
    """React's page, in one file."""
    (packages / "Chat.jsx").write_text(REACT, encoding="utf-8")
    (packages / "main.jsx").write_text(MAIN, encoding="utf-8")
    options = ["--bundle", "--format=esm", "--jsx=automatic", "--log-level=warning", "--outfile=page.js"]
    bundler = packages / "node_modules" / "esbuild" / "bin" / "esbuild"
    subprocess.run([node.program, bundler, "main.jsx", *options], cwd=packages, check=True)
    return packages / "page.js"


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[[str], Page]]:
    """Open an address in a fresh window; by the end, the browser has complained of nothing but what a test expects."""
    complaints: list[str] = []
    with ExitStack() as stack:

        def open_page(url: str) -> Page:
            context = browser.new_context()
            stack.callback(context.close)
            context.set_default_timeout(20_000)
            page = context.new_page()
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.goto(url)
            return page

        yield open_page
    assert complaints == []


def ask(page: Page, text: str) -> None:
    box = page.get_by_role("textbox", name="Message")
    box.fill(text)
    box.press("Enter")


def button(page: Page, name: str) -> Locator:
    return page.get_by_role("button", name=name)


class TestChat:
    """chat.py: several turns on one websocket, with a button that stops an answer."""

    def test_turns_follow_each_other(self, serve: Callable[..., Site], open_page: Callable[[str], Page]) -> None:
        """An answer is seen as it comes; the next question has what was said before."""
        site = serve("chat.py")
        gate = Gate()
        site.server.raw([chunk("Ray"), Until(gate), chunk("leigh.", finish="stop"), DONE])
        site.server.reply("Because.")
        page = open_page(site.url)
        ask(page, "Why?")
        expect(page.locator("p")).to_have_text("Ray")
        expect(button(page, "Send")).to_be_disabled()
        gate.set()
        expect(page.locator("p")).to_have_text("Rayleigh.")
        expect(button(page, "Send")).to_be_enabled()
        ask(page, "Sure?")
        expect(page.locator("p").last).to_have_text("Because.")
        sent = [(said["role"], said["content"]) for said in site.server.requests[-1].json["messages"]]
        assert sent == [("user", "Why?"), ("assistant", "Rayleigh."), ("user", "Sure?")]

    def test_an_answer_is_stopped(self, serve: Callable[..., Site], open_page: Callable[[str], Page]) -> None:
        """Upstream is left at once, the page says so, and the conversation goes on with what had come."""
        site = serve("chat.py")
        site.server.raw([chunk("Ray"), Stall()])
        page = open_page(site.url)
        ask(page, "Why?")
        expect(page.locator("p")).to_have_text("Ray")
        button(page, "Stop").click()
        expect(page.get_by_text("the answer was stopped")).to_be_visible()
        site.left_early()
        expect(button(page, "Stop")).to_be_disabled()
        ask(page, "Sure?")
        expect(page.locator("p").last).to_contain_text("“Sure?”")
        assert [said["content"] for said in site.server.requests[-1].json["messages"]] == ["Why?", "Ray", "Sure?"]

    def test_a_failure_is_seen(self, serve: Callable[..., Site], open_page: Callable[[str], Page]) -> None:
        """And the next question is answered."""
        site = serve("chat.py")
        site.server.fail(400)
        page = open_page(site.url)
        ask(page, "Why?")
        expect(page.locator("strong")).to_be_visible()
        ask(page, "Sure?")
        expect(page.locator("p").last).to_contain_text("“Sure?”")

    def test_a_page_that_is_closed_leaves_upstream(
        self, serve: Callable[..., Site], open_page: Callable[[str], Page]
    ) -> None:
        site = serve("chat.py")
        site.server.raw([chunk("Ray"), Stall()])
        page = open_page(site.url)
        ask(page, "Why?")
        expect(page.locator("p")).to_have_text("Ray")
        page.close()
        site.left_early()


class TestUseChat:
    """use_chat.py: React's `useChat`."""

    def test_an_answer_is_seen_as_it_comes(
        self, serve: Callable[..., Site], open_page: Callable[[str], Page], script: Path
    ) -> None:
        """Reasoning and text; then it can be asked again."""
        site = serve("use_chat.py", script)
        gate = Gate()
        site.server.raw(
            [chunk(reasoning_content="Hm."), chunk("Ray"), Until(gate), chunk("leigh.", finish="stop"), DONE]
        )
        page = open_page(site.url)
        ask(page, "Why?")
        answer = page.locator("article").last
        expect(answer.locator("small")).to_have_text("Hm.")
        expect(answer.locator("p")).to_have_text("Ray")
        gate.set()
        expect(answer.locator("p")).to_have_text("Rayleigh.")
        expect(button(page, "Send")).to_be_visible()
        ask(page, "Sure?")
        expect(page.locator("article").last).to_contain_text("“Sure?”")
        assert [said["content"] for said in site.server.requests[-1].json["messages"]] == ["Why?", "Rayleigh.", "Sure?"]

    def test_an_answer_is_stopped(
        self, serve: Callable[..., Site], open_page: Callable[[str], Page], script: Path
    ) -> None:
        """By the page's own leaving."""
        site = serve("use_chat.py", script)
        site.server.raw([chunk("Ray"), Stall()])
        page = open_page(site.url)
        ask(page, "Why?")
        expect(page.locator("article").last).to_have_text("Ray")
        button(page, "Stop").click()
        site.left_early()
        expect(button(page, "Send")).to_be_visible()
        expect(page.get_by_role("alert")).to_be_hidden()

    def test_a_cut_answer_is_a_failure(
        self, serve: Callable[..., Site], open_page: Callable[[str], Page], script: Path
    ) -> None:
        """Which the page shows, with what had come."""
        site = serve("use_chat.py", script)
        site.server.raw([chunk("Ray")])
        page = open_page(site.url)
        ask(page, "Why?")
        expect(page.get_by_role("alert")).to_be_visible()
        expect(page.locator("article").last).to_have_text("Ray")


class TestResume:
    """resume.py: answers that go on without their page, and that a page comes back to."""

    def test_a_page_that_is_loaded_anew_goes_on(
        self, serve: Callable[..., Site], open_page: Callable[[str], Page], script: Path
    ) -> None:
        """Midway with the answer that is coming, and later with what was saved; upstream is asked once."""
        site = serve("resume.py", script)
        gate = Gate()
        site.server.raw([chunk("Ray"), Until(gate), chunk("leigh.", finish="stop"), DONE])
        page = open_page(f"{site.url}?chat=c1")
        ask(page, "Why?")
        expect(page.locator("article").last).to_have_text("Ray")
        page.reload()
        expect(page.locator("article")).to_have_text(["Why?", "Ray"])
        other = open_page(f"{site.url}?chat=c1")
        expect(other.locator("article")).to_have_text(["Why?", "Ray"])
        gate.set()
        for one in (page, other):
            expect(one.locator("article")).to_have_text(["Why?", "Rayleigh."])
            expect(button(one, "Send")).to_be_visible()
        page.reload()
        expect(page.locator("article")).to_have_text(["Why?", "Rayleigh."])
        assert len(site.server.requests) == 1
        ask(page, "Sure?")
        expect(page.locator("article").last).to_contain_text("“Sure?”")

    def test_an_answer_is_stopped_for_all(
        self, serve: Callable[..., Site], open_page: Callable[[str], Page], script: Path
    ) -> None:
        """By whichever page asks for it; what had come is saved."""
        site = serve("resume.py", script)
        site.server.raw([chunk("Ray"), Stall()])
        page = open_page(f"{site.url}?chat=c1")
        ask(page, "Why?")
        expect(page.locator("article").last).to_have_text("Ray")
        other = open_page(f"{site.url}?chat=c1")
        expect(other.locator("article")).to_have_text(["Why?", "Ray"])
        button(other, "Stop").click()
        site.left_early()
        for one in (page, other):
            expect(button(one, "Send")).to_be_visible()
            expect(one.get_by_role("alert")).to_be_hidden()
        page.reload()
        expect(page.locator("article")).to_have_text(["Why?", "Ray"])
