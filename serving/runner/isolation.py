"""How much time may go into finding the bad members of failed batches."""

import time

# Enough to find a bad member after a quiet time, little enough to bound what one client costs.
BURST_SECONDS = 10.0


class IsolationBudget:
    """A share of the device's time, saved up for at most ten seconds."""

    def __init__(self, share: float) -> None:
        """Begin with all that can be saved up."""
        self._share = share
        self._seconds = share * BURST_SECONDS
        self._earned_at = time.monotonic()

    def allows(self, seconds: float) -> bool:
        """Return whether so much time may be spent now."""
        now = time.monotonic()
        earned = self._share * (now - self._earned_at)
        self._seconds = min(self._share * BURST_SECONDS, self._seconds + earned)
        self._earned_at = now
        return self._share > 0 and seconds <= self._seconds

    def spend(self, seconds: float) -> None:
        """Note what was spent, which may be more than was expected."""
        self._seconds -= seconds
