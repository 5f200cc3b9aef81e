"""Connections that bring no request, and requests whose body nobody reads."""

import json
import os
import re
import resource
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest

from tests.live.rest import parsed, rest_of
from tests.live.servers import Server, start_server

TIMEOUT_SECONDS = 10
MOST_CONNECTIONS = 2000  # of one front-end
OTHER_DESCRIPTORS = 100
PLACES = 20
BODY_BYTES = 100 << 20
# What is dropped of a body, and what the kernel's buffers hold of it on both sides.
MOST_SENT_BYTES = 16 << 20


@pytest.fixture(scope="module")
def server(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("connections")
    arguments = ("--workers=1", "--keep-alive-seconds=2", "--control-token=secret")
    with start_server({"half": models / "half"}, folder, *arguments) as running:
        yield running


def connect(server: Server) -> socket.socket:
    host, _, port = server.url.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=TIMEOUT_SECONDS)


def test_idle_connection_ends_when_its_time_is_up(server: Server) -> None:
    with connect(server) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        begun = time.monotonic()

        assert 200 == parsed(rest_of(connection)).status
        assert 1 < time.monotonic() - begun < 5


def test_head_that_never_ends_ends_the_connection(server: Server) -> None:
    with connect(server) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n")

        assert b"" == connection.recv(65536)


def test_longest_idle_connection_gives_way_to_a_new_one(models: Path, tmp_path: Path) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = min(MOST_CONNECTIONS, hard - OTHER_DESCRIPTORS)
    arguments = ("--workers=1",)
    with (
        start_server({"half": models / "half"}, tmp_path, *arguments) as server,
        ExitStack() as connections,
    ):
        idle = [connections.enter_context(connect(server)) for _ in range(most + 20)]

        answer = server.predict("half", {"instances": [[2, 4]]})

        assert 200 == answer.status_code
        assert b"" == idle[0].recv(1)
        idle[-1].settimeout(0)
        with pytest.raises(BlockingIOError):
            idle[-1].recv(1)


@contextmanager
def small_server(models: Path, folder: Path, model: str) -> Iterator[Server]:
    """Run a server with one front-end that has few places for connections."""
    most = OTHER_DESCRIPTORS + PLACES
    served = {model: models / model}
    with start_server(
        served, folder, "--workers=1", wrapper=["prlimit", f"--nofile={most}"]
    ) as server:
        yield server


def test_connections_that_have_been_busy_give_way_once_they_are_idle(
    models: Path, tmp_path: Path
) -> None:
    with small_server(models, tmp_path, "nap") as server, ExitStack() as connections:
        body = b'{"instances":[2.0]}'
        head = f"POST /v1/models/nap:predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}"
        busy = [connections.enter_context(connect(server)) for _ in range(PLACES)]
        for connection in busy:
            connection.sendall(head.encode() + b"\r\n\r\n" + body)
        waiting = connections.enter_context(connect(server))
        waiting.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")

        # All places are taken: the kernel holds it until one of the others has its answer.
        assert waiting.recv(65536).startswith(b"HTTP/1.1 200")
        assert all(one.recv(65536).startswith(b"HTTP/1.1 200") for one in busy)


def test_burst_of_silent_connections_keeps_nobody_out(models: Path, tmp_path: Path) -> None:
    with small_server(models, tmp_path, "half") as server, ExitStack() as connections:
        (front_end,) = server.pids("frontend")
        os.kill(front_end, signal.SIGSTOP)
        for _ in range(3 * PLACES):
            connections.enter_context(connect(server))
        os.kill(front_end, signal.SIGCONT)

        assert 200 == server.predict("half", {"instances": [[2, 4]]}).status_code


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        ("GET /v2", 200),
        ("GET /metrics", 200),
        ("GET /v1/models/half/metadata", 200),
        ("POST /nowhere", 404),
        ("POST /livez", 405),
        ("DELETE /v1/models/half:predict", 405),
        ("POST /v2/repository/models/half/load", 401),
        ("POST /v1/models/none:predict", 404),
    ],
)
def test_body_that_nobody_reads_is_dropped_and_the_connection_closed(
    server: Server, request_line: str, status: int
) -> None:
    length = f"Content-Length: {BODY_BYTES}"
    head = "\r\n".join([f"{request_line} HTTP/1.1", "Host: x", length, "", ""])
    piece = bytes(1 << 20)
    sent = 0
    with connect(server) as connection:
        connection.sendall(head.encode())
        with suppress(ConnectionError):
            while sent < BODY_BYTES:
                connection.sendall(piece)
                sent += len(piece)
        received = b""
        with suppress(ConnectionError):
            received = rest_of(connection)

    assert sent < MOST_SENT_BYTES
    if received:  # A reset may have overtaken it.
        assert (status, "close") == (
            parsed(received).status,
            parsed(received).headers["Connection"],
        )


@pytest.mark.parametrize("request_line", ["GET /v2", "POST /nowhere", "GET /readyz"])
def test_small_body_that_nobody_reads_costs_the_connection_only(
    server: Server, request_line: str
) -> None:
    with connect(server) as connection:
        connection.sendall(
            f"{request_line} HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello".encode()
        )
        reply = parsed(rest_of(connection))

    assert "close" == reply.headers["Connection"]
    assert reply.status in {200, 404}


ROWS = 1024


def raw_request(first: float, *, closes: bool) -> bytes:
    """Return an /infer request of 1,024 rows as a raw tensor, and only that."""
    data = np.arange(first, first + 2 * ROWS, dtype=np.float32).tobytes()
    tensor = {"name": "x", "datatype": "FP32", "shape": [ROWS, 2]}
    text = json.dumps({"inputs": [{**tensor, "parameters": {"binary_data_size": len(data)}}]})
    fields = [
        "POST /v2/models/half/infer HTTP/1.1",
        "Host: x",
        f"Content-Length: {len(text) + len(data)}",
        f"Inference-Header-Content-Length: {len(text)}",
        *(["Connection: close"] if closes else []),
        "",
        text,
    ]
    return "\r\n".join(fields[:-1]).encode() + b"\r\n" + text.encode() + data


@pytest.mark.parametrize("piece_bytes", [1, 997, 1 << 20])
def test_raw_tensors_arrive_whole_however_they_are_cut(server: Server, piece_bytes: int) -> None:
    sent = raw_request(0, closes=False) + raw_request(5000, closes=True)
    with connect(server) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start in range(0, len(sent), piece_bytes):
            connection.sendall(sent[start : start + piece_bytes])
        received = rest_of(connection)

    first, second = (
        json.loads(text) for text in re.findall(rb'\{"model_name".*?\]\}\]\}', received)
    )
    halves = np.arange(2 * ROWS, dtype=np.float32) / 2
    assert first["outputs"][0]["data"] == halves.tolist()
    assert second["outputs"][0]["data"] == (halves + 2500).tolist()


def test_raw_tensor_that_ends_early_is_refused(server: Server) -> None:
    with connect(server) as connection:
        connection.sendall(raw_request(0, closes=False)[:-1])
        connection.shutdown(socket.SHUT_WR)
        reply = parsed(rest_of(connection))

    assert (400, "invalid_input") == (reply.status, reply.json["reason"])
    assert "body ended after" in reply.json["error"]
