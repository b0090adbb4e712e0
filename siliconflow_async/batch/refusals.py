"""When the service has turned the account away, so that no other request of a batch would fare better."""

from __future__ import annotations

from collections.abc import Set

from ..errors import InsufficientBalanceError, SiliconFlowError

__all__ = ["Refusals"]

_IN_A_ROW = 5


class Refusals:
    """Watches the answers of a batch for those that are about the account: wrong key, no balance, no permission.

    `refusal` is the error by which the service turned the account away. It says nothing of the request, and no later
    one would fare better, so it stops the run. The first is enough as long as nothing was answered (`was_served`).
    After that it takes a few in a row, since a gateway may refuse one by mistake, and answers that began while there
    was a balance still come in between. `models` are those that the requests name: where there are several, a 403 is
    about one of them.
    """

    def __init__(self, models: Set[str]) -> None:
        self.refusal: SiliconFlowError | None = None
        self.was_served = False
        self._models = models
        self._in_a_row = 0

    def served(self) -> None:
        """Note that a request was answered."""
        self.was_served = True
        self._in_a_row = 0

    def turns_away(self, error: SiliconFlowError) -> bool:
        """Note that a request failed; return whether that is about the account, whatever is asked of it."""
        # No balance was a 403 before 2026.
        is_refused = (
            isinstance(error, InsufficientBalanceError)
            or error.refusal in (401, 402)
            or (error.refusal == 403 and len(self._models) == 1)
        )
        if is_refused:
            self._in_a_row += 1
            if not self.was_served or self._in_a_row == _IN_A_ROW:
                self.refusal = self.refusal or error
        return is_refused
