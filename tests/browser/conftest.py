"""A real browser on the playground: Chromium without a window, driven by Playwright.

Playwright takes whatever Chromium the machine has; its own downloads aren't needed. Without one, or without Playwright,
these tests are skipped; with SILICONFLOW_BROWSER=require they fail instead.
"""

from __future__ import annotations

import os
import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal

from siliconflow_async import AsyncSiliconFlow, RetryPolicy
from siliconflow_async.cli.playground import Playground
from siliconflow_async.testing import FakeSiliconFlow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, Page

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
ARGUMENTS = (
    "--headless=new",
    # The page is ours; in a container, root has no sandbox to use.
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
TIMEOUT = 20_000.0


def _without(what: str) -> NoReturn:
    if os.environ.get("SILICONFLOW_BROWSER") == "require":
        pytest.fail(what, pytrace=False)
    pytest.skip(what)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    # For a module, not the session: until Playwright stops, no event loop can run in its thread.
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        _without("Playwright is not installed (the extra `browser`)")
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        _without("no Chromium on this machine")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


class Play:
    """A stand-in and a playground on it, in a thread with a loop of its own."""

    def __init__(self, portal: BlockingPortal, server: FakeSiliconFlow, client: AsyncSiliconFlow) -> None:
        self._portal = portal
        self._client = client
        self.server = server
        self.port = 0
        self.start()

    def start(self) -> None:
        """Serve the page, again on the same port if it was served before."""
        self._page = Playground(self._client, port=self.port, demo=True)
        self._portal.call(self._page.start)
        self.url = self._page.url
        self.port = int(self.url.strip("/").rpartition(":")[2])

    def retry(self, policy: RetryPolicy) -> None:
        """Ask by another policy from now on; without this, nothing is asked again."""
        self._client = self._client.with_options(retry=policy)
        self.stop()
        self.start()

    def stop(self) -> None:
        """Stop serving it."""
        self._portal.call(self._page.aclose)


@pytest.fixture
def play() -> Iterator[Play]:
    with start_blocking_portal() as portal, ExitStack() as stack:
        server = stack.enter_context(portal.wrap_async_context_manager(FakeSiliconFlow()))
        client = AsyncSiliconFlow("secret-key", base_url=server.base_url, retry=RetryPolicy(max_attempts=1))
        stack.enter_context(portal.wrap_async_context_manager(client))
        play = Play(portal, server, client)
        stack.callback(play.stop)
        yield play


@pytest.fixture
def complaints() -> list[str]:
    """What the browser complained of: exceptions, and what the page's own policy forbade. None by the test's end."""
    return []


@pytest.fixture
def visit(browser: Browser, play: Play, complaints: list[str]) -> Iterator[Callable[..., Page]]:
    """Open the page in a fresh window; the options are those of Playwright's `new_context`."""
    with ExitStack() as stack:

        def visit(**options: Any) -> Page:
            context = browser.new_context(**options)
            stack.callback(context.close)
            context.set_default_timeout(TIMEOUT)
            page = context.new_page()
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
            page.goto(play.url)
            # From here on, the next request is the test's.
            page.locator("#model-note", has_text="models").wait_for(state="attached")
            return page

        yield visit
    assert complaints == []


@pytest.fixture
def page(visit: Callable[..., Page]) -> Page:
    return visit()


@pytest.fixture
def screenshots(tmp_path: Path) -> Path:
    """Where pictures go: the directory that SILICONFLOW_SCREENSHOTS names, or a temporary one."""
    given = os.environ.get("SILICONFLOW_SCREENSHOTS")
    directory = Path(given) if given else tmp_path
    directory.mkdir(parents=True, exist_ok=True)
    return directory
