"""Chat with a model for each row of a Ray dataset, under limits that a cluster shares: the extra `ray`."""

from .dataset import ask
from .limits import RayLimits

__all__ = ["RayLimits", "ask"]
