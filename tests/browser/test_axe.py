"""Accessibility as axe sees it, in each state that the page can be in."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from siliconflow_async.testing import Stall

from ..asking import chunk
from .asking import COMPLETE, answers, ask, status
from .test_page import LOOKS, TOOLS

try:
    from axe_playwright_python.sync_playwright import Axe
    from playwright.sync_api import expect
except ModuleNotFoundError:
    expect: Any = None

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from playwright.sync_api import Page

    from .conftest import Play

RICH = """# Why the sky is blue

**Rayleigh scattering** favours *short* wavelengths, see [the article](https://example.org/sky).

1. Light comes in.
2. It is scattered by `N2` and `O2`:
   - blue a lot
   - ~~red~~ little

> Violet is scattered even more.

```python
def strength(wavelength: float, a_long_name: float = 1.0, another_long_name: float = 1.0, third: float = 1.0) -> float:
    return wavelength**-4
```

| colour | nm | strength |
|:--|--:|:-:|
| blue | 450 | 5.6 |
| red | 700 | 1.0 |

### In short

It's the air. ![a picture](https://example.org/x.png)
"""


def found(page: Page) -> Any:
    violations = Axe().run(page).response["violations"]
    return [(one["id"], [node["html"] for node in one["nodes"]]) for one in violations]


@pytest.mark.parametrize("look", LOOKS)
def test_axe_finds_nothing(play: Play, visit: Callable[..., Page], screenshots: Path, look: str) -> None:
    """By day, in the dark and on a phone; empty, with answers of all kinds, while one comes or is edited."""
    page = visit(**LOOKS[look])
    assert found(page) == []
    page.get_by_text("Settings").click()
    assert found(page) == []
    page.locator("#settings").evaluate("details => details.open = true")
    page.get_by_label("Tools, as JSON").fill(json.dumps(TOOLS))
    ask(page, "How is the weather in Shanghai?")
    expect(status(page)).to_have_text(COMPLETE)
    play.server.reply(RICH, reasoning="Light, then. " * 8)
    answer = ask(page, "Why is the sky blue?")
    expect(answer.locator("table")).to_be_visible()
    expect(status(page)).to_have_text(COMPLETE)
    page.screenshot(path=screenshots / f"{look}-markdown.png")
    answer.get_by_text("Python", exact=True).click()
    answer.get_by_text("Reasoning", exact=True).click()
    assert found(page) == []
    answer.get_by_role("button", name="Raw").click()
    assert found(page) == []
    play.server.fail(429)
    ask(page, "x")
    expect(page.locator(".error")).to_be_visible()
    page.locator("#chooser").set_input_files({"name": "a.png", "mimeType": "image/png", "buffer": b"\x89PNG"})
    expect(page.get_by_role("button", name="Remove picture 1")).to_be_visible()
    answers(page).first.get_by_role("button", name="Edit").click()
    assert found(page) == []
    page.keyboard.press("Escape")
    play.server.raw([chunk("Ray"), Stall()])
    answers(page).nth(1).get_by_role("button", name="Regenerate").click()
    expect(answers(page).last.locator(".answer")).to_have_text("Ray")
    expect(page.get_by_role("button", name="Bring back")).to_be_visible()
    assert found(page) == []
    page.screenshot(path=screenshots / f"{look}-busy.png")
