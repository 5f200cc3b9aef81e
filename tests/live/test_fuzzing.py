"""Tens of thousands of requests at random, valid and spoilt: right answers, no defect, no leak."""

import os
import random
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.live.fuzzing import (
    MAX_BODY_BYTES,
    MAX_JSON_BYTES,
    MAX_ROWS,
    MODELS,
    SEED,
    Reply,
    Sent,
    head,
    late_request,
    mutated_request,
    other_request,
    rows_of,
    valid_request,
    wrong_request,
)
from tests.live.servers import Samples, Server, start_server, total, wait_for

pytestmark = pytest.mark.alone

THREADS = 6
WARM_UP = 5_200
REQUESTS = 20_800
IDLE_CONNECTIONS = 40
TIMEOUT_SECONDS = 30.0
# Most that one front-end or the runner may grow after the warm-up part; 1.5 MB were measured.
GROWTH_BYTES = 8 << 20

HALF = "/v1/models/half:predict"
GONE = "/v1/models/gone:predict"
GOOD = b'{"instances":[[2,4]]}'
LENGTH = {"Content-Length": str(len(GOOD))}
RESET_ON_CLOSE = struct.pack("ii", 1, 0)

# `late` and `gone` are `half` under other names: the one is asked for haste, from the other nobody
# waits for an answer, so what is counted for it has bounds only.
FOLDERS = dict.fromkeys(("half", "late", "gone"), "half") | {
    name: name for name in ("step", "pair", "log", "text", "ragged")
}
SETTINGS = (
    "--workers=2",
    "--versions=*=latest:1,step=all",
    "--version-labels=step:stable=1",
    "--max-batch-rows=8",
    f"--max-request-rows={MAX_ROWS}",
    f"--max-body-bytes={MAX_BODY_BYTES}",
    f"--max-decompressed-bytes={MAX_BODY_BYTES}",
    f"--max-json-bytes={MAX_JSON_BYTES}",
)

ANSWERED = {200, 204, 400, 404, 405, 413, 415, 501}
TOO_LATE = {(408, "deadline_exceeded"), (504, "deadline_exceeded"), (503, "predicted_late")}
BY_GUNICORN = {400, 414, 417, 431, 501, 505}


@dataclass
class Tally:
    """What was answered, to be found again on /metrics."""

    codes: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    rows: int = 0
    least_computed: Counter[str] = field(default_factory=Counter)
    most_computed: Counter[str] = field(default_factory=Counter)
    abandoned: int = 0
    sent: int = 0

    def add(self, other: "Tally") -> None:
        self.codes += other.codes
        self.reasons += other.reasons
        self.rows += other.rows
        self.least_computed += other.least_computed
        self.most_computed += other.most_computed
        self.abandoned += other.abandoned
        self.sent += other.sent

    def note(self, request: Sent, reply: Reply) -> None:
        if not reply.is_prediction:
            return
        self.codes[str(reply.status)] += 1
        if reply.status == 200:
            rows = rows_of(reply)
            self.rows += rows
            self._computed(request.model, rows, rows)
            return
        self.reasons[reply.json["reason"]] += 1
        if reply.was_computed or reply.status == 504:
            is_certain = request.rows is not None and reply.status != 504
            rows = request.rows if request.rows is not None else MAX_ROWS
            self._computed(request.model, rows if is_certain else 0, rows)

    def _computed(self, model: str, least: int, most: int) -> None:
        self.least_computed[model] += least
        self.most_computed[model] += most


class Connection:
    """A connection as a client of HTTP/1.1 has it, without anything that mends a broken reply."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._socket: socket.socket | None = None
        self._received = b""

    def send(self, data: bytes) -> None:
        if self._socket is None:
            self._socket = socket.create_connection(self._address, timeout=TIMEOUT_SECONDS)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(data)

    def end(self) -> None:
        """Say that nothing more will come."""
        assert self._socket is not None
        # The server may have closed its side because of what it has read.
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def reply(self, method: str = "POST") -> Reply | None:
        """Return the next reply, None if the connection ended without one."""
        while (end := self._received.find(b"\r\n\r\n")) < 0:
            if not self._receive():
                assert not self._received, self._received
                self.close()
                return None
        lines = self._received[:end].decode("latin-1").split("\r\n")
        self._received = self._received[end + 4 :]
        status = int(lines[0].split()[1])
        if status == 100:
            return self.reply(method)
        headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        assert "transfer-encoding" not in headers, headers
        has_body = method != "HEAD" and status != 204
        body = self._body(int(headers["content-length"])) if has_body else b""
        if headers.get("connection", "").lower() == "close":
            rest = self._until_end()
            assert not rest, rest
            self.close()
        return Reply(status, headers, body)

    def _body(self, size: int) -> bytes:
        while len(self._received) < size:
            assert self._receive(), f"the reply ended after {len(self._received)} of {size} bytes"
        body, self._received = self._received[:size], self._received[size:]
        return body

    def _until_end(self) -> bytes:
        while self._receive():
            pass
        return self._received

    def _receive(self) -> bool:
        if self._socket is None:
            return False
        try:
            piece = self._socket.recv(65536)
        except ConnectionResetError:
            return False
        self._received += piece
        return bool(piece)

    def reset(self) -> None:
        assert self._socket is not None
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        self.close()

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket = None
        self._received = b""


@contextmanager
def connected(address: tuple[str, int]) -> Iterator[Connection]:
    connection = Connection(address)
    try:
        yield connection
    finally:
        connection.close()


def check_rules(request: Sent, reply: Reply) -> None:
    """Check what holds for every reply."""
    kind = reply.headers.get("content-type", "")
    if request.is_alone and "x-request-id" not in reply.headers:
        assert reply.status in BY_GUNICORN, reply
        assert kind.startswith("text/html"), reply
        return
    assert reply.headers["x-request-id"], reply
    assert (reply.status == 503) == ("retry-after" in reply.headers), reply
    if reply.status < 400 or not reply.body:
        assert reply.status in ANSWERED or request.method == "HEAD", reply
        return
    assert kind == "application/json", reply
    document = reply.json
    assert len(document["error"]) <= 512, reply
    assert document["request_id"] == reply.headers["x-request-id"], reply
    reason = document["reason"]
    assert reason != "internal", reply
    assert b"Traceback" not in reply.body, reply
    allowed = (
        reply.status in ANSWERED
        or (request.is_late and (reply.status, reason) in TOO_LATE)
        or (request.may_fail and (reply.status, reason) == (500, "model_error"))
        or (reply.status in {401, 403} and not reply.is_prediction)
    )
    assert allowed, reply


class Client:
    """One of the clients: a connection that is kept open, and what it has seen."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._kept = Connection(address)
        self.tally = Tally()
        self.failures: list[str] = []

    def work(self, numbers: range) -> None:
        for number in numbers:
            make = KINDS[number % len(KINDS)]
            self.tally.sent += 1
            try:
                if make is None:
                    self._misbehave(number)
                else:
                    self.ask(make(number))
            except Exception as error:
                name = getattr(make, "__name__", "hostile")
                self.failures.append(f"{name}({number}): {type(error).__name__}: {error}"[:3000])
                self._kept.close()
                if len(self.failures) > 20:
                    break
        self._kept.close()

    def ask(self, request: Sent) -> None:
        try:
            if request.is_alone:
                self._ask_alone(request)
            else:
                self._kept.send(request.data)
                self._take(request, self._kept)
        except Exception as error:
            raise AssertionError(f"{error}\nsent {request.data[:1500]!r}") from error

    def _take(self, request: Sent, connection: Connection) -> Reply:
        reply = connection.reply(request.method)
        assert reply is not None, "no reply"
        self._judge(request, reply)
        return reply

    def _judge(self, request: Sent, reply: Reply) -> None:
        self.tally.note(request, reply)
        check_rules(request, reply)
        is_late = request.is_late and reply.status in {408, 503, 504}
        if request.check is not None and not is_late:
            request.check(reply)

    def _ask_alone(self, request: Sent) -> list[Reply]:
        replies = []
        with connected(self._address) as connection:
            # A server that refuses what it has read so far may close before all is sent.
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.send(request.data)
            connection.end()
            while (reply := connection.reply(request.method)) is not None:
                self._judge(request, reply)
                replies.append(reply)
        return replies

    def _misbehave(self, number: int) -> None:
        rng = random.Random(f"{SEED}:hostile:{number}")
        rng.choice(MISDEEDS)(self, rng)

    # Misdeeds.

    def leave(self, rng: random.Random) -> None:
        """Close or reset at any point of a request, without waiting for an answer."""
        data = head("POST", GONE, LENGTH) + GOOD
        self.tally.abandoned += 1
        with connected(self._address) as connection:
            connection.send(data[: rng.choice((1, 10, 40, 70, len(data) - 3, len(data)))])
            if rng.random() < 0.3:
                connection.end()
            if rng.random() < 0.5:
                connection.reset()

    def stop_in_body(self, rng: random.Random) -> None:
        sent = rng.randrange(len(GOOD))
        data = head("POST", HALF, LENGTH) + GOOD[:sent]
        (reply,) = self._ask_alone(Sent("POST", "half", data, is_alone=True))
        assert reply.status == 400, reply
        assert reply.json["error"] == f"body ended after {sent} of {len(GOOD)} bytes"

    def stall_in_body(self, rng: random.Random) -> None:
        headers = LENGTH | {"X-Request-Timeout-Ms": str(rng.choice((1, 20)))}
        request = Sent(
            "POST", "late", head("POST", "/v1/models/late:predict", headers), is_late=True
        )
        with connected(self._address) as connection:
            connection.send(request.data)
            assert self._take(request, connection).status == 408
            assert connection.reply() is None

    def pipeline(self, rng: random.Random) -> None:
        requests = [valid_request(rng.randrange(10**9)) for _ in range(rng.choice((2, 5, 20)))]
        with connected(self._address) as connection:
            connection.send(b"".join(request.data for request in requests))
            for request in requests:
                self._take(request, connection)

    def follow_by_garbage(self, rng: random.Random) -> None:
        request = valid_request(rng.randrange(10**9))
        garbage = rng.choice((b"\0\0\r\n\r\n", b"GARBAGE\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"))
        second = Sent("GET", "", garbage, is_alone=True)
        with connected(self._address) as connection:
            connection.send(request.data + garbage)
            self._take(request, connection)
            connection.end()
            assert self._take(second, connection).status in BY_GUNICORN

    def send_slowly(self, rng: random.Random) -> None:
        request = valid_request(rng.randrange(10**9))
        places = sorted(rng.randrange(len(request.data)) for _ in range(5))
        pause = threading.Event()
        with connected(self._address) as connection:
            for start, end in zip([0, *places], [*places, None], strict=True):
                connection.send(request.data[start:end])
                pause.wait(0.002)
            self._take(request, connection)

    def chunk_badly(self, rng: random.Random) -> None:
        chunks = rng.choice((b"zz\r\n", b"5\r\nab", b"-1\r\n\r\n", b"5\r\nabcdefgh\r\n", b"f" * 40))
        path = rng.choice((HALF, HALF, "/v2/models/half/infer", "/v2/repository/index"))
        data = head("POST", path, {"Transfer-Encoding": "chunked"}) + chunks
        replies = self._ask_alone(Sent("POST", "half", data, is_alone=True))
        assert 400 == replies[0].status, replies

    def send_too_much(self, rng: random.Random) -> None:
        headers = rng.choice((
            {f"X-{number}": "x" for number in range(150)},
            {"X-Long": "x" * 9000},
            {"X-Request-ID": "x" * 8000},
        ))  # fmt: skip
        path = rng.choice((HALF, HALF + "?" + "x" * 5000))
        self._ask_alone(
            Sent("POST", "half", head("POST", path, headers | LENGTH) + GOOD, is_alone=True)
        )

    def connect_only(self, rng: random.Random) -> None:
        with connected(self._address) as connection:
            connection.send(b"")
            if rng.random() < 0.5:
                connection.reset()


MISDEEDS: tuple[Callable[[Client, random.Random], None], ...] = (
    Client.leave, Client.leave, Client.leave, Client.stop_in_body, Client.stall_in_body,
    Client.pipeline, Client.follow_by_garbage, Client.send_slowly, Client.chunk_badly,
    Client.send_too_much, Client.connect_only,
)  # fmt: skip

# What each number of forty is; None is a misdeed.
KINDS: tuple[Callable[[int], Sent] | None, ...] = (
    *([valid_request] * 18),
    *([mutated_request] * 12),
    *([late_request] * 3),
    *([other_request] * 4),
    *([wrong_request] * 2),
    None,
)


def send(server: Server, numbers: range) -> Tally:
    """Send these requests from several clients at once; fail with what was answered wrongly."""
    parts = urlsplit(server.url)
    address = (str(parts.hostname), int(parts.port or 0))
    clients = [Client(address) for _ in range(THREADS)]
    threads = [
        threading.Thread(target=client.work, args=(numbers[first::THREADS],))
        for first, client in enumerate(clients)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    failures = [failure for client in clients for failure in client.failures]
    assert not failures, f"{len(failures)} wrong answers:\n" + "\n\n".join(failures[:20])
    tally = Tally()
    for client in clients:
        tally.add(client.tally)
    return tally


@contextmanager
def idle_connections(server: Server) -> Iterator[None]:
    """Hold connections that have sent a part of a head, or nothing."""
    parts = urlsplit(server.url)
    connections = [
        Connection((str(parts.hostname), int(parts.port or 0))) for _ in range(IDLE_CONNECTIONS)
    ]
    try:
        for number, connection in enumerate(connections):
            connection.send(head("POST", GONE, LENGTH)[: number % 40])
        yield
    finally:
        for connection in connections:
            connection.close()


def pids_of(server: Server) -> dict[int, str]:
    return {
        pid: role for role in ("frontend", "runner", "exporter") for pid in server.pids(role)
    } | {server.process.pid: "supervisor"}


def descriptors(pids: dict[int, str]) -> dict[int, int]:
    return {pid: len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in pids}


def resident_bytes(pids: dict[int, str]) -> dict[int, int]:
    page = os.sysconf("SC_PAGE_SIZE")
    return {
        pid: int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * page
        for pid, role in pids.items()
        if role in {"frontend", "runner"}
    }


@pytest.fixture
def server(models: Path, tmp_path: Path) -> Iterator[Server]:
    folders = {name: models / folder for name, folder in FOLDERS.items()}
    with start_server(folders, tmp_path, *SETTINGS) as started:
        yield started


@pytest.mark.slow
def test_requests_at_random(server: Server) -> None:
    pids = pids_of(server)
    open_before = descriptors(pids)
    before = server.samples()

    tally = send(server, range(WARM_UP))
    memory_before = resident_bytes(pids)
    with idle_connections(server):
        tally.add(send(server, range(WARM_UP, REQUESTS)))

    assert tally.sent >= 20_000
    assert pids == pids_of(server)
    memory_after = resident_bytes(pids)
    grown = {f"{pids[pid]} {pid}": size - memory_before[pid] for pid, size in memory_after.items()}
    assert all(growth < GROWTH_BYTES for growth in grown.values()), grown
    log = server.log
    assert "Traceback" not in log, log[log.index("Traceback") - 300 :][:6000]
    assert "for a reason of the server" not in log
    wait_for(
        lambda: all(count <= open_before[pid] for pid, count in descriptors(pids).items()),
        f"the descriptors of before, {open_before}, now {descriptors(pids)}",
        seconds=20,
    )
    # Who leaves without an answer may still be served when the others are done.
    wait_for(
        lambda: server.value("inferometer_requests_in_flight") == 0, "nothing in flight", seconds=20
    )
    check_counts(before, server.samples(), tally)


def check_counts(before: Samples, after: Samples, tally: Tally) -> None:
    def grown(name: str, **labels: str) -> float:
        return total(after, name, **labels) - total(before, name, **labels)

    def of_answered(name: str, **labels: str) -> float:
        return grown(name, **labels) - grown(name, model="gone", **labels)

    assert 0 <= grown("inferometer_requests_total", model="gone") <= tally.abandoned
    codes = {
        dict(labels).get("code") for name, labels in after if name == "inferometer_requests_total"
    }
    found = {str(code): of_answered("inferometer_requests_total", code=str(code)) for code in codes}
    assert dict(tally.codes) == {code: count for code, count in found.items() if count}
    reasons = {
        dict(labels).get("reason")
        for name, labels in after
        if name == "inferometer_request_failures_total"
    }
    failures = {
        str(r): of_answered("inferometer_request_failures_total", reason=str(r)) for r in reasons
    }
    assert dict(tally.reasons) == {reason: count for reason, count in failures.items() if count}
    assert tally.rows == of_answered("inferometer_rows_total")
    answered = sum(tally.codes.values())
    assert answered == of_answered("inferometer_requests_total")
    assert answered == of_answered("inferometer_request_duration_seconds_count")
    assert answered == of_answered("inferometer_request_size_bytes_count")
    for model in MODELS:
        computed = grown("inferometer_batch_rows_sum", model=model)
        bounds = (tally.least_computed[model], tally.most_computed[model])
        assert bounds[0] <= computed <= bounds[1], (model, computed, bounds)
    assert total(after, "inferometer_queue_rows") == 0
