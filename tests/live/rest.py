"""Requests to a real server as they are sent, and replies as they come."""

import http.client
import json
import re
import socket
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from email.message import Message
from typing import Any
from urllib.parse import urlsplit

from tests.live.servers import Server

TIMEOUT_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply as it came; no redirect was followed, nothing was decoded."""

    status: int
    headers: Message
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Client:
    """Asks a server and keeps count of the prediction requests."""

    server: Server
    sent: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def address(self) -> tuple[str, int]:
        parts = urlsplit(self.server.url)
        return str(parts.hostname), int(parts.port or 0)

    def count(self) -> None:
        with self.lock:
            self.sent += 1

    def ask(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """Send a request that is no prediction."""
        connection = http.client.HTTPConnection(*self.address, timeout=TIMEOUT_SECONDS)
        try:
            connection.request(method, path, encoded(body), dict(headers or {}))
            response = connection.getresponse()
            return Reply(response.status, response.headers, response.read())
        finally:
            connection.close()

    def predict(self, path: str, body: Any, headers: Mapping[str, str] | None = None) -> Reply:
        """Send a request that the prediction metrics count."""
        self.count()
        return self.ask("POST", path, body, headers)

    def exchange(self, sent: bytes, *, half_closes: bool = False) -> Reply:
        """Send a prediction request as it is and read until the server closes the connection."""
        self.count()
        with socket.create_connection(self.address, timeout=TIMEOUT_SECONDS) as connection:
            # A server that refuses a body may close before it was all sent.
            with suppress(ConnectionError):
                connection.sendall(sent)
            if half_closes:
                connection.shutdown(socket.SHUT_WR)
            return parsed(rest_of(connection))

    def failures(self, reason: str, **labels: str) -> float:
        return self.server.value("inferometer_request_failures_total", reason=reason, **labels)


def encoded(body: Any) -> bytes | None:
    if body is None or isinstance(body, bytes):
        return body
    return body.encode() if isinstance(body, str) else json.dumps(body).encode()


def rest_of(connection: socket.socket) -> bytes:
    received = b""
    while piece := connection.recv(65536):
        received += piece
    return received


def parsed(received: bytes) -> Reply:
    head, _, body = received.partition(b"\r\n\r\n")
    line, _, fields = head.decode().partition("\r\n")
    headers = Message()
    for text in fields.splitlines():
        name, _, value = text.partition(":")
        headers[name] = value.strip()
    return Reply(int(line.split()[1]), headers, body)


def head(path: str, *fields: str) -> bytes:
    return "\r\n".join([f"POST {path} HTTP/1.1", "Host: localhost", *fields, "", ""]).encode()


def chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def _like(message: str) -> re.Pattern[str]:
    """Return what matches the message, in which … stands for any text, as in the specification."""
    return re.compile(".*".join(map(re.escape, message.split("…"))), re.DOTALL)


def check_error(reply: Reply, status: int, reason: str, message: str) -> None:
    assert (status, reason) == (reply.status, reply.json["reason"]), reply.text
    assert _like(message).fullmatch(reply.json["error"]), reply.json["error"]
    assert reply.json["request_id"] == reply.headers["X-Request-ID"]
    assert "application/json" == reply.headers["Content-Type"]
    assert "no-store" == reply.headers["Cache-Control"]
    assert (status == 503) == ("Retry-After" in reply.headers)
