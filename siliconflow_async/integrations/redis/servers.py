"""Which Redis is meant, and what its errors mean."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from redis import exceptions
from redis.connection import parse_url

from ...errors import ConfigurationError, LimitsUnavailableError, SiliconFlowError

__all__ = ["TIMEOUT", "checked", "explained", "has_password", "where"]

# Seconds until Redis counts as away.
TIMEOUT = 2.0

_ENVIRONMENT = "SILICONFLOW_REDIS_URL"
# Of a server that answers, and will not do as it is set up.
_SETTINGS = {
    exceptions.AuthenticationError: "refuses the password, or wants one",
    exceptions.AuthorizationError: "refuses the user",
    exceptions.NoPermissionError: "does not let this user run the script (EVALSHA, EVAL and commands on siliconflow:*)",
    exceptions.ReadOnlyError: "is a read-only replica; name the primary",
}


def checked(url: str | None) -> str:
    """Return a URL, or for None that of the environment. Raises ConfigurationError where it can't be one."""
    url = os.environ.get(_ENVIRONMENT) if url is None else url
    if not url:
        raise ConfigurationError(f"no URL of Redis: give one, or set {_ENVIRONMENT}")
    try:
        parse_url(url)  # type: ignore[no-untyped-call]  # redis-py has not typed it
        urlsplit(url).port  # noqa: B018  # raises ValueError where it is no number
    except ValueError as error:
        # Of the URL itself no word: it may hold a password.
        raise ConfigurationError(f"the URL of Redis can't be used: {error}") from None
    return url


def has_password(url: str) -> bool:
    """Whether a URL holds a password, be it in its query, where redis-py takes one too."""
    return bool(parse_url(url).get("password"))  # type: ignore[no-untyped-call]  # redis-py has not typed it


def where(url: str) -> str:
    """Return where the Redis of a URL is, without its password."""
    parts = urlsplit(url)
    return parts.path if parts.scheme == "unix" else f"{parts.hostname or 'localhost'}:{parts.port or 6379}"


def explained(error: exceptions.RedisError, at: str) -> SiliconFlowError:
    """Return the error of ours that an error of redis-py is, which came of the Redis `at` some place."""
    for kind, words in _SETTINGS.items():
        if isinstance(error, kind):
            return ConfigurationError(f"Redis at {at} {words}: {error}")
    if isinstance(error, exceptions.ConnectionError | exceptions.TimeoutError | exceptions.ClusterDownError):
        return LimitsUnavailableError(f"Redis at {at} can't be reached: {error}")
    if isinstance(error, exceptions.ResponseError) and "non deterministic" in str(error):
        return ConfigurationError(f"Redis at {at} is older than 7.0: {error}")
    return LimitsUnavailableError(f"Redis at {at} failed: {type(error).__name__}: {error}")
