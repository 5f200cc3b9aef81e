"""A program of a user's own under gunicorn: counts are exact, whatever becomes of the workers.

Facts this rests on: gunicorn calls no hook for some ways a worker ends, halts when a worker ends
with 3 or 4, and reaps every child of its process. None of this needs anything from the store.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import pytest

from exporter.store_reader import StoreReader
from exporter.view import View
from tests.live.servers import wait_for

pytestmark = pytest.mark.live

APPLICATION = """
import os
from pathlib import Path
from exporter import CATALOGUE, Label, counter, open_recorder

ORDERS = counter("shop_orders_total", "Orders.", Label("kind"), by=("frontend",))
PROCESSES = [f for f in CATALOGUE if f.name.startswith("inferometer_process_")]
recorder = open_recorder(
    Path(os.environ["STORE"]), "frontend", families=[ORDERS, *PROCESSES], tick_seconds=0.05
)
orders = recorder.child("shop_orders_total", kind="book")

def application(environ, start_response):
    orders.inc()
    sum(range(20_000))  # some CPU time
    start_response("200 OK", [("Content-Length", "3")])
    return [b"ok\\n"]
"""


@dataclass
class Shop:
    """A running gunicorn with the application, and what its clients have seen."""

    process: subprocess.Popen[bytes]
    port: int
    store: Path
    log: Path
    pid_file: Path
    answered: int = 0
    sent: int = 0

    def order(self) -> bool:
        self.sent += 1
        with contextlib.closing(HTTPConnection("127.0.0.1", self.port, timeout=10)) as connection:
            try:
                connection.request("GET", "/")
                is_answered = connection.getresponse().status == 200
            except (OSError, HTTPException):
                return False
        self.answered += is_answered
        return is_answered

    def view(self) -> View:
        return StoreReader(self.store).view() if self.store.exists() else View()

    def check_counts(self) -> None:
        """Every order that was answered counts once; one that was not may count."""
        answered = self.answered
        counted = value(self.view(), "shop_orders_total", "book")
        assert answered <= counted <= self.sent


def value(view: View, name: str, *labels: str) -> float:
    merged = view.families.get(name)
    return merged.series[labels].cells[0] if merged is not None else 0.0


@contextlib.contextmanager
def shop(store_path: Path, tmp_path: Path, *flags: str, hooks: str = "") -> Iterator[Shop]:
    (tmp_path / "shop.py").write_text(APPLICATION)
    (tmp_path / "conf.py").write_text(hooks)
    log, pid_file = tmp_path / "log", tmp_path / "pid"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [
                # Not `python -m gunicorn`: a new arbiter would then find gunicorn's own `http` in
                # place of the standard library's.
                *(str(Path(sys.executable).with_name("gunicorn")), "--config", "conf.py", "--bind"),
                *("127.0.0.1:0", "--pid", str(pid_file), *flags, "shop:application"),
            ],
            cwd=tmp_path,
            stderr=stream,
            env={**os.environ, "STORE": str(store_path / "shop"), "PYTHONPATH": str(Path.cwd())},
        )
    try:
        port = wait_for(lambda: listening_port(log), "gunicorn listens")
        running = Shop(process, port, store_path / "shop", log, pid_file)
        yield running
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(30)


def listening_port(log: Path) -> int:
    found = re.search(r"Listening at: http://127\.0\.0\.1:(\d+)", log.read_text())
    return int(found[1]) if found else 0


@contextlib.contextmanager
def customers(running: Shop) -> Iterator[None]:
    """Order without pause while the body runs."""
    stop = threading.Event()

    def run() -> None:
        while not stop.is_set():
            running.order()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def test_reloads_under_load_lose_no_count(store_path: Path, tmp_path: Path) -> None:
    with shop(store_path, tmp_path, "--workers=2") as running:
        wait_for(lambda: len(running.view().processes) == 2, "the shop is open")
        with customers(running):
            for reload in range(1, 4):
                before = value(running.view(), "inferometer_process_starts_total", "frontend")
                running.process.send_signal(signal.SIGHUP)
                wait_for(
                    lambda before=before: (
                        len(running.view().processes) == 2
                        and value(running.view(), "inferometer_process_starts_total", "frontend")
                        == before + 2
                    ),
                    f"the workers of reload {reload} have taken over",
                )
                running.check_counts()
        assert running.process.poll() is None
        running.check_counts()


def test_a_new_arbiter_beside_the_old_one_counts_into_the_same_store(
    store_path: Path, tmp_path: Path
) -> None:
    with shop(store_path, tmp_path, "--workers=1") as running:
        wait_for(running.order, "the shop is open")
        with customers(running):
            running.process.send_signal(signal.SIGUSR2)
            new = wait_for(lambda: other_pid(running), "a second arbiter is there")
            wait_for(lambda: len(running.view().processes) == 2, "its worker records")
            running.check_counts()
            running.process.terminate()
            running.process.wait(30)
            wait_for(lambda: len(running.view().processes) == 1, "the old worker has ended")
            answered = running.answered
            wait_for(lambda: running.answered > answered + 10, "the new one serves")
        os.kill(new, signal.SIGTERM)
        wait_for(lambda: not running.view().processes, "all has ended")
        running.check_counts()


def other_pid(running: Shop) -> int:
    with contextlib.suppress(OSError, ValueError):
        return int(Path(f"{running.pid_file}.2").read_text())
    return 0


@pytest.mark.parametrize(
    "hook", ["post_worker_init(worker)", "child_exit(server, worker)", "on_reload(server)"]
)
def test_hooks_that_raise_cost_the_server_and_no_count(
    store_path: Path, tmp_path: Path, hook: str
) -> None:
    """The hook is added while the server runs; the reload that reads it also calls it."""
    with shop(store_path, tmp_path, "--workers=2") as running:
        wait_for(lambda: len(running.view().processes) == 2, "the shop is open")
        for _ in range(20):
            assert running.order()
        (tmp_path / "conf.py").write_text(f"def {hook}:\n    raise RuntimeError('hook')\n")
        running.process.send_signal(signal.SIGHUP)
        wait_for(lambda: running.process.poll() is not None, "the server has ended")
        assert running.process.returncode != 0
        wait_for(lambda: not running.view().processes, "no worker is left")
        running.check_counts()
        view = running.view()
        starts = value(view, "inferometer_process_starts_total", "frontend")
        exits = view.families["inferometer_process_exits_total"].series
        assert sum(s.cells[0] for labels, s in exits.items() if labels[0] == "frontend") == starts


def test_cpu_seconds_never_fall_over_twenty_worker_restarts(
    store_path: Path, tmp_path: Path
) -> None:
    reader = StoreReader(store_path / "shop")
    with shop(store_path, tmp_path, "--workers=1", "--max-requests=5") as running:
        wait_for(running.order, "the shop is open")
        before = 0.0

        def restarts() -> float:
            nonlocal before
            running.order()
            reader.fold()
            view = reader.view()
            now = value(view, "inferometer_process_cpu_seconds_total", "frontend")
            assert now >= before
            before = now
            return value(view, "inferometer_process_exits_total", "frontend", "exit")

        wait_for(lambda: restarts() >= 20, "twenty workers have ended")
        running.check_counts()
    assert before > 0
