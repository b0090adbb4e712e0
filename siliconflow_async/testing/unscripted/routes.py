"""What the stand-in answers where nothing is scripted: who answers which path, with a key and without."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping

import msgspec

from ..serving.failing import Failures
from ..serving.limits import Meters
from ..serving.refusals import Refused
from ..serving.writer import AnswerWriter
from . import audio, batches, files, videos
from .chat import chat
from .completions import completions
from .embeddings import embeddings
from .images import images
from .made import PATH, made
from .messages import messages
from .models import EXAMPLES
from .question import Question, World
from .rerank import rerank
from .user import user_info

__all__ = ["Unscripted"]

_PREFIX = "/v1"
_encode = msgspec.json.Encoder().encode


async def _models(question: Question) -> None:
    """Answer `GET /models`."""
    question.fail()
    query = question.writer.recorded.query
    known = question.world.models
    # All that the stand-in has is models of text, to chat with.
    wanted = query.get("type", "text") == "text" and query.get("sub_type", "chat") == "chat"
    names = (EXAMPLES if known is None else known) if wanted else ()
    models = [{"id": name, "object": "model", "created": 0, "owned_by": ""} for name in names]
    await question.writer.whole(200, _encode({"object": "list", "data": models}))


# Method and path: who answers. A path may have `{name}`s, one for each part between slashes.
_ANSWERS: Mapping[tuple[str, str], Callable[[Question], Awaitable[None]]] = {
    ("POST", "/chat/completions"): chat,
    ("POST", "/images/generations"): images,
    ("POST", "/completions"): completions,
    ("POST", "/embeddings"): embeddings,
    ("POST", "/rerank"): rerank,
    ("POST", "/messages"): messages,
    ("GET", "/models"): _models,
    ("GET", "/user/info"): user_info,
    **audio.ANSWERS,
    **files.ANSWERS,
    **batches.ANSWERS,
    **videos.ANSWERS,
}
_ROUTES = [
    (method, re.compile(_PREFIX + re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path)), answer)
    for (method, path), answer in _ANSWERS.items()
]


class Unscripted:
    """Answers requests from their bytes alone.

    `models` are the names that exist, None for every `org/name`, of which the list of models has a few. `api_key` is
    the key that is valid, None for any. `meters` are the limits of those models that have some, `failures` says which
    requests fail by chance; the polls are those of World.
    """

    def __init__(
        self,
        models: Iterable[str] | None,
        api_key: str | None,
        meters: Meters,
        failures: Failures,
        *,
        video_polls: int,
        batch_polls: int,
    ) -> None:
        # In the order given, each once: the list of models keeps to it.
        known = None if models is None else dict.fromkeys(models)
        self._world = World(known, meters, video_polls=video_polls, batch_polls=batch_polls)
        self._api_key = api_key
        self._failures = failures

    async def send(self, writer: AnswerWriter) -> None:
        """Answer the request, or raise Refused with the error that it gets instead."""
        asked = writer.recorded
        if asked.method == "GET" and (named := PATH.fullmatch(asked.path)):
            await made(writer, named)
            return
        for method, path, answer in _ROUTES:
            if method == asked.method and (found := path.fullmatch(asked.path)):
                self._check_key(asked.headers.get("authorization", ""))
                await answer(Question(writer, self._world, self._failures.draw(), found.groupdict()))
                return
        raise Refused(404)

    def _check_key(self, authorization: str) -> None:
        scheme, _, key = authorization.partition(" ")
        key = key.strip()
        if scheme.lower() != "bearer" or not key:
            raise Refused(401)
        if self._api_key is not None and key != self._api_key:
            raise Refused(401, b'"Api key is invalid"')
