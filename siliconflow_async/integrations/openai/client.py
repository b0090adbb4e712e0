"""The facade itself."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Self, Unpack

from openai import AsyncOpenAI

from ...client import AsyncSiliconFlow, ClientOptions
from ...headers import conceal
from ...settings import masked
from .completions import Beta, Chat
from .httpx import AsyncClient
from .params import given_only, headers_of
from .transport import ServiceTransport

__all__ = ["OpenAIClient"]


class OpenAIClient(AsyncOpenAI):
    """An `openai.AsyncOpenAI` that asks SiliconFlow by this library: for frameworks that take an openai client.

        client = OpenAIClient()  # the keywords of AsyncSiliconFlow
        client = OpenAIClient(client=siliconflow)  # around a client that is there, and stays open

    `client.chat.completions` is on this library's transport, limits, retries and truth about endings, and faster than
    openai's; every other resource is openai's own code on the same transport. `siliconflow` is the AsyncSiliconFlow
    below. `timeout` is read as openai reads it: it bounds each silence, not the whole stream; None stands for the
    client's `timeouts`. Retries and limits are those of `siliconflow` alone.

    Raises ConfigurationError for settings that can't work, TypeError for an unknown keyword.
    """

    headers: dict[str, Any]

    def __init__(
        self,
        api_key: str | None = None,
        *,
        client: AsyncSiliconFlow | None = None,
        **options: Unpack[ClientOptions],
    ) -> None:
        # From here on no secret is in a frame's locals but masked.
        api_key = masked(api_key)
        conceal(options)  # type: ignore[arg-type]  # a TypedDict is a dict
        timeout = options.pop("timeout", None)
        if client is not None and (api_key is not None or options):
            raise TypeError("client= brings its own key and options: client.with_options(…) changes them")
        self._set_up(client or AsyncSiliconFlow(api_key, **options), owns=client is None, timeout=timeout, headers={})

    def _set_up(self, siliconflow: AsyncSiliconFlow, *, owns: bool, timeout: Any, headers: dict[str, Any]) -> None:
        self.siliconflow = siliconflow
        self.headers = headers
        self._owns = owns
        self._transport = ServiceTransport(siliconflow, headers)
        super().__init__(
            api_key=siliconflow.api_key,
            base_url=siliconflow.base_url,
            timeout=timeout,
            # openai repeats nothing; this library does.
            max_retries=0,
            # It makes no connections, so that there is nothing of it to close.
            http_client=AsyncClient(transport=self._transport, trust_env=False),
        )

    def __setattr__(self, name: str, value: Any) -> None:
        # Two attributes that openai's users may set, on which hangs where requests go, and for whom.
        if name == "api_key":
            value = masked(value)
        if name in ("api_key", "base_url") and str(value) != getattr(self.siliconflow, name):
            changed: Any = {name: masked(str(value))}
            self.siliconflow = self._transport.client = self.siliconflow.with_options(**changed)
            value = getattr(self.siliconflow, name)
        super().__setattr__(name, value)

    if TYPE_CHECKING:
        pass  # editors show openai's own signatures, which hold

    else:

        @cached_property
        def chat(self) -> Chat:
            """Chat, on this library."""
            return Chat(self)

        @cached_property
        def beta(self) -> Beta:
            """What openai has there; `chat` is the same as `client.chat`."""
            return Beta(self)

    @property
    def default_headers(self) -> dict[str, Any]:
        """What openai would send with its own resources: the transport knows the others, and none is for openai."""
        return {"Accept": "application/json", "Content-Type": "application/json"}

    def copy(self, **options: Any) -> Self:
        """Return a copy with other options, on the same connections, retry budget and limits; closing one closes both.

        Args:
            api_key: Another key.
            base_url: Another site.
            timeout: As openai reads it: seconds, an httpx.Timeout, or this library's Timeouts.
            default_headers: Headers to send beside those that are sent now.
            set_default_headers: Headers to send in place of what `default_headers` of copies have added.
            options: Every other option of `AsyncSiliconFlow.with_options`, such as `max_retries`.

        Raises TypeError for an option that has no meaning here, and says what to use.
        """
        options = {name: value for name, value in given_only(options).items() if value is not None}
        options.update(options.pop("_extra_kwargs", {}))
        if "api_key" in options:
            options["api_key"] = masked(options["api_key"])
        if "base_url" in options:
            options["base_url"] = masked(str(options["base_url"]))
        # Some frameworks hand on the client's own.
        if options.get("http_client") is self._client:
            del options["http_client"]
        headers = headers_of(options.pop("set_default_headers")) if "set_default_headers" in options else self.headers
        headers = {**headers, **headers_of(options.pop("default_headers", None))}
        timeout = options.pop("timeout", self.timeout)
        made = object.__new__(type(self))
        made._set_up(
            self.siliconflow.with_options(**options) if options else self.siliconflow,
            owns=self._owns,
            timeout=timeout,
            headers=headers,
        )
        return made

    with_options = copy

    def is_closed(self) -> bool:
        """Whether `siliconflow` is closed."""
        return self.siliconflow.is_closed

    async def close(self) -> None:
        """Close `siliconflow`, unless it was given as `client=`."""
        if self._owns:
            await self.siliconflow.aclose()

    def __repr__(self) -> str:
        # A traceback may show one whose making failed.
        return f"<{type(self).__name__} on {getattr(self, 'siliconflow', None)!r}>"
