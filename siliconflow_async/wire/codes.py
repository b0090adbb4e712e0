"""The service's own codes: the HTTP status that each comes with, and the rate limit that it names.

After the table on SiliconFlow's error page.
"""

from __future__ import annotations

import re

__all__ = ["meter_of", "number_of", "status_of_code"]

_METERS = {
    50601: "rpm",
    50602: "tpm",
    50604: "ipm",
    50605: "ipd",
    50606: "rpd",  # unverified users: 100 requests a day
    50607: "rph",
    50608: "rpd",
}
_STATUS_OF_CODE: dict[int, int] = (
    dict.fromkeys(range(20011, 20091), 400)
    | {30014: 401, 30001: 402, 20063: 404, 20021: 451}
    | dict.fromkeys((30000, *range(30002, 30014), 20051), 403)
    | dict.fromkeys((20042, 20043, 20045), 413)
    | dict.fromkeys(_METERS, 429)
    | dict.fromkeys((50500, 50502, 50503, 50507, 50510, 60000), 500)
    | dict.fromkeys((50505, 50508, 50603), 503)
    | dict.fromkeys((50501, 50504, 50506, 50509), 504)
)


def status_of_code(code: int | str | None) -> int | None:
    """Return the HTTP status that the service sends a code with, or None for a code of neither kind."""
    number = number_of(code)
    return number if 400 <= number <= 599 else _STATUS_OF_CODE.get(number)


def meter_of(code: int | str | None, message: str) -> str | None:
    """Return the rate meter that a code or a message names: "rpm", "tpm", …; None if neither does."""
    if meter := _METERS.get(number_of(code)):
        return meter
    named = re.search(r"\b([RTI]P[MHD]) limit", message, re.IGNORECASE)
    return named[1].lower() if named else None


def number_of(code: int | str | None) -> int:
    """Return a code as a number; 0 for one that is not a number."""
    if isinstance(code, str):
        # Some relays send codes as strings of digits.
        return int(code) if code.isascii() and code.isdigit() and len(code) < 9 else 0
    return code or 0
