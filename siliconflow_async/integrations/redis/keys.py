"""Where in Redis the ledger of an account and model lies."""

from __future__ import annotations

from hashlib import sha256
from urllib.parse import quote, unquote

__all__ = ["KEYS", "account_digest", "keys_of", "model_of", "state_keys"]

_PREFIX = "siliconflow"
_PARTS = ("state", "log", "processes", "turns")
KEYS = len(_PARTS)


def account_digest(account: str) -> str:
    """Return what stands for an account's name, which may be nobody else's business."""
    return sha256(account.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def keys_of(account: str, model: str, window: int) -> list[str]:
    """Return the keys that the script wants, all of one hash slot; `window` is in milliseconds."""
    # A brace of the model's name would move the end of what is hashed.
    tag = f"{_PREFIX}:{{{account_digest(account)}:{quote(model, safe='/')}:{window}}}"
    return [f"{tag}:{part}" for part in _PARTS]


def state_keys(account: str | None) -> str:
    """Return the pattern of the first key of every ledger, or of those of one account."""
    return f"{_PREFIX}:{{{'*' if account is None else account_digest(account)}:*}}:{_PARTS[0]}"


def model_of(state_key: str) -> tuple[str, str, int, list[str]]:
    """Return the account's digest, the model, the window in milliseconds, and all keys, of a first key."""
    tag, _, _ = state_key.rpartition(":")
    account, model, window = tag.partition("{")[2].removesuffix("}").split(":")
    return account, unquote(model), int(window), [f"{tag}:{part}" for part in _PARTS]
