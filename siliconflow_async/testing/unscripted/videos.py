"""Films that the stand-in makes, which take their time: as many questions as it was told."""

from __future__ import annotations

import secrets

import msgspec

from ..serving.refusals import refuse
from .images import check_prompt, check_size, seed_of
from .made import url_of
from .question import Film, Question

__all__ = ["ANSWERS"]

_MOST = 1000
_encode = msgspec.json.Encoder().encode


async def _submit(question: Question) -> None:
    """Answer `POST /video/submit`."""
    request = question.json()
    question.model(request)
    prompt = check_prompt(request)
    size = check_size(request.get("image_size") or "1280x720")
    seed = seed_of(request, prompt)
    films = question.world.films
    films[name := secrets.token_hex(8)] = Film(url_of(question, f"{prompt}\0{seed}", size, "avi"), seed)
    if len(films) > _MOST:
        del films[next(iter(films))]
    await question.writer.whole(200, _encode({"requestId": name}))


async def _status(question: Question) -> None:
    """Answer `POST /video/status`."""
    name = question.json().get("requestId")
    question.fail()
    film = question.world.films.get(name) if isinstance(name, str) else None
    if film is None:
        refuse("The request does not exist.", code=20063, status=404)
    film.asked += 1
    body: dict[str, object] = {"status": "InQueue" if film.asked == 1 else "InProgress", "reason": "", "results": None}
    if film.asked >= question.world.video_polls:
        timings = {"inference": float(film.asked)}
        body |= {"status": "Succeed", "results": {"videos": [{"url": film.url}], "timings": timings, "seed": film.seed}}
    await question.writer.whole(200, _encode(body))


ANSWERS = {("POST", "/video/submit"): _submit, ("POST", "/video/status"): _status}
