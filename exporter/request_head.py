"""Reads the heads of requests from a connection, within limits of size and time."""

import io
import socket
import time

MOST_HEAD_BYTES = 16 << 10


class HeadReader(io.RawIOBase):
    """A connection's incoming side, which carries heads and nothing else.

    A client may be silent between two requests for a while, but a head once begun must be whole
    soon, however its bytes are spread.
    """

    def __init__(self, connection: socket.socket, idle_seconds: float, head_seconds: float) -> None:
        """Read from `connection`, which is not closed with this reader."""
        self._connection = connection
        self._idle_seconds = idle_seconds
        self._head_seconds = head_seconds
        self._begun: float | None = None
        self._bytes = 0

    def expect_head(self) -> None:
        """Begin to count anew: the next byte is a request's first."""
        self._begun = None
        self._bytes = 0

    def readable(self) -> bool:
        """Say that this is for reading."""
        return True

    def readinto(self, buffer: object) -> int:
        """Fill a buffer. Raises TimeoutError when the head is late, ConnectionError when too long.

        Whoever serves the connection closes it on both.
        """
        if self._begun is None:
            allowed = self._idle_seconds
        else:
            allowed = self._begun + self._head_seconds - time.monotonic()
        if allowed <= 0:
            raise TimeoutError("the request's head came too slowly")
        self._connection.settimeout(allowed)
        count = self._connection.recv_into(buffer)  # type: ignore[arg-type]
        self._begun = self._begun or time.monotonic()
        self._bytes += count
        if self._bytes > MOST_HEAD_BYTES:
            raise ConnectionError(f"the request's head has more than {MOST_HEAD_BYTES} bytes")
        return count
