"""A request to the stand-in that no script answers, as those who answer it see it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from ..serving.limits import Meter, Meters
from ..serving.refusals import Refused, refuse
from ..serving.writer import AnswerWriter
from .filestore import Files, StoredBatch
from .models import is_model

__all__ = ["Film", "Question", "World"]

_decode = msgspec.json.Decoder().decode


class Film(msgspec.Struct):
    """A film, and how often it was asked for."""

    url: str
    seed: int
    asked: int = 0


class World:
    """What all answers of one stand-in share.

    `models` are the names that exist, None for every `org/name`. A video is made when it is asked for the
    `video_polls`-th time, and a batch ends when it is asked about for the `batch_polls`-th.
    """

    def __init__(self, models: dict[str, None] | None, meters: Meters, *, video_polls: int, batch_polls: int) -> None:
        self.models = models
        self.meters = meters
        self.video_polls = video_polls
        self.films: dict[str, Film] = {}
        self.files = Files()
        self.batches: dict[str, StoredBatch] = {}
        self.batch_polls = batch_polls
        # By their URIs, what is told of each, the oldest first.
        self.voices: dict[str, dict[str, str]] = {}


class Question(NamedTuple):
    """One request: `failure` is the status that it fails with by chance, `named` what its path has at `{name}`."""

    writer: AnswerWriter
    world: World
    failure: int | None
    named: Mapping[str, str]

    def fail(self) -> None:
        """Raise Refused if it is one that fails."""
        if self.failure is not None:
            raise Refused(self.failure)

    def json(self) -> dict[str, Any]:
        """Return the object that was sent, or raise Refused."""
        try:
            request = _decode(self.writer.recorded.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise Refused(400) from None
        if not isinstance(request, dict):
            raise Refused(400)
        return request

    def model(self, request: Mapping[str, Any]) -> tuple[str, Meter | None]:
        """Return the model that is asked and its limits, which count the request; raise Refused for none."""
        name = request.get("model")
        if not isinstance(name, str):
            refuse("model: Must be a string")
        if not is_model(name, self.world.models):
            refuse("Model does not exist. Please check it carefully.", code=20012)
        meter = self.world.meters.of(name)
        if meter is not None:
            meter.arrive()
        self.fail()
        return name, meter
