"""One front-end's connection as the runner sees it.

Its answers may be put and sent by any thread.
"""

import socket
import threading

from serving.outbox import Outbox
from serving.runner.job import Job
from serving.wire import FrameReader, LineLimits, Parts


class Connection:
    """One front-end's connection: its unread bytes, its unanswered jobs, its unsent answers."""

    def __init__(self, sock: socket.socket, limits: LineLimits) -> None:
        """Take a non-blocking socket."""
        self.socket = sock
        self.reader = FrameReader(limits.payload_bytes)
        self._unsent_bytes = limits.unsent_bytes
        self.jobs: dict[int, Job] = {}
        self.is_broken = False
        # The last table of models it was told, and the last one it says it has.
        self.told = 0
        self.acknowledged = 0
        self._unsent = Outbox()
        self._lock = threading.Lock()

    def put(self, frame: Parts) -> None:
        """Add a frame to what will be sent by the next `flush`."""
        with self._lock:
            self._unsent.put(frame)

    def flush(self) -> bool:
        """Send what the socket takes; return whether everything is sent.

        It never is on a broken connection, which is to be closed.
        """
        with self._lock:
            if self.is_broken:
                return False
            if not self._unsent.size:
                return True
            try:
                self._unsent.send(self.socket)
            except OSError:
                self.is_broken = True
                self._unsent.clear()
                return False
            if self._unsent.size > self._unsent_bytes:
                # That front-end is stuck; keeping its answers would only move the problem here.
                self.is_broken = True
                self._unsent.clear()
            return not self._unsent.size and not self.is_broken
