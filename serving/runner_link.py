"""One connection from a front-end to the runner, on gevent's loop, kept up while it can be."""

import logging
import random
import socket
import time
from collections.abc import Callable
from pathlib import Path

import gevent
import gevent.socket
from gevent.event import Event
from gevent.hub import Waiter
from gevent.monkey import get_original

from serving import __version__
from serving.deadlines import Deadlines
from serving.errors import (
    DeadlineExceeded,
    Loading,
    QueueFull,
    RunnerLost,
    WireError,
)
from serving.model_table import LOADING_RETRY_SECONDS, ModelTable, decode_models
from serving.outbox import Outbox
from serving.wire import (
    PROTOCOL,
    SOCKET_BUFFER_BYTES,
    Frame,
    FrameReader,
    FrameType,
    LineLimits,
    Parts,
    frame_parts,
)

FIRST_RECONNECT_SECONDS = 0.05
LONGEST_RECONNECT_SECONDS = 1.0
RECONNECT_JITTER = 0.2
RUNNER_LOST_RETRY_SECONDS = 1.0
LAST_WORD_NANOSECONDS = 50_000_000
READ_EVENT = 1  # libev's EV_READ
ANSWERS = frozenset({FrameType.RESULT, FrameType.FAILURE, FrameType.CONTROL_RESULT})

logger = logging.getLogger(__name__)


class RunnerLink:
    """One connection to the runner and the requests waiting on it.

    Reading and writing happen in gevent's hub, on an unpatched non-blocking socket: an answer
    switches straight to the greenlet that waits for it, and the frames of many requests leave in
    one system call.
    """

    def __init__(
        self,
        path: Path,
        limits: LineLimits,
        models_changed: Callable[[int, ModelTable], None],
    ) -> None:
        """Know where the runner listens; `models_changed` gets every table it sends, numbered."""
        self.is_up = False
        self.refusal = ""
        self._path = path
        self._limits = limits
        self._models_changed = models_changed
        self._waiting: dict[int, Waiter] = {}
        self._deadlines: Deadlines[int] = Deadlines(self._expire)
        # Requests whose time is up, of which the runner has been asked how far they came.
        self._expired: set[int] = set()
        self._unsent = Outbox()
        self._is_flush_due = False
        self._socket: socket.socket | None = None
        self._ended = Event()
        self.known = Event()

    def ask(self, request_id: int, frame: Parts, deadline_ns: int) -> Frame:
        """Send a request and return the frame that answers it."""
        if not self.is_up:
            raise Loading(
                "no runner is ready at the moment", retry_after_seconds=LOADING_RETRY_SECONDS
            )
        if self._unsent.size + sum(map(len, frame)) > self._limits.unsent_bytes:
            raise QueueFull(
                "the runner does not take requests fast enough", retry_after_seconds=1.0
            )
        waiter = self._waiting[request_id] = Waiter()
        try:
            self._deadlines.add(request_id, deadline_ns)
            self._send(frame)
            answer: Frame = waiter.get()
            if request_id in self._expired:
                taken, assembled, computed = answer.head.get("stamps", (0, 0, 0))
                raise _late((taken, assembled, computed))
        finally:
            self._waiting.pop(request_id, None)
            self._deadlines.discard(request_id)
            self._expired.discard(request_id)
        return answer

    def run(self, lost: Callable[[], None]) -> None:
        """Keep the connection up for as long as the process lives; `lost` is told of its ends."""
        delay = FIRST_RECONNECT_SECONDS
        while True:
            try:
                self._connect()
            except OSError:
                pass
            else:
                delay = FIRST_RECONNECT_SECONDS
                self._ended.wait()
                lost()
                self._lose()
            gevent.sleep(delay * random.uniform(1 - RECONNECT_JITTER, 1 + RECONNECT_JITTER))  # noqa: S311
            delay = min(2 * delay, LONGEST_RECONNECT_SECONDS)

    def _connect(self) -> None:
        sock = get_original("socket", "socket")(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.connect(str(self._path))
            sock.setblocking(False)  # noqa: FBT003
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER_BYTES)
        except OSError:
            sock.close()
            raise
        self._socket = sock
        self._is_flush_due = False
        self._reader = FrameReader(self._limits.payload_bytes)
        self._ended.clear()
        self._readable = gevent.get_hub().loop.io(sock.fileno(), READ_EVENT)
        self._readable.start(self._read)
        self._send(frame_parts(FrameType.HELLO, 0, {"protocol": PROTOCOL, "build": __version__}))

    def _read(self) -> None:
        """Take what has arrived; runs in the hub, so it must not wait."""
        assert self._socket is not None
        try:
            frames = self._reader.receive(self._socket)
            for frame in frames or ():
                self._take(frame)
        except BlockingIOError:
            return
        except WireError as error:
            # Readiness says so: after a partial upgrade the two may not speak one protocol.
            self.refusal = f"the runner cannot be understood: {error}"
            logger.error("the connection to the runner ended: %s", error)  # noqa: TRY400
            frames = None
        except OSError as error:
            logger.warning("the connection to the runner ended: %s", error)
            frames = None
        if frames is None:
            self._readable.close()
            self._ended.set()

    def _take(self, frame: Frame) -> None:
        if frame.type in ANSWERS:
            waiter = self._waiting.get(frame.request_id)
            # None when its deadline has passed: nobody waits for this answer any more.
            if waiter is not None:
                waiter.switch(frame)
        elif frame.type == FrameType.MODELS:
            self._models_changed(frame.request_id, decode_models(frame.payload))
            self.is_up, self.refusal = True, ""
            self.known.set()
            # Behind whatever was sent by the table that this one replaces.
            self._send(frame_parts(FrameType.MODELS_ACK, frame.request_id, {}))
        elif frame.type == FrameType.WELCOME:
            self._note_build(frame.head)
        elif frame.type == FrameType.GOODBYE:
            self.refusal = f"the runner refuses this front-end: {frame.head.get('reason')}"

    def _note_build(self, head: dict[str, object]) -> None:
        build = head.get("build")
        if build != __version__:
            logger.warning("the runner is of build %s, this front-end of %s", build, __version__)

    def _expire(self, request_id: int) -> None:
        """End a request whose time is up.

        The runner is told that nobody waits for it, and answers how far it came, so that its phases
        say where the time went. If it does not within a moment, nobody will know. Runs in the hub.
        """
        waiter = self._waiting.get(request_id)
        if waiter is None:
            return
        if request_id in self._expired:
            waiter.throw(_late((0, 0, 0)))
            return
        self._expired.add(request_id)
        self._send(frame_parts(FrameType.CANCEL, request_id, {}))
        self._deadlines.add(request_id, time.monotonic_ns() + LAST_WORD_NANOSECONDS)

    def _lose(self) -> None:
        """Fail what waits.

        It is never sent again, since an input that kills one runner kills the next.
        """
        self.is_up = False
        assert self._socket is not None
        self._socket.close()
        self._socket = None
        self._unsent.clear()
        waiting, self._waiting = self._waiting, {}
        for waiter in waiting.values():
            error = RunnerLost(
                "the runner ended while it had the request",
                retry_after_seconds=RUNNER_LOST_RETRY_SECONDS,
            )
            gevent.get_hub().loop.run_callback(waiter.throw, error)

    def _send(self, frame: Parts) -> None:
        self._unsent.put(frame)
        if not self._is_flush_due:
            self._is_flush_due = True
            gevent.get_hub().loop.run_callback(self._flush)

    def _flush(self) -> None:
        """Send what has gathered in this turn of the loop; runs in the hub, so it must not wait."""
        self._is_flush_due = False
        if self._socket is None:
            return
        try:
            self._unsent.send(self._socket)
        except OSError:
            # The reading side sees the end of the connection and says so to everyone waiting.
            self._unsent.clear()
            return
        if self._unsent.size:
            self._is_flush_due = True
            gevent.spawn(self._flush_when_writable, self._socket)

    def _flush_when_writable(self, sock: socket.socket) -> None:
        # The connection may have ended, and another begun, before this greenlet runs.
        if sock is self._socket:
            gevent.socket.wait_write(sock.fileno())
            self._flush()


def _late(stamps: tuple[int, int, int]) -> DeadlineExceeded:
    error = DeadlineExceeded("the deadline passed before the model had answered")
    error.stamps = stamps
    return error
