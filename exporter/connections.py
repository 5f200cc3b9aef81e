"""The connections of the exporter's server: how many there are, and which waits longest."""

import contextlib
import socket
import threading


class Connections:
    """Counts open connections; when they are the most allowed, one that is silent gives way."""

    def __init__(self, most: int) -> None:
        """Allow `most` at once, each of which is a thread."""
        self._most = most
        self._lock = threading.Lock()
        self._count = 0
        self._silent: dict[socket.socket, None] = {}  # in the order in which they fell silent

    def enter(self) -> bool:
        """Take a place for a connection; return whether there was one."""
        with self._lock:
            if self._count >= self._most and not self._end_longest_silent():
                return False
            self._count += 1
            return True

    def leave(self, connection: socket.socket) -> None:
        """Give a connection's place back."""
        with self._lock:
            self._silent.pop(connection, None)
            self._count -= 1

    def note_silent(self, connection: socket.socket) -> None:
        """Note that nothing is under way on a connection."""
        with self._lock:
            self._silent[connection] = None

    def note_busy(self, connection: socket.socket) -> None:
        """Note that a request has begun."""
        with self._lock:
            self._silent.pop(connection, None)

    def make_room(self) -> None:
        """End the connection that is silent longest, for want of descriptors."""
        with self._lock:
            self._end_longest_silent()

    def _end_longest_silent(self) -> bool:
        """End one; its thread then leaves, so for a moment there is one more than the most."""
        longest = next(iter(self._silent), None)
        if longest is None:
            return False
        del self._silent[longest]
        with contextlib.suppress(OSError):
            longest.shutdown(socket.SHUT_RDWR)
        return True
