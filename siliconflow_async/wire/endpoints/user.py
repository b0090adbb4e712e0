"""The account: what `GET /user/info` sends back, wrapped.

`decode_user` raises APIStatusError for an error under 200, MalformedStreamError for what is no account. Of fields of
odd types, what can be read is kept.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Any

from msgspec import field

from ..failures import Mask, malformed, unmasked
from ..lenient import to_text
from ..plain import Headed, Plain
from .wrapped import unwrapped

__all__ = ["UserInfo", "decode_user"]

_NONE = "no account"
_BALANCES = ("balance", "charge_balance", "total_balance")


class UserInfo(Headed, Plain):
    """An account, of which each field is None where the service does not tell it.

    Balances are as the service tells them, in the account's currency; `total_balance` is what there is in all. `status`
    is "normal" for one that may ask. `raw` is the body as it came, `headers` the answer's headers with lower-case
    names, `trace_id` what SiliconFlow's support asks for.
    """

    id: str | None = None
    name: str | None = None
    email: str | None = None
    image: str | None = None
    introduction: str | None = None
    role: str | None = None
    status: str | None = None
    category: str | None = None
    is_admin: bool | None = field(default=None, name="isAdmin")
    balance: Decimal | None = None
    charge_balance: Decimal | None = field(default=None, name="chargeBalance")
    total_balance: Decimal | None = field(default=None, name="totalBalance")


def decode_user(body: bytes, mask: Mask = unmasked) -> UserInfo:
    """Decode the body of an answer."""
    value = unwrapped(body, _NONE, mask)
    user = UserInfo(
        balance=_amount(value.get("balance")),
        charge_balance=_amount(value.get("chargeBalance")),
        total_balance=_amount(value.get("totalBalance")),
    )
    for name in ("id", "name", "email", "image", "introduction", "role", "status", "category"):
        setattr(user, name, to_text(value.get(name)))
    admin = value.get("isAdmin")
    user.is_admin = admin if isinstance(admin, bool) else None
    if user.id is None and all(getattr(user, name) is None for name in _BALANCES):
        raise malformed(body, "neither an id nor a balance", _NONE, mask)
    user.raw = body
    return user


def _amount(value: Any) -> Decimal | None:
    """Return an amount of money, sent as text so that none of it is lost, or as a number."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        amount = Decimal(str(value).strip())
    except InvalidOperation:
        return None
    return amount if amount.is_finite() else None
