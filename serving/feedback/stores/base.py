"""What a store of claims is: who claims a row's label first counts it.

A claim is made before anything is counted. A process that dies in between loses the labels of one
chunk; nothing is counted twice for as long as the claim lives, which is as long as its token.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

LONGEST_LABEL = 256


class ClaimStoreError(Exception):
    """The store did not take the chunk, or did not say so: nothing of it is counted.

    What was claimed when the answer was lost stays so, and never counts.
    """


class Key(NamedTuple):
    """Whose label it is: prediction id (16 bytes), row, and number of the source."""

    prediction: bytes
    row: int
    source: int


class Claim(NamedTuple):
    """A label for a row, in at most LONGEST_LABEL bytes; `expires` in seconds since 1970."""

    key: Key
    label: bytes
    expires: int


class ClaimStore(Protocol):
    """Remembers claims. Safe to call from many threads and processes; calls may wait."""

    def claim(self, claims: Sequence[Claim]) -> list[bytes | None]:
        """Claim all in their order; return for each the label that was there, None for a new one.

        Raises ClaimStoreError, after which none may be counted.
        """

    def look_up(self, keys: Sequence[Key]) -> list[bytes | None]:
        """Return the label of each key, None where there is none.

        Raises ClaimStoreError.
        """

    def correct(self, key: Key, *, old: bytes, new: bytes) -> bool:
        """Replace a label if it is still the old one; return whether it was.

        Raises ClaimStoreError.
        """

    def close(self) -> None:
        """Let go of what the store holds; raises nothing."""
