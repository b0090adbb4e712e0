"""When a batch stops because the service turns its account away: wrong key, no balance, no permission.

Such a refusal says nothing of the request, and no later one would fare better, so the batch is stopped rather than
burnt through. The first refusal is enough as long as nothing was answered. After that it takes a few in a row, since a
gateway may refuse one by mistake, and answers that began while there was a balance still come in between.
"""

from __future__ import annotations

from ..errors import InsufficientBalanceError, SiliconFlowError

__all__ = ["Account"]

_IN_A_ROW = 5


class Account:
    """What a run has seen of its account; `refusal` is the error that stops it.

    `models` are those that the requests name: where there are several, a 403 is about one of them.
    """

    def __init__(self, models: set[str]) -> None:
        self.refusal: SiliconFlowError | None = None
        self.was_served = False
        self.models = models
        self._in_a_row = 0

    def served(self) -> None:
        """Note an answer."""
        self.was_served = True
        self._in_a_row = 0

    def is_refused(self, error: SiliconFlowError) -> bool:
        """Whether an error is about the account, whatever is asked of it."""
        # No balance was a 403 before 2026.
        if isinstance(error, InsufficientBalanceError) or error.refusal in (401, 402):
            return True
        return error.refusal == 403 and len(self.models) == 1

    def refused(self, error: SiliconFlowError) -> None:
        """Note an error that is about the account."""
        self._in_a_row += 1
        if not self.was_served or self._in_a_row == _IN_A_ROW:
            self.refusal = self.refusal or error
