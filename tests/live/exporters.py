"""Exporters that run alone, for the tests."""

import contextlib
import os
import re
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path

from tests.live.servers import wait_for

ADDRESS = re.compile(r"metrics on https?://127\.0\.0\.1:(\d+)")


class Exporter:
    """A running exporter."""

    def __init__(self, log: Path, ports: list[int], process: subprocess.Popen[str]) -> None:
        self.log, self.ports, self.process = log, ports, process

    def get(
        self, path: str = "/metrics", method: str = "GET", port: int = 0, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        connection = HTTPConnection("127.0.0.1", self.ports[port], timeout=20)
        with contextlib.closing(connection):
            connection.request(method, path, headers=headers)
            answer = connection.getresponse()
            return answer.status, dict(answer.headers), answer.read()


@contextlib.contextmanager
def exporter(
    store_path: Path, *flags: str, addresses: int = 1, **environment: str
) -> Iterator[Exporter]:
    with tempfile.NamedTemporaryFile("w", suffix=".log") as stream:
        log = Path(stream.name)
        process = subprocess.Popen(
            [sys.executable, "-m", "exporter", f"--store.path={store_path}", *flags],
            stderr=stream,
            text=True,
            env={
                **os.environ,
                "INFEROMETER_EXPORTER_WEB_LISTEN_ADDRESS": ",".join(["127.0.0.1:0"] * addresses),
                **environment,
            },
        )
        try:
            ports = wait_for(lambda: _ports(log, process, addresses), "the exporter listens")
            yield Exporter(log, ports, process)
        finally:
            if process.poll() is None:
                process.terminate()
                assert process.wait(10) == 0


def _ports(log: Path, process: "subprocess.Popen[str]", addresses: int) -> list[int]:
    """Return the ports once all are in the log; none before."""
    text = log.read_text()
    assert process.poll() is None, text
    ports = [int(port) for port in ADDRESS.findall(text)]
    return ports if len(ports) == addresses else []


def certificate(folder: Path, name: str, *signing: str) -> None:
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "2", "-keyout", f"{folder}/{name}.key"),
            *("-out", f"{folder}/{name}.crt", "-subj", f"/CN={name}"),
            *("-addext", f"subjectAltName=DNS:{name}", *signing),
        ],
        check=True,
        capture_output=True,
    )


def over_tls(port: int, context: ssl.SSLContext) -> int:
    connection = HTTPSConnection("127.0.0.1", port, timeout=10, context=context)
    with contextlib.closing(connection):
        connection.request("GET", "/metrics")
        return connection.getresponse().status
