"""What a client has beside `chat`: each is imported and made when it is first asked for, since few use them all."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from ..elsewhere import CLIENT, Explained

if TYPE_CHECKING:
    from ..calls.service import Service
    from .audio import Audio
    from .batches import Batches
    from .completions import TextCompletions
    from .embeddings import Embeddings
    from .files import Files
    from .images import Images
    from .messages import Messages
    from .models import Models
    from .rerank import Rerank
    from .user import User
    from .videos import Videos

__all__ = ["Resources"]


class Resources(Explained):
    """The endpoints beside chat, of the service that `_service` is."""

    elsewhere = CLIENT
    _service: Service

    @cached_property
    def batches(self) -> Batches:
        """Batches that the service runs, at half the price."""
        from .batches import Batches

        return Batches(self._service)

    @cached_property
    def audio(self) -> Audio:
        """Speech from text, text from speech, and voices."""
        from .audio import Audio

        return Audio(self._service)

    @cached_property
    def files(self) -> Files:
        """Files that the service keeps."""
        from .files import Files

        return Files(self._service)

    @cached_property
    def images(self) -> Images:
        """Pictures from words."""
        from .images import Images

        return Images(self._service)

    @cached_property
    def completions(self) -> TextCompletions:
        """Texts that go on from a prompt."""
        from .completions import TextCompletions

        return TextCompletions(self._service)

    @cached_property
    def embeddings(self) -> Embeddings:
        """Vectors of texts."""
        from .embeddings import Embeddings

        return Embeddings(self._service)

    @cached_property
    def messages(self) -> Messages:
        """Chat in Anthropic's form."""
        from .messages import Messages

        return Messages(self._service)

    @cached_property
    def models(self) -> Models:
        """Which models there are."""
        from .models import Models

        return Models(self._service)

    @cached_property
    def user(self) -> User:
        """Whose account it is, and what is left on it."""
        from .user import User

        return User(self._service)

    @cached_property
    def rerank(self) -> Rerank:
        """Which documents fit a query best."""
        from .rerank import Rerank

        return Rerank(self._service)

    @cached_property
    def videos(self) -> Videos:
        """Films from words."""
        from .videos import Videos

        return Videos(self._service)
