"""The runner's sockets: reads requests from front-ends, queues them, sends the answers back.

One thread reads every connection and never stops reading: what has no room is refused. Answers are
collected per connection and sent by the batch thread itself, so a reply costs no change of threads.
"""

import contextlib
import itertools
import logging
import os
import selectors
import socket
import struct
import threading
from collections.abc import Callable, Mapping

from serving import __version__
from serving.errors import InternalError, Loading, PredictionError, WireError
from serving.runner.catalog import ModelCatalog
from serving.runner.connection import Connection
from serving.runner.frames import answer_frame, failure_frame, models_frame
from serving.runner.job import BatchKey, Job
from serving.runner.queue import BatchQueue
from serving.wire import (
    READ_BYTES,
    SOCKET_BUFFER_BYTES,
    Frame,
    FrameType,
    decode_tensors,
    encode_frame,
)

LOADING_RETRY_SECONDS = 5.0
PEER_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid

logger = logging.getLogger(__name__)


class Receiver:
    """Accepts front-ends on a Unix socket until it is stopped."""

    def __init__(
        self, listener: socket.socket, *, queues: Mapping[str, BatchQueue], max_payload_bytes: int
    ) -> None:
        """Take over a listening Unix socket."""
        self.catalog: ModelCatalog
        self._queues = queues
        self._max_payload_bytes = max_payload_bytes
        self._selector = selectors.DefaultSelector()
        self._connections: set[Connection] = set()
        self._unflushed: set[Connection] = set()
        self._offered: set[BatchQueue] = set()
        self._wake_reader, self._wake_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._alone = itertools.count()
        self._is_stopping = False
        self._models_lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="receiver", daemon=True)
        self._listener = listener
        self._listener.setblocking(False)  # noqa: FBT003

    def start(self, catalog: ModelCatalog) -> None:
        """Begin to accept front-ends, which are told of the catalog's models."""
        self.catalog = catalog
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
            while not connection.flush():
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
            connection.flush()

    def broadcast_models(self) -> None:
        """Tell every front-end which models there are, and in which states."""
        # Built and put under one lock, or a newer table could overtake an older one.
        with self._models_lock:
            frame = self._models_frame()
            for connection in list(self._connections):
                connection.put(frame)
        for connection in list(self._connections):
            connection.flush()

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
        connection = Connection(sock, self._max_payload_bytes, self._wake)
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

    def _watch(self, connection: Connection) -> None:
        if connection not in self._connections:
            return  # Closed by an earlier event of the same turn.
        wanted = selectors.EVENT_READ
        if not connection.flush():
            wanted |= selectors.EVENT_WRITE
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
            data = connection.socket.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._close(connection)
            return
        try:
            for frame in connection.reader.feed(data):
                self._handle(connection, frame)
        except WireError as error:
            logger.warning("closing a front-end's connection: %s", error)
            connection.put(encode_frame(FrameType.GOODBYE, 0, {"reason": str(error)}))
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
            job = connection.jobs.pop(frame.request_id, None)
            if job is not None:
                self._queues[job.model].remove(job)
        elif frame.type == FrameType.HELLO:
            connection.put(encode_frame(FrameType.WELCOME, 0, {"build": __version__}))
            with self._models_lock:
                connection.put(self._models_frame())
            self._unflushed.add(connection)

    def _predict(self, connection: Connection, frame: Frame) -> None:
        request_id = frame.request_id

        def answer(job: Job) -> None:
            connection.jobs.pop(request_id, None)
            connection.put(self._answer_frame(request_id, job))
            self._unflushed.add(connection)

        try:
            job = self._make_job(frame, answer)
            connection.jobs[request_id] = job
            queue = self._queues[job.model]
            queue.offer(job)
            self._offered.add(queue)
        except PredictionError as error:
            connection.jobs.pop(request_id, None)
            connection.put(failure_frame(request_id, error, (0, 0, 0)))
            self._unflushed.add(connection)

    def _answer_frame(self, request_id: int, job: Job) -> bytes:
        try:
            return answer_frame(request_id, job, self._max_payload_bytes)
        except Exception:
            # The caller must not wait for an answer that cannot be written.
            logger.exception("an answer of model %s cannot be written", job.model)
            error = InternalError("the server failed; its log says why")
            return failure_frame(request_id, error, (0, 0, 0))

    def _make_job(self, frame: Frame, answer: Callable[[Job], None]) -> Job:
        head = frame.head
        served = self.catalog.find(head["model"], head["version"])
        if served is None:
            raise Loading(
                f"model {head['model']} version {head['version']} is not ready",
                retry_after_seconds=LOADING_RETRY_SECONDS,
            )
        try:
            tensors = decode_tensors(head["inputs"], frame.payload)
        except WireError as error:
            logger.error("a front-end sent a bad tensor: %s", error)  # noqa: TRY400
            raise InternalError("the server failed; its log says why") from error
        signature = head["signature"]
        is_batchable = served.batchable.get(signature)
        if is_batchable is None:
            # The version was loaded anew with other signatures while the request was on its way.
            raise Loading(
                f"model {head['model']} version {head['version']} has changed",
                retry_after_seconds=1.0,
            )
        key: BatchKey = (
            signature,
            tuple((datatype, array.shape[1:]) for _, datatype, array in tensors),
            0 if is_batchable else next(self._alone) + 1,
        )
        return Job(
            model=head["model"],
            version=head["version"],
            signature=signature,
            inputs=tuple(array for _, _, array in tensors),
            rows=head["rows"],
            size_bytes=len(frame.payload),
            key=(head["version"], *key),
            deadline_ns=head["deadline"],
            answer=answer,
            is_batchable=is_batchable,
            wanted=None if head["outputs"] is None else tuple(head["outputs"]),
        )

    def _models_frame(self) -> bytes:
        return models_frame(self.catalog.versions())

    def _close(self, connection: Connection) -> None:
        if connection not in self._connections:
            return
        self._connections.discard(connection)
        self._unflushed.discard(connection)
        self._selector.unregister(connection.socket)
        connection.is_broken = True
        connection.socket.close()
        # Nobody waits for these rows any more.
        for job in list(connection.jobs.values()):
            self._queues[job.model].remove(job)
        connection.jobs.clear()

    def _wake(self) -> None:
        # A full pipe wakes the receiver as well.
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake_writer, b"\0")
