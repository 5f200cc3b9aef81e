"""Real servers for the live tests.

Started by their command line, asked over HTTP, ended by a signal.
"""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import requests
from prometheus_client.parser import text_string_to_metric_families

DEADLINE_SECONDS = 90.0
POLL_SECONDS = 0.05
READY_QUESTIONS = 8

SERVING = re.compile(r"serving .* on (http://\S+)")
METRICS = re.compile(r"metrics on (http://\S+)/metrics")

Found = TypeVar("Found")
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def wait_for(
    condition: Callable[[], Found], what: str, *, seconds: float = DEADLINE_SECONDS
) -> Found:
    """Poll until the condition holds and return what it returned.

    Fail naming `what` at the deadline.
    """
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        pause.wait(POLL_SECONDS)
    raise AssertionError(f"not within {seconds:.0f} s: {what}")


def answers(url: str) -> bool:
    """Return whether a GET is answered well."""
    with suppress(requests.RequestException):
        return requests.get(url, timeout=5).ok
    return False


@contextmanager
def again_and_again(
    action: Callable[[], object], *, pause_seconds: float = 0.02, at_once: int = 1
) -> Iterator[None]:
    """Do it over and over, in so many threads, until the block ends; a server may be gone."""
    ends = threading.Event()

    def run() -> None:
        while not ends.wait(pause_seconds):
            with suppress(requests.RequestException):
                action()

    with ThreadPoolExecutor(at_once) as pool:
        runs = [pool.submit(run) for _ in range(at_once)]
        try:
            yield
        finally:
            ends.set()
            for each in runs:
                each.result()


@dataclass
class Server:
    """A running server."""

    process: "subprocess.Popen[bytes]"
    log_file: Path
    url: str
    metrics_url: str
    session: requests.Session = field(default_factory=requests.Session)

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    def post(self, path: str, body: Any = None, **arguments: Any) -> requests.Response:
        data = body if isinstance(body, (bytes, str)) or body is None else json.dumps(body)
        return self.session.post(self.url + path, data=data, timeout=60, **arguments)

    def get(self, path: str, **arguments: Any) -> requests.Response:
        return self.session.get(self.url + path, timeout=60, **arguments)

    def predict(self, model: str, body: Any, **arguments: Any) -> requests.Response:
        return self.post(f"/v1/models/{model}:predict", body, **arguments)

    def is_ready(self) -> bool:
        """Return whether its front-ends are: one may know of the models a moment before another.

        Each question is a connection of its own, which any of them may take.
        """
        with suppress(requests.RequestException):
            return all(
                requests.get(self.url + "/readyz", timeout=5).status_code == 200
                for _ in range(READY_QUESTIONS)
            )
        return False

    def samples(self, url: str | None = None) -> Samples:
        """Return every sample of /metrics by name and labels."""
        return samples_of(requests.get((url or self.metrics_url) + "/metrics", timeout=30).text)

    def value(self, name: str, **labels: str) -> float:
        """Return the sum of a metric's samples that have these labels."""
        return total(self.samples(), name, **labels)

    def pids(self, role: str) -> list[int]:
        """Return the processes of a role: `frontend`, `runner` or `exporter`."""
        return [pid for pid in descendants(self.process.pid) if role_of(pid) == role]

    def signal(self, role: str, number: int) -> None:
        """Send a signal to all processes of a role that there are."""
        for pid in self.pids(role):
            with suppress(ProcessLookupError):
                os.kill(pid, number)


def ask_new(server: Server, model: str, rows: str) -> tuple[int, Any]:
    """Ask over a connection of its own."""
    answer = requests.post(
        f"{server.url}/v1/models/{model}:predict", data=f'{{"instances":{rows}}}', timeout=60
    )
    return answer.status_code, answer.json()


def samples_of(text: str) -> Samples:
    """Return every sample of an exposition by name and labels."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def total(samples: Samples, name: str, **labels: str) -> float:
    """Return the sum of a metric's samples that have these labels."""
    wanted = set(labels.items())
    return sum(value for (found, has), value in samples.items() if found == name and wanted <= has)


def descendants(pid: int) -> list[int]:
    """Return the children of a process, and theirs."""
    try:
        children = [int(c) for c in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []
    return [found for child in children for found in (child, *descendants(child))]


def role_of(pid: int) -> str:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
        parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        of_parent = Path(f"/proc/{parent}/cmdline").read_bytes().decode()
    except (OSError, IndexError):
        return ""
    if "serving.runner" in command:
        return "runner"
    if "exporter" in command:
        return "exporter"
    # Arbiter and workers have one command line; a worker's parent has it too.
    return "frontend" if "gunicorn" in command and "gunicorn" in of_parent else ""


def clean_environment() -> dict[str, str]:
    return {
        name: value for name, value in os.environ.items() if not name.startswith("INFEROMETER_")
    }


@contextmanager
def start_server(
    models: Mapping[str, Path],
    folder: Path,
    *arguments: str,
    waits: bool = True,
    environment: Mapping[str, str] | None = None,
    wrapper: Sequence[str] = (),
) -> Iterator[Server]:
    """Run `inferometer serve` on ports that the kernel chooses, until the block ends.

    `wrapper` is a command that becomes the one that is given to it, as prlimit(1) does.
    """
    number = len(list(folder.glob("server-*.log")))
    log_file = folder / f"server-{number}.log"
    command = [
        *wrapper, sys.executable, "-m", "serving", "serve", "--port=0", "--metrics-port=0",
        # Nobody routes to these servers, and nobody scrapes them to the last.
        "--pre-stop-seconds=0", "--linger-seconds=0",
        *(f"{name}={path}" for name, path in models.items()), *arguments,
    ]  # fmt: skip
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, env=clean_environment() | dict(environment or {})
        )
    try:
        urls = wait_for(lambda: _urls(log_file, process), f"addresses in {log_file}")
        server = Server(process, log_file, *urls)
        if waits:
            wait_for(server.is_ready, f"ready; log:\n{server.log}")
        yield server
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            raise


def _urls(log_file: Path, process: "subprocess.Popen[bytes]") -> tuple[str, str] | None:
    text = log_file.read_text()
    serving, metrics = SERVING.search(text), METRICS.search(text)
    if serving and metrics:
        return serving.group(1), metrics.group(1)
    assert process.poll() is None, f"the server ended with {process.returncode}:\n{text}"
    return None
