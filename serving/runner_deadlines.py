"""The deadlines of requests that wait for the runner, on gevent's loop."""

import time
from collections.abc import Callable
from typing import Any

import gevent

NANOSECONDS = 1e9


class Deadlines:
    """The deadlines of waiting requests, with one timer for all.

    Most requests are answered long before.
    """

    def __init__(self, expire: Callable[[int], None]) -> None:
        """`expire` is called in the hub with each request whose time is up."""
        self._expire = expire
        self._pending: dict[int, int] = {}
        self._timer: Any = None
        self._due_ns = 0

    def add(self, request_id: int, deadline_ns: int) -> None:
        """Watch a request until it is discarded."""
        self._pending[request_id] = deadline_ns
        if self._timer is None or deadline_ns < self._due_ns:
            self._start(deadline_ns)

    def discard(self, request_id: int) -> None:
        """Forget a request."""
        self._pending.pop(request_id, None)

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
        due = [request_id for request_id, deadline in self._pending.items() if deadline <= now]
        for request_id in due:
            del self._pending[request_id]
        if self._pending:
            self._start(min(self._pending.values()))
        for request_id in due:
            self._expire(request_id)
