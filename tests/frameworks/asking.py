"""What every framework is asked for here."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from siliconflow_async.testing import FakeSiliconFlow, Stall

from ..asking import chunk

MODEL = "Qwen/Qwen3-8B"


class City(BaseModel):
    """A city and its people."""

    name: str
    people: int


TOO_LONG = {"code": 20015, "message": "length of prompt_tokens (9) must be less than max_seq_len (8)"}
PARIS = City(name="Paris", people=2)


def weather(city: str) -> str:
    """Tell the weather of a city."""
    return f"sunny in {city}"


def stalls(server: FakeSiliconFlow, *texts: str) -> None:
    """Have the service fall silent after these texts."""
    server.raw([*map(chunk, texts), Stall()])


def calls(server: FakeSiliconFlow, tool: str, **arguments: Any) -> None:
    """Have the model call a tool."""
    server.reply(tool_calls=[{"name": tool, "arguments": arguments}])
