"""What clients may do to the exporter's connections, and what that costs others: nothing."""

import contextlib
import resource
import signal
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter import CATALOGUE, open_recorder
from tests.live.exporters import Exporter, certificate, exporter, over_tls
from tests.live.servers import wait_for

pytestmark = pytest.mark.live

ROW = b'inferometer_rows_total{model="digits",version="1"} 7.0'
MOST_CONNECTIONS = 512


@pytest.fixture
def running(store_path: Path) -> Iterator[Exporter]:
    recorder = open_recorder(store_path, "frontend", families=CATALOGUE)
    recorder.child("inferometer_rows_total", model="digits", version="1").inc(7)
    with exporter(store_path) as running:
        yield running
    recorder.close()


def test_connections_without_a_handshake_give_way(store_path: Path, tmp_path: Path) -> None:
    certificate(tmp_path, "server")
    config = tmp_path / "web.yml"
    config.write_text("tls_server_config: {cert_file: server.crt, key_file: server.key}\n")
    context = ssl.create_default_context(cafile=tmp_path / "server.crt")
    context.check_hostname = False
    with (
        exporter(store_path, f"--web.config.file={config}") as running,
        contextlib.ExitStack() as stack,
    ):
        address = ("127.0.0.1", running.ports[0])
        for _ in range(MOST_CONNECTIONS + 50):
            stack.enter_context(socket.create_connection(address, timeout=10))
        for _ in range(5):
            assert over_tls(running.ports[0], context) == 200


def exchange(running: Exporter, data: bytes) -> bytes:
    """Send bytes and return all that comes until the connection ends."""
    answer = b""
    with socket.create_connection(("127.0.0.1", running.ports[0]), timeout=20) as connection:
        connection.sendall(data)
        with contextlib.suppress(ConnectionError):
            while chunk := connection.recv(65_536):
                answer += chunk
    return answer


HOST = b"Host: x\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /-/healthy HTTP/1.1\r\n" + HOST + b"Content-Length : 37\r\n\r\n", 400),
        (b"GET /-/healthy HTTP/1.1\r\n" + HOST + b"foo\r\nContent-Length: 37\r\n\r\n", 400),
        (b"GET /-/healthy HTTP/1.1\r\n Content-Length: 37\r\n" + HOST + b"\r\n", 400),
        (b"GET /-/healthy HTTP/1.1\r\n" + HOST + b"A: b\r\n Content-Length: 37\r\n\r\n", 400),
        (b"GET /-/healthy HTTP/1.1\r\n" + HOST + b"Transfer-Encoding : chunked\r\n\r\n", 400),
        (b"GET /-/healthy HTTP/1.1\r\n" + HOST + b"Content-Length: 37\r\n\r\n", 200),
        (b"GET /-/healthy HTTP/1.1\r\n\r\n", 400),
        (b"GET /-/healthy HTTP/1.1\r\n" + HOST + HOST + b"\r\n", 400),
        (b"GET /-/healthy HTTP/1.2\r\n" + HOST + b"\r\n", 400),
        (b"GET /-/healthy\r\n", 400),
        (b"GET http://[::1/x HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n", 404),
        (b"GET metrics HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"GET \x01/metrics HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 20_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X: a\r\n" * 200 + b"\r\n", 431),
        (b"BREW / HTTP/1.1\r\n" + HOST + b"\r\n", 405),
        (b"GET /-/healthy HTTP/1.1\r\n" + HOST + b"Connection: keep-alive, close\r\n\r\n", 200),
    ],
)
def test_a_head_is_answered_once_and_what_follows_is_no_request(
    running: Exporter, head: bytes, status: int
) -> None:
    answer = exchange(running, head + SMUGGLED)

    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert answer.count(b"Content-Length: ") == 1
    assert running.get()[0] == 200


@pytest.mark.parametrize("begun", [b"", b"G", b"GET / HTTP/1.1\r\nHost: x\r\n"])
def test_connections_without_a_whole_request_give_way(running: Exporter, begun: bytes) -> None:
    address = ("127.0.0.1", running.ports[0])
    with contextlib.ExitStack() as stack:
        for _ in range(MOST_CONNECTIONS + 50):
            connection = stack.enter_context(socket.create_connection(address, timeout=10))
            connection.sendall(begun)
        for _ in range(5):
            status, _, body = running.get()
            assert (status, ROW in body) == (200, True)


def test_requests_on_one_connection_follow_without_a_pause(running: Exporter) -> None:
    head = b"GET /-/healthy HTTP/1.1\r\n" + HOST + b"\r\n"
    with socket.create_connection(("127.0.0.1", running.ports[0]), timeout=10) as connection:
        begun = time.monotonic()
        for _ in range(100):
            connection.sendall(head)
            answer = b""
            while not answer.endswith(b"healthy\n"):
                answer += connection.recv(4_096)
    # The kernel would hold the body of each answer back for 40 ms: 4 s.
    assert time.monotonic() - begun < 2


def test_a_slow_head_behind_a_whole_request_ends_in_time(running: Exporter) -> None:
    whole = b"GET /-/healthy HTTP/1.1\r\n" + HOST + b"\r\n"

    answer = exchange(running, whole + b"GET / HTTP/1.1\r\nX: ")

    assert answer.endswith(b"healthy\n")


def test_without_descriptors_no_total_is_shown_rather_than_a_wrong_one(running: Exporter) -> None:
    used = len(list(Path(f"/proc/{running.process.pid}/fd").iterdir()))
    most = resource.prlimit(running.process.pid, resource.RLIMIT_NOFILE)
    with socket.create_connection(("127.0.0.1", running.ports[0]), timeout=10) as connection:
        head = b"GET /metrics HTTP/1.1\r\n" + HOST + b"\r\n"
        connection.sendall(b"GET /-/healthy HTTP/1.1\r\n" + HOST + b"\r\n")
        answer = b""
        while not answer.endswith(b"healthy\n"):
            answer += connection.recv(4_096)
        resource.prlimit(running.process.pid, resource.RLIMIT_NOFILE, (used + 1, most[1]))
        connection.sendall(head)
        answer = connection.recv(65_536)
        assert answer.startswith(b"HTTP/1.1 503 ")
        resource.prlimit(running.process.pid, resource.RLIMIT_NOFILE, most)
    assert ROW in running.get()[2]


def test_forty_scrapes_at_once_are_served_and_the_next_is_turned_away(
    running: Exporter,
) -> None:
    """The process is stopped while they arrive, so that all are there at once."""
    statuses: list[int] = []
    threads = [
        threading.Thread(target=lambda: statuses.append(running.get()[0])) for _ in range(60)
    ]
    running.process.send_signal(signal.SIGSTOP)
    for thread in threads:
        thread.start()
    wait_for(lambda: len(threads) == threading.active_count() - 1, "all ask")
    running.process.send_signal(signal.SIGCONT)
    for thread in threads:
        thread.join()

    assert set(statuses) <= {200, 503}
    assert statuses.count(200) >= 40
