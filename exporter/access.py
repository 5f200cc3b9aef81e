"""Who may scrape, and how often: basic authentication and a rate limit."""

import base64
import binascii
import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping

MOST_KEPT = 100
BCRYPT_BYTES = 72  # of a password that count


class Authenticator:
    """Checks the Authorization header against bcrypt hashes.

    A comparison takes tens of milliseconds by design, so they run one at a time and their outcomes
    are kept, by a digest and never by the password. Who is known does not wait for a comparison,
    nor do the outcomes of wrong passwords push those of right ones out.
    """

    def __init__(self) -> None:
        """Know nobody yet."""
        self._comparing = threading.Lock()
        self._lock = threading.Lock()
        self._outcomes: dict[bool, OrderedDict[bytes, None]] = {
            True: OrderedDict(),
            False: OrderedDict(),
        }

    def admits(self, users: Mapping[str, bytes], authorization: str) -> bool:
        """Return whether the header names one of `users` with the right password."""
        credentials = _basic_credentials(authorization)
        if credentials is None:
            return False
        user, password = credentials
        # An unknown user's password is compared too, so that the answer takes as long.
        hashed = users.get(user) or max(users.values(), key=_cost)
        key = hashlib.sha256(b"\0".join((hashed, user.encode(), password))).digest()
        known = self._known(key)
        if known is None:
            with self._comparing:
                known = self._known(key)
                if known is None:
                    known = _matches(password, hashed) and user in users
                    self._keep(key, outcome=known)
        return known

    def _known(self, key: bytes) -> bool | None:
        with self._lock:
            for outcome, keys in self._outcomes.items():
                if key in keys:
                    keys.move_to_end(key)
                    return outcome
        return None

    def _keep(self, key: bytes, *, outcome: bool) -> None:
        with self._lock:
            keys = self._outcomes[outcome]
            keys[key] = None
            if len(keys) > MOST_KEPT:
                keys.popitem(last=False)


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
        return bcrypt.checkpw(password[:BCRYPT_BYTES], hashed)
    except ValueError:  # A password with a NUL in it, which bcrypt knows not to be one.
        return False


def _cost(hashed: bytes) -> bytes:
    """Return the two digits of a bcrypt hash that say how long a comparison takes."""
    return hashed[4:6]


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
