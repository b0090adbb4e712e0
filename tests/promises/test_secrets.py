"""The key appears nowhere: not in reprs, logs, exceptions, pickles, nor in the locals of our frames and aiohttp's."""

from __future__ import annotations

import asyncio
import copy
import logging
import pickle
import ssl
import traceback
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from siliconflow_async import (
    APIConnectionError,
    AsyncSiliconFlow,
    AuthenticationError,
    ConfigurationError,
    InvalidRequestError,
    SiliconFlowError,
    Timeouts,
)
from siliconflow_async.testing import FakeSiliconFlow, Rst, Stall

from ..asking import ASK, NO_WAIT, chunk
from .telling import all_that_tells, told_by_libraries

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.anyio

KEY = "sk-" + "very-secret-key"  # never whole in a line of this file that a traceback could quote


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


# With names of their own: frames of a parallel run show the tests' names.
@pytest.mark.parametrize(
    "broken", [KEY + "\n", " " + KEY, KEY + "\x00", KEY + "é"], ids=["line break", "space", "NUL", "not ASCII"]
)
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
            shown += [client.chat.completions._setup.headers, client._pool, vars(client._pool)]
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
    assert again._setup.timeouts.total == 7
    assert again.chat.completions._setup.headers["X-Team"] == "a"


async def test_a_wrong_key_is_an_authentication_error_that_hides_it() -> None:
    """A gateway that quotes the key does not get it into our exception."""
    async with FakeSiliconFlow() as server, make_client(server.base_url) as client:
        SCRIPTS["refused key"](server)
        with pytest.raises(AuthenticationError) as caught:
            await read(client, streaming=False)
        assert caught.value.message == "Invalid token: ***"


PASSWORD = "pass" + "-of-the-proxy"
GIVEN: dict[str, Callable[[AsyncSiliconFlow], Any]] = {
    "extra_headers": lambda client: client.chat.completions.create(**ASK, extra_headers={"Authorization": KEY}),
    "extra_headers of a stream": lambda client: client.chat.completions.create(
        **ASK, stream=True, extra_headers={"X-Api-Key": KEY}
    ),
    "extra_headers of parse()": lambda client: client.chat.completions.parse(
        **ASK, response_format=int, extra_headers={"X-Api-Key": KEY}
    ),
    "extra_headers of a raw response": lambda client: client.chat.completions.with_raw_response.create(
        **ASK, extra_headers={"X-Api-Key": KEY}
    ),
    "extra_headers that can't be sent": lambda client: client.chat.completions.create(
        **ASK, extra_headers={"X-Api-Key": KEY + "\n"}
    ),
    "extra_headers of stream()": lambda client: finish(
        client.chat.completions.stream(**ASK, extra_headers={"X-Api-Key": KEY})
    ),
    "extra_headers of stream(), and a parameter that can't be": lambda client: finish(
        client.chat.completions.stream(**ASK, extra_headers={"X-Api-Key": KEY}, top_p=float("nan"))
    ),
    "extra_headers of run_tools": lambda client: client.chat.completions.run_tools(
        **ASK, tools=[], extra_headers={"X-Api-Key": KEY}
    ).completion(),
    "extra_headers of run_tools, and a parameter that can't be": lambda client: enter(
        client.chat.completions.run_tools, **ASK, tools=[], extra_headers={"X-Api-Key": KEY}, n=2
    ),
    "extra_headers of models.list": lambda client: client.models.list(extra_headers={"X-Api-Key": KEY}),
    "extra_headers of models.list that can't be": lambda client: client.models.list(
        extra_headers={"X-Api-Key": KEY}, sub_type=3
    ),
    "extra_headers of map": lambda client: first(client.chat.completions.map([ASK], extra_headers={"X-Api-Key": KEY})),
    "extra_headers of map, and a request that can't be": lambda client: first(
        client.chat.completions.map([{**ASK, "custom_id": 3}], extra_headers={"X-Api-Key": KEY})
    ),
    "extra_headers of a request of map": lambda client: first(
        client.chat.completions.map([{**ASK, "extra_headers": {"X-Api-Key": KEY}}])
    ),
    "extra_headers of a request of map that can't be": lambda client: first(
        client.chat.completions.map([{**ASK, "extra_headers": {"X-Api-Key": KEY}, "custom_id": 3}])
    ),
    "with_options": lambda client: client.with_options(headers={"X-Api-Key": KEY}, api_key=KEY).chat.completions.create(
        **ASK
    ),
    "with_options that can't be": lambda client: enter(client.with_options, headers={"X-Api-Key": KEY}, timeout=-1),
    "a key with options that can't be": lambda client: enter(client.with_options, api_key=KEY, timeout=-1),
    "headers of a client that can't be": lambda client: enter(
        make_client, "http://[::1]", headers={"Cookie": KEY}, retry=3
    ),
}


async def enter(make: Callable[..., Any], *args: Any, **options: Any) -> None:
    make(*args, **options)


async def finish(manager: Any) -> None:
    async with manager as stream:
        await stream.completion()


async def first(manager: Any) -> None:
    async with manager as results:
        async for result in results:
            raise result.error


@pytest.mark.parametrize("way", GIVEN)
async def test_a_key_in_a_header_is_not_told(way: str, caplog: pytest.LogCaptureFixture) -> None:
    """However a key is given, and whether or not it can be sent, no local of the libraries' frames shows it."""
    caplog.set_level(logging.DEBUG)
    async with FakeSiliconFlow() as server, make_client(server.base_url) as client:
        server.fail(401, times=None)
        with pytest.raises(SiliconFlowError) as caught:
            await GIVEN[way](client)
    assert [line for line in told_by_libraries(caught.value, __file__).splitlines() if KEY in line] == []
    assert KEY not in caplog.text


async def test_a_refused_certificate_does_not_tell(caplog: pytest.LogCaptureFixture) -> None:
    """A handshake that fails holds the key in no frame of aiohttp's."""
    caplog.set_level(logging.DEBUG)
    asyncio.get_running_loop().set_debug(True)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(tls)
    with FakeSiliconFlow(ssl=tls).threaded() as server:
        async with make_client(server.base_url) as client:
            with pytest.raises(APIConnectionError) as caught:
                await read(client, streaming=True)
    assert KEY not in all_that_tells(caught.value)
    assert KEY not in caplog.text


async def test_tasks_and_slow_callbacks_do_not_tell(caplog: pytest.LogCaptureFixture) -> None:
    """reprs and stacks of tasks that wait, and what the loop's debug mode logs of every callback."""
    caplog.set_level(logging.DEBUG)
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    loop.slow_callback_duration = 0.0
    shown: list[str] = []

    def show(task: asyncio.Task[Any]) -> None:
        stack = traceback.StackSummary.extract(
            ((frame, frame.f_lineno) for frame in task.get_stack()), capture_locals=True
        )
        shown.extend([repr(task), *stack.format()])

    # In a thread: the stand-in's tasks may know the key.
    with FakeSiliconFlow().threaded() as server:
        server.raw([], before=[Stall()])
        server.raw([chunk("a"), Stall()])
        async with make_client(server.base_url) as client:
            for count, streaming in enumerate((False, True), 1):
                call = asyncio.ensure_future(read(client, streaming=streaming))
                await server.received(count)
                for task in asyncio.all_tasks():
                    show(task)
                call.cancel()
                with pytest.raises(asyncio.CancelledError) as caught:
                    await call
                shown += [repr(call), told_by_libraries(caught.value, __file__)]
    assert KEY not in "\n".join(shown)
    assert "took" in caplog.text
    assert KEY not in caplog.text


PROXIES: dict[str, Callable[[str], dict[str, Any]]] = {
    "nobody there": lambda base: {"proxy": f"http://user:{PASSWORD}@127.0.0.1:1"},
    "refusing": lambda base: {"proxy": base.replace("//", f"//user:{PASSWORD}@")},
    "refusing a tunnel": lambda base: {
        "proxy": base.replace("//", f"//user:{PASSWORD}@"),
        "base_url": "https://127.0.0.1:1",
    },
    "impossible port": lambda base: {"proxy": f"http://user:{PASSWORD}@127.0.0.1:99999"},
    "no URL": lambda base: {"proxy": f"user:{PASSWORD}@proxy"},
}


def proxied(name: str, base_url: str) -> AsyncSiliconFlow:
    return make_client(**{"base_url": base_url, **PROXIES[name](base_url)})


@pytest.mark.parametrize("name", PROXIES)
async def test_a_proxys_password_is_not_told(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """A proxy that fails is named without its credentials: in words, reprs, fields, logs, frames and pickles."""
    caplog.set_level(logging.DEBUG)
    async with FakeSiliconFlow() as server:
        server.fail(407, times=None)
        with pytest.raises(SiliconFlowError) as caught:
            async with proxied(name, server.base_url) as client:
                await read(client, streaming=False)
    told = told_by_libraries(caught.value, __file__)
    assert [line for line in told.splitlines() if PASSWORD in line] == []
    assert PASSWORD not in caplog.text


async def test_a_proxied_client_does_not_tell() -> None:
    """Neither its reprs nor a pickle of it hold the proxy's password."""
    client = proxied("nobody there", "http://127.0.0.1:1")
    settings = client.chat.completions._setup
    shown = [client, vars(client), settings, settings.headers, vars(settings.transport), settings.transport.site]
    assert [item for item in shown if PASSWORD in repr(item)] == []
    assert PASSWORD.encode() not in pickle.dumps(client)
    await client.aclose()


ENVIRONMENT = {
    "a password in the base URL": ("SILICONFLOW_BASE_URL", f"http://user:{PASSWORD}@127.0.0.1"),
    "a key in the base URL": ("SILICONFLOW_BASE_URL", f"https://127.0.0.1/?key={PASSWORD}"),
    "a proxy that is none": ("https_proxy", f"ftp://user:{PASSWORD}@127.0.0.1"),
    "a proxy that can't be sent": ("https_proxy", f"http://user:{PASSWORD}\udcff@127.0.0.1"),
}


@pytest.mark.parametrize("case", ENVIRONMENT)
@pytest.mark.parametrize("given", [False, True], ids=["environment", "argument"])
def test_a_url_that_can_not_be_used_is_not_told(case: str, given: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither in words nor in frames, wherever it came from."""
    name, value = ENVIRONMENT[case]
    for other in ("SILICONFLOW_BASE_URL", "https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(other, raising=False)
    options = {"proxy" if "proxy" in name else "base_url": value} if given else {}
    if not given:
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as caught:
        AsyncSiliconFlow("k", **options)
    told = told_by_libraries(caught.value, __file__)
    assert [line for line in told.splitlines() if PASSWORD in line] == []


def test_a_base_url_with_a_password_is_not_told() -> None:
    """It is refused, and quoted nowhere."""
    with pytest.raises(ConfigurationError) as caught:
        make_client(f"http://user:{PASSWORD}@127.0.0.1")
    assert [line for line in told_by_libraries(caught.value, __file__).splitlines() if PASSWORD in line] == []
