"""What waits to be sent on one connection between a front-end and a runner."""

import socket
from collections import deque
from itertools import islice

from serving.wire import Parts

# Of one system call; the kernel takes up to 1,024.
MOST_PARTS = 64


class Outbox:
    """What waits to be sent on one connection, in order."""

    __slots__ = ("_parts", "size")

    def __init__(self) -> None:
        """Begin empty; `size` is in bytes."""
        self._parts: deque[bytes | memoryview] = deque()
        self.size = 0

    def put(self, parts: Parts) -> None:
        """Add a frame."""
        # An empty tensor has an empty part, which no call could send.
        self._parts.extend(part for part in parts if len(part))
        self.size += sum(map(len, parts))

    def send(self, sock: socket.socket) -> None:
        """Send what a non-blocking socket takes. Raises OSError when its connection has ended."""
        while self._parts:
            try:
                sent = sock.sendmsg(list(islice(self._parts, MOST_PARTS)))
            except BlockingIOError:
                return
            self.size -= sent
            while sent:
                first = self._parts.popleft()
                if len(first) > sent:
                    self._parts.appendleft(memoryview(first)[sent:])
                    break
                sent -= len(first)

    def clear(self) -> None:
        """Forget what waits."""
        self._parts.clear()
        self.size = 0
