"""Reads the heads of requests from a connection, within limits of form, size and time."""

import io
import re
import socket
import time
from io import BufferedReader

MOST_HEAD_BYTES = 16 << 10

_REQUEST_LINE = re.compile(rb"[!-~]+ [!-~]+ HTTP/1\.[01]\r?\n")
# https://www.rfc-editor.org/rfc/rfc9110#section-5: no space before the colon, no folded lines. Who
# reads another meaning into such a line than a proxy before it sees another request.
_FIELD_LINE = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\r\n\0]*\r?\n")


class HeadError(Exception):
    """A head that is not answered as asked; `status` is the answer's."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


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

    def wait(self, buffered: "BufferedReader[HeadReader]") -> bool:
        """Wait for a request's first byte in a reader over this one; return whether it came."""
        self._begun = None
        try:
            return bool(buffered.peek(1))
        except (TimeoutError, ConnectionError):
            return False
        finally:
            # From here on the head is under way, even if its first bytes came with those before.
            self._begun = time.monotonic()

    def readable(self) -> bool:
        """Say that this is for reading."""
        return True

    def readinto(self, buffer: object) -> int:
        """Fill a buffer. Raises TimeoutError when the head is late."""
        if self._begun is None:
            allowed = self._idle_seconds
        else:
            allowed = self._begun + self._head_seconds - time.monotonic()
        if allowed <= 0:
            raise TimeoutError("the request's head came too slowly")
        self._connection.settimeout(allowed)
        return self._connection.recv_into(buffer)  # type: ignore[arg-type]


def read_head(buffered: "BufferedReader[HeadReader]") -> tuple[bytes, bytes]:
    """Return a request's first line, and its fields with the empty line behind them.

    Raises HeadError for what is no head of HTTP/1.x, ConnectionError when the client has gone.
    """
    lines: list[bytes] = []
    left = MOST_HEAD_BYTES
    while True:
        line = buffered.readline(left)
        if not line.endswith(b"\n"):
            if len(line) < left:
                raise ConnectionError("the client has gone")
            raise HeadError(431, f"a request's head may have {MOST_HEAD_BYTES} bytes")
        left -= len(line)
        if lines and line in {b"\r\n", b"\n"}:
            return lines[0], b"".join((*lines[1:], line))
        if not (_FIELD_LINE if lines else _REQUEST_LINE).fullmatch(line):
            raise HeadError(400, "this is no head of an HTTP/1.1 request")
        lines.append(line)
