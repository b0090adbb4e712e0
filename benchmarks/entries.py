"""Who takes part: the loops written by hand, and the clients."""

from __future__ import annotations

from .contestants import BY_HAND, Contestant


def contestants() -> tuple[type[Contestant], ...]:
    """Return all of them, whether or not they can run."""
    # Whoever measures the unit alone has no other client in its process.
    from .clients import CLIENTS

    return (*BY_HAND, *CLIENTS)


def load(name: str) -> type[Contestant]:
    """Return a contestant's class; ImportError if what it needs is not installed."""
    by_hand = any(kind.name == name for kind in BY_HAND)
    (found,) = (kind for kind in (BY_HAND if by_hand else contestants()) if kind.name == name)
    found.check()
    return found
