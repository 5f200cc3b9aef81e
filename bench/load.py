"""Servers under load: how they are started, asked by wrk, and what CPU time they take."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

from serving.process import write_process_settings
from serving.settings import Settings
from serving.supervisor import listen

READY_SECONDS = 90.0
ROUNDS = 3
SECONDS = 3
WARM_UP_SECONDS = 2
WRK_THREADS = 1  # two cores serve; more threads of wrk would only take them away

Found = TypeVar("Found")

METRICS = re.compile(r"metrics on (http://[^\s/]+)")
SERVING = re.compile(r"serving .* on (http://\S+)")
RESULT = re.compile(r"RESULT (\d+) (\d+) (\d+) (\d+)")


@dataclass(frozen=True, slots=True)
class Load:
    """What wrk sends: which body, where to, over how many connections.

    `json_bytes` of the body are JSON and raw tensors follow; None where all of it is.
    """

    path: str
    body: Path
    connections: int
    json_bytes: int | None = None


class Running(NamedTuple):
    """A server under measurement and the process whose children do its work."""

    url: str
    pid: int
    metrics_url: str = ""


class Sample(NamedTuple):
    """One round: requests a second, and the server's CPU time a request in microseconds."""

    rate: float
    cpu: float


def alternate(
    servers: Sequence[tuple[Running, Load]],
    samples: Sequence[list[Sample]],
    *,
    rounds: int = ROUNDS,
) -> None:
    """Add to the samples of each server under its load.

    They take turns, so that the machine's moods hit all alike.
    """
    for running, load in servers:
        run_wrk(running.url, load, WARM_UP_SECONDS)
    for _ in range(rounds):
        for (running, load), found in zip(servers, samples, strict=True):
            before = cpu_seconds(running.pid)
            rate = run_wrk(running.url, load, SECONDS)
            used = cpu_seconds(running.pid) - before
            found.append(Sample(rate, used / (rate * SECONDS) * 1e6))


def cpu_seconds(pid: int) -> float:
    """Return the CPU time, user and system, of a process and its descendants that live."""
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    own = (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return own + sum(cpu_seconds(int(child)) for child in children)


def run_wrk(url: str, load: Load, seconds: int) -> float:
    """Return successful requests a second. Raises RuntimeError when any request failed."""
    command = [
        "wrk", f"-t{WRK_THREADS}", f"-c{load.connections}", f"-d{seconds}s", "--timeout=10s",
        f"--script={Path(__file__).parent / 'post.lua'}", url + load.path,
    ]  # fmt: skip
    raw = {} if load.json_bytes is None else {"JSON_BYTES": str(load.json_bytes)}
    output = subprocess.run(
        command,
        env={**os.environ, "BODY": str(load.body), **raw},
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    match = RESULT.search(output)
    assert match is not None, output
    requests, microseconds, refused, errors = map(int, match.groups())
    if refused or errors:
        raise RuntimeError(
            f"{refused} of {requests} requests were refused, {errors} failed\n{output}"
        )
    return requests / (microseconds / 1e6)


@contextmanager
def server(*arguments: str, environment: Mapping[str, str] | None = None) -> Iterator[Running]:
    """Run `inferometer` on ports that the kernel chooses; yield its URL once it is ready."""
    command = [sys.executable, "-m", "serving", *arguments, "--port=0", "--metrics-port=0"]
    with tempfile.NamedTemporaryFile("w+", suffix=".log") as log:
        variables = {**os.environ, **(environment or {})}
        process = subprocess.Popen(command, stderr=log, env=variables)
        try:
            url = _wait_for(lambda: SERVING.search(Path(log.name).read_text()), process).group(1)
            _wait_until_ready(url, process)
            yield Running(url, process.pid, METRICS.findall(Path(log.name).read_text())[0])
        finally:
            process.send_signal(signal.SIGINT)
            process.wait()


@contextmanager
def copying() -> Iterator[Running]:
    """Run the reference that only copies bodies."""
    command = [sys.executable, "-m", "bench.copying"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield Running(process.stdout.readline().strip(), process.pid)
        finally:
            process.kill()


@contextmanager
def constant_view() -> Iterator[Running]:
    """Run the reference in the real front-ends' gunicorn configuration."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        settings_file = Path(directory) / "settings.json"
        write_process_settings(Settings(store_path=Path(directory)), settings_file)
        listener = listen("127.0.0.1", 0)
        descriptor = listener.fileno()
        process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "--config", "python:bench.constant_view"],
            env={
                **os.environ,
                "INFEROMETER_SETTINGS_FILE": str(settings_file),
                "INFEROMETER_LISTEN_DESCRIPTOR": str(descriptor),
            },
            pass_fds=[descriptor],
        )
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        try:
            _wait_until_ready(url, process)
            yield Running(url, process.pid)
        finally:
            process.terminate()
            process.wait()
            listener.close()


def _wait_until_ready(url: str, process: "subprocess.Popen[bytes]") -> None:
    def is_ready() -> bool:
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)  # noqa: PLR2004
        except OSError:
            return False

    _wait_for(is_ready, process)


def _wait_for(condition: Callable[[], Found], process: "subprocess.Popen[bytes]") -> Found:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        if process.poll() is not None:
            raise RuntimeError("the server ended before it was ready")
        time.sleep(0.1)
    raise RuntimeError(f"the server was not ready within {READY_SECONDS:.0f} s")
