"""`models`: the names to ask by, one a line."""

from __future__ import annotations

from .. import SiliconFlowError
from .demo import announced
from .errors import tell
from .screen import Screen, one_line

__all__ = ["models"]


async def models(
    screen: Screen, *, kind: str | None, sub_type: str | None, json: bool, demo: bool, base_url: str | None
) -> int:
    """List the models; return the exit code. `kind` is the option `--type`, the others are called as theirs."""
    try:
        async with announced(screen, demo, base_url) as client:
            listed = await client.models.list(type=kind, sub_type=sub_type)
    except SiliconFlowError as error:
        return tell(error, screen)
    for model in listed.data:
        screen.line(model.to_json() if json else one_line(model.id))
    return 0
