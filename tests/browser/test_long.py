"""Long answers: what a token costs the page where twenty thousand are. Counts and processor time, no clock."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from siliconflow_async.testing import Gate, Pause, Until

from ..asking import DONE, chunk
from .asking import COMPLETE, ask, status

try:
    from playwright.sync_api import expect
except ModuleNotFoundError:
    expect: Any = None

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Browser, Page

    from .conftest import Play

TOKENS = 20_000
LAST = 150
TRIES = 3
MARK = "(so far)"
SENTENCES = "Rayleigh scattering is **the** reason, as `x` says [here](https://a.example/c). " * 5
LINE = "x = 1 + foo(bar)\n"
SHAPES = {
    "sections": f"## Part\n\n{SENTENCES}\n\n- one\n- two\n\n```py\n{12 * LINE}```\n\n",
    "one paragraph": SENTENCES,
    "one code block": LINE,
    "one list": f"- {SENTENCES}\n",
}
# Changes in what is above the last two blocks of an answer that grows.
WATCH = """() => {
  window.touched = 0;
  const blocks = [...document.querySelectorAll("[aria-busy] .answer > *")].slice(0, -2);
  const observer = new MutationObserver((changes) => (window.touched += changes.length));
  for (const block of blocks) observer.observe(block, { subtree: true, childList: true, characterData: true });
  return blocks.length;
}"""


def long_text(shape: str) -> str:
    text = SHAPES[shape]
    return ("```\n" if "code" in shape else "") + (text * (4 * TOKENS // len(text) + 1))[: 4 * TOKENS]


def traced(browser: Browser, page: Page, act: Callable[[], None]) -> list[Any]:
    """What the browser did during an act, by its own account: its complete events."""
    browser.start_tracing(page=page, categories=["devtools.timeline", "toplevel"])
    act()
    return [event for event in json.loads(browser.stop_tracing())["traceEvents"] if event.get("ph") == "X"]


def forced_layouts(events: list[Any]) -> int:
    """How many layouts a script waited for."""

    def within(inner: Any, outer: Any) -> bool:
        same = (inner["pid"], inner["tid"]) == (outer["pid"], outer["tid"])
        return same and outer["ts"] <= inner["ts"] < outer["ts"] + outer.get("dur", 0)

    scripts = [event for event in events if event["name"] == "FunctionCall"]
    layouts = [event for event in events if event["name"] == "Layout"]
    assert layouts
    return sum(any(within(layout, script) for script in scripts) for layout in layouts)


def long_tasks(events: list[Any]) -> list[float]:
    """Milliseconds of the processor of each task that took more than 50: longer than a key may wait."""
    times = (event.get("tdur", 0) / 1000 for event in events if event["name"].endswith("RunTask"))
    return [time for time in times if time > 50]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["content", "reasoning_content"])
def test_a_token_costs_what_its_block_costs(play: Play, browser: Browser, page: Page, kind: str, shape: str) -> None:
    """Below an answer of that length and at the end of another, at sixty a second, while keys are pressed.

    No script waits for a layout, tasks are short, and what is finished stays untouched.
    """
    text = long_text(shape)
    play.server.reply(text)
    ask(page)
    expect(status(page)).to_have_text(COMPLETE)
    pieces = [text[at : at + 4] for at in range(len(text) - 4 * LAST, len(text), 4)]
    timed = [step for piece in pieces for step in (Pause(1 / 60), chunk(**{kind: piece}))]
    # A machine may have a slow moment, but not each time.
    for left in reversed(range(TRIES)):
        go = Gate()
        play.server.raw([chunk(**{kind: text[: -4 * LAST] + MARK}), Until(go), *timed, chunk("", finish="stop"), DONE])
        answer = ask(page)
        shown = answer.locator(".answer" if kind == "content" else ".reasoning .text")
        page.wait_for_function("([node, mark]) => node.textContent.includes(mark)", arg=[shown.element_handle(), MARK])
        frozen = page.evaluate(WATCH)

        def act(go: Gate = go) -> None:
            go.set()
            page.keyboard.type("typed meanwhile")
            expect(status(page)).to_have_text(COMPLETE)

        events = traced(browser, page, act)
        assert forced_layouts(events) == 0
        assert page.evaluate("window.touched") == 0
        assert frozen > 100 or kind != "content" or shape != "sections"
        expect(page.get_by_label("Message", exact=True)).to_have_value("typed meanwhile")
        # One may be the browser's own, which collects garbage now and then.
        if len(long_tasks(events)) <= 1:
            return
        assert left, long_tasks(events)


def test_a_forced_layout_is_counted(browser: Browser, page: Page) -> None:
    """The account is one: a script that asks for a size after a change is in it."""
    force = """() => new Promise((done) => requestAnimationFrame(() => {
      for (let at = 0; at < 3; at++) {
        document.querySelector("#turns").append("x");
        document.querySelector("#turns").offsetHeight;
      }
      done();
    }))"""
    assert forced_layouts(traced(browser, page, lambda: page.evaluate(force))) >= 3


def test_the_end_is_followed_unless_the_reader_has_left_it(play: Play, page: Page) -> None:
    """As long as it is in sight; a reader who has scrolled up stays there."""
    begun, more = Gate(), Gate()
    lines = "A line.\n\n" * 60
    play.server.raw([chunk(lines), Until(begun), chunk(lines), Until(more), chunk(lines, finish="stop"), DONE])
    ask(page)
    log = page.locator("#log")
    at_end = (
        "() => { const l = document.querySelector('#log'); return l.scrollHeight - l.scrollTop - l.clientHeight < 2; }"
    )
    blocks = page.locator(".answer > p")
    expect(blocks).to_have_count(60)
    page.wait_for_function(at_end)
    begun.set()
    expect(blocks).to_have_count(120)
    page.wait_for_function(at_end)
    log.hover()
    page.mouse.wheel(0, -900)
    page.wait_for_function(f"() => !({at_end})()")
    more.set()
    expect(status(page)).to_have_text(COMPLETE)
    expect(blocks).to_have_count(180)
    assert not page.evaluate(at_end)
