"""What values and keywords given by a user have to be. True is no number, though Python's bool is an int."""

from __future__ import annotations

import math
from collections.abc import Mapping, Set
from typing import Any, TypeGuard

from .elsewhere import KEYWORDS

__all__ = ["LISTS", "MAPPINGS", "check_keywords", "is_count", "is_finite"]

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


def check_keywords(given: Mapping[str, Any], known: Set[str]) -> None:
    """Raise TypeError for a keyword that is not known, naming the nearest one that is."""
    if given.keys() <= known:
        return
    import difflib  # only a mistake needs it

    for name in given:
        if name not in known:
            if not isinstance(name, str):  # of a mapping: no keyword is
                raise TypeError(f"the names of parameters are text, not {name!r}")
            near = difflib.get_close_matches(name, sorted(known), n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            if name in KEYWORDS:
                hint = f": {KEYWORDS[name]}"
            raise TypeError(f"unexpected keyword argument {name!r}{hint}")
