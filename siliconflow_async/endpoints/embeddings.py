"""`client.embeddings`: vectors of texts, of a list of any length or of a run of them."""

from __future__ import annotations

import functools
import math
from collections.abc import AsyncIterable, Iterable, Mapping, Sequence, Sized
from typing import TYPE_CHECKING, Any, Literal, Required, TypeAlias, Unpack, overload

from ..checks import is_count
from ..elsewhere import EMBEDDINGS, Explained
from ..errors import ConfigurationError, InvalidRequestError
from ..headers import conceal
from ..request.fields import CallOptions, Fields
from ..request.plain import kind_of
from ..runs.embedding import EmbeddingAsk, Form, Sizes
from ..runs.embeddingrun import EmbeddingResults, EmbeddingWorkers, Faults, MapEmbeddings
from ..runs.fanout import MapResults, check_run
from ..runs.results import MapItem, OnProgress
from ..runs.texts import AsyncBatches, Filler, batches
from ..wire.endpoints.embeddings import Embedding, EmbeddingArray, EmbeddingArrays, EmbeddingList

if TYPE_CHECKING:
    from ..calls.observers import RunState
    from ..calls.service import Service

__all__ = ["EmbeddingOptions", "EmbeddingParams", "Embeddings"]

_NO_NUMPY = 'as_numpy needs an extra: pip install "siliconflow-async[numpy]"'

Texts: TypeAlias = Iterable[str] | AsyncIterable[str]


class EmbeddingOptions(CallOptions, total=False):
    """What may be asked for beside the texts, with what SiliconFlow's page gave in 2026-11."""

    model: Required[str]
    """The model's name, such as "BAAI/bge-m3" or "Qwen/Qwen3-Embedding-8B"."""
    dimensions: int | None
    """Numbers in a vector; Qwen3-Embedding only: 8B up to 4096, 4B up to 2048, 0.6B up to 1024."""
    batch_size: int | None
    """How many texts go in one request at most; default 32, or what the service said that it takes."""


class EmbeddingParams(EmbeddingOptions, total=False):
    """Keywords of `client.embeddings.create`."""

    input: Required[str | Sequence[str]]
    """A text, or a list of them, of any length: as many requests are made as it takes."""


_CREATE = Fields(EmbeddingParams, "model", "input", local=("batch_size",))
_MAP = Fields(EmbeddingOptions, "model", local=("batch_size",))


class Embeddings(Explained):
    """Embeddings of one client."""

    __slots__ = ("_service", "_sizes")
    elsewhere = EMBEDDINGS

    def __init__(self, service: Service) -> None:
        self._service = service
        self._sizes = Sizes()

    @overload
    async def create(
        self,
        *,
        encoding_format: Literal["float"] | None = None,
        as_numpy: Literal[False] = False,
        **params: Unpack[EmbeddingParams],
    ) -> EmbeddingList[list[float]]: ...

    @overload
    async def create(
        self, *, encoding_format: Literal["base64"], as_numpy: Literal[False] = False, **params: Unpack[EmbeddingParams]
    ) -> EmbeddingList[str]: ...

    @overload
    async def create(
        self,
        *,
        encoding_format: Literal["float", "base64"] | None = None,
        as_numpy: Literal[True],
        **params: Unpack[EmbeddingParams],
    ) -> EmbeddingArrays: ...

    async def create(
        self,
        *,
        encoding_format: Literal["float", "base64"] | None = None,
        as_numpy: bool = False,
        **params: Unpack[EmbeddingParams],
    ) -> EmbeddingList[Any] | EmbeddingArrays:
        """Return the vectors of texts, in their order, in `data`: `data[0].embedding` is a list of floats.

        Whatever they become, the service is asked for base64, which is smaller, unless `encoding_format` is "float".

        A list that is longer than the service takes goes in several requests side by side, through the model's gate as
        all calls do. Where one of them fails the call does, and the others are cancelled; `map` is for texts of which
        some may fail.

        Args:
            encoding_format: "base64": each `embedding` is the text that came; "float": have the service send numbers.
            as_numpy: True: arrays of float32, and all of them in `matrix`; needs the extra `numpy`.
            input: A text, or a list of them, of any length: as many requests are made as it takes.
            model: The model's name, such as "BAAI/bge-m3" or "Qwen/Qwen3-Embedding-8B".
            dimensions: Numbers in a vector; Qwen3-Embedding only: 8B up to 4096, 4B up to 2048, 0.6B up to 1024.
            batch_size: How many texts go in one request at most; default 32, or what the service said that it takes.
            timeout: Seconds for the whole call, or the limits of all five clocks.
            extra_headers: Headers to send beside the client's; None leaves one out.
            extra_query: Parameters for the URL's query.
            extra_body: Merged into the body last: for what has no keyword here.

        Raises what a whole chat answer raises: InvalidRequestError before anything is sent, APIStatusError,
        APIConnectionError and APITimeoutError, StreamError (MalformedStreamError where vectors are missing),
        ClosedError; TypeError for an unknown keyword, ConfigurationError where `as_numpy` finds no numpy.
        """
        conceal(params)  # type: ignore[arg-type]  # a TypedDict is a dict
        _CREATE.check(params)
        ask = self._ask(_CREATE, params, encoding_format, as_numpy)
        texts = _texts(params["input"])
        answer: EmbeddingList[Any] | EmbeddingArrays = await ask.all(texts)
        return answer

    @overload
    def map(
        self,
        texts: Texts,
        *,
        max_concurrency: int = ...,
        ordered: bool = ...,
        fail_fast: bool = ...,
        on_progress: OnProgress | None = ...,
        total: int | None = ...,
        patience: float | None = ...,
        encoding_format: Literal["float"] | None = None,
        as_numpy: Literal[False] = False,
        **params: Unpack[EmbeddingOptions],
    ) -> EmbeddingResults[Embedding[list[float]]]: ...

    @overload
    def map(
        self,
        texts: Texts,
        *,
        max_concurrency: int = ...,
        ordered: bool = ...,
        fail_fast: bool = ...,
        on_progress: OnProgress | None = ...,
        total: int | None = ...,
        patience: float | None = ...,
        encoding_format: Literal["base64"],
        as_numpy: Literal[False] = False,
        **params: Unpack[EmbeddingOptions],
    ) -> EmbeddingResults[Embedding[str]]: ...

    @overload
    def map(
        self,
        texts: Texts,
        *,
        max_concurrency: int = ...,
        ordered: bool = ...,
        fail_fast: bool = ...,
        on_progress: OnProgress | None = ...,
        total: int | None = ...,
        patience: float | None = ...,
        encoding_format: Literal["float", "base64"] | None = None,
        as_numpy: Literal[True],
        **params: Unpack[EmbeddingOptions],
    ) -> EmbeddingResults[EmbeddingArray]: ...

    def map(
        self,
        texts: Texts,
        *,
        max_concurrency: int = 16,
        ordered: bool = False,
        fail_fast: bool = False,
        on_progress: OnProgress | None = None,
        total: int | None = None,
        patience: float | None = 600.0,
        encoding_format: Literal["float", "base64"] | None = None,
        as_numpy: bool = False,
        **params: Unpack[EmbeddingOptions],
    ) -> EmbeddingResults[Any]:
        """Ask for the vectors of many texts: `async with … .map(texts) as results: async for result in results: …`.

        `texts` is read as there is room, and goes in batches of up to `batch_size` texts and some 32,000 tokens. Each
        result is that of one text, which is its `request`; it has its `index`, and the vector in
        `completion.embedding`, or its `error`. Where the service refuses a batch for what may be one text of it, the
        batch is asked for in parts, so that the text fails alone; not with `fail_fast`. Limits and outages are those
        of `chat.completions.map`.

        Args:
            texts: Any iterable of texts, async ones too, of any length.
            max_concurrency: How many requests are under way at once; default 16.
            ordered: True: results in the order of the texts; default False: as they come.
            fail_fast: True: the first error ends the run, and is raised; default False.
            on_progress: Called with a MapProgress, which counts texts, a few times a second.
            total: How many texts there are, for MapProgress, where `texts` has no length.
            patience: Seconds of an outage that a request waits; None: as long as it takes; default 600.
            encoding_format: "base64": each `embedding` is the text that came; "float": have the service send numbers.
            as_numpy: True: arrays of float32; needs the extra `numpy`.
            model: The model's name, such as "BAAI/bge-m3" or "Qwen/Qwen3-Embedding-8B".
            dimensions: Numbers in a vector; Qwen3-Embedding only: 8B up to 4096, 4B up to 2048, 0.6B up to 1024.
            batch_size: How many texts go in one request at most; default 32, or what the service said that it takes.
            timeout: Seconds for the whole call, or the limits of all five clocks.
            extra_headers: Headers to send beside the client's; None leaves one out.
            extra_query: Parameters for the URL's query.
            extra_body: Merged into the body last: for what has no keyword here.
        """
        if isinstance(texts, str | bytes | Mapping) or not isinstance(texts, Iterable | AsyncIterable):
            raise TypeError(f"texts must be an iterable of texts, not {kind_of(texts)}")
        check_run(max_concurrency=max_concurrency, total=total, patience=patience)
        conceal(params)  # type: ignore[arg-type]  # a TypedDict is a dict
        _MAP.check(params)
        ask = self._ask(_MAP, params, encoding_format, as_numpy)
        if total is None and isinstance(texts, Sized):
            total = len(texts)
        filler = Filler(ask.most)
        setup = self._service.setup
        return EmbeddingResults(
            MapResults(
                functools.partial(
                    EmbeddingWorkers,
                    AsyncBatches(texts, filler) if isinstance(texts, AsyncIterable) else batches(texts, filler),
                    functools.partial(
                        _begin, ask, math.inf if patience is None else patience, Faults(hunt=not fail_fast)
                    ),
                    observers=setup.observers,
                    max_concurrency=setup.transport.pool.at_most(max_concurrency),
                    ordered=ordered,
                    fail_fast=fail_fast,
                    on_progress=on_progress,
                    total=total,
                )
            )
        )

    def _ask(self, fields: Fields, params: Any, encoding_format: Any, as_numpy: bool) -> EmbeddingAsk:
        size = params.get("batch_size")
        if size is not None and not is_count(size, 1):
            raise InvalidRequestError(f"batch_size must be an integer >= 1, not {size!r}", param="batch_size")
        form = Form.of(encoding_format, as_numpy)
        if as_numpy:
            try:
                import numpy  # noqa: F401  # an extra: told of before anything is sent
            except ModuleNotFoundError as error:
                raise ConfigurationError(_NO_NUMPY) from error
        return EmbeddingAsk(self._service.setup, fields, params, form, self._sizes)


def _texts(value: Any) -> str | list[str]:
    """Return the texts to send; raise InvalidRequestError for anything else."""
    if isinstance(value, str):
        return value
    if isinstance(value, bytes | Mapping) or not isinstance(value, Iterable):
        raise InvalidRequestError(f"input must be a text or a list of texts, not {kind_of(value)}", param="input")
    texts = list(value)
    if not texts:
        raise InvalidRequestError("input must have at least one text", param="input")
    for at, text in enumerate(texts):
        _check_text(text, f"input[{at}]")
    return texts


def _check_text(text: Any, where: str) -> None:
    if not isinstance(text, str):
        raise InvalidRequestError(f"{where} must be text, not {kind_of(text)}", param="input")


async def _begin(
    ask: EmbeddingAsk, patience: float, faults: Faults, item: MapItem, parent: RunState | None
) -> MapEmbeddings[Any]:
    """Make the request for one batch ready; raise InvalidRequestError for what is no text."""
    batch = item.request
    for at, text in enumerate(batch.texts):
        _check_text(text, f"texts[{batch.first + at}]")
    return MapEmbeddings(ask, batch, patience, parent, faults)
