"""What a value given by a user has to be. True is no number, though Python's bool is an int."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TypeGuard

__all__ = ["LISTS", "MAPPINGS", "is_count", "is_finite"]

# For isinstance, with each request: a union made on the spot costs more than it does, and an abstract class is slow to
# say what is nearly always a dict.
LISTS = (list, tuple)
MAPPINGS = (dict, Mapping)


def is_count(value: object, least: int) -> TypeGuard[int]:
    """Whether it is an integer of at least so many."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def is_finite(value: object) -> TypeGuard[float]:
    """Whether it is a number, neither infinite nor NaN."""
    # math.isfinite raises for an integer that no float can hold.
    return isinstance(value, int | float) and not isinstance(value, bool) and -math.inf < value < math.inf
