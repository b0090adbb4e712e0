"""`create`, `stream` and `map` judge alike: the same bytes are the same answer, or the same error in the same words."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from siliconflow_async import (
    APIStatusError,
    BadRequestError,
    MalformedStreamError,
    ServerError,
    SiliconFlowError,
    StreamAPIError,
    TruncatedStreamError,
)
from siliconflow_async.testing import Fin, Rst

from ..asking import ASK, DONE, chunk, served

if TYPE_CHECKING:
    from siliconflow_async import ChatCompletion
    from siliconflow_async.endpoints.chat import Completions

pytestmark = pytest.mark.anyio


def whole(finish: str | None = "stop") -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": "yes"}, "finish_reason": finish}
    return json.dumps({"id": "1", "model": "m", "choices": [choice]}).encode()


YES = whole()
BOM = b"\xef\xbb\xbf"
USAGE = b'data: {"choices":[],"usage":{"total_tokens":3}}\n\n'
LONGER = {"content-length": "5000"}
AS_LONG = {"content-length": str(len(YES))}
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(YES), YES)


class Body(NamedTuple):
    """What a server sends, and what it is: the text of the answer, or the class of the error and the tries it takes."""

    steps: list[Any]
    answer: str | None = None
    error: type[SiliconFlowError] | None = None
    tries: int = 1
    framing: Any = "length"
    headers: dict[str, str] | None = None


BODIES = {
    "an answer": Body([YES], "yes"),
    "an answer without its finish reason": Body([whole(None)], "yes"),
    "a byte order mark before an answer": Body([BOM + YES], "yes"),
    "white space around an answer": Body([b" \n" + YES + b"\n "], "yes"),
    "text after an answer": Body([YES + b"garbage"], "yes"),
    "an answer after an answer": Body([YES + YES], "yes"),
    "[DONE] after an answer": Body([YES + b"\n[DONE]"], "yes"),
    "more bytes than announced": Body([YES + b"garbage"], "yes", headers=AS_LONG),
    "more bytes than announced, later": Body([YES, b"garbage"], "yes", headers=AS_LONG),
    "bytes after the last chunk": Body([CHUNKED + b"0\r\n\r\ngarbage"], "yes", framing="verbatim"),
    "other JSON": Body([b'{"hello":"world"}'], error=MalformedStreamError),
    "an empty object": Body([b"{}"], error=MalformedStreamError),
    "no choices": Body([b'{"choices":[]}'], error=MalformedStreamError),
    "choices of null": Body([b'{"choices":null}'], error=MalformedStreamError),
    "usage alone": Body([b'{"choices":[],"usage":{"total_tokens":3}}'], error=MalformedStreamError),
    "other JSON after a byte order mark": Body([BOM + b'{"hello":1}'], error=MalformedStreamError),
    "a list": Body([b"[]"], error=MalformedStreamError),
    "a string": Body([b'"hello"'], error=MalformedStreamError),
    "null": Body([b"null"], error=MalformedStreamError),
    "a number": Body([b"5"], error=MalformedStreamError),
    "text": Body([b"hello"], error=MalformedStreamError),
    "HTML": Body([b"<html>no</html>"], error=MalformedStreamError),
    "long HTML": Body([b"<html>" + b"no " * 100], error=MalformedStreamError),
    "[DONE] alone": Body([b"[DONE]"], error=MalformedStreamError),
    "JSON without an end in sight": Body([b"[" * 100_000], error=MalformedStreamError),
    "nothing": Body([], error=TruncatedStreamError, tries=4),
    "nothing, in chunks": Body([], error=TruncatedStreamError, tries=4, framing="chunked"),
    "nothing, and the connection closed": Body([], error=TruncatedStreamError, tries=4, framing="close"),
    "white space": Body([b" \r\n"], error=TruncatedStreamError, tries=4),
    "a byte order mark": Body([BOM], error=TruncatedStreamError, tries=4),
    "a break before the first byte": Body([Fin()], error=TruncatedStreamError, tries=4, headers=LONGER),
    "a reset before the first byte": Body([Rst()], error=TruncatedStreamError, tries=4, headers=LONGER),
    "a break before the first chunk": Body([Fin()], error=TruncatedStreamError, tries=4, framing="chunked"),
    "a break within an answer": Body([YES[:40], Fin()], error=TruncatedStreamError, headers=LONGER),
    "half an answer": Body([YES[:40]], error=TruncatedStreamError),
    "broken framing": Body([CHUNKED + b"zz\r\n"], error=TruncatedStreamError, framing="verbatim"),
    "an error": Body([b'{"code":20015,"message":"no"}'], error=BadRequestError),
    # None that says that nobody is there: that would be an outage to `map`.
    "an error that may pass": Body([b'{"code":50500,"message":"oops"}'], error=ServerError, tries=3),
    "an error of no kind": Body([b'{"error":[{}]}'], error=APIStatusError),
    "events": Body([chunk("y"), chunk("es", finish="stop"), DONE], "yes", framing="chunked"),
    "events without [DONE]": Body([chunk("y"), chunk("es", finish="stop")], "yes", framing="chunked"),
    "events that end too soon": Body([chunk("y")], error=TruncatedStreamError, framing="chunked"),
    "events of usage alone": Body([USAGE], error=TruncatedStreamError, framing="chunked"),
    "events of other JSON": Body([b'data: {"hello":1}\n\n'], error=TruncatedStreamError, framing="chunked"),
    "an event that is no JSON": Body([b"data: {no\n\n"], error=MalformedStreamError, framing="chunked"),
    "an event that is an error": Body(
        [b'data: {"code":20015,"message":"no"}\n\n'], error=StreamAPIError, framing="chunked"
    ),
    "a comment": Body([b": waiting\n\n"], error=TruncatedStreamError, tries=4, framing="chunked"),
}


async def created(completions: Completions) -> ChatCompletion:
    return await completions.create(**ASK)


async def streamed(completions: Completions) -> ChatCompletion:
    async with completions.stream(**ASK) as stream:
        return await stream.completion()


async def mapped(completions: Completions) -> ChatCompletion:
    async with completions.map([ASK], fail_fast=True, patience=0) as results:
        (result,) = [result async for result in results]
        return result.completion


@pytest.mark.parametrize("name", BODIES)
async def test_a_body_is_judged_alike(name: str) -> None:
    """Whoever asks: the same text, or the same class, words and number of requests; the client is as good as before."""
    body = BODIES[name]
    seen = []
    for ask in (created, streamed, mapped):
        async with served() as (server, client):
            server.raw(body.steps, framing=body.framing, headers=body.headers, times=body.tries)
            completions = client.chat.completions
            if body.error is None:
                assert (await ask(completions)).content == body.answer
            else:
                with pytest.raises(body.error) as caught:
                    await ask(completions)
                error = caught.value
                assert type(error) is body.error
                assert error.attempts == len(server.requests) == body.tries
                seen.append(re.sub("ti_[0-9a-f]*", "ti_", str(error)))
            assert server.script == []
            # Whatever is left of the bad answer reaches no other.
            server.reply("next")
            assert (await ask(completions)).content == "next"
    assert len(set(seen)) <= 1


@pytest.mark.parametrize("name", ["more bytes than announced", "bytes after the last chunk"])
async def test_a_connection_with_bytes_left_over_is_not_used_again(name: str) -> None:
    """What came after an answer could be taken for the next one's."""
    body = BODIES[name]
    async with served() as (server, client):
        server.raw(body.steps, framing=body.framing, headers=body.headers)
        await created(client.chat.completions)
        await created(client.chat.completions)
        first, second = server.requests
        assert first.connection != second.connection


async def test_the_answer_is_kept_as_it_came() -> None:
    """`raw` holds all of the body, and the trace id is that of its request."""
    async with served() as (server, client):
        server.raw([BOM + YES + b"garbage"], framing="length")
        done = await created(client.chat.completions)
        assert done.raw == BOM + YES + b"garbage"
        assert done.trace_id == server.requests[0].trace_id
        server.raw([], framing="length", times=4)
        with pytest.raises(TruncatedStreamError) as caught:
            await created(client.chat.completions)
        assert caught.value.trace_id == server.requests[-1].trace_id
