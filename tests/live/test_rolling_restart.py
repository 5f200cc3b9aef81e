"""A roll-out as Kubernetes does it: each replica in turn, and no request and no count is lost.

The replicas run the command line and the settings of the rendered Deployment; readiness is asked
as its probe says, and its grace period is the most that a replica may take to end. HAProxy stands
for the Service: it never tries twice, and learns of a replica that goes only after a while. nginx
is told nothing: it tries the next one where one refuses.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import pytest
import requests

from tests.databases import free_port
from tests.live.deployment import Deployment, deployment
from tests.live.servers import (
    Samples,
    again_and_again,
    clean_environment,
    descendants,
    role_of,
    samples_of,
    total,
    wait_for,
)


def needs(name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(name) is None, reason=f"{name} is not installed")


pytestmark = needs("kubectl")

CLIENTS = 6
# How long a cluster may go on sending requests to a replica that was told to end.
PROPAGATION_SECONDS = 2.0

HAPROXY = """
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


NGINX = """
daemon off;
pid {folder}/nginx.pid;
error_log stderr;
worker_processes 1;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {folder}/bodies;
    proxy_temp_path {folder}/proxied;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream replicas {{
{replicas}
        keepalive 16;
    }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://replicas;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            # A refusal with 503 was not worked on: the next one may be asked.
            proxy_next_upstream error timeout http_503 non_idempotent;
        }}
    }}
}}
"""


class Service(Protocol):
    """What callers reach the replicas by."""

    url: str

    def set_state(self, port: int, state: str) -> None:
        """Have a replica's requests sent there (`ready`) or not (`drain`)."""


class Nginx:
    """nginx, which finds out by itself."""

    def __init__(self, folder: Path, ports: list[int]) -> None:
        port = free_port()
        replicas = "\n".join(f"        server 127.0.0.1:{p};" for p in ports)
        self._file = folder / "nginx.conf"
        self._file.write_text(NGINX.format(folder=folder, port=port, replicas=replicas))
        self.url = f"http://127.0.0.1:{port}"
        self.command = ["nginx", "-p", str(folder), "-c", str(self._file)]
        self.listens = folder / "nginx.pid"

    def set_state(self, port: int, state: str) -> None:
        """Nobody tells it."""


class Haproxy:
    """HAProxy, told which replicas there are."""

    def __init__(self, folder: Path, ports: list[int]) -> None:
        port = free_port()
        replicas = "\n".join(f"    server r{p} 127.0.0.1:{p} disabled" for p in ports)
        self._folder = folder
        file = folder / "haproxy.cfg"
        file.write_text(HAPROXY.format(folder=folder, port=port, replicas=replicas))
        self.url = f"http://127.0.0.1:{port}"
        self.command = ["haproxy", "-f", str(file), "-db"]
        self.listens = folder / "haproxy.sock"

    def set_state(self, port: int, state: str) -> None:
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(str(self._folder / "haproxy.sock"))
            line.sendall(f"set server replicas/r{port} state {state}\n".encode())
            assert line.recv(1000).strip() == b""


@contextmanager
def running(made: Haproxy | Nginx, folder: Path) -> Iterator[Service]:
    with (folder / "balancer.log").open("wb") as log:
        process = subprocess.Popen(made.command, stdout=log, stderr=log)
    try:
        wait_for(made.listens.exists, "the balancer listens")
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

    def kill_runner(self) -> None:
        [runner] = [pid for pid in descendants(self.process.pid) if role_of(pid) == "runner"]
        os.kill(runner, signal.SIGKILL)
        wait_for(lambda: not self.is_ready(), "it is not ready")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self._log.close()


@dataclass
class Traffic:
    """Callers that ask until they are stopped; each answer is right, or it is remembered."""

    url: str
    answered: int = 0
    # Refused for the moment, with the time after which it is worth trying again.
    refused: int = 0
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
            if answer.status_code == 503 and answer.headers.get("Retry-After"):
                self.refused += 1
                continue
            if (answer.status_code, answer.text) != (200, '{"predictions":[[1.0,2.0]]}'):
                self.lost.append(f"{answer.status_code} {answer.text}")
            self.answered += 1


class Fleet:
    """The replicas behind a balancer, those that were replaced among them."""

    def __init__(self, service: Service, model: Path, folder: Path, stack: ExitStack) -> None:
        self.service = service
        self.manifest = deployment()
        self.replicas: list[Replica] = []
        self._model, self._folder, self._stack = model, folder, stack

    def start(self, port: int) -> Replica:
        folder = self._folder / f"replica-{len(self.replicas)}"
        replica = Replica(self.manifest, self._model, folder, port)
        self._stack.callback(replica.kill)
        self.replicas.append(replica)
        return replica

    def join(self, replica: Replica) -> None:
        wait_for(replica.is_ready, "ready")
        self.service.set_state(replica.port, "ready")

    def scrape(self) -> None:
        for replica in self.replicas:
            replica.scrape()

    def replace(self, replica: Replica) -> float:
        """End a replica and wait until the one in its place is asked; return how long it took."""
        took = replica.end(self.service)
        self.join(self.start(replica.port))
        wait_for(lambda: self.counted("200")[-1] > 30, "the new one is asked, too")
        return took

    def end(self) -> None:
        """End those that still run."""
        running = [replica for replica in self.replicas if replica.process.poll() is None]
        for replica in running:
            replica.process.terminate()
        for replica in running:
            assert replica.process.wait(self.manifest.grace_seconds) == 0

    def counted(self, code: str) -> list[float]:
        """Return what each replica had counted when it was scraped last."""
        name, _ = self.manifest.model
        return [
            total(replica.last_scrape, "inferometer_requests_total", model=name, code=code)
            for replica in self.replicas
        ]


@contextmanager
def fleet_of(
    number: int, balancer: type[Haproxy | Nginx], model: Path, folder: Path
) -> Iterator[tuple[Fleet, Traffic]]:
    """Yield so many replicas under load; afterwards all have ended and were scraped to the last."""
    ports = [free_port() for _ in range(number)]
    with ExitStack() as stack:
        service = stack.enter_context(running(balancer(folder, ports), folder))
        fleet = Fleet(service, model, folder, stack)
        for replica in [fleet.start(port) for port in ports]:
            fleet.join(replica)
        name, _ = fleet.manifest.model
        traffic = Traffic(f"{service.url}/v1/models/{name}:predict")
        with again_and_again(fleet.scrape, pause_seconds=0.5):
            with traffic.flowing():
                yield fleet, traffic
            fleet.end()


@pytest.mark.slow
@needs("haproxy")
def test_roll_out_loses_no_request_and_no_count(models: Path, tmp_path: Path) -> None:
    with fleet_of(3, Haproxy, models / "half", tmp_path) as (fleet, traffic):
        first, second, third = fleet.replicas
        took = [fleet.replace(first), fleet.replace(second)]
        # So far nothing was refused. While a runner is gone, requests are: each is counted.
        assert 0 == traffic.refused
        third.kill_runner()
        wait_for(third.is_ready, "its next runner serves")
        answered = traffic.answered
        wait_for(lambda: traffic.answered > answered + 100, "answers go on")
        refused = traffic.refused
        took.append(fleet.replace(third))

    check(fleet, traffic, took)
    assert 0 < refused == traffic.refused == sum(fleet.counted("503"))


@pytest.mark.slow
@needs("nginx")
def test_balancer_that_tries_the_next_replica_need_not_be_told(
    models: Path, tmp_path: Path
) -> None:
    with fleet_of(2, Nginx, models / "half", tmp_path) as (fleet, traffic):
        took = [fleet.replace(replica) for replica in list(fleet.replicas)]

    check(fleet, traffic, took)
    assert 0 == traffic.refused


def check(fleet: Fleet, traffic: Traffic, took: list[float]) -> None:
    """Check that every request was answered well and counted, and every replica ended in time."""
    assert [] == traffic.lost
    assert traffic.answered > 300
    answered = fleet.counted("200")
    assert all(answered)
    assert traffic.answered == sum(answered)
    assert max(took) < fleet.manifest.grace_seconds - 5
