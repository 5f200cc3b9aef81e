"""A roll-out as Kubernetes does it: each replica in turn, and no request and no count is lost.

The replicas run the command line and the settings of the rendered Deployment; readiness is asked
as its probe says, and its grace period is the most that a replica may take to end. HAProxy stands
for the Service: it never tries twice, and learns of a replica that goes only after a while.
"""

import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import requests

from tests.databases import free_port
from tests.live.deployment import Deployment, deployment
from tests.live.servers import (
    Samples,
    again_and_again,
    clean_environment,
    samples_of,
    total,
    wait_for,
)

pytestmark = [
    pytest.mark.skipif(shutil.which(name) is None, reason=f"{name} is not installed")
    for name in ("haproxy", "kubectl")
]

REPLICAS = 3
CLIENTS = 6
# How long a cluster may go on sending requests to a replica that was told to end.
PROPAGATION_SECONDS = 2.0

CONFIGURATION = """
global
    maxconn 1000
    stats socket {folder}/haproxy.sock level admin
defaults
    mode http
    timeout connect 2s
    timeout client 60s
    timeout server 60s
    retries 0
frontend callers
    bind 127.0.0.1:{port}
    default_backend replicas
backend replicas
    balance roundrobin
{replicas}
"""


class Service:
    """HAProxy, told which replicas there are."""

    def __init__(self, folder: Path, ports: list[int]) -> None:
        port = free_port()
        replicas = "\n".join(f"    server r{p} 127.0.0.1:{p} disabled" for p in ports)
        self._folder = folder
        self.file = folder / "haproxy.cfg"
        self.file.write_text(CONFIGURATION.format(folder=folder, port=port, replicas=replicas))
        self.url = f"http://127.0.0.1:{port}"

    def set_state(self, port: int, state: str) -> None:
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(str(self._folder / "haproxy.sock"))
            line.sendall(f"set server replicas/r{port} state {state}\n".encode())
            assert line.recv(1000).strip() == b""


@contextmanager
def service(folder: Path, ports: list[int]) -> Iterator[Service]:
    made = Service(folder, ports)
    with (folder / "haproxy.log").open("wb") as log:
        process = subprocess.Popen(["haproxy", "-f", str(made.file), "-db"], stdout=log, stderr=log)
    try:
        wait_for((folder / "haproxy.sock").exists, "HAProxy listens")
        yield made
    finally:
        process.terminate()
        process.wait(10)


class Replica:
    """One server as the Deployment runs it, at another address and beside others."""

    def __init__(self, deployment: Deployment, model: Path, folder: Path, port: int) -> None:
        self.port, self.metrics_port = port, free_port()
        self.last_scrape: Samples = {}
        self._deployment = deployment
        folder.mkdir()
        file = folder / "inferometer.toml"
        file.write_text(deployment.settings.replace(deployment.model[1], str(model)))
        program, verb, config = deployment.command
        self._log = (folder / "server.log").open("wb")
        self.process = subprocess.Popen(
            [
                str(Path(sys.executable).with_name(program)),
                verb,
                f"{config.split('=')[0]}={file}",
            ],
            env=clean_environment()
            | {
                "INFEROMETER_HOST": "127.0.0.1",
                "INFEROMETER_METRICS_HOST": "127.0.0.1",
                "INFEROMETER_PORT": f"{port}",
                "INFEROMETER_METRICS_PORT": f"{self.metrics_port}",
                "INFEROMETER_STORE_PATH": f"/dev/shm/inferometer-rolled-{port}",
                "INFEROMETER_WORKERS": "1",
            },
            stdout=self._log,
            stderr=self._log,
        )

    def is_ready(self) -> bool:
        """Ask once, as the kubelet does."""
        probe = self._deployment.readiness
        url = f"http://127.0.0.1:{self.port}{probe['httpGet']['path']}"
        with suppress(requests.RequestException):
            return requests.get(url, timeout=probe["timeoutSeconds"]).status_code == 200
        return False

    def scrape(self) -> None:
        with suppress(requests.RequestException):
            answer = requests.get(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=10)
            self.last_scrape = samples_of(answer.text)

    def end(self, service: Service) -> float:
        """End it as the kubelet does; return how long that took."""
        begun = time.monotonic()
        self.process.terminate()
        threading.Timer(PROPAGATION_SECONDS, service.set_state, (self.port, "drain")).start()
        assert self.process.wait(self._deployment.grace_seconds) == 0
        return time.monotonic() - begun

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self._log.close()


@dataclass
class Traffic:
    """Callers that ask until they are stopped; each answer is right, or it is remembered."""

    url: str
    answered: int = 0
    lost: list[str] = field(default_factory=list)

    @contextmanager
    def flowing(self) -> Iterator[None]:
        stopped = threading.Event()
        threads = [threading.Thread(target=self._run, args=(stopped,)) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            stopped.set()
            for thread in threads:
                thread.join()

    def _run(self, stopped: threading.Event) -> None:
        session = requests.Session()
        while not stopped.wait(0.02):
            try:
                answer = session.post(self.url, '{"instances":[[2,4]]}', timeout=60)
            except requests.RequestException as error:
                self.lost.append(repr(error))
                continue
            if (answer.status_code, answer.text) != (200, '{"predictions":[[1.0,2.0]]}'):
                self.lost.append(f"{answer.status_code} {answer.text}")
            self.answered += 1


@pytest.mark.slow
def test_roll_out_loses_no_request_and_no_count(models: Path, tmp_path: Path) -> None:
    manifest = deployment()
    ports = [free_port() for _ in range(REPLICAS)]
    replicas: list[Replica] = []
    took: list[float] = []
    name, _ = manifest.model
    with ExitStack() as stack:
        proxy = stack.enter_context(service(tmp_path, ports))

        def start(port: int) -> Replica:
            folder = tmp_path / f"replica-{len(replicas)}"
            replica = Replica(manifest, models / "half", folder, port)
            stack.callback(replica.kill)
            replicas.append(replica)
            return replica

        def join(replica: Replica) -> None:
            wait_for(replica.is_ready, "ready")
            proxy.set_state(replica.port, "ready")

        for replica in [start(port) for port in ports]:
            join(replica)
        traffic = Traffic(f"{proxy.url}/v1/models/{name}:predict")

        def scrape() -> None:
            for replica in replicas:
                replica.scrape()

        with again_and_again(scrape, pause_seconds=0.5):
            with traffic.flowing():
                for replica in replicas[:REPLICAS]:
                    took.append(replica.end(proxy))
                    join(start(replica.port))
                    before = traffic.answered
                    wait_for(lambda n=before: traffic.answered > n + 100, "answers go on")  # type: ignore[misc]
            for replica in replicas[REPLICAS:]:
                replica.process.terminate()
            for replica in replicas[REPLICAS:]:
                assert replica.process.wait(manifest.grace_seconds) == 0

    assert [] == traffic.lost
    assert traffic.answered > 300
    counted = [
        total(replica.last_scrape, "inferometer_requests_total", model=name, code="200")
        for replica in replicas
    ]
    assert all(counted)
    assert traffic.answered == sum(counted)
    assert max(took) < manifest.grace_seconds - 5
