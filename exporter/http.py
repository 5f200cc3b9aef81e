"""The exporter's own HTTP server: /metrics, health, a landing page. One thread a connection."""

import contextlib
import html
import logging
import os
import socket
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar
from urllib.parse import urlsplit

from exporter.errors import ExporterError, ScrapeRequestError
from exporter.scrape import Scraper
from exporter.scrape_request import ScrapeRequest

METRICS_PATH = "/metrics"
TEXT = "text/plain; charset=utf-8"

# A client that says nothing is dropped; ten seconds is ample for a request's head.
HEAD_TIMEOUT_SECONDS = 10.0
LISTEN_BACKLOG = 128

logger = logging.getLogger(__name__)


class ExporterServer(ThreadingHTTPServer):
    """Serves scrapes of one store until it is shut down."""

    daemon_threads = True

    def __init__(self, listener: socket.socket, scraper: Scraper) -> None:
        """Take over a listening socket."""
        super().__init__(listener.getsockname()[:2], _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.scraper = scraper

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002
        """Log what a client's connection raised; the server goes on."""
        logger.debug("a connection ended with an error", exc_info=True)  # noqa: LOG014


def listen(address: tuple[str, int]) -> socket.socket:
    """Return a listening TCP socket. Raises ExporterError naming an address that cannot be had."""
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    try:
        return socket.create_server(address, family=family, backlog=LISTEN_BACKLOG)
    except OSError as error:
        host, port = address
        code = error.errno or 0
        reason = os.strerror(code) if code > 0 else str(error)
        raise ExporterError(f"cannot listen on {host}:{port}: {reason}") from error


class _Handler(BaseHTTPRequestHandler):
    """Answers one connection's requests."""

    protocol_version = "HTTP/1.1"
    timeout = HEAD_TIMEOUT_SECONDS
    server: ExporterServer
    routes: ClassVar[tuple[str, ...]] = (METRICS_PATH, "/", "/-/healthy", "/-/ready")

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path == METRICS_PATH:
            self._metrics()
        elif path == "/":
            self._answer(200, _landing_page(), "text/html; charset=utf-8")
        elif path == "/-/healthy":
            self._answer(200, "healthy\n", TEXT)
        elif path == "/-/ready":
            self._ready()
        else:
            self._answer(404, f"no such path; there are: {', '.join(self.routes)}\n", TEXT)

    do_HEAD = do_GET

    def do_POST(self) -> None:
        # The body is not read, so where the next request would begin is unknown.
        self.close_connection = True
        self._answer(405, "only GET and HEAD\n", TEXT, Allow="GET, HEAD")

    do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_POST

    def _metrics(self) -> None:
        try:
            request = ScrapeRequest.read(urlsplit(self.path).query, _joined(self.headers))
            exposition = self.server.scraper.scrape(request)
        except ScrapeRequestError as error:
            self._answer(400, f"{error}\n", TEXT)
            return
        self.send_response(200)
        for name, value in exposition.headers:
            self.send_header(name, value)
        self.end_headers()
        self._write(exposition.body)

    def _ready(self) -> None:
        if self.server.scraper.is_ready:
            self._answer(200, "ready\n", TEXT)
        else:
            self._answer(503, "the store directory could not be read\n", TEXT)

    def _answer(self, status: int, text: str, content_type: str, **headers: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self._write(body)

    def _write(self, body: bytes) -> None:
        if self.command != "HEAD":
            with contextlib.suppress(ConnectionError, TimeoutError):
                self.wfile.write(body)

    def version_string(self) -> str:
        return "inferometer-exporter"

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
        logger.debug(format, *arguments)


def _joined(headers: Message) -> dict[str, str]:
    """Return the headers with repeated ones made one, as HTTP allows for lists."""
    return {name: ",".join(headers.get_all(name, ())) for name in headers}


def _landing_page() -> str:
    return (
        "<!doctype html><title>Inferometer exporter</title><h1>Inferometer exporter</h1>"
        f'<p><a href="{html.escape(METRICS_PATH)}">Metrics</a> '
        '<a href="/-/healthy">Healthy</a> <a href="/-/ready">Ready</a></p>'
    )
