"""`client.batches`: batches that the service itself runs, at half the price."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Required, TypedDict, Unpack

from ..elsewhere import BATCHES, Explained
from ..errors import APITimeoutError
from ..headers import conceal
from ..request.fields import CallOptions, Fields, PlainCallOptions, in_path, query_fields
from ..runs.polling import Pauses, check_poll, poll
from ..wire.endpoints.batches import Batch, BatchList, decode_batch, decode_batches
from .batchresults import BatchResults
from .listing import Listing, Pages

if TYPE_CHECKING:
    from ..calls.service import Service

__all__ = ["BatchCreateParams", "BatchListParams", "Batches", "ReplaceParam"]

# Seconds between two questions about a batch, at most.
_LONGEST_WAIT = 60.0


class ReplaceParam(TypedDict, total=False):
    """What takes the place of something in every line of a batch's requests."""

    model: str


class BatchCreateParams(CallOptions, total=False):
    """Keywords of `client.batches.create`."""

    input_file_id: Required[str]
    """The `id` of a file of requests, from `client.files.create(…, purpose="batch")`."""
    endpoint: str
    """What each line asks; default "/v1/chat/completions", the only one so far."""
    completion_window: str
    """By when it has to be through, "24h" … "336h"; default "24h". Then the rest has expired."""
    metadata: Mapping[str, str] | None
    """Up to 16 texts of your own under names of your own, which the batch is told with."""
    replace: ReplaceParam | None
    """{"model": …} takes the place of each line's own model."""


class BatchListParams(PlainCallOptions, total=False):
    """Keywords of `client.batches.list`."""

    after: str | None
    """Undocumented. The id of a batch: those after it."""
    limit: int | None
    """Undocumented. How many at most."""


_CREATE = Fields(BatchCreateParams, "input_file_id")
_LIST = Fields(BatchListParams)
_PLAIN = Fields(PlainCallOptions)


class Batches(Explained):
    """The batches of an account."""

    __slots__ = ("_service",)
    elsewhere = BATCHES

    def __init__(self, service: Service) -> None:
        self._service = service

    async def create(self, **params: Unpack[BatchCreateParams]) -> Batch:
        """Have the service run a file of requests.

        It is sent again only where the service has surely not begun it, which would make two batches of it.

        Args:
            input_file_id: The `id` of a file of requests, from `client.files.create(…, purpose="batch")`.
            endpoint: What each line asks; default "/v1/chat/completions", the only one so far.
            completion_window: By when it has to be through, "24h" … "336h"; default "24h". Then the rest has expired.
            metadata: Up to 16 texts of your own under names of your own, which the batch is told with.
            replace: {"model": …} takes the place of each line's own model.
            timeout: Seconds for the whole call, or the limits of all five clocks.
            extra_headers: Headers to send beside the client's; None leaves one out.
            extra_query: Parameters for the URL's query.
            extra_body: Merged into the body last: for what has no keyword here.

        Raises what a whole chat answer raises.
        """
        conceal(params)  # type: ignore[arg-type]  # a TypedDict is a dict
        _CREATE.check(params)
        defaults = {"endpoint": "/v1/chat/completions", "completion_window": "24h"}
        body = _CREATE.body({**defaults, **{name: value for name, value in params.items() if value is not None}})
        return await self._service.fetch("POST", "/batches", decode_batch, params, body=body, repeatable=False)

    async def retrieve(self, batch_id: str, **params: Unpack[PlainCallOptions]) -> Batch:
        """Ask how a batch comes along.

        Args:
            batch_id: The batch's `id`.
            timeout: Seconds for the whole call, or the limits of all five clocks.
            extra_headers: Headers to send beside the client's; None leaves one out.
            extra_query: Parameters for the URL's query.

        Raises what a whole chat answer raises, NotFoundError for a batch that is not there.
        """
        conceal(params)  # type: ignore[arg-type]  # a TypedDict is a dict
        _PLAIN.check(params)
        return await self._service.fetch("GET", f"/batches/{in_path(batch_id, 'batch_id')}", decode_batch, params)

    async def get(self, batch_id: str, **params: Unpack[PlainCallOptions]) -> Batch:
        """`retrieve`, by a shorter name."""
        conceal(params)  # type: ignore[arg-type]  # a TypedDict is a dict
        return await self.retrieve(batch_id, **params)

    def list(self, **params: Unpack[BatchListParams]) -> Listing[BatchList, Batch]:
        """Ask for the account's batches; await it for a page, or `async for` them all.

        Args:
            after: Undocumented. The id of a batch: those after it.
            limit: Undocumented. How many at most.
            timeout: Seconds for the whole call, or the limits of all five clocks.
            extra_headers: Headers to send beside the client's; None leaves one out.
            extra_query: Parameters for the URL's query.

        Raises what a whole chat answer raises.
        """
        conceal(params)  # type: ignore[arg-type]  # a TypedDict is a dict
        _LIST.check(params)
        query = query_fields(params, "after", "limit")
        return Listing(self._list(params, query), Pages(lambda last: self._list(params, {**query, "after": last})))

    async def _list(self, params: Mapping[str, Any], query: Mapping[str, str]) -> BatchList:
        return await self._service.fetch("GET", "/batches", decode_batches, params, query=query)

    async def cancel(self, batch_id: str, **params: Unpack[PlainCallOptions]) -> Batch:
        """End a batch; what was answered by then is paid for, and may be had.

        Args:
            batch_id: The batch's `id`.
            timeout: Seconds for the whole call, or the limits of all five clocks.
            extra_headers: Headers to send beside the client's; None leaves one out.
            extra_query: Parameters for the URL's query.

        Raises what a whole chat answer raises, NotFoundError for a batch that is not there.
        """
        conceal(params)  # type: ignore[arg-type]  # a TypedDict is a dict
        _PLAIN.check(params)
        return await self._service.fetch(
            "POST", f"/batches/{in_path(batch_id, 'batch_id')}/cancel", decode_batch, params
        )

    async def wait(
        self,
        batch: Batch | str,
        *,
        timeout: float | None = None,
        interval: float | None = None,
        patience: float | None = 600.0,
        on_progress: Callable[[Batch], object] | None = None,
    ) -> Batch:
        """Ask again and again, until the batch has ended; it may take a day, and leaving has no effect on it.

        Args:
            batch: A batch, or its `id`.
            timeout: Seconds to wait at most, None for as long as it takes.
            interval: Seconds between two questions; by default they grow from 1 to 60.
            patience: Seconds to ask on where the service is away, beyond each question's retries; None: for ever.
            on_progress: Told of the batch after each question.

        Raises APITimeoutError where it has not ended by then, and otherwise what `retrieve` raises.
        """
        check_poll(timeout=timeout, interval=interval, patience=patience)
        batch_id = batch.id if isinstance(batch, Batch) else batch
        status = "unknown"

        async def ask() -> Batch:
            nonlocal status
            found = await self.retrieve(batch_id)
            status = found.status
            return found

        def late() -> APITimeoutError:
            words = f"the batch {batch_id} has not ended after {timeout:g} s: it is {status}"
            return APITimeoutError(words, clock="total", seconds=timeout)

        return await poll(
            ask,
            lambda batch: batch.ended,
            pauses=Pauses(interval, _LONGEST_WAIT),
            patience=patience,
            timeout=timeout,
            late=late,
            on_progress=on_progress,
        )

    def results(self, batch: Batch | str) -> BatchResults:
        """Iterate what became of each request of a batch that has ended: the answers first, then those that failed.

        A line is read when it is asked for, so that files of any size take no memory. The lines are in no order:
        `custom_id` tells which request it is.

        Args:
            batch: A batch that has ended, or its `id`.

        Iterating raises InvalidRequestError for a batch that has not ended, and what reading any stream raises; files
        that break off are asked for again, as often as the client's retry policy says.
        """
        return BatchResults(self._service, batch, self.retrieve)
