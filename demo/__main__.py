"""`python -m demo`: trains a model where none is, serves it, sends it digits until stopped."""

import argparse
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import numpy as np

from demo import child
from demo.folder import (
    DIGIT,
    FOLDER,
    HELD_OUT,
    MODEL,
    PROJECT,
    SERVER_LOG,
    STORE,
    VERSION,
    is_trained,
)
from demo.replay import CALM_SECONDS, REPORT_SECONDS, REQUEST_INTERVAL_SECONDS, Replay

READY_SECONDS = 120
POLL_SECONDS = 0.2
# A terminal's Ctrl-C reaches the server too, and a second signal would cut its drain short.
PATIENCE_SECONDS = 10
LAST_WORDS = 20


class DemoError(Exception):
    """The demo cannot go on; the message says why."""


class Stop:
    """Whether SIGINT or SIGTERM came, and which."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self.signal: int | None = None
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._receive)

    def wait(self, seconds: float) -> bool:
        """Wait that long at most; return whether to stop."""
        return self._event.wait(seconds)

    @property
    def patience_seconds(self) -> float:
        """How long the server may take to end by itself before it is told to."""
        return PATIENCE_SECONDS if self.signal == signal.SIGINT else 0

    def _receive(self, number: int, _frame: object) -> None:
        self.signal = number
        self._event.set()


def main() -> int:
    """Return 0 when the demo was stopped, 1 when something of it failed."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("--port", type=int, default=8501, help="port of the server")
    parser.add_argument("--metrics-port", type=int, default=8502, help="port of the exporter")
    arguments = parser.parse_args()
    os.chdir(PROJECT)
    FOLDER.mkdir(exist_ok=True)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr] # a text stream always
    child.adopt_orphans()
    stop = Stop()
    try:
        _run(arguments.port, arguments.metrics_port, stop)
    except DemoError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    finally:
        child.kill_orphans()
    return 0


def _run(port: int, metrics_port: int, stop: Stop) -> None:
    """Train, serve, replay; return when told to stop. Raises DemoError."""
    for number in (port, metrics_port):
        _check_free(number)
    _train(stop)
    if stop.signal:
        return
    with SERVER_LOG.open("wb") as log:
        server = child.start(
            [
                "serving", "serve", f"digits={MODEL}",
                "--port", str(port),
                "--metrics-port", str(metrics_port),
                "--store-path", str(STORE),
            ],
            output=log,
        )  # fmt: skip
    try:
        if _is_ready(server, port, stop):
            _announce(port, metrics_port)
            _replay(server, port, stop)
    finally:
        child.stop(server, patience_seconds=stop.patience_seconds)


def _check_free(port: int) -> None:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError as error:
        raise DemoError(
            f"port {port} is taken; choose others: "
            ".venv/bin/python -m demo --port 9501 --metrics-port 9502"
        ) from error


def _train(stop: Stop) -> None:
    if is_trained():  # asked here too: the training's imports take seconds
        print(f"The model is there already: {VERSION}")
        return
    # Without oneDNN's own rounding the same seed gives the same model on every processor.
    training = child.start(["demo.train"], environment={"TF_ENABLE_ONEDNN_OPTS": "0"})
    while training.poll() is None and not stop.wait(POLL_SECONDS):
        pass
    child.stop(training, patience_seconds=0)
    if training.returncode and not stop.signal:
        raise DemoError("training failed")


def _is_ready(server: subprocess.Popen[bytes], port: int, stop: Stop) -> bool:
    """Wait for the server; return False when told to stop first. Raises DemoError when it fails."""
    print("Starting the server")
    deadline = time.monotonic() + READY_SECONDS
    while not stop.wait(POLL_SECONDS):
        _check_alive(server)
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=1).close()
        except (OSError, urllib.error.URLError):
            if time.monotonic() > deadline:
                raise DemoError(
                    f"the server was not ready within {READY_SECONDS} s\n{_last_words()}"
                ) from None
        else:
            return True
    return False


def _check_alive(server: subprocess.Popen[bytes]) -> None:
    if server.poll() is not None:
        raise DemoError(f"the server ended with exit code {server.returncode}\n{_last_words()}")


def _last_words() -> str:
    lines = SERVER_LOG.read_text(errors="replace").splitlines()
    return "\n".join(["its last words:", *lines[-LAST_WORDS:]])


def _announce(port: int, metrics_port: int) -> None:
    server = f"http://127.0.0.1:{port}"
    print(f"""
Ready. The model server:  {server}/v1/models/digits
       its metrics:       http://127.0.0.1:{metrics_port}/metrics
       the same:          {server}/metrics
       its log:           {SERVER_LOG}

Try it from another terminal in this folder:

  curl -d @{DIGIT} {server}/v1/models/digits:predict

Sending held-out digits, about {1 / REQUEST_INTERVAL_SECONDS:.0f} requests a second, and what they
are some seconds later. After {CALM_SECONDS:.0f} seconds the digits begin to turn, and the model
begins to err: inferometer_outcomes_total and inferometer_feature_bin_total show it.
Ctrl-C ends it.
""")


def _replay(server: subprocess.Popen[bytes], port: int, stop: Stop) -> None:
    with np.load(HELD_OUT) as held_out:
        address = f"127.0.0.1:{port}"
        replay = Replay(address, images=held_out["image"], labels=held_out["label"])
    report_at = time.monotonic() + REPORT_SECONDS
    while not stop.wait(REQUEST_INTERVAL_SECONDS):
        if server.poll() is None:
            replay.send()
        elif not stop.wait(POLL_SECONDS):  # a Ctrl-C may have reached the server first
            _check_alive(server)
        if time.monotonic() >= report_at:
            report_at += REPORT_SECONDS
            print(replay.report())
    print("Stopping the server")


if __name__ == "__main__":
    sys.exit(main())
