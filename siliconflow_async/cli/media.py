"""`image`, `speak` and `transcribe`: files that come, and one that is sent, with a bar for what takes long."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from pathlib import PurePath
from typing import TYPE_CHECKING, Literal

from .. import SiliconFlowError
from .bar import ByteBar
from .demo import announced
from .errors import tell
from .screen import CannotWrite, Failed, Hangup, Screen

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..answers import ByteStream

__all__ = ["image", "speak", "transcribe"]

_FORMATS: dict[str, Literal["mp3", "opus", "wav", "pcm"]] = {
    ".mp3": "mp3",
    ".opus": "opus",
    ".ogg": "opus",
    ".wav": "wav",
    ".pcm": "pcm",
}


async def image(
    screen: Screen,
    *,
    prompt: str,
    output: str,
    model: str,
    size: str | None,
    seed: int | None,
    source: str | None,
    demo: bool,
    base_url: str | None,
) -> int:
    """Have a picture made, and save it; return the exit code. The names are those of the options."""
    _check_folder(output)
    with _reported(screen) as code:
        async with announced(screen, demo, base_url) as client:
            done = await client.images.generate(model=model, prompt=prompt, image_size=size, seed=seed, image=source)
            with _bar(screen) as bar:
                await done.images[0].save(output, on_progress=bar)
        screen.notice(f"{output}: {model}, seed {done.seed}, {done.timing.total or 0:.1f} s, trace id {done.trace_id}")
    return code[0]


async def speak(
    screen: Screen,
    *,
    text: str,
    output: str | None,
    model: str,
    voice: str,
    speed: float | None,
    demo: bool,
    base_url: str | None,
) -> int:
    """Have a text spoken into a file or to stdout; return the exit code. The names are those of the options."""
    to_stdout = output is None or output == "-"
    if output is None and sys.stdout is not None and sys.stdout.isatty():
        raise Failed("no file for the sound. Name one: -o hello.mp3")
    kind = "mp3" if to_stdout else _FORMATS.get(PurePath(output or "").suffix.lower(), "mp3")
    named = voice if ":" in voice else f"{model}:{voice}"
    if not to_stdout:
        _check_folder(output or "")
    with _reported(screen) as code:
        async with (
            announced(screen, demo, base_url) as client,
            client.audio.speech.stream(
                model=model, voice=named, input=text, response_format=kind, speed=speed
            ) as stream,
        ):
            if to_stdout:
                await _write(stream)
            else:
                with _bar(screen) as bar:
                    await stream.save(output or "", on_progress=bar)
    return code[0]


async def transcribe(screen: Screen, *, file: str, model: str, demo: bool, base_url: str | None) -> int:
    """Print what is said in a file; return the exit code. The names are those of the options."""
    with _reported(screen) as code:
        async with announced(screen, demo, base_url) as client:
            with _bar(screen) as bar:
                done = await client.audio.transcriptions.create(file=file, model=model, on_progress=bar)
        screen.content(f"{done.text}\n")
    return code[0]


@contextmanager
def _reported(screen: Screen) -> Iterator[list[int]]:
    """Tell of an error, and leave its exit code in the list, in which else is 0."""
    code = [0]
    try:
        yield code
    except SiliconFlowError as error:
        code[0] = tell(error, screen)
    except OSError as error:
        raise CannotWrite(f"can't write: {error.strerror or error}") from error


@contextmanager
def _bar(screen: Screen) -> Iterator[ByteBar]:
    with ByteBar() as bar:
        screen.lifted = bar.lifted
        yield bar


def _check_folder(output: str) -> None:
    """Raise Failed where the file can't be made: what costs money is not asked for then."""
    folder = os.path.dirname(output) or "."
    if not os.path.isdir(folder):
        raise Failed(f"can't write {output}: there is no folder {folder}")
    if os.path.isdir(output):
        raise Failed(f"can't write {output}: it is a folder")


async def _write(stream: ByteStream) -> None:
    async for data in stream:
        try:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        except BrokenPipeError as error:
            # What is still buffered would fail once more, loudly, as the interpreter exits.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())
            os.close(nowhere)
            raise Hangup("") from error
