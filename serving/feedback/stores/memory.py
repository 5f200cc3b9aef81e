"""Claims in the memory of one process: best effort, for a server that is one process."""

import threading
from collections import OrderedDict
from collections.abc import Sequence

from serving.feedback.stores.base import Claim, Key

MOST_CLAIMS = 100_000


class MemoryStore:
    """Remembers the newest claims."""

    def __init__(self, most_claims: int = MOST_CLAIMS) -> None:
        """Keep so many."""
        self._labels: OrderedDict[Key, bytes] = OrderedDict()
        self._most_claims = most_claims
        self._lock = threading.Lock()

    def claim(self, claims: Sequence[Claim]) -> list[bytes | None]:
        """Claim all; return for each the label that was there."""
        with self._lock:
            found = [self._claim(each) for each in claims]
            while len(self._labels) > self._most_claims:
                self._labels.popitem(last=False)
            return found

    def look_up(self, keys: Sequence[Key]) -> list[bytes | None]:
        """Return the label of each key, None where there is none."""
        with self._lock:
            return [self._labels.get(key) for key in keys]

    def correct(self, key: Key, *, old: bytes, new: bytes) -> bool:
        """Replace a label if it is still the old one."""
        with self._lock:
            is_old = self._labels.get(key) == old
            if is_old:
                self._labels[key] = new
            return is_old

    def close(self) -> None:
        """Nothing is held."""

    def _claim(self, claim: Claim) -> bytes | None:
        present = self._labels.get(claim.key)
        if present is None:
            self._labels[claim.key] = claim.label
        return present
