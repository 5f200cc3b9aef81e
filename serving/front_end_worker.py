"""gunicorn's gevent worker with our ways of ending: idle connections, and a worker that hangs.

Idle connections end when their time is up, when the worker stops, and when there is no room for a
new one.
"""

import contextlib
import faulthandler
import time
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import gevent
from gevent.pool import Pool
from gevent.server import StreamServer
from gunicorn.workers.ggevent import GeventWorker

from exporter import note_timeout

# How long before a worker that hangs is killed it writes to the log what it is doing.
LAST_WORDS_SECONDS = 1.0
LOOK_SECONDS = 1.0
LOOK_WHEN_STOPPING_SECONDS = 0.05


class _IdleConnectionEnd(BaseException):
    """Ends the wait for a connection's next request."""


class IdleConnections:
    """The context in which each connection's greenlet waits for a whole request head.

    One object and no timer for each: a gevent.Timeout a request would cost several times as much.
    """

    def __init__(self) -> None:
        """No connection is idle."""
        # Since when each has waited, in monotonic seconds, the longest first.
        self._since: dict[gevent.Greenlet, float] = {}

    def __enter__(self) -> None:
        self._since[gevent.getcurrent()] = time.monotonic()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        self._since.pop(gevent.getcurrent(), None)
        return isinstance(error, _IdleConnectionEnd)

    def end(self, *, waiting_since: float) -> None:
        """End those that have waited at least since then.

        In the hub: nothing runs between the look and the end, so that no request is cut off.
        """
        for greenlet, since in list(self._since.items()):
            if since > waiting_since:
                return
            greenlet.throw(_IdleConnectionEnd())

    def end_oldest(self) -> None:
        """End the one that has waited longest, if there is one; in the hub."""
        oldest = next(iter(self._since), None)
        if oldest is not None:
            oldest.throw(_IdleConnectionEnd())


class _Connections(Pool):  # type: ignore[misc]  # gevent's pool is not typed
    """The greenlets of all connections; when there is no room, an idle one gives way."""

    def __init__(self, size: int, idle: IdleConnections) -> None:
        super().__init__(size)
        self._idle = idle

    def full(self) -> bool:
        """Return whether there is no room; the server asks before each it accepts, in the hub."""
        if super().full():
            self._idle.end_oldest()
        return bool(super().full())


class FrontEndWorker(GeventWorker):  # type: ignore[misc]  # gunicorn is not typed
    """A front-end's process."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Begin without connections."""
        self._is_aborted = False
        super().__init__(*args, **kwargs)
        self._idle = IdleConnections()

    @property
    def aborted(self) -> bool:
        """Whether the worker hangs; set by gunicorn's arbiter just before it kills the worker."""
        return self._is_aborted

    @aborted.setter
    def aborted(self, is_aborted: bool) -> None:
        self._is_aborted = is_aborted
        # The worker itself may not be able to say so. In the arbiter, where nothing may be raised.
        with contextlib.suppress(OSError):
            if is_aborted:
                note_timeout(Path(self.cfg.worker_tmp_dir), self.pid)

    def notify(self) -> None:
        """Tell the arbiter that this worker lives; called each second."""
        super().notify()
        # A thread of its own, which needs nobody's leave to run.
        faulthandler.dump_traceback_later(self.cfg.timeout - LAST_WORDS_SECONDS)

    @property
    def server_class(self) -> Any:
        """What gunicorn makes a server with."""
        return self._make_server

    def timeout_ctx(self) -> IdleConnections:
        """Return the context in which a connection's next request is awaited."""
        return self._idle

    def run(self) -> None:
        """Serve until the worker is told to stop."""
        timer = gevent.get_hub().loop.timer(LOOK_SECONDS, LOOK_SECONDS)
        timer.start(self._end_overdue)
        super().run()

    def handle_exit(self, sig: int, frame: object) -> None:
        """Stop gracefully: requests in flight finish, idle connections close."""
        super().handle_exit(sig, frame)
        timer = gevent.get_hub().loop.timer(0, LOOK_WHEN_STOPPING_SECONDS)
        timer.start(self._end_all)
        self._stopping = timer

    def _make_server(self, listener: Any, **_: Any) -> StreamServer:
        connections = _Connections(self.worker_connections, self._idle)
        server = StreamServer(listener, handle=partial(self.handle, listener), spawn=connections)
        if self.cfg.workers > 1:
            server.max_accept = 1  # as gunicorn does: leave some to the others
        return server

    def _end_overdue(self) -> None:
        self._idle.end(waiting_since=time.monotonic() - self.cfg.keepalive)

    def _end_all(self) -> None:
        self._idle.end(waiting_since=time.monotonic())
