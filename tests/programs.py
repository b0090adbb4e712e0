"""What programs that a test starts are given."""

from __future__ import annotations

import os
from pathlib import Path

import siliconflow_async


def environment() -> dict[str, str]:
    """The environment of a program that imports this tree, and makes its loops as the tests do."""
    here = [os.environ.get("PYTHONPATH"), str(Path(siliconflow_async.__file__).parents[1])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, here))}
