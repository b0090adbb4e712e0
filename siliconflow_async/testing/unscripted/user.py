"""The account of the stand-in: always the same."""

from __future__ import annotations

import msgspec

from .question import Question

__all__ = ["user_info"]

_BODY = msgspec.json.encode(
    {
        "code": 20000,
        "message": "OK",
        "status": True,
        "data": {
            "id": "stand-in",
            "name": "stand-in",
            "image": "",
            "email": "",
            "isAdmin": False,
            "balance": "0.88",
            "status": "normal",
            "introduction": "",
            "role": "",
            "chargeBalance": "88.00",
            "totalBalance": "88.88",
        },
    }
)


async def user_info(question: Question) -> None:
    """Answer `GET /user/info`."""
    question.fail()
    await question.writer.whole(200, _BODY)
