"""The runner's sockets: reads requests from front-ends, queues them, sends the answers back.

One thread reads every connection and never stops reading: what has no room is refused. Answers are
collected per connection and sent by the batch thread itself, so a reply costs no change of threads.
"""

import contextlib
import logging
import os
import selectors
import socket
import struct
import threading
from collections.abc import Callable, Mapping

from serving.errors import DeadlineExceeded, InternalError, PredictionError, WireError
from serving.prediction import Control, ControlOutcome
from serving.runner.announcements import Announcements
from serving.runner.catalog import ModelCatalog
from serving.runner.connection import Connection
from serving.runner.frames import answer_frame, failure_frame, models_frame
from serving.runner.incoming import job_of
from serving.runner.job import Job
from serving.runner.queue import BatchQueue
from serving.wire import (
    READ_BYTES,
    SOCKET_BUFFER_BYTES,
    Frame,
    FrameType,
    LineLimits,
    Parts,
    frame_parts,
)

PEER_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid

logger = logging.getLogger(__name__)


class Receiver:
    """Accepts front-ends on a Unix socket until it is stopped."""

    def __init__(
        self,
        listener: socket.socket,
        *,
        queues: Mapping[str, BatchQueue],
        limits: LineLimits,
        description: Mapping[str, object],
    ) -> None:
        """Take over a listening Unix socket; `description` is what a front-end is told first."""
        self.catalog: ModelCatalog
        self._queues = queues
        self._description = description
        self._limits = limits
        self._selector = selectors.DefaultSelector()
        self._connections: set[Connection] = set()
        self._unflushed: set[Connection] = set()
        self._offered: set[BatchQueue] = set()
        self._wake_reader, self._wake_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._is_stopping = False
        self._announcements = Announcements(
            self._models_frame, send=self._send, give_up=self._break
        )
        self._thread = threading.Thread(target=self._run, name="receiver", daemon=True)
        self._listener = listener
        self._listener.setblocking(False)  # noqa: FBT003

    def start(self, catalog: ModelCatalog, control: Callable[[Control], None]) -> None:
        """Begin to accept front-ends, which are told of the catalog's models.

        `control` takes the wishes that they pass on.
        """
        self.catalog = catalog
        self._control = control
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._wake_reader, selectors.EVENT_READ)
        self._thread.start()

    def stop(self) -> None:
        """Send what is left to be sent and close every connection."""
        self._is_stopping = True
        self._wake()
        self._thread.join()
        for connection in list(self._connections):
            connection.socket.settimeout(1.0)
            while not connection.flush() and not connection.is_broken:
                pass
            connection.socket.close()
        self._listener.close()

    def flush(self) -> None:
        """Send the answers that have been put since the last flush."""
        while self._unflushed:
            try:
                connection = self._unflushed.pop()
            except KeyError:
                return
            self._send(connection)

    def announce_models(self) -> None:
        """Tell every front-end which models there are; return when all of them know.

        Not for the receiver's own thread, which takes the acknowledgements.
        """
        self._announcements.announce(list(self._connections))

    def _run(self) -> None:
        while not self._is_stopping:
            for key, events in self._selector.select():
                if key.fileobj is self._listener:
                    self._accept()
                elif key.fileobj == self._wake_reader:
                    self._woken()
                else:
                    self._serve(key.data, events)
            while self._offered:
                self._offered.pop().wake()
            self.flush()

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError:
            return
        credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, PEER_CREDENTIALS.size)
        _, uid, _ = PEER_CREDENTIALS.unpack(credentials)
        if uid != os.getuid():
            logger.warning("refused a connection of uid %d", uid)
            sock.close()
            return
        sock.setblocking(False)  # noqa: FBT003
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER_BYTES)
        connection = Connection(sock, self._limits)
        self._connections.add(connection)
        self._selector.register(sock, selectors.EVENT_READ, connection)

    def _woken(self) -> None:
        """Look at every connection: some have answers that did not fit, some are broken."""
        os.read(self._wake_reader, READ_BYTES)
        for connection in list(self._connections):
            if connection.is_broken:
                self._close(connection)
            else:
                self._watch(connection)

    def _send(self, connection: Connection) -> None:
        """Send what has been put; have the receiver send the rest when the socket takes more."""
        if not connection.flush():
            self._wake()

    def _watch(self, connection: Connection) -> None:
        if connection not in self._connections:
            return  # Closed by an earlier event of the same turn.
        wanted = selectors.EVENT_READ
        if not connection.flush():
            wanted |= selectors.EVENT_WRITE
        if connection.is_broken:
            self._close(connection)
            return
        if self._selector.get_key(connection.socket).events != wanted:
            self._selector.modify(connection.socket, wanted, connection)

    def _serve(self, connection: Connection, events: int) -> None:
        if connection not in self._connections:
            return  # Closed by an earlier event of the same turn.
        if events & selectors.EVENT_WRITE:
            self._watch(connection)
        if not events & selectors.EVENT_READ:
            return
        try:
            frames = connection.reader.receive(connection.socket)
            for frame in frames or ():
                self._handle(connection, frame)
            if frames is None:
                self._close(connection)
        except BlockingIOError:
            return
        except OSError:
            self._close(connection)
        except WireError as error:
            logger.warning("closing a front-end's connection: %s", error)
            connection.put(frame_parts(FrameType.GOODBYE, 0, {"reason": str(error)}))
            connection.flush()
            self._close(connection)
        except Exception:
            # One front-end's frame must not end the thread that reads all of them.
            logger.exception("closing a front-end's connection")
            self._close(connection)

    def _handle(self, connection: Connection, frame: Frame) -> None:
        if frame.type == FrameType.PREDICT:
            self._predict(connection, frame)
        elif frame.type == FrameType.CANCEL:
            self._cancel(connection, frame.request_id)
        elif frame.type == FrameType.HELLO:
            connection.put(frame_parts(FrameType.WELCOME, 0, self._description))
            self._announcements.greet(connection)
            self._unflushed.add(connection)
        elif frame.type == FrameType.MODELS_ACK:
            self._announcements.acknowledge(connection, frame.request_id)
        elif frame.type == FrameType.CONTROL:
            self._take_control(connection, frame)

    def _cancel(self, connection: Connection, request_id: int) -> None:
        """Forget a request of which the time is up; answer how far it came."""
        job = connection.jobs.pop(request_id, None)
        if job is not None:
            self._queues[job.model].remove(job)
            error = DeadlineExceeded("the deadline passed before the model had answered")
            stamps = (job.taken_ns, job.assembled_ns, job.computed_ns)
            connection.put(failure_frame(request_id, error, stamps))
            self._unflushed.add(connection)

    def _take_control(self, connection: Connection, frame: Frame) -> None:
        def done(outcome: ControlOutcome) -> None:
            head = outcome._asdict()
            connection.put(frame_parts(FrameType.CONTROL_RESULT, frame.request_id, head))
            self._send(connection)

        self._control(Control(frame.head["action"], frame.head["model"], done))

    def _predict(self, connection: Connection, frame: Frame) -> None:
        request_id = frame.request_id

        def answer(job: Job) -> None:
            connection.jobs.pop(request_id, None)
            connection.put(self._answer_frame(request_id, job))
            self._unflushed.add(connection)

        try:
            job = job_of(frame, self.catalog, answer)
            connection.jobs[request_id] = job
            queue = self._queues[job.model]
            queue.offer(job)
            self._offered.add(queue)
        except PredictionError as error:
            connection.jobs.pop(request_id, None)
            connection.put(failure_frame(request_id, error, (0, 0, 0)))
            self._unflushed.add(connection)

    def _answer_frame(self, request_id: int, job: Job) -> Parts:
        try:
            return answer_frame(request_id, job, self._limits.payload_bytes)
        except Exception:
            # The caller must not wait for an answer that cannot be written.
            logger.exception("an answer of model %s cannot be written", job.model)
            error = InternalError("the server failed; its log says why")
            return failure_frame(request_id, error, (0, 0, 0))

    def _models_frame(self, number: int) -> Parts:
        return models_frame(number, self.catalog.announced())

    def _break(self, connection: Connection) -> None:
        """End a connection from another thread."""
        connection.is_broken = True
        self._wake()

    def _close(self, connection: Connection) -> None:
        if connection not in self._connections:
            return
        self._connections.discard(connection)
        self._unflushed.discard(connection)
        self._selector.unregister(connection.socket)
        self._announcements.forget(connection)
        connection.socket.close()
        # Nobody waits for these rows any more.
        for job in list(connection.jobs.values()):
            self._queues[job.model].remove(job)
        connection.jobs.clear()

    def _wake(self) -> None:
        # A full pipe wakes the receiver as well.
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake_writer, b"\0")
