"""What becomes of chats: kept, exported, gone back in; pictures; and what is seen while no answer comes."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from siliconflow_async import RetryPolicy
from siliconflow_async.testing import Gate, Stall, Until

from ..asking import DONE, chunk
from .asking import COMPLETE, answers, ask, sent, status
from .test_page import TOOLS

try:
    from playwright.sync_api import expect
except ModuleNotFoundError:
    expect: Any = None

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Locator, Page

    from .conftest import Play

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
URL = f"data:image/png;base64,{base64.b64encode(PIXEL).decode()}"
# The same file, as the clipboard and a drag bring it.
TRANSFER = """([kind, target, type, data]) => {
  const transfer = new DataTransfer();
  transfer.items.add(new File([Uint8Array.from(atob(data), (c) => c.charCodeAt(0))], "a.png", { type }));
  const options = { bubbles: true, cancelable: true, clipboardData: transfer, dataTransfer: transfer };
  const event = new (kind === "paste" ? ClipboardEvent : DragEvent)(kind, options);
  return document.querySelector(target).dispatchEvent(event);
}"""


def users(page: Page) -> Locator:
    return page.get_by_role("article", name="You")


def reload(page: Page) -> None:
    page.reload()
    # From here on, the next request is the test's again.
    page.locator("#model-note", has_text="models").wait_for(state="attached")


def said(play: Play, page: Page, *texts: str) -> None:
    """Have a chat in which each question has the answer of that text."""
    for text in texts:
        play.server.reply(f"**{text}**")
        answer = ask(page, f"{text}?")
        expect(answer.locator(".answer strong")).to_have_text(text)
        expect(status(page)).to_have_text(COMPLETE)


def contents(play: Play) -> list[Any]:
    return [message["content"] for message in sent(play)["messages"]]


def test_a_chat_survives_a_reload(play: Play, page: Page) -> None:
    """With all that is seen of it, the settings, and all that the next request needs."""
    page.get_by_label("System message").fill("Be brief.")
    page.get_by_label("Temperature").fill("0.5")
    page.get_by_label("Tools, as JSON").fill(json.dumps(TOOLS))
    answer = ask(page, "How is the weather in Shanghai?")
    expect(status(page)).to_have_text(COMPLETE)
    answer.get_by_label("Result of get_weather").fill("22 °C")
    play.server.reply("# Sunny\n\n`22`", reasoning="Hm.")
    page.get_by_role("button", name="Send").click()
    expect(answers(page).last.locator("h3")).to_have_text("Sunny")
    expect(status(page)).to_have_text(COMPLETE)
    trace_id = play.server.requests[-1].trace_id
    before = sent(play)
    seen = page.locator("#turns").inner_text()
    reload(page)
    expect(answers(page).last.locator("h3")).to_have_text("Sunny")
    expect(answers(page).last.locator(".figures")).to_contain_text(trace_id)
    expect(page.get_by_label("Result of get_weather")).to_be_disabled()
    expect(page.locator("#turns")).to_have_text(seen, use_inner_text=True)
    ask(page, "And tomorrow?")
    expect(status(page)).to_have_text(COMPLETE)
    after = sent(play)
    assert {**after, "messages": None} == {**before, "messages": None}
    assert after["messages"][:-2] == before["messages"]
    assert after["messages"][-2:] == [
        {"role": "assistant", "content": "# Sunny\n\n`22`"},
        {"role": "user", "content": "And tomorrow?"},
    ]


def test_an_answer_that_a_reload_cut_off_is_kept(play: Play, page: Page) -> None:
    """As far as it had come; it can be asked for again."""
    play.server.raw([chunk("Ray"), Stall()])
    expect(ask(page).locator(".answer")).to_have_text("Ray")
    reload(page)
    play.server.wait_left_early()
    expect(answers(page).locator(".answer")).to_have_text("Ray")
    expect(answers(page)).to_contain_text("Stopped.")
    play.server.reply("Rayleigh")
    page.get_by_role("button", name="Retry").click()
    expect(answers(page).locator(".answer")).to_have_text("Rayleigh")
    assert contents(play) == ["Why?"]


def test_there_are_many_chats(play: Play, page: Page) -> None:
    """A new one leaves the others; each can be gone back to, and deleted."""
    said(play, page, "One")
    page.get_by_role("button", name="New chat").click()
    said(play, page, "Two")
    chats = page.get_by_label("Chat", exact=True)
    expect(chats.locator("option")).to_have_text(["Two?", "One?"])
    chats.select_option("One?")
    expect(answers(page)).to_have_count(1)
    expect(answers(page).locator(".answer")).to_have_text("One")
    said(play, page, "More")
    assert contents(play) == ["One?", "**One**", "More?"]
    page.get_by_role("button", name="Delete").click()
    expect(answers(page)).to_have_count(0)
    expect(chats.locator("option")).to_have_text(["New chat", "Two?"])
    reload(page)
    expect(chats.locator("option")).to_have_text(["New chat", "Two?"])


def test_a_chat_can_be_exported(play: Play, page: Page) -> None:
    """As Markdown to be read, and as JSON with everything."""
    play.server.reply("It is\n\n```\nblue\n```", reasoning="Hm.\nBlue.")
    ask(page, "Why is it so?")
    expect(status(page)).to_have_text(COMPLETE)
    page.get_by_label("System message").fill("Be brief.")
    texts = {}
    for name in ("Save .md", "Save .json"):
        with page.expect_download() as download:
            page.get_by_role("button", name=name).click()
        texts[download.value.suggested_filename] = Path(download.value.path()).read_text(encoding="utf-8")
    markdown, exported = texts["Why is it so_.md"], json.loads(texts["Why is it so_.json"])
    parts = ["# Why is it so?", "## System", "Be brief.", "## You", "Why is it so?", "## Answer"]
    assert markdown == "\n\n".join([*parts, "### Reasoning", "> Hm.\n> Blue.", "### Text", "It is\n\n```\nblue\n```\n"])
    user, answer = exported["turns"]
    assert (user["role"], user["text"]) == ("user", "Why is it so?")
    assert (answer["content"], answer["reasoning"]) == ("It is\n\n```\nblue\n```", "Hm.\nBlue.")
    assert exported["settings"]["system"] == "Be brief."


def test_any_message_can_be_edited_and_asked_again(play: Play, page: Page) -> None:
    """What came after it goes, and can be brought back."""
    said(play, page, "One", "Two")
    users(page).first.get_by_role("button", name="Edit").click()
    area = page.get_by_label("Edit: You")
    expect(area).to_be_focused()
    expect(area).to_have_value("One?")
    area.press("Escape")
    expect(area).to_have_count(0)
    expect(users(page).first.get_by_role("button", name="Edit")).to_be_focused()
    page.keyboard.press("Enter")
    area.fill("Three?")
    play.server.reply("Three.")
    area.press("Control+Enter")
    expect(answers(page).locator(".answer")).to_have_text(["Three."])
    expect(users(page).locator(".text")).to_have_text(["Three?"])
    assert contents(play) == ["Three?"]
    page.get_by_role("button", name="Bring back the 4 turns").click()
    expect(answers(page).locator(".answer")).to_have_text(["One", "Two"])
    said(play, page, "Four")
    assert contents(play) == ["One?", "**One**", "Two?", "**Two**", "Four?"]
    expect(page.get_by_role("button", name="Bring back")).to_be_hidden()


def test_any_answer_can_be_edited_and_regenerated(play: Play, page: Page) -> None:
    """Its text is what is sent from then on."""
    said(play, page, "One", "Two")
    answers(page).first.get_by_role("button", name="Edit").click()
    page.get_by_label("Edit: Answer").fill("*Uno*")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(answers(page).first.locator("em")).to_have_text("Uno")
    expect(answers(page).first.get_by_role("button", name="Edit")).to_be_focused()
    play.server.reply("Due")
    answers(page).last.get_by_role("button", name="Regenerate").click()
    expect(answers(page).locator(".answer")).to_have_text(["Uno", "Due"])
    assert contents(play) == ["One?", "*Uno*", "Two?"]
    play.server.raw([chunk("Ein"), Stall()])
    answers(page).first.get_by_role("button", name="Regenerate").click()
    expect(answers(page).locator(".answer")).to_have_text(["Ein"])
    assert contents(play) == ["One?"]
    page.get_by_role("button", name="Bring back the 3 turns").click()
    play.server.wait_left_early()
    expect(answers(page).locator(".answer")).to_have_text(["Uno", "Due"])


@pytest.mark.parametrize("how", ["choose", "paste", "drop"])
def test_pictures_are_sent_with_a_message(play: Play, page: Page, how: str) -> None:
    """Chosen, pasted or dropped; what is no picture is not taken, and one can be taken out again."""
    chooser = page.locator("#chooser")
    data = base64.b64encode(PIXEL).decode()
    for at in (1, 2):
        if how == "choose":
            with page.expect_file_chooser() as chosen:
                page.get_by_role("button", name="Add a picture").click()
            chosen.value.set_files({"name": "a.png", "mimeType": "image/png", "buffer": PIXEL})
        else:
            target = "#prompt" if how == "paste" else "#log"
            # The browser's own way with it, to leave the page for the picture, is prevented.
            assert page.evaluate(TRANSFER, [how, target, "image/png", data]) is False
        expect(page.get_by_role("img", name=f"Picture {at}")).to_be_visible()
    chooser.set_input_files({"name": "a.txt", "mimeType": "text/plain", "buffer": b"x"})
    expect(status(page)).to_have_text("a.txt is no picture")
    page.get_by_role("button", name="Remove picture 2").click()
    play.server.reply("A pixel.")
    answer = ask(page, "What is it?")
    expect(answer.locator(".answer")).to_have_text("A pixel.")
    picture = {"type": "image_url", "image_url": {"url": URL}}
    message = {"role": "user", "content": [picture, {"type": "text", "text": "What is it?"}]}
    assert sent(play)["messages"] == [message]
    expect(page.locator("#pictures img")).to_have_count(0)
    reload(page)
    expect(users(page).get_by_role("img", name="Picture 1")).to_have_js_property("naturalWidth", 1)
    play.server.reply("Still a pixel.")
    ask(page, "And now?")
    expect(status(page)).to_have_text(COMPLETE)
    assert sent(play)["messages"][0] == message


def test_retries_are_seen_while_they_happen(play: Play, visit: Callable[..., Page]) -> None:
    """What the service said and how long it takes until it is asked again; then how often it was."""
    play.retry(RetryPolicy(max_attempts=2, base=0, cap=60))
    page = visit()
    go = Gate()
    play.server.fail(503)
    play.server.raw([Until(go), chunk("Ray", finish="stop"), DONE])
    answer = ask(page)
    expect(answer).to_contain_text("Attempt 2")
    expect(answer).to_contain_text("OverloadedError: HTTP 503")
    go.set()
    expect(answer.locator(".answer")).to_have_text("Ray")
    play.server.fail(429, headers={"Retry-After": "59"})
    waiting = ask(page, "And now?")
    expect(waiting).to_contain_text("RateLimitError")
    expect(waiting).to_contain_text("trying again in 5")
    page.get_by_role("button", name="Stop").click()
    expect(waiting).not_to_contain_text("trying again")


def test_markdown_is_shown_and_the_raw_text_is_a_click_away(play: Play, visit: Callable[..., Page]) -> None:
    """While the answer comes too; code goes to the clipboard as it is."""
    page = visit(permissions=["clipboard-read", "clipboard-write"])
    go = Gate()
    code = "".join(f"x = {number}\n" for number in range(100))
    text = f"# Title\n\n- *a* [link][r]\n\n```py\n{code}```\n\n[r]: https://r.example/x\n"
    play.server.raw([chunk(text[:40]), Until(go), chunk(text[40:], finish="stop"), DONE])
    answer = ask(page)
    expect(answer.locator("h3")).to_have_text("Title")
    answer.get_by_role("button", name="Raw").press("Enter")
    expect(answer.locator(".raw")).to_have_text(text[:40])
    go.set()
    expect(status(page)).to_have_text(COMPLETE)
    # Further buttons have come, and the focus is where it was.
    expect(answer.get_by_role("button", name="Raw")).to_be_focused()
    assert answer.locator(".raw").text_content() == text
    answer.get_by_role("button", name="Copy", exact=True).click()
    expect(answer.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == text
    answer.get_by_role("button", name="Raw").click()
    expect(answer.locator(".raw")).to_have_count(0)
    # The link is known of though it is defined at the end, and says where it leads.
    link = answer.get_by_role("link", name="link")
    expect(link).to_have_attribute("href", "https://r.example/x")
    expect(link).to_have_attribute("rel", "noopener noreferrer nofollow")
    expect(answer.locator("li")).to_have_text("a link (r.example)")
    answer.get_by_role("button", name="Copy code").click()
    expect(status(page)).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == code


def test_an_answer_fetches_nothing(play: Play, page: Page) -> None:
    """Neither its pictures nor anything of its links; no element has an attribute that it chose but for these."""
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    play.server.reply(
        "![p](https://evil.example/x.png?q=secret) [l](https://secret.evil.example/) ![q](page.css) [m](https://[)"
    )
    answer = ask(page)
    expect(answer.get_by_role("link", name="image: p")).to_be_visible()
    expect(status(page)).to_have_text(COMPLETE)
    assert all(url.startswith((play.url, play.url.replace("http", "ws"))) for url in asked)
    # What is no address is no link, and nothing else suffers from it.
    expect(answer.get_by_role("link")).to_have_text(["image: p", "l"])
    assert answer.locator("img").count() == 0
    names = answer.locator(".answer *").evaluate_all("all => all.flatMap((node) => node.getAttributeNames())")
    assert set(names) <= {"class", "href", "title", "target", "rel"}


def test_what_can_not_be_rendered_is_shown_as_it_is(play: Play, page: Page, complaints: list[str]) -> None:
    """Where the rendering fails, the text goes on, and the answer is whole; another try renders it."""
    go = Gate()
    play.server.raw([chunk("# One\n\n*tw"), Until(go), chunk("o*", finish="stop"), DONE])
    page.route("**/api/markdown", lambda route: route.abort())
    answer = ask(page)
    expect(answer.locator(".answer")).to_have_text("# One\n\n*tw", use_inner_text=True)
    go.set()
    expect(status(page)).to_have_text(COMPLETE)
    expect(answer.locator(".answer")).to_have_text("# One\n\n*two*", use_inner_text=True)
    assert "ERR_FAILED" in complaints.pop()
    page.unroute("**/api/markdown")
    answer.get_by_role("button", name="Edit").click()
    page.get_by_role("button", name="Save", exact=True).click()
    expect(answer.locator("h3")).to_have_text("One")
    expect(answer.locator("em")).to_have_text("two")
