"""Claims in a Redis (7 or later) that several servers share.

A chunk is one transaction: all of it is claimed or none. A reply that is lost after that is an
error all the same; the chunk is then claimed and not counted, and never twice. Keys expire with
their tokens; a server that evicts keys forgets claims.
"""

import base64
import logging
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.exceptions import ResponseError
from redis.retry import Retry

from serving.feedback.stores.base import Claim, ClaimStoreError, Key

TIMEOUT_SECONDS = 1.0
SAFE_POLICY = "noeviction"
# Replaces a value if it is the one that was thought, and leaves its time to live.
REPLACE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'KEEPTTL')
return 1
"""

T = TypeVar("T")

logger = logging.getLogger(__name__)


class RedisStore:
    """Remembers claims until they expire."""

    def __init__(self, url: str) -> None:
        """Connect to nothing yet."""
        self._redis: Redis = Redis.from_url(
            url,
            socket_timeout=TIMEOUT_SECONDS,
            socket_connect_timeout=TIMEOUT_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
        self._replace = self._redis.register_script(REPLACE)
        self._is_checked = False

    def claim(self, claims: Sequence[Claim]) -> list[bytes | None]:
        """Claim all in one transaction; return for each the label that was there."""
        now = time.time()

        def run() -> list[bytes | None]:
            with self._redis.pipeline(transaction=True) as pipeline:
                for key, label, expires in claims:
                    seconds = max(1, int(expires - now))
                    pipeline.set(_name(key), label, nx=True, get=True, ex=seconds)
                return list(pipeline.execute())

        self._check_policy()
        return self._in_time(run)

    def look_up(self, keys: Sequence[Key]) -> list[bytes | None]:
        """Return the label of each key, None where there is none."""

        def run() -> list[bytes | None]:
            found = self._redis.mget([_name(key) for key in keys]) if keys else []
            assert isinstance(found, list)
            return found

        return self._in_time(run)

    def correct(self, key: Key, *, old: bytes, new: bytes) -> bool:
        """Replace a label if it is still the old one."""
        name = _name(key)
        return bool(self._in_time(lambda: self._replace(keys=[name], args=[old, new])))

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()

    def _check_policy(self) -> None:
        """Warn once of a server that may forget claims."""
        if self._is_checked:
            return
        try:
            memory = self._in_time(lambda: self._redis.info("memory"))
        except ClaimStoreError as error:
            if not isinstance(error.__cause__, ResponseError):
                raise
            memory = {}  # It may not be asked; claims may be made all the same.
        self._is_checked = True
        policy = memory.get("maxmemory_policy") if isinstance(memory, dict) else None
        if policy != SAFE_POLICY:
            logger.warning(
                "Redis evicts keys (%s), so labels may count twice: set maxmemory-policy %s",
                policy,
                SAFE_POLICY,
            )

    def _in_time(self, call: Callable[[], T]) -> T:
        try:
            return call()
        except RedisError as error:
            # Its text names host and port, and never the password.
            raise ClaimStoreError(f"Redis: {error}") from error


def _name(key: Key) -> str:
    prediction = base64.urlsafe_b64encode(key.prediction).decode().rstrip("=")
    return f"inferometer:label:{prediction}:{key.row}:{key.source}"
