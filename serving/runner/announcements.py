"""Telling every front-end which models there are, and waiting until all of them know."""

import logging
import threading
import time
from collections.abc import Callable, Collection

from serving.runner.connection import Connection
from serving.wire import Parts

# A front-end that takes longer is stuck, and must not keep a model from being swapped.
PATIENCE_SECONDS = 5.0

logger = logging.getLogger(__name__)


class Announcements:
    """Numbers the tables of models that are sent, and keeps who has acknowledged which."""

    def __init__(
        self,
        make_frame: Callable[[int], Parts],
        *,
        send: Callable[[Connection], None],
        give_up: Callable[[Connection], None],
    ) -> None:
        """`make_frame` makes the frame of the present table.

        `send` sends what has been put, and `give_up` ends a connection.
        """
        self._make_frame = make_frame
        self._send = send
        self._give_up = give_up
        self._number = 0
        self._condition = threading.Condition()

    def greet(self, connection: Connection) -> None:
        """Tell a front-end that has just connected."""
        with self._condition:
            self._put([connection])

    def announce(self, connections: Collection[Connection]) -> None:
        """Tell all who have been greeted; return when they have acknowledged or are given up."""
        # Numbered and put under one lock, or a newer table could overtake an older one.
        with self._condition:
            told = [connection for connection in connections if connection.told]
            self._put(told)
            number = self._number
        for connection in told:
            self._send(connection)
        for connection in self._missing(told, number):
            logger.warning("a front-end does not take the table of models; it is disconnected")
            self._give_up(connection)

    def acknowledge(self, connection: Connection, number: int) -> None:
        """Note that a front-end has the table of that number."""
        with self._condition:
            connection.acknowledged = max(connection.acknowledged, number)
            self._condition.notify_all()

    def forget(self, connection: Connection) -> None:
        """Wait no more for a connection that has ended."""
        with self._condition:
            connection.is_broken = True
            self._condition.notify_all()

    def _put(self, connections: list[Connection]) -> None:
        self._number += 1
        frame = self._make_frame(self._number)
        for connection in connections:
            connection.told = self._number
            connection.put(frame)

    def _missing(self, told: list[Connection], number: int) -> list[Connection]:
        """Wait for acknowledgements and return who has not given one in time."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        with self._condition:
            while True:
                missing = [c for c in told if c.acknowledged < number and not c.is_broken]
                left = deadline - time.monotonic()
                if not missing or left <= 0:
                    return missing
                self._condition.wait(left)
