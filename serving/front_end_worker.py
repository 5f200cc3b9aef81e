"""gunicorn's gevent worker with our ways of ending: idle connections, and a worker that hangs.

Idle connections end when their time is up, when the worker stops, and when there is no room for a
new one.
"""

import contextlib
import faulthandler
import select
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import gevent
from gevent.monkey import get_original
from gevent.pool import Pool
from gevent.server import StreamServer
from gunicorn.workers.ggevent import GeventWorker

from exporter import note_timeout

# How long before a worker that hangs is killed it writes to the log what it is doing.
LAST_WORDS_SECONDS = 1.0
LOOK_SECONDS = 1.0
LOOK_WHEN_STOPPING_SECONDS = 0.05
JUST_CONNECTED_SECONDS = 0.5


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
        self._descriptors: dict[gevent.Greenlet, int] = {}
        # Whether a caller waits for a place although nobody was idle when there was none.
        self.is_place_wanted = False

    @contextlib.contextmanager
    def connection(self, descriptor: int) -> Iterator[None]:
        """Know the present greenlet's socket while it has one."""
        greenlet = gevent.getcurrent()
        self._descriptors[greenlet] = descriptor
        try:
            yield
        finally:
            del self._descriptors[greenlet]

    def __enter__(self) -> None:
        self._since[gevent.getcurrent()] = time.monotonic()
        if self.is_place_wanted:
            self.is_place_wanted = False
            gevent.get_hub().loop.run_callback(self._make_place)

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
            self._end(greenlet)

    def end_oldest(self) -> bool:
        """End the one that has waited longest; return whether there was one. In the hub."""
        return any(self._end(greenlet) for greenlet in list(self._since))

    def _make_place(self) -> None:
        # Not by the one that has become idle, perhaps: its next request may be there already.
        if not self.end_oldest():
            self.is_place_wanted = True

    def _end(self, greenlet: gevent.Greenlet) -> bool:
        """End the wait unless something has arrived of which the greenlet only does not know."""
        poll = get_original("select", "poll")()
        poll.register(self._descriptors[greenlet], select.POLLIN)
        if poll.poll(0):
            return False
        greenlet.throw(_IdleConnectionEnd())
        return True


class _Connections(Pool):  # type: ignore[misc]  # gevent's pool is not typed
    """The greenlets of all connections; when there is no room, an idle one gives way."""

    def __init__(self, size: int, idle: IdleConnections) -> None:
        super().__init__(size)
        self._idle = idle

    def full(self) -> bool:
        """Return whether there is no room; the server asks before each it accepts, in the hub."""
        if super().full() and not self._idle.end_oldest():
            # The first that becomes idle gives way.
            self._idle.is_place_wanted = True
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
        if sys.stderr is not None:
            faulthandler.dump_traceback_later(self.cfg.timeout - LAST_WORDS_SECONDS)

    @property
    def server_class(self) -> Any:
        """What gunicorn makes a server with."""
        return self._make_server

    def timeout_ctx(self) -> IdleConnections:
        """Return the context in which a connection's next request is awaited."""
        return self._idle

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        """Serve a connection to its end."""
        with self._idle.connection(client.fileno()):
            super().handle(listener, client, addr)

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
        server.max_accept = 1  # as gunicorn does: leave some to the others
        return server

    def _end_overdue(self) -> None:
        self._idle.end(waiting_since=time.monotonic() - self.cfg.keepalive)

    def _end_all(self) -> None:
        # Whoever has just connected is about to send a request, which is answered.
        self._idle.end(waiting_since=time.monotonic() - JUST_CONNECTED_SECONDS)
