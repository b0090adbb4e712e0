"""What LangChain's objects have in common here: a client, and a loop for sync calls."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from anyio import to_thread
from langchain_core.utils import secret_from_env
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, SecretStr

from ...checks import check_keywords
from ...client import AsyncSiliconFlow
from ...timeouts import Timeouts
from .thread import LoopThread

__all__ = ["ClientOwner"]


class ClientOwner(BaseModel):
    """Calls a client: `client` where that is given, which is never closed, else one of its own, which goes with it."""

    # Nothing that was given is quoted in an error, be it the key.
    model_config = ConfigDict(arbitrary_types_allowed=True, hide_input_in_errors=True)

    client: AsyncSiliconFlow | None = Field(default=None, exclude=True)
    # Whatever was given, it is a SecretStr afterwards.
    api_key: SecretStr | str | None = Field(default_factory=secret_from_env("SILICONFLOW_API_KEY", default=None))
    base_url: str | None = None
    max_retries: int | None = None
    timeout: float | Timeouts | None = None

    _client: AsyncSiliconFlow = PrivateAttr()
    _thread: LoopThread = PrivateAttr()

    if TYPE_CHECKING:
        pass  # type checkers make one of the fields
    else:

        def __init__(self, **fields: Any) -> None:
            if isinstance(fields.get("api_key"), str):
                # From here on no frame's locals show it.
                fields["api_key"] = SecretStr(fields["api_key"])
            check_keywords(fields, type(self).model_fields.keys())
            super().__init__(**fields)
            self._begin()

    def _begin(self) -> None:
        # Not in a validator of pydantic's, which would wrap a ConfigurationError.
        if self.client is not None and "api_key" not in self.model_fields_set:
            self.api_key = None  # the environment's is not the client's
        options: dict[str, Any] = {
            name: value for name in ("base_url", "max_retries") if (value := getattr(self, name)) is not None
        }
        if self.client is None:
            self._client = AsyncSiliconFlow(_opened(self.api_key), **options)
        elif options or self.api_key is not None:
            self._client = self.client.with_options(api_key=_opened(self.api_key), **options)
        else:
            self._client = self.client
        # Copies share both.
        self._thread = LoopThread(self._client, owned=self.client is None)
        self.base_url = self._client.base_url

    def __reduce__(self) -> tuple[Any, ...]:
        # As of a client: no key travels, the other side has its own environment.
        fields = {name: getattr(self, name) for name in self.model_fields_set - {"api_key", "client"}}
        return functools.partial(type(self), **fields), ()

    def _given(self, *names: str) -> dict[str, Any]:
        """Return those of some fields, and of the client's, that are set, as keywords of a call."""
        return {name: value for name in (*names, "timeout") if (value := getattr(self, name)) is not None}

    async def aclose(self) -> None:
        """Close the connections of its own client, and end the thread of the sync methods.

        One that is simply dropped does both by itself, in its own time.
        """
        if self.client is None:
            await self._client.aclose()
        await to_thread.run_sync(self._thread.close)

    def close(self) -> None:
        """`aclose()` for callers that can't await: what runs in other threads ends at the next turn of its loop."""
        if self.client is None:
            self._client.abort()
        self._thread.close()


def _opened(key: SecretStr | str | None) -> str | None:
    # Never a name in a frame: a traceback's locals are shown.
    return key.get_secret_value() if isinstance(key, SecretStr) else key
