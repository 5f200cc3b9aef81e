"""The exporter's own HTTP server: /metrics, health, a landing page. One thread a connection."""

import errno
import logging
import os
import socket
import threading
import time
from collections.abc import Mapping
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedReader, BytesIO

from exporter.access import Authenticator, RateLimit
from exporter.connections import Connections
from exporter.errors import ExporterError, ScrapeRequestError, StoreUnreadable
from exporter.landing_page import landing_page
from exporter.linger import LastScrape
from exporter.request_head import HeadError, HeadReader, read_head
from exporter.scrape import Scraper
from exporter.scrape_request import ScrapeRequest
from exporter.tls import shake_hands, wrapped
from exporter.web_config import WebConfigFile

TEXT = "text/plain; charset=utf-8"
HTML = "text/html; charset=utf-8"
HEALTHY_PATH, READY_PATH = "/-/healthy", "/-/ready"

# Longer than scrapers usually pause, so that their connections are kept.
IDLE_SECONDS = 75.0
HEAD_SECONDS = 10.0
SEND_SECONDS = 10.0
LISTEN_BACKLOG = 128
SHORTAGE_SECONDS = 0.1
MOST_CONNECTIONS = 512  # each is a thread

logger = logging.getLogger(__name__)


class Site:
    """What all listening sockets serve: one scraper, one web configuration, common limits."""

    def __init__(
        self,
        scraper: Scraper,
        config: WebConfigFile | None = None,
        *,
        metrics_path: str = "/metrics",
        max_requests: int = 0,
        remark: str = "",
    ) -> None:
        """`max_requests` scrapes may be under way at once; 0 is no limit.

        `remark` stands on the page for people.
        """
        self.scraper = scraper
        self.config = config or WebConfigFile(None)
        self.metrics_path = metrics_path
        self.remark = remark
        self.authenticator = Authenticator()
        self.rate_limit = RateLimit()
        self.scrapes = threading.BoundedSemaphore(max_requests) if max_requests else None
        self.connections = Connections(MOST_CONNECTIONS)
        self.last_scrape = LastScrape()

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths there are."""
        return (self.metrics_path, "/", HEALTHY_PATH, READY_PATH)


class ExporterServer(ThreadingHTTPServer):
    """Serves a site on one listening socket until it is shut down."""

    daemon_threads = True

    def __init__(self, listener: socket.socket, site: Site) -> None:
        """Take over a listening socket."""
        super().__init__(listener.getsockname()[:2], _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.site = site

    def process_request_thread(self, request: object, client_address: object) -> None:
        """Serve one connection, in its own thread."""
        assert isinstance(request, socket.socket)
        connections = self.site.connections
        if not connections.enter(request):
            self.shutdown_request(request)
            return
        secured = request
        try:
            # The handshake is made here: a silent client must not keep others from connecting.
            config = self.site.config.current()
            secured = wrapped(request, config.tls)
            connections.follow(request, secured)
            shake_hands(secured, config.allowed_sans)
            super().process_request_thread(secured, client_address)
        except OSError as error:
            logger.debug("a TLS handshake failed: %s", error)
            self.shutdown_request(secured)
        finally:
            connections.leave(secured)

    def get_request(self) -> tuple[socket.socket, object]:
        """Accept a connection. Raises OSError when that cannot be, as socketserver expects."""
        try:
            return super().get_request()
        except OSError as error:
            if error.errno in {errno.EMFILE, errno.ENFILE}:
                self.site.connections.make_room()
                time.sleep(SHORTAGE_SECONDS)  # The connection still waits: do not spin.
            raise

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
        reason = os.strerror(code) if code > 0 else error.strerror or str(error)
        raise ExporterError(f"cannot listen on {host}:{port}: {reason}") from error


class _Handler(BaseHTTPRequestHandler):
    """Answers one connection's requests."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # Head and body are two writes.
    server: ExporterServer

    def setup(self) -> None:
        super().setup()
        self._head = HeadReader(self.connection, IDLE_SECONDS, HEAD_SECONDS)
        self._reader = BufferedReader(self._head)

    def handle_one_request(self) -> None:
        connections = self.server.site.connections
        connections.note_waiting(self.connection)
        if not self._head.wait(self._reader):
            self.close_connection = True
            return
        self.command = self.requestline = ""
        self.request_version = self.protocol_version
        try:
            self.raw_requestline, fields = read_head(self._reader)
            connections.note_busy(self.connection)
            self.rfile = BytesIO(fields)  # For the standard library, in which it looks for fields.
            if self.parse_request():
                self._check_head()
                self._respond()
        except HeadError as error:
            self.send_error(error.status, str(error))
        except (TimeoutError, ConnectionError):
            self.close_connection = True

    def _check_head(self) -> None:
        if self.request_version == "HTTP/1.1" and len(self.headers.get_all("Host", ())) != 1:
            raise HeadError(400, "a request names its host once")
        if "close" in _tokens(",".join(self.headers.get_all("Connection", ()))):
            self.close_connection = True
        if "Content-Length" in self.headers or "Transfer-Encoding" in self.headers:
            # A body is not read, so where the next request would begin is unknown.
            self.close_connection = True

    def send_error(
        self,
        code: int,
        message: str | None = None,
        explain: str | None = None,  # noqa: ARG002
    ) -> None:
        """Answer what could not be understood, also for the standard library."""
        self.close_connection = True
        self._answer(code, f"{message or 'this is no request'}\n")

    def _respond(self) -> None:
        self.connection.settimeout(SEND_SECONDS)
        if self.command in {"GET", "HEAD"}:
            self._get()
        else:
            self.close_connection = True
            self._answer(405, "only GET and HEAD\n", Allow="GET, HEAD")

    def _get(self) -> None:
        site = self.server.site
        path, _, self._query = self._target()
        if path == HEALTHY_PATH:
            self._answer(200, "healthy\n")
        elif path == READY_PATH:
            self._ready()
        elif not self._is_admitted():
            return
        elif path == site.metrics_path:
            self._metrics()
            site.last_scrape.note()
        elif path == "/":
            self._answer(200, landing_page(site.metrics_path, site.scraper, site.remark), HTML)
        else:
            self._answer(404, f"no such path; there are: {', '.join(site.paths)}\n")

    def _target(self) -> tuple[str, str, str]:
        """Return path, `?` and query of what is asked for."""
        target = self.path
        if not target.startswith("/"):
            scheme, _, rest = target.partition("://")
            if scheme.lower() not in {"http", "https"}:
                raise HeadError(400, "the request's target is no path")
            target = "/" + rest.partition("/")[2]
        return target.partition("?")

    def _is_admitted(self) -> bool:
        """Return whether the client may go on; it is answered if not."""
        site = self.server.site
        config = site.config.current()
        if not site.rate_limit.admits(config.requests_per_second, config.burst):
            self._answer(429, "too many requests\n")
            return False
        if config.users and not site.authenticator.admits(
            config.users, self.headers.get("Authorization", "")
        ):
            self._answer(401, "wrong or no user\n", **{"WWW-Authenticate": 'Basic realm="metrics"'})
            return False
        return True

    def _metrics(self) -> None:
        scrapes = self.server.site.scrapes
        if scrapes is not None and not scrapes.acquire(blocking=False):
            self._answer(503, "too many scrapes at once\n", **{"Retry-After": "1"})
            return
        try:
            request = ScrapeRequest.read(self._query, _joined(self.headers))
            exposition = self.server.site.scraper.scrape(request)
            # A body counts until it is sent: bodies that nobody fetches would fill the memory.
            self._send(200, exposition.body, dict(exposition.headers))
        except ScrapeRequestError as error:
            self._answer(400, f"{error}\n")
        except StoreUnreadable as error:
            self._answer(503, f"{error}\n")
        finally:
            if scrapes is not None:
                scrapes.release()

    def _ready(self) -> None:
        if self.server.site.scraper.is_ready:
            self._answer(200, "ready\n")
        else:
            self._answer(503, "the store directory could not be read\n")

    def _answer(self, status: int, text: str, content_type: str = TEXT, **headers: str) -> None:
        body = text.encode()
        fixed = {"Content-Type": content_type, "Content-Length": str(len(body))}
        self._send(status, body, fixed | headers)

    def _send(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, **self.server.site.config.current().headers}.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        try:
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    def version_string(self) -> str:
        return "inferometer-exporter"

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
        logger.debug(format, *arguments)


def _tokens(value: str) -> set[str]:
    return {token.strip().lower() for token in value.split(",")}


def _joined(headers: Message) -> dict[str, str]:
    """Return the headers with repeated ones made one, as HTTP allows for lists."""
    return {name.title(): ",".join(headers.get_all(name, ())) for name in headers}
