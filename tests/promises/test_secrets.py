"""The key appears nowhere: not in reprs, logs, exceptions, pickles, nor in the locals of our frames and aiohttp's."""

from __future__ import annotations

import asyncio
import copy
import logging
import pickle
import traceback
from typing import TYPE_CHECKING, Any

import pytest
from client_kit import ASK, NO_WAIT, chunk

from siliconflow_async import (
    AsyncSiliconFlow,
    AuthenticationError,
    ConfigurationError,
    InvalidRequestError,
    SiliconFlowError,
    Timeouts,
)
from siliconflow_async.testing import FakeSiliconFlow, Rst, Stall

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.anyio

KEY = "sk-" + "very-secret-key"  # never whole in a line of this file that a traceback could quote


def all_that_tells(error: BaseException) -> str:
    """An exception as every way of looking shows it, locals of its frames and of its causes included."""
    told = traceback.TracebackException.from_exception(error, capture_locals=True)
    frames = "".join(told.format(chain=True))
    return "\n".join([frames, repr(error), str(error), repr(vars(error)), repr(pickle.dumps(error))])


SCRIPTS: dict[str, Callable[[FakeSiliconFlow], Any]] = {
    "refused key": lambda server: server.fail(401, "Invalid token: " + KEY, times=None),
    "error body": lambda server: server.fail(400),
    "reset before headers": lambda server: server.raw([], before=[Rst()], times=None),
    "reset in mid-stream": lambda server: server.raw([chunk("a"), Rst()]),
    "silence": lambda server: server.raw([], before=[Stall()], times=None),
    "silence in mid-stream": lambda server: server.raw([chunk("a"), Stall()]),
    "malformed": lambda server: server.raw([b"<html>"]),
    "redirect": lambda server: server.fail(307, headers={"location": "http://127.0.0.1:9/"}),
    "not http": lambda server: server.raw([b"what?\r\n\r\n"], framing="verbatim"),
}


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("name", SCRIPTS)
async def test_failures_do_not_tell(name: str, streaming: bool, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever goes wrong, with logging at DEBUG and the loop in debug mode."""
    caplog.set_level(logging.DEBUG)
    asyncio.get_running_loop().set_debug(True)
    async with FakeSiliconFlow() as server:
        limits = Timeouts(first_token=0.1, idle=0.1, total=0.3)
        # The client is made elsewhere, so that this test's own frame does not hold the key.
        client = make_client(server.base_url, timeouts=limits)
        SCRIPTS[name](server)
        async with client:
            with pytest.raises(SiliconFlowError) as caught:
                await read(client, streaming=streaming)
        assert KEY not in all_that_tells(caught.value)
    assert KEY not in caplog.text


def make_client(base_url: str, **options: Any) -> AsyncSiliconFlow:
    return AsyncSiliconFlow(KEY, base_url=base_url, **{"retry": NO_WAIT, "max_retries": 1, **options})


async def read(client: AsyncSiliconFlow, *, streaming: bool) -> None:
    if not streaming:
        await client.chat.completions.create(**ASK)
        return
    async with client.chat.completions.stream(**ASK) as stream:
        async for _ in stream:
            pass


@pytest.mark.parametrize(
    "options",
    [
        {"base_url": "nonsense"},
        {"base_url": "http://user:pass@127.0.0.1"},
        {"headers": {"x": "a\r\nb"}},
        {"timeout": -1},
        {"retry": 3},
        {"ssl": False},
    ],
)
def test_a_client_that_can_not_be_made_does_not_tell(options: dict[str, Any]) -> None:
    """An error at construction, its frames' locals included, hides the key."""
    with pytest.raises(ConfigurationError) as caught:
        make_client(**{"base_url": "http://127.0.0.1", **options})
    assert KEY not in all_that_tells(caught.value)


@pytest.mark.parametrize("broken", [KEY + "\n", " " + KEY, KEY + "\x00", KEY + "é"])
def test_a_key_that_can_not_be_sent_is_not_quoted(broken: str) -> None:
    """The error about the key does not hold the key."""
    keys = [broken]
    del broken
    with pytest.raises(ConfigurationError) as caught:
        AsyncSiliconFlow(keys.pop())
    told = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    ours = told.split('client.py"', 1)[1]
    assert KEY not in ours


async def test_objects_do_not_tell() -> None:
    """repr, str, vars and pickles of every public object."""
    async with FakeSiliconFlow() as server, make_client(server.base_url) as client:
        done = await client.chat.completions.create(**ASK, extra_headers={"X-Api-Key": KEY})
        with pytest.raises(InvalidRequestError) as invalid:
            await client.chat.completions.create(**ASK, top_p=float("nan"))
        async with client.chat.completions.stream(**ASK) as stream:
            await stream.completion()
            shown: list[Any] = [client, client.chat, client.chat.completions, vars(client), done, stream]
            shown += [stream.text(), stream.events(), client.with_options(timeout=3), invalid.value]
            shown += [client.chat.completions.stream(**ASK), done.choices[0].message, stream.partial]
            shown += [client.chat.completions._settings, client._pool, vars(client._pool)]
            assert KEY not in "\n".join(f"{item!r} {item}" for item in shown)
        assert KEY.encode() not in pickle.dumps(done)
        assert KEY.encode() not in pickle.dumps(copy.copy(done))


def test_a_pickled_client_carries_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes the key of where it is unpickled, and keeps its other options."""
    client = make_client("http://127.0.0.1/x", timeout=7, headers={"X-Team": "a", "X-Api-Key": KEY})
    pickled = pickle.dumps(client)
    assert KEY.encode() not in pickled
    monkeypatch.delenv("SILICONFLOW_API_KEY", raising=False)
    with pytest.raises(ConfigurationError, match="SILICONFLOW_API_KEY"):
        pickle.loads(pickled)
    monkeypatch.setenv("SILICONFLOW_API_KEY", "another")
    again = pickle.loads(pickled)
    assert again.base_url == "http://127.0.0.1/x"
    assert again._timeouts.total == 7
    assert again.chat.completions._settings.headers["X-Team"] == "a"


async def test_a_wrong_key_is_an_authentication_error_that_hides_it() -> None:
    """A gateway that quotes the key does not get it into our exception."""
    async with FakeSiliconFlow() as server, make_client(server.base_url) as client:
        SCRIPTS["refused key"](server)
        with pytest.raises(AuthenticationError) as caught:
            await read(client, streaming=False)
        assert caught.value.message == "Invalid token: ***"
