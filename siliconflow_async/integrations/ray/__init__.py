"""Chat with a model for each row of a Ray dataset: the extra `ray`."""

from .dataset import ask

__all__ = ["ask"]
