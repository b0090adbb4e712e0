"""What the library's errors are on the command line: one line and an exit code."""

from __future__ import annotations

from .. import ConfigurationError, InvalidRequestError, SiliconFlowError
from .screen import Screen

__all__ = ["exit_code", "tell"]


def tell(error: SiliconFlowError, screen: Screen) -> int:
    """Say on stderr what failed; return the exit code."""
    screen.notice(f"error: {type(error).__name__}: {_with_trace_id(error)}")
    return exit_code(error)


def exit_code(error: SiliconFlowError) -> int:
    """Return 2 where nothing was sent, else 1."""
    return 2 if isinstance(error, ConfigurationError | InvalidRequestError) else 1


def _with_trace_id(error: SiliconFlowError) -> str:
    text = str(error) or "no message"
    trace_id = getattr(error, "trace_id", None)
    return text if not trace_id or trace_id in text else f"{text} [trace id {trace_id}]"
