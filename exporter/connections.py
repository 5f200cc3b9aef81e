"""The connections of the exporter's server: how many there are, and which waits longest."""

import contextlib
import socket
import threading


class Connections:
    """Counts open connections; when they are the most allowed, one without a request gives way."""

    def __init__(self, most: int) -> None:
        """Allow `most` at once, each of which is a thread."""
        self._most = most
        self._lock = threading.Lock()
        self._count = 0
        # Those of which no whole request has come yet, in the order in which they began to wait.
        self._waiting: dict[socket.socket, None] = {}

    def enter(self, connection: socket.socket) -> bool:
        """Take a place for a connection; return whether there was one."""
        with self._lock:
            if self._count >= self._most and not self._end_longest():
                return False
            self._count += 1
            self._waiting[connection] = None
            return True

    def follow(self, connection: socket.socket, secured: socket.socket) -> None:
        """Let a connection under TLS take the place of the one below it."""
        with self._lock:
            self._waiting.pop(connection, None)
            self._waiting[secured] = None

    def leave(self, connection: socket.socket) -> None:
        """Give a connection's place back."""
        with self._lock:
            self._waiting.pop(connection, None)
            self._count -= 1

    def note_waiting(self, connection: socket.socket) -> None:
        """Note that a connection waits for the next request."""
        with self._lock:
            self._waiting.pop(connection, None)
            self._waiting[connection] = None

    def note_busy(self, connection: socket.socket) -> None:
        """Note that a whole request is there."""
        with self._lock:
            self._waiting.pop(connection, None)

    def make_room(self) -> None:
        """End the connection that waits longest, for want of descriptors."""
        with self._lock:
            self._end_longest()

    def _end_longest(self) -> bool:
        """End one; its thread then leaves, so for a moment there is one more than the most."""
        longest = next(iter(self._waiting), None)
        if longest is None:
            return False
        del self._waiting[longest]
        with contextlib.suppress(OSError):
            # Not TLS's own method, which would take its state away under the thread that reads.
            socket.socket.shutdown(longest, socket.SHUT_RDWR)
        return True
