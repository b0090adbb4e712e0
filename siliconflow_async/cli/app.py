"""The commands and their options: arguments and environment in, exit code out."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, NoReturn

import click

from ..version import __version__
from . import interrupt
from .batch import Batch, batch
from .chat import Chat, chat
from .playground import Playing, playground
from .screen import CannotWrite, Hangup, Screen
from .serve import Serving, serve

__all__ = ["app"]

_EXITS = (
    "Exit codes: 0 done; 1 the service refused or the answer broke off; 2 nothing was sent; 130 Ctrl-C; "
    "141 the reader of the output left."
)
_NO_KEY = "error: no API key. Set SILICONFLOW_API_KEY to yours, or try it without one: siliconflow-async "
_BATCH_EXITS = (
    "Exit codes: 0 all done; 1 some lines failed, are open or were skipped, or the service turned the account away; 2 "
    "bad input; 130 Ctrl-C; 141 the reader of the output left."
)
_AT_LEAST_1 = click.IntRange(1)
_NO_PROMPT = 'error: no prompt. Give it as an argument, or pipe it in: echo "Hello" | siliconflow-async chat'


class _Group(click.Group):
    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            # click would end with 1.
            ctx.exit(130)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]}, epilog=_EXITS)
@click.version_option(__version__, message="%(prog)s %(version)s")
def app() -> None:
    """Chat with SiliconFlow's models on the terminal or in a browser, run a file of requests, or a stand-in service."""


# What commands that ask a model have in common.
_model = click.option(
    "--model",
    "-m",
    default="Qwen/Qwen3-8B",
    envvar="SILICONFLOW_MODEL",
    show_default=True,
    show_envvar=True,
    help="The model's name.",
)
_demo = click.option("--demo", is_flag=True, help="Ask a stand-in on this machine; needs no key.")
_base_url = click.option("--base-url", help="Another service; else SILICONFLOW_BASE_URL, else SiliconFlow.")


@app.command("chat", epilog=_EXITS)
@click.argument("prompt", required=False)
@_model
@click.option("--system", "-s", help="A system message.")
@click.option(
    "--thinking/--no-thinking", default=None, help="Switch a hybrid model's thinking; left out: as the model does."
)
@click.option("--max-tokens", type=int, help="The most tokens to generate.")
@click.option("--json", is_flag=True, help="Print each event as a line of JSON.")
@_demo
@_base_url
def _chat(
    prompt: str | None,
    model: str,
    system: str | None,
    thinking: bool | None,
    max_tokens: int | None,
    json: bool,
    demo: bool,
    base_url: str | None,
) -> None:
    """Stream the answer to one prompt.

    PROMPT is what to ask; from stdin if left out or `-`. The key comes from SILICONFLOW_API_KEY.
    """
    screen = Screen()
    _check_service(screen, demo, base_url, otherwise='chat --demo "Hello"')
    asked = _read_stdin(asked_for=prompt == "-") if prompt is None or prompt == "-" else prompt
    if not asked.strip():
        _refuse(screen, _NO_PROMPT)
    options = Chat(
        prompt=_sound(asked),
        model=_sound(model),
        system=None if system is None else _sound(system),
        thinking=thinking,
        max_tokens=max_tokens,
        json=json,
        demo=demo,
        base_url=base_url,
    )
    _run(chat(options, screen), screen)


@app.command("batch", epilog=_BATCH_EXITS)
@click.argument("requests")
@click.option("--output", "-o", help="The file of results; needed unless REQUESTS is `-`. `-` is stdout.")
@click.option("--errors", "-e", help="The file of errors; left out: beside the results, as results.errors.jsonl.")
@click.option("--model", "-m", help="The model to ask, in place of each line's own.")
@click.option("--concurrency", "-c", type=_AT_LEAST_1, default=64, show_default=True, help="Requests at a time.")
@click.option("--rpm", type=_AT_LEAST_1, help="Requests a minute; left out: found out.")
@click.option("--tpm", type=_AT_LEAST_1, help="Tokens a minute; left out: found out.")
@click.option("--max-retries", type=click.IntRange(0), help="Retries of one request; 3 if left out.")
@click.option(
    "--patience",
    type=click.FloatRange(0),
    default=600.0,
    show_default=True,
    help="Seconds that a line waits for a service that is away.",
)
@click.option("--ordered", is_flag=True, help="Write the results in the order of the requests.")
@click.option("--retry-failed", is_flag=True, help="Ask again for lines that were refused in an earlier run.")
@click.option("--skip-bad", is_flag=True, help="Skip lines that can't be sent, rather than refuse them all.")
@click.option("--base-url", help="Another service; else SILICONFLOW_BASE_URL, else SiliconFlow.")
def _batch(
    requests: str,
    output: str | None,
    errors: str | None,
    model: str | None,
    concurrency: int,
    rpm: int | None,
    tpm: int | None,
    max_retries: int | None,
    patience: float,
    ordered: bool,
    retry_failed: bool,
    skip_bad: bool,
    base_url: str | None,
) -> None:
    """Run a file of requests.

    REQUESTS has one on each line, as in OpenAI's batch files or a bare body; `-` is stdin. A run that was stopped in
    any way goes on when the same command is given again, with lines that failed for passing reasons too. The key comes
    from SILICONFLOW_API_KEY.
    """
    screen = Screen()
    if not os.environ.get("SILICONFLOW_API_KEY", "").strip():
        _refuse(screen, "error: no API key. Set SILICONFLOW_API_KEY to yours")
    if requests == "-" and sys.stdin is None:
        _refuse(screen, "error: stdin is closed")
    if output is None and requests != "-":
        _refuse(screen, "error: no file for the results. Name one: -o results.jsonl")
    if output in (None, "-") and sys.stdout is None:
        _refuse(screen, "error: stdout is closed; name a file for the results: -o results.jsonl")
    if retry_failed and (requests == "-" or output == "-"):
        _refuse(screen, "error: --retry-failed goes on with an earlier run, which needs files on both sides")
    options = Batch(
        requests=None if requests == "-" else Path(requests),
        output=None if output in (None, "-") else Path(output),
        errors=None if errors is None else Path(errors),
        model=None if model is None else _sound(model),
        concurrency=concurrency,
        rpm=rpm,
        tpm=tpm,
        max_retries=max_retries,
        patience=patience,
        ordered=ordered,
        retry_failed=retry_failed,
        skip_bad=skip_bad,
        base_url=base_url,
    )
    _run(batch(options, screen), screen)


@app.command("serve", epilog=_EXITS)
@click.option(
    "--port",
    "-p",
    type=click.IntRange(0, 65535),
    default=8000,
    show_default=True,
    help="Where to listen; 0 takes a free port.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--tokens-per-second", type=float, help="The pace of answers; left out: as fast as it goes.")
@click.option("--api-key", help="The only key that is valid; left out: any key.")
@click.option("--model", "-m", "models", multiple=True, help="A model that exists (repeat it); left out: any org/name.")
def _serve(port: int, host: str, tokens_per_second: float | None, api_key: str | None, models: tuple[str, ...]) -> None:
    """Run a stand-in for SiliconFlow's chat service. Prints its base URL; Ctrl-C stops it, with exit code 0."""
    screen = Screen()
    options = Serving(host, port, tokens_per_second, api_key, models)
    _run(serve(options, screen), screen, interrupted=0)


@app.command("playground", epilog=_EXITS)
@click.option(
    "--port",
    "-p",
    type=click.IntRange(0, 65535),
    default=8765,
    show_default=True,
    help="Where to listen, on loopback; 0 takes a free port.",
)
@_model
@_demo
@_base_url
def _playground(port: int, model: str, demo: bool, base_url: str | None) -> None:
    """Serve a web page to talk to a model. Prints its address; Ctrl-C stops it, with exit code 0.

    The key comes from SILICONFLOW_API_KEY, and stays here: the page never sees it.
    """
    screen = Screen()
    _check_service(screen, demo, base_url, otherwise="playground --demo")
    options = Playing(port=port, model=_sound(model), demo=demo, base_url=base_url)
    _run(playground(options, screen), screen, interrupted=0)


def _check_service(screen: Screen, demo: bool, base_url: str | None, *, otherwise: str) -> None:
    """Refuse what can't work. otherwise: the command to try without a key."""
    if demo and base_url is not None:
        _refuse(screen, "error: --demo brings its own service; leave --base-url out")
    if not demo and not os.environ.get("SILICONFLOW_API_KEY", "").strip():
        _refuse(screen, _NO_KEY + otherwise)


def _run(command: Coroutine[Any, Any, int], screen: Screen, *, interrupted: int = 130) -> None:
    _show_library_notes(screen)
    try:
        code = interrupt.run(command, interrupted=interrupted)
    except Hangup:
        code = 141
    except CannotWrite as error:
        screen.notice(f"error: can't write {error}")
        code = 1
    sys.exit(code)


class _Notes(logging.Handler):
    """Shows what the library logs, which is retries: without a word, waiting looks like hanging."""

    def __init__(self, screen: Screen) -> None:
        super().__init__(logging.WARNING)
        self._screen = screen

    def emit(self, record: logging.LogRecord) -> None:
        self._screen.notice(record.getMessage())


def _show_library_notes(screen: Screen) -> None:
    logging.getLogger("siliconflow_async").addHandler(_Notes(screen))
    warnings.showwarning = lambda message, *_: screen.notice(f"warning: {message}")


def _refuse(screen: Screen, why: str) -> NoReturn:
    screen.notice(why)
    sys.exit(2)


def _read_stdin(*, asked_for: bool) -> str:
    """Return what stdin holds, or "" where nobody meant it to be read."""
    if sys.stdin is None or (sys.stdin.isatty() and not asked_for):
        return ""
    return sys.stdin.buffer.read().decode("utf-8-sig", errors="replace").rstrip("\r\n")


def _sound(text: str) -> str:
    """Return text that can be sent: what the locale could not decode is read as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return os.fsencode(text).decode(errors="replace")
    return text
