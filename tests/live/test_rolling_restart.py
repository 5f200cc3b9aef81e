"""Three servers behind HAProxy are restarted one after the other, and no request is lost."""

import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import requests

from tests.live.servers import Server, start_server, wait_for

pytestmark = pytest.mark.alone

SERVERS = 3
CLIENTS = 6

CONFIGURATION = """
global
    maxconn 1000
defaults
    mode http
    timeout connect 2s
    timeout client 60s
    timeout server 60s
    default-server check inter 200ms fall 1 rise 1
    retries 3
    option redispatch
frontend callers
    bind 127.0.0.1:{port}
    default_backend replicas
backend replicas
    balance roundrobin
    option httpchk GET /readyz
{replicas}
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def haproxy(ports: list[int], folder: Path) -> Iterator[str]:
    port = free_port()
    replicas = "\n".join(f"    server replica{p} 127.0.0.1:{p}" for p in ports)
    file = folder / "haproxy.cfg"
    file.write_text(CONFIGURATION.format(port=port, replicas=replicas))
    with (folder / "haproxy.log").open("wb") as log:
        process = subprocess.Popen(["haproxy", "-f", str(file), "-db"], stdout=log, stderr=log)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


class Traffic:
    """Callers that ask until they are stopped; each answer is right, or it is remembered."""

    def __init__(self, url: str) -> None:
        self.answered = 0
        self.lost: list[str] = []
        self._url = url
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        session = requests.Session()
        while not self._stopped.is_set():
            try:
                answer = session.post(
                    f"{self._url}/v1/models/half:predict", '{"instances":[[2,4]]}', timeout=60
                )
            except requests.RequestException as error:
                self.lost.append(repr(error))
                continue
            if (answer.status_code, answer.text) != (200, '{"predictions":[[1.0,2.0]]}'):
                self.lost.append(f"{answer.status_code} {answer.text}")
            self.answered += 1
            self._stopped.wait(0.005)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("haproxy") is None, reason="haproxy is not installed")
def test_rolling_restart_loses_no_request(models: Path, tmp_path: Path) -> None:
    ports = [free_port() for _ in range(SERVERS)]

    def start(port: int, stack: ExitStack) -> Server:
        arguments = (f"--port={port}", "--workers=1", "--pre-stop-seconds=2")
        return stack.enter_context(start_server({"half": models / "half"}, tmp_path, *arguments))

    with ExitStack() as stack:
        servers = [start(port, stack) for port in ports]
        url = stack.enter_context(haproxy(ports, tmp_path))
        wait_for(lambda: answers(url), "HAProxy has found the replicas")
        traffic = Traffic(url)
        stack.callback(traffic.stop)
        for server, port in zip(servers, ports, strict=True):
            server.process.terminate()
            assert server.process.wait(30) == 0
            before = traffic.answered
            start(port, stack)
            wait_for(lambda n=before: traffic.answered > n + 100, "answers go on")  # type: ignore[misc]

        traffic.stop()

    assert [] == traffic.lost
    assert traffic.answered > 300


def answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/readyz", timeout=5).status_code == 200
    except requests.RequestException:
        return False
