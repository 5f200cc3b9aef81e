"""Real databases for the tests, each started from Debian's package and ended with the test."""

import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

START_SECONDS = 30.0
OWN_PORTS = (20_000, 32_000)
POSTGRES = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))), None)
HAS_REDIS = shutil.which("redis-server") is not None


def free_port() -> int:
    """Return a port for who must know it beforehand.

    It is none of those that the kernel gives away, to other tests and to every connection.
    """
    while True:
        port = random.randrange(*OWN_PORTS)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


@contextmanager
def redis_server(folder: Path, *, port: int | None = None) -> Iterator[str]:
    """Run a Redis; yield its URL."""
    port = port or free_port()
    command = [
        "redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "",
        "--dir", str(folder), "--appendonly", "yes", "--appendfsync", "always",
    ]  # fmt: skip
    with _running(command, folder / "redis.log", port):
        yield f"redis://127.0.0.1:{port}"


@contextmanager
def postgres_server(folder: Path, *, port: int | None = None) -> Iterator[str]:
    """Run a PostgreSQL, which refuses to be root; yield its URL."""
    assert POSTGRES is not None
    port, data = port or free_port(), folder / "postgres"
    if not data.exists():
        data.mkdir(mode=0o700)
        _give_away(data)
        options = ["--auth=trust", "--username=tester", "--no-sync", "-D", str(data)]
        subprocess.run(
            [*_as_other(), str(POSTGRES.parent / "initdb"), *options],
            check=True, capture_output=True, cwd="/",
        )  # fmt: skip
    command = [
        *_as_other(), str(POSTGRES), "-D", str(data), "-p", str(port), "-k", "",
        "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off",
    ]  # fmt: skip
    with _running(command, folder / "postgres.log", port):
        yield f"postgresql://tester@127.0.0.1:{port}/postgres"


def _as_other() -> list[str]:
    return (
        ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]
        if _is_root()
        else []
    )


def _is_root() -> bool:
    return os.getuid() == 0


def _give_away(path: Path) -> None:
    """Let the other user reach a folder of pytest's, and own it."""
    if _is_root():
        user = pwd.getpwnam("postgres")
        os.chown(path, user.pw_uid, user.pw_gid)
        for parent in path.parents[:-2]:
            parent.chmod(parent.stat().st_mode | 0o011)


@contextmanager
def _running(command: list[str], log: Path, port: int) -> Iterator[None]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, cwd="/")
    try:
        _wait_for(lambda: process.poll() is not None or _listens(port))
        assert process.poll() is None, log.read_text()
        yield
    finally:
        # To PostgreSQL, SIGTERM means to wait for its clients.
        process.send_signal(signal.SIGINT)
        process.wait(START_SECONDS)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _wait_for(condition: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(int(START_SECONDS / 0.05)):
        if condition():
            return
        pause.wait(0.05)
    raise AssertionError("the database did not start")
