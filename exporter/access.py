"""Who may scrape, and how often: basic authentication and a rate limit."""

import base64
import binascii
import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping

MOST_KEPT = 100

# Compared against when the user is unknown, so that the answer takes as long as for a known one.
_NOBODY = b"$2b$10$CwTycUXWue0Thq9StjUM0uJ8mrqrJfs2kOYh5vGkqVb0m7uQ9e8hG"


class Authenticator:
    """Checks the Authorization header against bcrypt hashes.

    A comparison takes tens of milliseconds by design, so they run one at a time and their outcomes
    are kept, by a digest and never by the password.
    """

    def __init__(self) -> None:
        """Know nobody yet."""
        self._lock = threading.Lock()
        self._outcomes: OrderedDict[bytes, bool] = OrderedDict()

    def admits(self, users: Mapping[str, bytes], authorization: str) -> bool:
        """Return whether the header names one of `users` with the right password."""
        credentials = _basic_credentials(authorization)
        if credentials is None:
            return False
        user, password = credentials
        hashed = users.get(user, _NOBODY)
        key = hashlib.sha256(b"\0".join((hashed, user.encode(), password))).digest()
        with self._lock:
            if key not in self._outcomes:
                self._outcomes[key] = _matches(password, hashed) and user in users
                if len(self._outcomes) > MOST_KEPT:
                    self._outcomes.popitem(last=False)
            self._outcomes.move_to_end(key)
            return self._outcomes[key]


class RateLimit:
    """A token bucket over all clients."""

    def __init__(self) -> None:
        """Start full."""
        self._lock = threading.Lock()
        self._tokens: float | None = None
        self._filled = time.monotonic()

    def admits(self, requests_per_second: float, burst: int) -> bool:
        """Return whether another request may pass now; a rate of 0 lets all pass."""
        if not requests_per_second:
            return True
        with self._lock:
            now = time.monotonic()
            present = burst if self._tokens is None else self._tokens
            self._tokens = min(burst, present + (now - self._filled) * requests_per_second)
            self._filled = now
            if self._tokens < 1:
                return False
            self._tokens -= 1
            return True


def _matches(password: bytes, hashed: bytes) -> bool:
    import bcrypt  # noqa: PLC0415 - only who names users needs the extra

    try:
        return bcrypt.checkpw(password, hashed)
    except ValueError:  # No valid hash, or a password that is longer than bcrypt takes.
        return False


def _basic_credentials(authorization: str) -> tuple[str, bytes] | None:
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        decoded = base64.b64decode(encoded.strip(), validate=True)
    except (binascii.Error, ValueError):
        return None
    user, colon, password = decoded.partition(b":")
    return (user.decode("utf-8", "replace"), password) if colon else None
