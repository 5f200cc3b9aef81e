"""The supervisor: starts front-ends, runner and exporter, restarts what dies, ends them in order.

It has one thread, holds the listening sockets so that callers wait in the kernel's queue and are
not refused while a child restarts, and owns the store directory.
"""

import logging
import os
import selectors
import signal
import socket
import time
from pathlib import Path

from exporter import OwnedDirectory, WebConfigFile, default_store_path, read_settings
from serving.children import Child, Command
from serving.errors import SettingsError
from serving.process import write_process_settings
from serving.settings import Settings

LISTEN_BACKLOG = 2048
RUNNER_STOP_SECONDS = 10.0
EXPORTER_STOP_SECONDS = 5.0
# gunicorn looks once a second whether it shall stop; its own graceful timeout comes first.
FRONT_END_STOP_MARGIN_SECONDS = 10.0
SETTINGS_FILE = "settings.json"

logger = logging.getLogger("supervisor")


class Supervisor:
    """One server's processes, from start to end."""

    def __init__(self, settings: Settings) -> None:
        """Bind the ports and take the store directory.

        Raises OSError naming the address, or StoreError, when one of them cannot be had, and the
        exporter's SettingsError for what its variables say: it would be restarted in vain.
        """
        web = read_settings([]).web
        self._is_metrics_secure = WebConfigFile(web.config_file).current().tls is not None
        self._metrics_path = web.telemetry_path
        self._listener = listen(settings.host, settings.port)
        self._metrics_listener = listen(settings.metrics_host, settings.metrics_port)
        port = self._listener.getsockname()[1]
        store_path = settings.store_path or default_store_path(str(port))
        self._directory = OwnedDirectory(store_path.absolute())
        self._settings = settings.model_copy(
            update={
                "port": port,
                "metrics_port": self._metrics_listener.getsockname()[1],
                "store_path": self._directory.path,
                "models": {name: path.resolve() for name, path in settings.models.items()},
            }
        )
        self._signals: list[int] = []
        self._children: list[Child] = []

    def run(self) -> int:
        """Serve until SIGTERM or SIGINT; return the exit code."""
        settings_file = self._directory.path / SETTINGS_FILE
        write_process_settings(self._settings, settings_file)
        wake_reader = self._watch_signals()
        try:
            self._children = [
                Child(self._exporter_command()),
                Child(self._runner_command(settings_file)),
                Child(self._front_end_command(settings_file)),
            ]
            self._announce()
            self._watch(wake_reader)
            self._stop()
        except KeyboardInterrupt:
            logger.warning("stopped at once by a second signal")
            return 1
        finally:
            for child in self._children:
                child.stop(signal.SIGKILL, EXPORTER_STOP_SECONDS)
            self._directory.remove()
        return 0

    def _announce(self) -> None:
        settings = self._settings
        host, metrics_host = settings.host, settings.metrics_host
        logger.info("serving %s on http://%s:%d", ", ".join(settings.models), host, settings.port)
        scheme = "https" if self._is_metrics_secure else "http"
        port, path = settings.metrics_port, self._metrics_path
        logger.info("metrics on %s://%s:%d%s", scheme, metrics_host, port, path)

    def _watch_signals(self) -> socket.socket:
        """Turn signals into bytes on a socket, so that waiting for children wakes up."""
        reader, writer = socket.socketpair()
        writer.setblocking(False)  # noqa: FBT003
        reader.setblocking(False)  # noqa: FBT003
        signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        self._wake_writer = writer
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._take_signal)
        return reader

    def _take_signal(self, number: int, _frame: object) -> None:
        """Stop in order at the first signal, at once at the second."""
        self._signals.append(number)
        if len(self._signals) == 2:  # noqa: PLR2004
            raise KeyboardInterrupt

    def _watch(self, wake_reader: socket.socket) -> None:
        """Restart what dies until a signal says to stop."""
        while not self._signals:
            with selectors.DefaultSelector() as selector:
                selector.register(wake_reader, selectors.EVENT_READ)
                for child in self._children:
                    if child.process is not None:
                        selector.register(child.descriptor, selectors.EVENT_READ, child)
                ready = selector.select(self._seconds_to_restart())
            for key, _ in ready:
                if key.data is not None:
                    code = key.data.ended()
                    logger.warning(
                        "%s ended with %s; restarting it", key.data.name, _exit_text(code)
                    )
            now = time.monotonic()
            for child in self._children:
                if child.restart_at is not None and child.restart_at <= now:
                    child.start()

    def _seconds_to_restart(self) -> float | None:
        planned = [child.restart_at for child in self._children if child.restart_at is not None]
        return max(0.0, min(planned) - time.monotonic()) if planned else None

    def _stop(self) -> None:
        """Let requests in flight finish, then end the runner, and the exporter last."""
        logger.info("stopping")
        exporter, runner, front_end = self._children
        # Without this socket the kernel refuses new connections once the front-ends have closed
        # theirs.
        self._listener.close()
        front_end.stop(signal.SIGTERM, self._settings.drain_seconds + FRONT_END_STOP_MARGIN_SECONDS)
        runner.stop(signal.SIGTERM, RUNNER_STOP_SECONDS)
        self._metrics_listener.close()
        exporter.stop(signal.SIGTERM, EXPORTER_STOP_SECONDS)

    def _front_end_command(self, settings_file: Path) -> Command:
        descriptor = self._listener.fileno()
        environment = _environment() | {
            "INFEROMETER_SETTINGS_FILE": str(settings_file),
            "INFEROMETER_LISTEN_DESCRIPTOR": str(descriptor),
        }
        arguments = ["-m", "gunicorn", "--config", "python:serving.gunicorn_conf"]
        # gunicorn imports from its working directory first; nobody puts packages into this one.
        directory = self._directory.path
        return Command("front-ends", arguments, environment, [descriptor], directory)

    def _runner_command(self, settings_file: Path) -> Command:
        return Command("runner", ["-m", "serving.runner", str(settings_file)], _environment())

    def _exporter_command(self) -> Command:
        settings = self._settings
        descriptor = self._metrics_listener.fileno()
        level = "warn" if settings.log_level == "warning" else settings.log_level
        arguments = [
            "-m", "exporter",
            f"--store.path={settings.store_path}",
            f"--web.listen-descriptor={descriptor}",
            f"--collector.backlog.address={_address_of(self._listener)}",
            f"--log.level={'warn' if level == 'info' else level}",
            "--store.remove-abandoned",
        ]  # fmt: skip
        return Command("exporter", arguments, _environment(), [descriptor])


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket. Raises SettingsError naming the address when it cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=LISTEN_BACKLOG)
    except OSError as error:
        code = error.errno or 0
        reason = os.strerror(code) if code > 0 else str(error)
        raise SettingsError(f"cannot listen on {host}:{port}: {reason}") from error


def _address_of(listener: socket.socket) -> str:
    """Return a listening socket's address, an IP address even where a name was given."""
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if listener.family == socket.AF_INET6 else f"{host}:{port}"


def _environment() -> dict[str, str]:
    """Return the children's environment.

    Ours, less what gunicorn would read settings and sockets from.
    """
    dropped = {
        "GUNICORN_CMD_ARGS",
        "GUNICORN_FD",
        "GUNICORN_PID",
        "LISTEN_PID",
        "LISTEN_FDS",
        "WEB_CONCURRENCY",
    }
    return {name: value for name, value in os.environ.items() if name not in dropped}


def _exit_text(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
