"""`client.images`: pictures from words, and from other pictures.

The `Args:` of its methods are what editors show of a call; they repeat the words of `ImageParams`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Required, Unpack

from ..calls.remote import ImagesResponse, RemoteFile
from ..elsewhere import IMAGES, Explained
from ..headers import conceal
from ..request.content import MediaPart, MediaSource, prepared_urls
from ..request.fields import CallOptions, Fields, one_of
from ..wire.endpoints.images import decode_images

if TYPE_CHECKING:
    from ..calls.service import Service
    from ..wire.failures import Mask

__all__ = ["ImageParams", "Images"]


class ImageParams(CallOptions, total=False):
    """Keywords of `client.images.generate`. Models differ in what they take; only what is given is sent."""

    model: Required[str]
    """The model's name, "org/name"."""
    prompt: Required[str]
    """What to paint, or what to change in `image`."""
    image_size: str | None
    """Width and height in pixels, "1024x1024"; each model has sizes of its own."""
    size: str | None
    """`image_size`, as the openai package names it."""
    batch_size: int | None
    """How many pictures: 1 … 4; default 1."""
    n: int | None
    """`batch_size`, as the openai package names it."""
    negative_prompt: str | None
    """What not to paint."""
    seed: int | None
    """0 … 9999999999. The same seed asks for the same picture."""
    num_inference_steps: int | None
    """1 … 100 steps: the more, the finer and the slower."""
    guidance_scale: float | None
    """0 … 20. The higher, the closer to the prompt."""
    cfg: float | None
    """0.1 … 20; Qwen-Image alone. The higher, the closer to the prompt."""
    image: MediaPart | MediaSource | None
    """A picture to start from: a path, a URL, bytes, a binary file, or `siliconflow_async.image(…)`."""
    image2: MediaPart | MediaSource | None
    """A second picture, for models that take several."""
    image3: MediaPart | MediaSource | None
    """A third picture, for models that take several."""
    output_format: str | None
    """"png" or "jpeg"; some models alone."""
    prompt_enhancement: bool | None
    """True: have the prompt rewritten first; some models alone."""


_GENERATE = Fields(ImageParams, "model", "prompt", local=("size", "n"))
_IMAGES = ("image", "image2", "image3")


class Images(Explained):
    """The pictures that a client has made."""

    __slots__ = ("_service",)
    elsewhere = IMAGES

    def __init__(self, service: Service) -> None:
        self._service = service

    async def generate(self, **params: Unpack[ImageParams]) -> ImagesResponse:
        """Have pictures made, and return where they are: `await done.images[0].save("picture.png")`.

        Args:
            model: The model's name, "org/name".
            prompt: What to paint, or what to change in `image`.
            image_size: Width and height in pixels, "1024x1024"; each model has sizes of its own.
            size: `image_size`, as the openai package names it.
            batch_size: How many pictures: 1 … 4; default 1.
            n: `batch_size`, as the openai package names it.
            negative_prompt: What not to paint.
            seed: 0 … 9999999999. The same seed asks for the same picture.
            num_inference_steps: 1 … 100 steps: the more, the finer and the slower.
            guidance_scale: 0 … 20. The higher, the closer to the prompt.
            cfg: 0.1 … 20; Qwen-Image alone. The higher, the closer to the prompt.
            image: A picture to start from: a path, a URL, bytes, a binary file, or `siliconflow_async.image(…)`.
            image2: A second picture, for models that take several.
            image3: A third picture, for models that take several.
            output_format: "png" or "jpeg"; some models alone.
            prompt_enhancement: True: have the prompt rewritten first; some models alone.
            timeout: Seconds for the whole call, or the limits of all five clocks.
            extra_headers: Headers to send beside the client's; None leaves one out.
            extra_query: Parameters for the URL's query.
            extra_body: Merged into the body last: for what has no keyword here.

        Raises what a whole chat answer raises: InvalidRequestError before anything is sent, APIStatusError,
        ContentFlaggedError (451) where prompt or picture were flagged, APIConnectionError and APITimeoutError,
        StreamError, ClosedError; TypeError for an unknown keyword.
        """
        conceal(params)  # type: ignore[arg-type]  # a TypedDict is a dict
        _GENERATE.check(params)
        more = {"image_size": one_of(params, "image_size", "size"), "batch_size": one_of(params, "batch_size", "n")}
        sent = await prepared_urls(params, "image", *_IMAGES)
        setup = self._service.setup

        def decode(body: bytes, mask: Mask) -> ImagesResponse:
            made = decode_images(body, mask)
            images = [RemoteFile.at(url, setup) for url in made.urls]
            answer = ImagesResponse(images=images, timings=made.timings, seed=made.seed)
            answer.raw = body
            return answer

        body = _GENERATE.body(sent, **more)
        return await self._service.fetch("POST", "/images/generations", decode, params, body=body, weighs=params)
