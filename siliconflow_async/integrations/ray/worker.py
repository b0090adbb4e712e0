"""What runs in each actor: a client, a store and a loop, for as long as the actor lives."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from ...batch.rowstore import RowStore
from ...batch.rowworker import RowWorker
from ...client import AsyncSiliconFlow
from ...runs.progress import MapProgress

__all__ = ["CALLS", "AskSetup", "leave_with_node"]

# Batches that an actor has at once, so that the end of one leaves no stream idle.
CALLS = 4
_WATCH_SECONDS = 0.25


class AskSetup:
    """All that an actor needs to ask: how its client is made, where answers are kept, and how many are under way.

    It goes to the actors as a pickle, with the key if one is given. Nothing of it is in its repr, which Ray logs.
    """

    def __init__(
        self,
        *,
        api_key: str | None,
        client: Mapping[str, Any],
        store: str | os.PathLike[str] | None,
        run: str,
        retry_failed: bool,
        max_concurrency: int,
        patience: float | None,
    ) -> None:
        self.max_concurrency = max_concurrency
        self._api_key = api_key
        self._client = {"max_connections": max(1000, max_concurrency), **client}
        self._store = None if store is None else os.fspath(store)
        self._run = run
        self._retry_failed = retry_failed
        self._patience = patience

    def __repr__(self) -> str:
        return f"<AskSetup of run {self._run}>"

    def check(self) -> None:
        """Raise ConfigurationError or TypeError, here and now, for what no actor could work with."""
        AsyncSiliconFlow(self._api_key or "its own", **self._client).abort()
        if self._store is not None:
            self.make_store().close()

    def make_store(self) -> RowStore:
        """Open the store. Raises ConfigurationError."""
        assert self._store is not None
        return RowStore(self._store, self._run, retry_failed=self._retry_failed)

    def worker(self, on_progress: Callable[[MapProgress], None] | None = None) -> RowWorker:
        """Begin to work, in this process. Raises ConfigurationError."""
        return RowWorker(
            partial(AsyncSiliconFlow, self._api_key, **self._client),
            None if self._store is None else self.make_store,
            max_concurrency=self.max_concurrency,
            patience=self._patience,
            on_progress=on_progress,
        )


def leave_with_node() -> None:
    """End this process at once when its node does: Ray lets it finish its blocks, which others have by then."""
    node = os.getppid()

    def watch() -> None:
        while os.getppid() == node:
            time.sleep(_WATCH_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, name="siliconflow-node", daemon=True).start()
