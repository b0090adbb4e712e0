"""`ask`: a dataset with a question in each row becomes one with the answers beside them."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from ...batch.keytable import KeyTable
from ...batch.rowcolumns import COLUMNS, columns_of
from ...errors import ConfigurationError, InvalidRequestError
from .cluster import actor_pool, ray_data
from .worker import CALLS, AskSetup, leave_with_node

if TYPE_CHECKING:
    from ray.data import Dataset  # type: ignore[import-not-found,unused-ignore]  # an extra

__all__ = ["ask", "run_name"]

Of: TypeAlias = "str | Callable[[dict[str, Any]], Any]"

_REST = (1 << 63) - 1


def ask(
    dataset: Dataset,
    *,
    prompt: Of | None = None,
    messages: Of | None = None,
    model: str | Callable[[dict[str, Any]], str],
    params: Mapping[str, Any] | None = None,
    id_column: str = "id",
    store: str | os.PathLike[str] | None,
    limits: Any = None,
    api_key: str | None = None,
    client: Mapping[str, Any] | None = None,
    actors: int = 1,
    max_concurrency: int = 256,
    patience: float | None = 600.0,
    retry_failed: bool = False,
    check_ids: bool = True,
) -> Dataset:
    """Return a dataset that has in each row of `dataset` also the answer to it, or how its request failed.

    Nothing is asked before the new dataset is read, and then as it is read. Its columns are those of `dataset` and
    `content`, `reasoning_content`, `finish_reason`, `prompt_tokens`, `completion_tokens`, `answer` (the whole answer as
    JSON), `trace_id`, `error` (a class such as "RateLimitError", null where the row was answered), `error_code`,
    `error_message`, `error_attempts`, and `error_partial` (what had arrived, as JSON).

    Args:
        dataset: Its rows are known by a column of text that is different in each.
        prompt: The name of a column with what to ask, or a function of the row that returns it.
        messages: In place of `prompt`: a column of messages, also as JSON text, or a function that returns them.
        model: The model, or a function of the row that returns it.
        params: Further parameters of each request, such as `{"max_tokens": 200}`.
        id_column: The column that rows are known by.
        store: A folder that all nodes see, or a URL for fsspec. Each answer is written there as it comes, and a row
            whose answer is there is not asked again. None: whatever Ray runs again is asked again.
        limits: What `AsyncSiliconFlow` takes as `limits`. Those of this machine are kept to by each actor for itself.
        api_key: By default SILICONFLOW_API_KEY on each node.
        client: Further options of the actors' clients, as `{"base_url": …}`.
        actors: How many, each with a tenth of a CPU.
        max_concurrency: Requests under way at a time, of each actor.
        patience: Seconds that a row waits for a service that is away.
        retry_failed: Ask rows again that were refused in an earlier run.
        check_ids: Read the ids of the whole dataset now, and raise if two are the same or one is null.

    Raises:
        ConfigurationError: Without the extra, for a dataset that lacks the columns or has ours, and for a store that
            can't be used.
        InvalidRequestError: For an id that is null or there twice.
    """
    ray = ray_data()
    if (prompt is None) == (messages is None):
        raise ConfigurationError("ask needs either prompt= or messages=")
    setup = AskSetup(
        api_key=api_key,
        client={**(client or {}), **({} if limits is None else {"limits": limits})},
        store=store,
        run=run_name(),
        retry_failed=retry_failed,
        max_concurrency=max_concurrency,
        patience=patience,
    )
    setup.check()
    _check_columns(dataset, id_column, [name for name in (prompt, messages) if isinstance(name, str)])
    if check_ids:
        _check_ids(dataset, id_column)
    question = _Question(id_column, prompt, messages, model, dict(params or {}))
    # Small blocks are put together and large ones cut, so that each actor has enough of them at once to keep all of
    # its streams busy, and no more. Their rows are always the same, as Ray expects of what it may run again.
    blocks = dataset.repartition(target_num_rows_per_block=max(1, 2 * max_concurrency // CALLS), strict=True)
    return blocks.map_batches(_Asker, fn_constructor_args=(setup, question), **actor_pool(ray, actors, CALLS))


def run_name() -> str:
    """Return the name of a run: later ones come after it."""
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(4)}"


class _Question:
    """Makes requests of rows."""

    def __init__(
        self, id_column: str, prompt: Of | None, messages: Of | None, model: Of, params: dict[str, Any]
    ) -> None:
        self._id = id_column
        self._prompt = prompt
        self._messages = messages
        self._model = model
        self._params = params

    def __repr__(self) -> str:
        return f"<question by {self._id}>"

    def request(self, row: dict[str, Any]) -> dict[str, Any]:
        """Return what a row asks. Raises InvalidRequestError where the caller's own function does."""
        try:
            if self._prompt is not None:
                asked = [{"role": "user", "content": _of(self._prompt, row)}]
            else:
                asked = _messages(_of(self._messages, row))
            model = self._model(row) if callable(self._model) else self._model
        except Exception as error:  # the caller's own, which must not cost the other rows of the block
            raise InvalidRequestError(f"no request: {type(error).__name__}: {error}") from error
        return {**self._params, "model": model, "messages": asked, "custom_id": row[self._id]}


def _of(what: Of | None, row: dict[str, Any]) -> Any:
    return what(row) if callable(what) else row[str(what)]


def _messages(value: Any) -> Any:
    """Return messages as they are sent: Arrow gives each the fields of all others too, as null."""
    found = msgspec.json.decode(value) if isinstance(value, str) else value
    if isinstance(found, list):
        return [
            {name: field for name, field in turn.items() if field is not None} if isinstance(turn, dict) else turn
            for turn in found
        ]
    return found


class _Asker:
    """An actor: it takes blocks, some at once, and gives them back with the answers."""

    def __init__(self, setup: AskSetup, question: _Question) -> None:
        self._question = question
        leave_with_node()
        self._worker = setup.worker()

    def __call__(self, block: Any) -> Any:
        """Return the block with our columns."""
        import pyarrow  # type: ignore[import-not-found,import-untyped,unused-ignore]  # comes with Ray

        found: list[dict[str, Any] | None] = []
        requests: list[dict[str, Any]] = []
        for row in block.to_pylist():
            try:
                requests.append(self._question.request(row))
                found.append(None)
            except InvalidRequestError as error:
                found.append(_refused(error))
        lines = iter(self._worker.ask(requests))
        columns = [columns_of(next(lines)) if given is None else given for given in found]
        kinds = {str: pyarrow.string(), int: pyarrow.int64()}
        for name, kind in COLUMNS.items():
            block = block.append_column(name, pyarrow.array([row[name] for row in columns], kinds[kind]))
        return block

    def __del__(self) -> None:
        worker = getattr(self, "_worker", None)
        if worker is not None:
            worker.close()


def _refused(error: InvalidRequestError) -> dict[str, Any]:
    return dict.fromkeys(COLUMNS) | {
        "error": type(error).__name__,
        "error_message": str(error),
        "error_attempts": 0,
    }


def _check_columns(dataset: Dataset, id_column: str, needed: list[str]) -> None:
    schema = dataset.schema()
    if schema is None:
        return  # no rows, and so nothing to ask
    types = dict(zip(schema.names, schema.types, strict=True))
    for name in [id_column, *needed]:
        if name not in types:
            raise ConfigurationError(f"the dataset has no column {name!r}, only {', '.join(types)}")
    if str(types[id_column]) not in ("string", "large_string", "string_view"):
        raise ConfigurationError(f"the column {id_column!r} must be text, not {types[id_column]}")
    taken = [name for name in COLUMNS if name in types]
    if taken:
        raise ConfigurationError(f"the dataset has columns that the answers need: {', '.join(taken)}; rename them")


def _check_ids(dataset: Dataset, id_column: str) -> None:
    """Raise InvalidRequestError for an id that is null, or there twice. It takes 24 to 48 bytes for each row."""
    seen = KeyTable()
    tables: Any = dataset.select_columns([id_column]).iter_batches(batch_format="pyarrow", batch_size=None)
    for batch in tables:
        for name in batch.column(id_column).to_pylist():
            if name is None:
                raise InvalidRequestError(f"a row has null in the column {id_column!r}", param=id_column)
            digest = int.from_bytes(blake2b(name.encode(), digest_size=16).digest(), "big")
            if seen.get(digest >> 64) == digest & _REST:
                raise InvalidRequestError(f"two rows have {name!r} in the column {id_column!r}", param=id_column)
            seen.put(digest >> 64, digest & _REST)
