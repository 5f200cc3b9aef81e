"""Deadlines on gevent's loop with one timer for all: most of what they watch ends long before.

A gevent.Timeout each would cost several times as much a request.
"""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Generic, TypeVar

import gevent

NANOSECONDS = 1e9

Key = TypeVar("Key")


class Deadlines(Generic[Key]):
    """Watches keys until they are discarded or their time is up."""

    def __init__(self, expire: Callable[[Key], None]) -> None:
        """`expire` is called in the hub with each key whose time is up."""
        self._expire = expire
        self._pending: dict[Key, int] = {}
        self._timer: Any = None
        self._due_ns = 0

    def add(self, key: Key, deadline_ns: int) -> None:
        """Watch a key until the monotonic nanosecond `deadline_ns`."""
        self._pending[key] = deadline_ns
        if self._timer is None or deadline_ns < self._due_ns:
            self._start(deadline_ns)

    def discard(self, key: Key) -> None:
        """Forget a key."""
        self._pending.pop(key, None)

    def _start(self, deadline_ns: int) -> None:
        if self._timer is not None:
            self._timer.close()
        self._due_ns = deadline_ns
        seconds = max(0.0, (deadline_ns - time.monotonic_ns()) / NANOSECONDS)
        self._timer = gevent.get_hub().loop.timer(seconds)
        self._timer.start(self._fire)

    def _fire(self) -> None:
        """Expire what is due and sleep until the next; runs in the hub."""
        self._timer.close()
        self._timer = None
        now = time.monotonic_ns()
        due = [key for key, deadline in self._pending.items() if deadline <= now]
        for key in due:
            del self._pending[key]
        if self._pending:
            self._start(min(self._pending.values()))
        for key in due:
            self._expire(key)


class TimeLimits:
    """Bounds what greenlets wait for: `with limits(seconds)` raises TimeoutError in them."""

    def __init__(self) -> None:
        """Bound nothing yet."""
        self._deadlines: Deadlines[gevent.Greenlet] = Deadlines(_raise_timeout)

    def __call__(self, seconds: float) -> "_Limit":
        """Return the context; it must not be entered twice by one greenlet at a time."""
        return _Limit(self._deadlines, seconds)


class _Limit:
    __slots__ = ("_deadlines", "_greenlet", "_seconds")

    def __init__(self, deadlines: Deadlines[gevent.Greenlet], seconds: float) -> None:
        self._deadlines = deadlines
        self._seconds = seconds
        self._greenlet = gevent.getcurrent()

    def __enter__(self) -> None:
        deadline_ns = time.monotonic_ns() + int(self._seconds * NANOSECONDS)
        self._deadlines.add(self._greenlet, deadline_ns)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._deadlines.discard(self._greenlet)


def _raise_timeout(greenlet: gevent.Greenlet) -> None:
    greenlet.throw(TimeoutError("time is up"))
