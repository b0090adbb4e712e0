"""The commands and their options: arguments and environment in, exit code out."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

import click
from click.core import ParameterSource

from ..version import __version__
from .batch import batch
from .chat import chat
from .cluster import batch_on_cluster
from .demo import check_service
from .embed import embed
from .limits import limits
from .media import image, speak, transcribe
from .models import models
from .playground import playground
from .remote import batch_remotely
from .running import given, is_terminal, read_stdin, run
from .screen import Failed
from .serve import serve

__all__ = ["app"]

_EXITS = (
    "Exit codes: 0 done; 1 the service refused or the answer broke off; 2 nothing was sent; 130 Ctrl-C; "
    "141 the reader of the output left."
)
_BATCH_EXITS = (
    "Exit codes: 0 all done; 1 some lines failed, are open or were skipped, or the service turned the account away; 2 "
    "bad input; 130 Ctrl-C; 141 the reader of the output left."
)
_SETTINGS = {"help_option_names": ["-h", "--help"], "show_default": True}
_AT_LEAST_1 = click.IntRange(1)
# What the service sees to itself, by the names of parameters and options.
_NOT_REMOTE = {
    "max_concurrency": "concurrency",
    "rpm": "rpm",
    "tpm": "tpm",
    "redis": "redis",
    "account": "account",
    "address": "ray",
    "actors": "actors",
    "joined": "join",
}


class _Group(click.Group):
    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            # click would end with 1.
            ctx.exit(130)


@click.group(cls=_Group, context_settings=_SETTINGS, epilog=_EXITS)
@click.version_option(__version__, message="%(prog)s %(version)s")
def app() -> None:
    """Chat with SiliconFlow's models on the terminal or in a browser, run a file of requests, or a stand-in service."""


def text(given: str) -> str:
    """Return text that can be sent: what the locale could not decode is read as UTF-8."""
    try:
        given.encode()
    except UnicodeEncodeError:
        return os.fsencode(given).decode(errors="replace")
    return given


def _failure(given: str) -> tuple[int, float]:
    """Return a status, and the share of requests that get it."""
    status, _, share = given.partition(":")
    try:
        return int(status), float(share)
    except ValueError:
        raise click.BadParameter(f"{given!r} is not a status and a share, as in 503:0.1") from None


# What several commands have in common.
_model = click.option(
    "--model",
    "-m",
    type=text,
    default="Qwen/Qwen3-8B",
    envvar="SILICONFLOW_MODEL",
    show_envvar=True,
    help="The model's name.",
)
_redis = click.option(
    "--redis",
    envvar="SILICONFLOW_REDIS_URL",
    show_envvar=True,
    help="Share the limits with all processes that name the same Redis, a URL as redis://host.",
)
_account = click.option("--account", help="Whose limits they are, as processes that share them name it.")
_demo = click.option("--demo", is_flag=True, help="Ask a stand-in on this machine; needs no key.")
_base_url = click.option("--base-url", help="Another service; else SILICONFLOW_BASE_URL, else SiliconFlow.")


def _port(default: int, where: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    kind = click.IntRange(0, 65535)
    words = f"Where to listen{where}; 0 takes a free port."
    return click.option("--port", "-p", type=kind, default=default, help=words)


@app.command("chat", epilog=_EXITS)
@click.argument("prompt", type=text, required=False)
@_model
@click.option("--system", "-s", type=text, help="A system message.")
@click.option(
    "--thinking/--no-thinking",
    "enable_thinking",
    default=None,
    help="Switch a hybrid model's thinking; left out: as the model does.",
)
@click.option("--max-tokens", type=int, help="The most tokens to generate.")
@click.option("--temperature", type=float, help="How freely to choose words, 0 to 2; left out: as the model does.")
@click.option(
    "--image",
    "-i",
    "images",
    type=text,
    multiple=True,
    help="A picture for a model that sees, a path or URL (repeat it).",
)
@click.option("--json", is_flag=True, help="Print each event as a line of JSON.")
@_demo
@_base_url
def _chat(prompt: str | None, demo: bool, base_url: str | None, json: bool, **options: Any) -> None:
    """Stream the answer to one prompt, or talk on.

    PROMPT is what to ask; from stdin if left out or `-`. On a terminal, without it, you talk on: with the editing of
    lines and a history that stays in memory (no prompt is written to disk); /help shows the commands, Ctrl-C stops an
    answer, Ctrl-D leaves. The key comes from SILICONFLOW_API_KEY.
    """
    check_service(demo, base_url, otherwise='chat --demo "Hello"')
    options |= {"demo": demo, "base_url": base_url}
    if prompt is None and not json and is_terminal(sys.stdin) and is_terminal(sys.stdout):
        # Here and not above: it would add to the start of every command.
        from .talk import talk

        run(talk, **options)
    if prompt is None or prompt == "-":
        prompt = read_stdin(asked_for=prompt == "-")
    if not prompt.strip():
        raise Failed('no prompt. Give it as an argument, or pipe it in: echo "Hello" | siliconflow-async chat')
    run(chat, prompt=prompt, json=json, **options)


@app.command("models", epilog=_EXITS)
@click.option("--type", "-t", "kind", help="Those of one type: text, image, audio or video.")
@click.option("--sub-type", help="Those of one use: chat, embedding, reranker, text-to-image, speech-to-text, ...")
@click.option("--json", is_flag=True, help="Print each model as a line of JSON.")
@_demo
@_base_url
def _models(demo: bool, base_url: str | None, **options: Any) -> None:
    """List the models, one on each line. The key comes from SILICONFLOW_API_KEY."""
    check_service(demo, base_url, otherwise="models --demo")
    run(models, demo=demo, base_url=base_url, **options)


@app.command("image", epilog=_EXITS)
@click.argument("prompt", type=text, required=False)
@click.option("--output", "-o", required=True, help="The file to save the picture in.")
@click.option("--model", "-m", type=text, default="Kwai-Kolors/Kolors", help="The model's name.")
@click.option("--size", "-s", type=text, help="Width and height, as 1024x1024.")
@click.option("--seed", type=int, help="The same seed asks for the same picture.")
@click.option("--image", "-i", "source", type=text, help="A picture to start from, a path or URL.")
@_demo
@_base_url
def _image(prompt: str | None, demo: bool, base_url: str | None, **options: Any) -> None:
    """Have a picture made.

    PROMPT says of what; it is read from stdin if left out or `-`. The key comes from SILICONFLOW_API_KEY.
    """
    check_service(demo, base_url, otherwise='image --demo "A cat" -o cat.png')
    run(image, prompt=given(prompt, 'image "A cat" -o cat.png'), demo=demo, base_url=base_url, **options)


@app.command("speak", epilog=_EXITS)
@click.argument("text", type=text, required=False)
@click.option("--output", "-o", help="The file; its ending is the format: mp3, opus, wav, pcm. `-` is stdout, in mp3.")
@click.option("--model", "-m", type=text, default="FunAudioLLM/CosyVoice2-0.5B", help="The model's name.")
@click.option("--voice", "-v", type=text, default="anna", help="One of the model's voices, or the URI of your own.")
@click.option("--speed", type=float, help="From 0.25 to 4; left out: 1.")
@_demo
@_base_url
def _speak(text: str | None, demo: bool, base_url: str | None, **options: Any) -> None:
    """Have a text spoken. TEXT is read from stdin if left out or `-`. The key comes from SILICONFLOW_API_KEY."""
    check_service(demo, base_url, otherwise='speak --demo "Hello" -o hello.mp3')
    run(speak, text=given(text, 'speak "Hello" -o hello.mp3'), demo=demo, base_url=base_url, **options)


@app.command("transcribe", epilog=_EXITS)
@click.argument("file", type=click.Path())
@click.option("--model", "-m", type=text, default="FunAudioLLM/SenseVoiceSmall", help="The model's name.")
@_demo
@_base_url
def _transcribe(demo: bool, base_url: str | None, **options: Any) -> None:
    """Print what is said in a file of sound. The key comes from SILICONFLOW_API_KEY."""
    check_service(demo, base_url, otherwise="transcribe --demo talk.mp3")
    run(transcribe, demo=demo, base_url=base_url, **options)


@app.command("embed", epilog=_EXITS)
@click.argument("texts", type=text, nargs=-1)
@click.option("--file", "-f", help="A file of texts, one on each line; `-` is stdin, which is read without TEXTS too.")
@click.option("--model", "-m", type=text, default="BAAI/bge-m3", help="The model's name.")
@click.option("--output", "-o", help="The file of results; an array of NumPy's if it ends in .npy. Left out: stdout.")
@click.option("--dimensions", type=_AT_LEAST_1, help="Numbers in a vector; Qwen3-Embedding only.")
@click.option("--concurrency", "-c", "max_concurrency", type=_AT_LEAST_1, default=16, help="Requests at a time.")
@_demo
@_base_url
def _embed(texts: tuple[str, ...], file: str | None, demo: bool, base_url: str | None, **options: Any) -> None:
    """Turn texts into vectors: a line of JSON for each, in their order, or one array.

    TEXTS are the texts; without them each line of --file, or of stdin, is one. A text that the service refuses has an
    error in its line, or NaN in its row, and the others go on. The key comes from SILICONFLOW_API_KEY.
    """
    check_service(demo, base_url, otherwise='embed --demo "Hello"')
    if texts and file is not None:
        raise Failed("texts or --file, not both")
    if not texts and file in (None, "-") and (sys.stdin is None or (file is None and is_terminal(sys.stdin))):
        raise Failed('no texts. Give them as arguments, or pipe them in: siliconflow-async embed "Hello"')
    run(embed, texts=texts, file=file, demo=demo, base_url=base_url, **options)


@app.command("limits", epilog=_EXITS)
@_redis
@_account
@click.option("--json", is_flag=True, help="Print each model as a line of JSON.")
def _limits(redis: str | None, **options: Any) -> None:
    """Show who holds what of limits that processes share through Redis: each model, and each process below it."""
    if not redis:
        raise Failed("no Redis. Name one: --redis redis://localhost")
    run(limits, redis=redis, **options)


@app.command("batch", epilog=_BATCH_EXITS)
@click.argument("requests")
@click.option("--output", "-o", help="The file of results; needed unless REQUESTS is `-`. `-` is stdout.")
@click.option("--errors", "-e", help="The file of errors; left out: beside the results, as results.errors.jsonl.")
@click.option("--model", "-m", type=text, help="The model to ask, in place of each line's own.")
@click.option("--concurrency", "-c", "max_concurrency", type=_AT_LEAST_1, default=64, help="Requests at a time.")
@click.option("--rpm", type=_AT_LEAST_1, help="Requests a minute; left out: found out.")
@click.option("--tpm", type=_AT_LEAST_1, help="Tokens a minute; left out: found out.")
@_redis
@_account
@click.option("--max-retries", type=click.IntRange(0), help="Retries of one request; 3 if left out.")
@click.option(
    "--patience", type=click.FloatRange(0), default=600.0, help="Seconds that a line waits for a service that is away."
)
@click.option("--ordered", is_flag=True, help="Write the results in the order of the requests.")
@click.option("--retry-failed", is_flag=True, help="Ask again for lines that were refused in an earlier run.")
@click.option("--skip-bad", is_flag=True, help="Skip lines that can't be sent, rather than refuse them all.")
@click.option("--ray", "address", help="Run on the Ray cluster at an address, as host:port; `local` starts one here.")
@click.option("--actors", type=_AT_LEAST_1, help="With --ray: how many, each with --concurrency; 1 if left out.")
@click.option("--join", "joined", help="With --ray: make one file of all results in the end.")
@click.option("--remote", is_flag=True, help="Have the service answer the file, at half the price, within --window.")
@click.option("--window", help="With --remote: how long it may take, 24h to 336h; 24h if left out.")
@_demo
@_base_url
def _batch(
    address: str | None,
    actors: int | None,
    joined: str | None,
    remote: bool,
    window: str | None,
    **options: Any,
) -> None:
    """Run a file of requests.

    REQUESTS has one on each line, as in OpenAI's batch files or a bare body; `-` is stdin. A run that was stopped in
    any way goes on when the same command is given again, with lines that failed for passing reasons too. The key comes
    from SILICONFLOW_API_KEY. With --ray the output is a folder, and each node has to see it and the requests. With
    --remote the file becomes batches of the service itself; stopping the command leaves them running.
    """
    if remote:
        source = click.get_current_context().get_parameter_source
        given = [name for name in _NOT_REMOTE if source(name) == ParameterSource.COMMANDLINE]
        if given:
            raise Failed(f"--remote leaves that to the service; leave --{_NOT_REMOTE[given[0]]} out")
        for name in _NOT_REMOTE:
            options.pop(name, None)
        run(batch_remotely, window=window or "24h", **options)
    if window is not None:
        raise Failed("--window goes with --remote")
    if address is not None:
        run(batch_on_cluster, address=address, actors=actors or 1, joined=joined, **options)
    if actors is not None or joined is not None:
        raise Failed(f"{'--join' if actors is None else '--actors'} goes with --ray")
    run(batch, **options)


@app.command("serve", epilog=_EXITS)
@_port(8000, "")
@click.option("--host", default="127.0.0.1", help="The address to listen on.")
@click.option("--tokens-per-second", type=float, help="The pace of answers; left out: as fast as it goes.")
@click.option("--api-key", help="The only key that is valid; left out: any key.")
@click.option("--model", "-m", "models", multiple=True, help="A model that exists (repeat it); left out: any org/name.")
@click.option("--rpm", type=_AT_LEAST_1, help="Requests a minute that each model takes; beyond it: 429.")
@click.option("--tpm", type=_AT_LEAST_1, help="Tokens a minute that each model takes; beyond it: 429.")
@click.option(
    "--fail",
    "failures",
    type=_failure,
    metavar="STATUS:SHARE",
    multiple=True,
    help="Refuse a share of the requests with a status, as in 503:0.1 (repeat it).",
)
@click.option("--delay", type=click.FloatRange(0), default=0.0, help="Seconds before each answer.")
def _serve(**options: Any) -> None:
    """Run a stand-in for SiliconFlow's chat service. Prints its base URL; Ctrl-C stops it, with exit code 0.

    Each request is a line on stderr once its answer has ended: method, path, model, status and seconds.
    """
    run(serve, interrupted=0, **options)


@app.command("playground", epilog=_EXITS)
@_port(8765, ", on loopback")
@_model
@_demo
@_base_url
def _playground(**options: Any) -> None:
    """Serve a web page to talk to a model. Prints its address; Ctrl-C stops it, with exit code 0.

    The key comes from SILICONFLOW_API_KEY, and stays here: the page never sees it.
    """
    run(playground, interrupted=0, **options)
