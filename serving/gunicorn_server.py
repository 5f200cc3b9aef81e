"""How a prediction's body comes through gunicorn, and how its answer leaves.

A body of raw tensors is read straight into its place. An answer leaves in one system call, or
closing the connection.

gunicorn sends a reply's head and body in two system calls and spends on a reply about as much time
as the whole service does on a request. For the plain case, a body of known length on a connection
that stays open, the reply is therefore written here; gunicorn offers a value for "already handled".
"""

import contextlib
import socket
import time
from collections.abc import Iterable, Iterator
from typing import Any

from gunicorn.http.body import LengthReader
from gunicorn.util import http_date
from gunicorn.workers.base_async import ALREADY_HANDLED

from serving.body import Fillable, Readable, TimeLimit, has_body
from serving.exchange import Answer
from serving.wsgi_server import Application, PlainServer, StartResponse

# How much of a body that nobody wants is read, so that the caller gets to see the answer.
DRAIN_BYTES = 1 << 20
DRAIN_SECONDS = 1.0
DRAIN_READ_BYTES = 64 << 10
# The header without which a body is JSON, as WSGI calls it.
HTTP_JSON_BYTES = "HTTP_INFERENCE_HEADER_CONTENT_LENGTH"


class GunicornServer(PlainServer):
    """A gunicorn worker on gevent."""

    def __init__(self, time_limit: TimeLimit) -> None:
        """`time_limit` bounds how long an unread body is drained."""
        self._time_limit = time_limit
        self._date = (0, "")

    def body(self, environ: dict[str, Any]) -> Readable | Fillable:
        """Return where a body is read from: where raw tensors come in it, the socket itself."""
        stream = environ["wsgi.input"]
        if HTTP_JSON_BYTES not in environ or not isinstance(stream.reader, LengthReader):
            plain: Readable = stream
            return plain
        return _Direct(stream.reader, environ["gunicorn.socket"])

    def reply(
        self, answer: Answer, environ: dict[str, Any], start_response: StartResponse
    ) -> Iterable[bytes]:
        """Send an answer; what comes back is what the WSGI application returns to gunicorn."""
        response = start_response.__self__  # type: ignore[attr-defined]
        if answer.closes:
            # gunicorn ignores an application's Connection header, and would read the body to its
            # end.
            response.force_close()
            start_response(answer.status, answer.headers)
            return _ReplyThenDrain((answer.body,), environ["wsgi.input"], self._time_limit)
        if not answer.keeps_open:
            response.force_close()
        is_plain = environ["SERVER_PROTOCOL"] == "HTTP/1.1"
        if not is_plain or response.must_close or response.req.should_close():
            return super().reply(answer, environ, start_response)
        lines = [f"HTTP/1.1 {answer.status}", f"Date: {self._http_date()}"]
        lines += [f"{name}: {value}" for name, value in answer.headers]
        head = "\r\n".join(lines) + "\r\n\r\n"
        data = head.encode("latin-1") + answer.body
        sock = environ["gunicorn.socket"]
        # gevent's sendall asks for the socket's buffer size first, on every call.
        sent = sock.send(data)
        if sent < len(data):
            sock.sendall(memoryview(data)[sent:])
        handled: Iterable[bytes] = ALREADY_HANDLED
        return handled

    def pass_on(
        self, application: Application, environ: dict[str, Any], start_response: StartResponse
    ) -> Iterable[bytes]:
        """Have an application answer; a request that has a body is its connection's last."""
        if not has_body(environ):
            return application(environ, start_response)
        start_response.__self__.force_close()  # type: ignore[attr-defined]
        reply = application(environ, start_response)
        return _ReplyThenDrain(reply, environ["wsgi.input"], self._time_limit)

    def _http_date(self) -> str:
        now = int(time.time())
        if now != self._date[0]:
            self._date = (now, http_date(now))
        return self._date[1]


class _Direct:
    """A body of known length that is read into its reader's buffer, past gunicorn's own."""

    def __init__(self, reader: LengthReader, sock: socket.socket) -> None:
        self._reader = reader
        self._socket = sock

    def readinto(self, buffer: memoryview) -> int:
        """Read up to as many bytes as the buffer has; return how many, 0 at the end."""
        unreader = self._reader.unreader
        early = unreader.take_buffered()
        if early:
            # It came with the head.
            received = min(len(early), len(buffer))
            buffer[:received] = early[:received]
            unreader.unread(early[received:])
        else:
            received = self._socket.recv_into(buffer)
        # What is left of the body is what gunicorn skips before the next request.
        self._reader.length -= received
        return received


class _ReplyThenDrain:
    """A reply whose request's body may not be read: after it, a part of the body is dropped.

    Closing a socket with unread data resets the connection, and the caller would lose the answer.
    """

    def __init__(self, reply: Iterable[bytes], unread: Any, time_limit: TimeLimit) -> None:
        self._reply = reply
        self._unread = unread
        self._time_limit = time_limit

    def __iter__(self) -> Iterator[bytes]:
        yield from self._reply

    def close(self) -> None:
        """Drain; called by gunicorn when the reply has been written."""
        if hasattr(self._reply, "close"):
            self._reply.close()
        left = DRAIN_BYTES
        # Whatever happens here, the answer has been given and the connection is about to close.
        with contextlib.suppress(Exception), self._time_limit(DRAIN_SECONDS):
            while left > 0 and (data := self._unread.read(DRAIN_READ_BYTES)):
                left -= len(data)
