"""The gates of a client's models."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from typing import Any

from .given import Limits, SharedLimits
from .keeper import GateKeeper
from .limit import Limit, LimitState

__all__ = ["ModelLimits"]

# So few gates are not worth a look.
_LEAST_SWEPT = 16


class ModelLimits(Mapping[str, LimitState]):
    """How each model fares that has passed a gate of this client: `client.limits["org/model"]`."""

    def __init__(self, limits: Limits | None) -> None:
        self._limits = limits
        self._keepers: dict[str, GateKeeper] = {}
        self._lock = threading.Lock()
        self._most = _LEAST_SWEPT

    def __getitem__(self, model: str) -> LimitState:
        return self._keepers[model].state()

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._keepers))

    def __len__(self) -> int:
        return len(self._keepers)

    def __repr__(self) -> str:
        return f"<limits of {', '.join(self) or 'no model yet'}>"

    def given(self, model: Any) -> GateKeeper | None:
        """Return the gate of a model for which limits were given, None for any other."""
        return None if self._limits is None or self._limit(model) is None else self._keeper(model)

    def always(self, model: Any) -> GateKeeper:
        """Return the gate of a model; one without limits finds its own."""
        keeper = self._keeper(model)
        limit = keeper.gate.limit
        if limit.rpm is None and limit.tpm is None:
            keeper.gate.pace.adapt()
        return keeper

    def _limit(self, model: Any) -> Limit | None:
        limits = self._limits
        if isinstance(limits, SharedLimits):
            return limits.limit_of(str(model))
        return limits if limits is None or isinstance(limits, Limit) else limits.get(str(model))

    def _keeper(self, model: Any) -> GateKeeper:
        name = str(model)
        keeper = self._keepers.get(name)
        if keeper is None:
            with self._lock:
                self._sweep()
                keeper = self._keepers.setdefault(name, self._new(name))
        return keeper

    def _new(self, name: str) -> GateKeeper:
        limits = self._limits
        return (
            limits.keeper(name) if isinstance(limits, SharedLimits) else GateKeeper(name, self._limit(name) or Limit())
        )

    def _sweep(self) -> None:
        """Forget the gates that hold nothing, each time they have doubled: a model's name may come from anywhere."""
        if len(self._keepers) < self._most:
            return
        for name, keeper in list(self._keepers.items()):
            with keeper.gate.lock:
                if keeper.gate.is_blank():
                    del self._keepers[name]
        self._most = max(_LEAST_SWEPT, 2 * len(self._keepers))
