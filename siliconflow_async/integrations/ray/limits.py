"""`RayLimits`: limits that all clients of a cluster share, kept by an actor of the cluster."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from ...errors import LimitsUnavailableError
from ...limits.given import check_account
from ...limits.limit import Limit
from ...limits.report import Reply, Report
from ...limits.shared import Ledgers, StoredLimits
from .cluster import ray_data

__all__ = ["LedgerActor", "RayLimits"]

_NAMESPACE = "siliconflow-async"
# Seconds until the actor counts as away; one that is not there yet takes longer.
_TIMEOUT = 5.0
_TIMEOUT_OF_START = 60.0


class LedgerActor(Ledgers):
    """An actor that keeps the ledgers of an account. One that Ray begins anew learns from the reports what was used."""


class RayLimits(StoredLimits):
    """Limits that all processes of a Ray cluster share which name one `account`; a client takes one as its `limits=`.

    An actor of the cluster keeps them, which the first that needs it starts, and which stays when that has ended. It
    takes no CPU of its node's. `limits` is one Limit for every model, or one for each; without any they are found out
    together. Where the actor can't be reached, `on_loss="share"` goes on with this process's last share, and
    `on_loss="stop"` fails calls with LimitsUnavailableError; `processes` are taken to share until it is known how many
    do. Raises ConfigurationError for an account or limits that can't be.
    """

    def __init__(
        self,
        limits: Mapping[str, Limit] | Limit | None = None,
        *,
        account: str,
        on_loss: Literal["share", "stop"] = "share",
        processes: int = 1,
    ) -> None:
        super().__init__(limits, on_loss=on_loss, processes=processes)
        self.account = check_account(account)
        self._actor: Any = None
        self._starting = threading.Lock()

    def __repr__(self) -> str:
        return f"<limits of {self.account} in Ray>"

    def __reduce__(self) -> tuple[Any, ...]:
        options = {"account": self.account, "on_loss": self.on_loss, "processes": self.processes}
        return _unpickled, (self.limits, options)

    def exchange(self, reports: Sequence[Report], models: Sequence[str]) -> list[Reply]:
        ray = ray_data()
        if not ray.is_initialized():
            # Asked for anything, Ray would start a cluster of its own here.
            raise LimitsUnavailableError("this process has joined no Ray cluster")
        windows = [self.window_of(model) for model in models]
        try:
            timeout = _TIMEOUT if self._actor is not None else _TIMEOUT_OF_START
            actor = self._actor or self._start(ray)
            replies: list[Reply] = ray.get(actor.exchange.remote(reports, models, windows), timeout=timeout)
        except ray.exceptions.RayError as error:
            self.disconnect()
            raise LimitsUnavailableError(f"the limits of {self.account} in Ray can't be reached: {error}") from error
        return replies

    def disconnect(self) -> None:
        self._actor = None

    def _start(self, ray: Any) -> Any:
        with self._starting:
            self._actor = (
                ray.remote(LedgerActor)
                .options(
                    name=f"limits of {self.account}",
                    namespace=_NAMESPACE,
                    get_if_exists=True,
                    lifetime="detached",
                    num_cpus=0,
                    max_restarts=-1,
                )
                .remote()
            )
        return self._actor


def _unpickled(limits: Mapping[str, Limit] | Limit | None, options: dict[str, Any]) -> RayLimits:
    return RayLimits(limits, **options)
