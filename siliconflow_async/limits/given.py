"""What a user gives as limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from ..errors import ConfigurationError
from .keeper import GateKeeper
from .limit import Limit

__all__ = ["Limits", "SharedLimits", "check_account", "check_limits"]


class SharedLimits:
    """Limits that several processes share: a client takes them as its `limits=`, and a gate of each model from them."""

    def limit_of(self, model: str) -> Limit | None:
        """Return the limit given for a model."""
        raise NotImplementedError

    def keeper(self, model: str) -> GateKeeper:
        """Return a new gate of a model."""
        raise NotImplementedError


# One for every model, or one for each; or what shares either with other processes.
Limits: TypeAlias = Limit | Mapping[str, Limit] | SharedLimits


def check_limits(limits: Any) -> Limits | None:
    """Return the limits as given; raise ConfigurationError for anything else."""
    if limits is None or isinstance(limits, Limit | SharedLimits):
        return limits
    if isinstance(limits, Mapping):
        for model, limit in limits.items():
            if not isinstance(model, str) or not isinstance(limit, Limit):
                raise ConfigurationError(f"limits must map names of models to Limits, not {model!r} to {limit!r}")
        return dict(limits)
    raise ConfigurationError(
        f"limits must be a Limit, a mapping of models to Limits, or limits that processes share, not {limits!r}"
    )


def check_account(account: Any) -> str:
    """Return the name of an account whose limits are shared; raise ConfigurationError for anything else."""
    if not isinstance(account, str) or not account:
        raise ConfigurationError(f"account must be a name, not {account!r}")
    return account
