"""`embed`: the vectors of texts, as lines of JSON or as one array of NumPy's."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from .. import ConfigurationError, SiliconFlowError
from .bar import ProgressBar
from .demo import announced
from .errors import tell
from .screen import CannotWrite, Failed, Screen
from .stdin import stdin_lines

if TYPE_CHECKING:
    from .. import AsyncSiliconFlow, MapDone, MapFailed

__all__ = ["embed"]


async def embed(
    screen: Screen,
    *,
    texts: tuple[str, ...],
    file: str | None,
    output: str | None,
    demo: bool,
    base_url: str | None,
    **options: Any,
) -> int:
    """Print or write the vectors; return the exit code. The names are those of the options."""
    source: Any = texts or (stdin_lines() if file in (None, "-") else _lines(file))
    try:
        with ExitStack() as closing:
            write = _writer(screen, output, closing)
            has_bar = sys.stderr is not None and not (output is None and sys.stdout is not None and sys.stdout.isatty())
            bar = closing.enter_context(ProgressBar()) if has_bar else None
            if bar is not None:
                screen.lifted = bar.lifted
            async with announced(screen, demo, base_url) as client:
                return await _run(screen, client, source, write, on_progress=bar, **options)
    except SiliconFlowError as error:
        return tell(error, screen)
    except OSError as error:
        raise CannotWrite(f"can't write {error.filename or output}: {error.strerror}") from error


async def _run(
    screen: Screen,
    client: AsyncSiliconFlow,
    source: Any,
    write: Callable[[MapDone[Any] | MapFailed], None],
    **options: Any,
) -> int:
    done = failed = 0
    given = {name: value for name, value in options.items() if value is not None}
    async with client.embeddings.map(_texts(source), ordered=True, as_numpy=False, **given) as results:
        async for result in results:
            write(result)
            done += result.error is None
            failed += result.error is not None
            if failed == 1 and result.error is not None:
                screen.notice(f"error: text {result.index}: {type(result.error).__name__}: {result.error}")
    if failed:
        screen.notice(f"{done} done, {failed} failed")
    return 1 if failed else 0


def _writer(screen: Screen, output: str | None, closing: ExitStack) -> Callable[[MapDone[Any] | MapFailed], None]:
    """Return what takes each result; the file is whole once `closing` closes."""
    if output is None or output == "-":
        return lambda result: screen.line(_line(result))
    if output.endswith(".npy"):
        return _array(output, closing)
    file: IO[str] = closing.enter_context(Path(output).open("w", encoding="utf-8"))  # noqa: SIM115  # closed by `closing`
    return lambda result: print(_line(result), file=file)


def _line(result: MapDone[Any] | MapFailed) -> str:
    told: dict[str, Any] = {"index": result.index, "text": result.request}
    if result.error is None:
        told["embedding"] = result.completion.embedding
    else:
        told["error"] = str(result.error)
    return json.dumps(told, ensure_ascii=False)


def _array(output: str, closing: ExitStack) -> Callable[[MapDone[Any] | MapFailed], None]:
    """Gather the vectors, to be written as one array: a row of NaN for a text that failed."""
    try:
        import numpy
    except ModuleNotFoundError as error:
        raise ConfigurationError('.npy needs an extra: pip install "siliconflow-async[numpy]"') from error
    file = closing.enter_context(Path(output).open("wb"))  # noqa: SIM115  # the same
    rows: list[Any] = []

    def save(broken_off: type[BaseException] | None, *_: object) -> None:
        if broken_off is not None:
            return
        size = next((len(row) for row in rows if row is not None), 0)
        nothing = numpy.full(size, numpy.nan, dtype="float32")
        numpy.save(file, numpy.array([nothing if row is None else row for row in rows], dtype="float32"))

    closing.push(save)
    return lambda result: rows.append(
        None if result.error is not None else numpy.array(result.completion.embedding, dtype="float32")
    )


async def _texts(source: Any) -> AsyncIterator[str]:
    if isinstance(source, tuple):
        for text in source:
            yield text
        return
    if isinstance(source, Iterator):
        for line in source:
            yield _text(line)
        return
    async for line in source:
        yield _text(line)


def _text(line: bytes) -> str:
    return line.decode("utf-8-sig", errors="replace").rstrip("\r\n")


def _lines(path: str) -> Iterator[bytes]:
    try:
        file = Path(path).open("rb")  # noqa: SIM115  # closed by whoever reads it
    except OSError as error:
        raise Failed(f"can't read {path}: {error.strerror}") from error

    def read() -> Iterator[bytes]:
        with file:
            yield from file

    return read()
