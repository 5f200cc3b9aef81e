"""Predictions that are too large for a token: it carries a digest, and the label brings them back.

The caller sends what was predicted beside the label, and the digest proves that it was.
"""

import base64
import hashlib
from collections.abc import Iterable
from typing import Protocol, runtime_checkable

from exporter.quality.task import Values

DIGEST_BYTES = 16


@runtime_checkable
class Echoed(Protocol):
    """A task whose predictions come back with their labels."""

    def echoed(self, prediction: object) -> Values:
        """Return a prediction as `pack` had it. Raises LabelError saying what was expected."""

    def canonical(self, values: Values) -> bytes:
        """Return bytes that are the same for the same prediction, and for no other."""


def digest_of(task: Echoed, values: Values) -> str:
    """Return what a token carries of a prediction: 22 characters of base64url."""
    digest = hashlib.sha256(task.canonical(values)).digest()[:DIGEST_BYTES]
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def text_of(item: object) -> str:
    """Return an element of an output or input as text, as a reply has it."""
    return item.decode("utf-8", "replace") if isinstance(item, bytes) else str(item)


def canonical_texts(texts: Iterable[str]) -> bytes:
    """Return texts as their lengths and bytes, so that none runs into the next."""
    encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
    return b"".join(len(text).to_bytes(8, "little") + text for text in encoded)
