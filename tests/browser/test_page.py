"""The playground's page in a real browser: what is seen, what is sent, and what becomes of upstream."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from siliconflow_async.testing import Gate, Stall, Until

from ..asking import DONE, chunk
from .asking import answers, ask, sent, status

try:
    from playwright.sync_api import expect
except ModuleNotFoundError:
    # The fixture `browser` says so, and skips or fails.
    expect: Any = None

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from playwright.sync_api import Page

    from .conftest import Play

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
]


def test_an_answer_is_seen_as_it_comes(play: Play, page: Page) -> None:
    """Reasoning unfolded until the answer begins, then the answer, and the figures once it is complete."""
    thought, said = Gate(), Gate()
    usage = {"prompt_tokens": 3, "completion_tokens": 21, "total_tokens": 24}
    last = {"choices": [], "usage": {**usage, "completion_tokens_details": {"reasoning_tokens": 8}}}
    play.server.raw(
        [
            chunk(reasoning_content="Light, then."),
            Until(thought),
            chunk("Rayleigh\n  scat"),
            Until(said),
            chunk("tering.", finish="length"),
            b"data: " + json.dumps(last).encode() + b"\n\n",
            DONE,
        ]
    )
    answer = ask(page)
    expect(answer.get_by_text("Light, then.")).to_be_visible()
    expect(answer).to_have_attribute("aria-busy", "true")
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    expect(page.get_by_role("button", name="Send")).to_be_hidden()
    thought.set()
    expect(answer.locator(".answer")).to_have_text("Rayleigh\n  scat", use_inner_text=True)
    expect(answer.get_by_text("Light, then.")).to_be_hidden()
    expect(answer.locator(".figures")).to_contain_text("~2 tokens")
    said.set()
    expect(answer.locator(".answer")).to_contain_text("scattering.")
    expect(answer).not_to_have_attribute("aria-busy", "true")
    figures = answer.locator(".figures")
    for words in ("21 tokens (8 reasoning)", "first token after 0.", "tokens/s", play.server.requests[-1].trace_id):
        expect(figures).to_contain_text(words)
    expect(answer).to_contain_text("Finish reason: length")
    expect(status(page)).to_have_text("The answer is complete")
    expect(page.get_by_role("button", name="Send")).to_be_visible()


def test_reasoning_stays_as_it_was_left_by_hand(play: Play, page: Page) -> None:
    """Folding is for the reader to decide who has touched it."""
    thought = Gate()
    play.server.raw([chunk(reasoning_content="Light, then."), Until(thought), chunk("Rayleigh", finish="stop"), DONE])
    answer = ask(page)
    answer.get_by_text("Reasoning", exact=True).click()
    expect(answer.get_by_text("Light, then.")).to_be_hidden()
    answer.get_by_text("Reasoning", exact=True).click()
    thought.set()
    expect(status(page)).to_have_text("The answer is complete")
    expect(answer.get_by_text("Light, then.")).to_be_visible()


def test_the_conversation_goes_along(play: Play, page: Page) -> None:
    """Each request holds what was said before, without the reasoning; a new chat forgets it."""
    play.server.reply("First.", reasoning="Hm.")
    ask(page, "One?")
    expect(status(page)).to_have_text("The answer is complete")
    play.server.reply("Second.")
    ask(page, "Two?")
    expect(answers(page)).to_have_count(2)
    expect(answers(page).last).to_contain_text("Second.")
    assert sent(play)["messages"] == [
        {"role": "user", "content": "One?"},
        {"role": "assistant", "content": "First."},
        {"role": "user", "content": "Two?"},
    ]
    page.get_by_role("button", name="New chat").click()
    expect(answers(page)).to_have_count(0)
    ask(page, "Three?")
    expect(answers(page)).to_contain_text("You said: “Three?”.")
    assert len(sent(play)["messages"]) == 1


@pytest.mark.parametrize("how", ["button", "escape", "tab", "reload", "clear"])
@pytest.mark.parametrize("begun", [False, True], ids=["before the first token", "after it"])
def test_stopping_leaves_upstream(play: Play, page: Page, how: str, begun: bool) -> None:
    """By button or key, by closing or leaving the page; what had come stays, with the trace id."""
    if begun:
        play.server.raw([chunk("Ray"), Stall()])
    else:
        play.server.reply("x", before=[Stall()])
    answer = ask(page)
    if begun:
        expect(answer.locator(".answer")).to_have_text("Ray")
    play.server.wait_received(1 + sum(request.method == "GET" for request in play.server.requests))
    match how:
        case "button":
            page.get_by_role("button", name="Stop").click()
        case "escape":
            page.keyboard.press("Escape")
        case "tab":
            page.close()
        case "reload":
            page.reload()
        case "clear":
            page.get_by_role("button", name="New chat").click()
    play.server.wait_left_early()
    if how in ("button", "escape"):
        expect(answer).to_contain_text("Stopped.")
        expect(page.get_by_label("Message", exact=True)).to_be_focused()
        if begun:
            expect(answer.locator(".figures")).to_contain_text(play.server.requests[-1].trace_id)
        ask(page, "And now?")
        expect(answers(page).last).to_contain_text("You said: “And now?”.")
        kept = [{"role": "assistant", "content": "Ray"}] if begun else []
        assert sent(play)["messages"][1:-1] == kept


def test_a_lost_connection_is_told_and_may_be_retried(play: Play, page: Page, complaints: list[str]) -> None:
    """When the playground went away in the middle of an answer, and when it is not there at all."""
    play.server.raw([chunk("Ray"), Stall()])
    answer = ask(page)
    expect(answer.locator(".answer")).to_have_text("Ray")
    play.stop()
    expect(answer).to_contain_text("The connection to the playground was lost.")
    expect(status(page)).to_contain_text("lost")
    page.get_by_role("button", name="Retry").click()
    expect(answers(page)).to_have_count(1)
    expect(answers(page)).to_contain_text("The connection to the playground was lost.")
    assert len(complaints) == 1
    assert "ERR_CONNECTION_REFUSED" in complaints.pop()
    play.start()
    play.server.reply("Rayleigh scattering.")
    page.get_by_role("button", name="Retry").click()
    expect(answers(page)).to_have_count(1)
    expect(answers(page).locator(".answer")).to_have_text("Rayleigh scattering.")
    assert sent(play)["messages"] == [{"role": "user", "content": "Why?"}]
    expect(page.get_by_role("button", name="Retry")).to_have_count(0)


def test_an_error_of_the_service_is_shown(play: Play, page: Page) -> None:
    """With its words and its trace id, what had come before it, and a way to ask again."""
    play.server.raw([chunk("Ray")])
    answer = ask(page)
    expect(answer.locator(".error")).to_contain_text("TruncatedStreamError")
    expect(answer.locator(".answer")).to_have_text("Ray")
    expect(answer.locator(".figures")).to_contain_text(play.server.requests[-1].trace_id)
    play.server.fail(429)
    page.get_by_role("button", name="Retry").click()
    expect(answers(page).locator(".error")).to_contain_text("RateLimitError: HTTP 429: Request was rejected")
    page.get_by_role("button", name="Retry").click()
    expect(answers(page)).to_contain_text("You said: “Why?”.")


HOSTILE = (
    "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 2'><svg onload='window.hacked = 3'>"
    "</div></article><a href='javascript:hacked=4'>x</a><style>*{display:none}</style>&lt;b&gt;\u202e"
)


def test_markup_in_an_answer_is_text(play: Play, page: Page) -> None:
    """In its content, reasoning, tool calls and errors, in what the user says, and in the snippet."""
    play.server.reply(
        [HOSTILE[:30], HOSTILE[30:]],
        reasoning=[HOSTILE],
        tool_calls=[{"name": HOSTILE, "arguments": {HOSTILE: HOSTILE}, "id": HOSTILE}],
        finish_reason=HOSTILE,
    )
    answer = ask(page, HOSTILE)
    expect(status(page)).to_have_text("The answer is complete")
    expect(answer.locator(".answer")).to_have_text(HOSTILE.replace("&lt;b&gt;", "<b>"))
    answer.get_by_role("button", name="Raw").click()
    expect(answer.locator(".raw")).to_have_text(HOSTILE)
    expect(answer.locator(".reasoning .text")).to_have_text(HOSTILE)
    expect(answer.locator(".call").first).to_contain_text(HOSTILE)
    expect(page.get_by_role("article", name="You").locator(".text")).to_have_text(HOSTILE)
    expect(answer.locator(".python code")).to_contain_text(HOSTILE[:-1])
    play.server.fail(400, {"code": 20015, "message": HOSTILE, "data": None})
    ask(page, "x")
    expect(page.locator(".error")).to_contain_text("</div></article>")
    assert page.locator("#log :is(script, img, svg, a, style, b)").count() == 0
    assert page.evaluate("window.hacked") is None


def test_the_page_runs_no_script_within_it(page: Page, complaints: list[str]) -> None:
    """The policy holds, should markup ever get through."""
    page.evaluate(
        """() => new Promise((done) => {
          const image = document.createElement("img");
          image.setAttribute("onerror", "window.hacked = 1");
          image.addEventListener("error", done);
          const script = document.createElement("script");
          script.textContent = "window.hacked = 2";
          document.body.append(image, script);
          image.src = "https://elsewhere.example/x.png";
        })"""
    )
    assert page.evaluate("window.hacked") is None
    assert any("Content Security Policy" in complaint for complaint in complaints)
    complaints.clear()


def test_tools_are_called_and_answered(play: Play, page: Page) -> None:
    """The call is shown, its result is typed in, and the next request holds both."""
    page.get_by_label("Tools, as JSON").fill(json.dumps(TOOLS))
    answer = ask(page, "How is the weather in Shanghai?")
    expect(answer).to_contain_text("Tool call: get_weather")
    expect(status(page)).to_have_text("The answer is complete")
    play.server.reply("Sunny.")
    answer.get_by_label("Result of get_weather").fill("22 °C")
    page.get_by_role("button", name="Send").click()
    expect(answers(page).last).to_contain_text("Sunny.")
    request = sent(play)
    assert request["tools"] == TOOLS
    user, call, result = request["messages"]
    assert user["role"] == "user"
    assert call["tool_calls"][0]["function"]["name"] == "get_weather"
    assert call["reasoning_content"].startswith("The user says")
    assert result == {"role": "tool", "tool_call_id": call["tool_calls"][0]["id"], "content": "22 °C"}


def test_the_settings_are_sent_and_nothing_else(play: Play, page: Page) -> None:
    """What is left empty is left to the service; what is no JSON is not sent at all."""
    play.server.reply("x", times=2)
    ask(page)
    expect(status(page)).to_have_text("The answer is complete")
    messages = [{"role": "user", "content": "Why?"}]
    assert sent(play) == {"model": "Qwen/Qwen3-8B", "messages": messages, "stream": True}
    page.get_by_role("button", name="New chat").click()
    page.get_by_label("Model", exact=True).fill("org/typed")
    page.get_by_label("System message").fill("Be brief.")
    page.get_by_label("Thinking", exact=True).select_option("off")
    for label, value in [("Max tokens", "9"), ("Temperature", "0.25"), ("Top p", "1"), ("Top k", "5"), ("Seed", "0")]:
        page.get_by_label(label).fill(value)
    page.get_by_label("Tools, as JSON").fill("[{]")
    ask(page)
    assert page.evaluate("document.activeElement.id") == "tools"
    assert "not JSON" in page.get_by_label("Tools, as JSON").evaluate("field => field.validationMessage")
    expect(answers(page)).to_have_count(0)
    page.get_by_label("Tools, as JSON").fill("")
    page.get_by_label("Message", exact=True).press("Enter")
    expect(status(page)).to_have_text("The answer is complete")
    assert sent(play) == {
        "model": "org/typed",
        "messages": [{"role": "system", "content": "Be brief."}, *messages],
        "enable_thinking": False,
        "max_tokens": 9,
        "temperature": 0.25,
        "top_p": 1,
        "top_k": 5,
        "seed": 0,
        "stream": True,
    }


def test_the_models_are_offered(play: Play, page: Page) -> None:
    """The page begins with one; without a list, it says why, and a name may be typed all the same."""
    expect(page.get_by_label("Model", exact=True)).to_have_value("Qwen/Qwen3-8B")
    expect(page.locator("#model-note")).to_contain_text("7 models to choose from")
    assert "deepseek-ai/DeepSeek-R1" in page.locator("#models option").evaluate_all("all => all.map(o => o.value)")
    expect(page.locator("#demo")).to_have_text("demo: a stand-in answers")


def test_a_list_of_models_that_fails_is_told(play: Play, page: Page, complaints: list[str]) -> None:
    """Typing a name is still possible."""
    expect(page.locator("#model-note")).to_contain_text("7 models")
    play.server.fail(403)
    page.reload()
    expect(page.locator("#model-note")).to_contain_text("There is no list of models (HTTP 403: Forbidden")
    assert "502" in complaints.pop()
    expect(ask(page)).to_contain_text("You said: “Why?”.")


def test_the_keyboard_suffices(play: Play, page: Page) -> None:
    """Shift+Enter breaks the line, Enter sends but for words that are being composed, and the focus can be seen."""
    prompt = page.get_by_label("Message", exact=True)
    expect(prompt).to_be_focused()
    page.keyboard.type("One")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("two")
    prompt.dispatch_event("keydown", {"key": "Enter", "isComposing": True})
    expect(answers(page)).to_have_count(0)
    page.keyboard.press("Enter")
    expect(status(page)).to_have_text("The answer is complete")
    assert sent(play)["messages"] == [{"role": "user", "content": "One\ntwo"}]
    page.keyboard.press("Enter")
    expect(answers(page)).to_have_count(1)
    seen = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        seen.add(page.evaluate("document.activeElement.id || document.activeElement.textContent"))
        outline = "getComputedStyle(document.activeElement).outlineStyle"
        assert page.evaluate(f"document.activeElement === document.body || {outline} != 'none'")
    assert {"clear", "Settings", "model", "tools", "log", "prompt", "send", "Reasoning", "Python"} <= seen
    assert {"chats", "export-markdown", "export-json", "delete", "attach", "Raw", "Copy", "Edit", "Regenerate"} <= seen


def test_the_snippet_is_the_request_and_can_be_copied(play: Play, visit: Callable[..., Page]) -> None:
    """It is there while the answer comes, and goes to the clipboard."""
    page = visit(permissions=["clipboard-read", "clipboard-write"])
    play.server.raw([chunk("Ray"), Stall()])
    page.get_by_label("Temperature").fill("0.5")
    answer = ask(page, 'Say "hi"')
    answer.get_by_text("Python", exact=True).click()
    shown = answer.locator(".python code")
    expect(shown).to_contain_text('messages=[{"role": "user", "content": "Say \\"hi\\""}],')
    expect(shown).to_contain_text("temperature=0.5,")
    answer.locator(".python").get_by_role("button", name="Copy").click()
    expect(answer.get_by_role("button", name="Copied")).to_be_visible()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == shown.text_content()
    compile(copied, "snippet", "exec")
    assert "secret-key" not in page.content() + copied


LOOKS = {
    "light": {"viewport": {"width": 1200, "height": 800}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1200, "height": 800}, "color_scheme": "dark"},
    "phone": {
        "viewport": {"width": 360, "height": 740},
        "has_touch": True,
        "is_mobile": True,
        "device_scale_factor": 2,
    },
}
# Relative luminance and contrast as WCAG 2 defines them, for every text and what lies behind it.
POOR_CONTRAST = """() => {
  const parse = (color) => color.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (node) => {
    for (; node; node = node.parentElement) {
      const color = parse(getComputedStyle(node).backgroundColor);
      if (color[3] !== 0) return color;
    }
  };
  return [...document.querySelectorAll("body *")].filter((node) => {
    if (!node.checkVisibility() || ![...node.childNodes].some((c) => c.nodeType === 3 && c.data.trim())) return false;
    const [a, b] = [light(parse(getComputedStyle(node).color)), light(behind(node))].sort((x, y) => y - x);
    return (a + 0.05) / (b + 0.05) < 4.5;
  }).map((node) => node.outerHTML);
}"""
SMALL = """() => [...document.querySelectorAll("button, input, select, textarea, summary")]
  .filter((node) => node.checkVisibility() && (node.getBoundingClientRect().height < 44))
  .map((node) => node.outerHTML)"""


@pytest.mark.parametrize("look", LOOKS)
def test_it_looks_well(play: Play, visit: Callable[..., Page], screenshots: Path, look: str) -> None:
    """By day, in the dark and on a phone: nothing sticks out, everything can be read and tapped."""
    page = visit(**LOOKS[look])
    if look == "phone":
        expect(page.get_by_label("Model", exact=True)).to_be_hidden()
        page.get_by_text("Settings").click()
    page.get_by_label("Tools, as JSON").fill(json.dumps(TOOLS))
    if look == "phone":
        page.screenshot(path=screenshots / "phone-settings.png")
    play.server.reply("Rayleigh scattering. " * 12, reasoning="Light, then. " * 8)
    answer = ask(page, "Why is the sky blue?")
    expect(status(page)).to_have_text("The answer is complete")
    expect(page.get_by_label("Model", exact=True)).to_be_visible(visible=look != "phone")
    answer.get_by_text("Reasoning", exact=True).click()
    ask(page, "How is the weather in Shanghai?")
    expect(answers(page)).to_have_count(2)
    expect(status(page)).to_have_text("The answer is complete")
    play.server.fail(429)
    ask(page, "averylongwordwithoutanyplacetobreakit" * 4)
    expect(page.locator(".error")).to_be_visible()
    answers(page).last.get_by_text("Python", exact=True).click()
    page.locator("#log").evaluate("log => log.scrollTop = log.scrollHeight")
    page.screenshot(path=screenshots / f"{look}.png")
    page.locator("#log").evaluate("log => log.scrollTop = 0")
    page.screenshot(path=screenshots / f"{look}-top.png")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.locator("#log").evaluate("log => log.scrollWidth <= log.clientWidth")
    assert page.evaluate(POOR_CONTRAST) == []
    assert page.evaluate(SMALL) == []
    # The heading has its place in one line.
    assert page.locator("header").evaluate("header => header.clientHeight") < 80
    assert (screenshots / f"{look}.png").stat().st_size > 10_000
