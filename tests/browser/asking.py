"""What every test of the page does: ask, and look at the answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

    from .conftest import Play

COMPLETE = "The answer is complete"


def ask(page: Page, text: str = "Why?") -> Locator:
    """Send a message by keyboard; return the answer's place."""
    page.get_by_label("Message", exact=True).fill(text)
    page.keyboard.press("Enter")
    return answers(page).last


def answers(page: Page) -> Locator:
    return page.get_by_role("article", name="Answer")


def status(page: Page) -> Locator:
    return page.locator("#status")


def sent(play: Play, at: int = -1) -> Any:
    """The body of a chat request that reached the service."""
    return [request.json for request in play.server.requests if request.method == "POST"][at]
