"""The supervisor: starts front-ends, runner and exporter, restarts what dies, ends them in order.

It has one thread, holds the listening sockets so that callers wait in the kernel's queue and are
not refused while a child restarts, and owns the store directory.
"""

import logging
import os
import resource
import selectors
import signal
import socket
import time
from pathlib import Path

from exporter import OwnedDirectory, WebConfigFile, default_store_path, read_settings
from serving.children import Child, Command, reap_adopted
from serving.devices import devices_of
from serving.errors import SettingsError
from serving.feedback.keys import keys_for_this_run, write_keys
from serving.process import write_process_settings
from serving.runner_watch import RunnerWatch
from serving.settings import Settings
from serving.status_page import Phase, RunnerStatus, ServerState

LISTEN_BACKLOG = 2048
UNREAD_SECONDS = 30.0
EXPORTER_STOP_SECONDS = 5.0
# Time to answer what has been given up, and for gunicorn, which looks once a second.
GIVE_UP_SECONDS = 2.0
STOP_MARGIN_SECONDS = 3.0
WATCH_SECONDS = 1.0
# A runner that ends so often without ever having been ready is a broken configuration.
MOST_FAILED_STARTS = 5
SETTINGS_FILE = "settings.json"
MOST_DESCRIPTORS = 1 << 16

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
        devices = devices_of(settings)
        store_path = settings.store_path or default_store_path(str(port))
        self._directory = OwnedDirectory(store_path.absolute())
        self._settings = settings.model_copy(
            update={
                "port": port,
                "metrics_port": self._metrics_listener.getsockname()[1],
                "store_path": self._directory.path,
                # Not resolved: a link that is turned to another folder is followed.
                "models": {name: path.absolute() for name, path in settings.models.items()},
                "runners": len(devices),
            }
        )
        self._devices = devices
        self._state = ServerState(self._settings)
        self._state.phase = Phase.SERVING
        self._signals: list[int] = []
        self._runners: list[RunnerWatch] = []
        self._children: list[Child] = []

    def run(self) -> int:
        """Serve until SIGTERM or SIGINT; return the exit code."""
        _raise_descriptor_limit()
        settings_file = self._directory.path / SETTINGS_FILE
        write_process_settings(self._settings, settings_file)
        write_keys(keys_for_this_run(self._settings), self._directory.path)
        wake_reader = self._watch_signals()
        try:
            self._exporter = Child(self._exporter_command())
            self._runners = [
                RunnerWatch(
                    Child(self._runner_command(settings_file, number, device)),
                    RunnerStatus(self._settings, number),
                    self._settings,
                )
                for number, device in enumerate(self._devices)
            ]
            self._front_end = Child(self._front_end_command(settings_file))
            self._children = [
                self._exporter,
                *(runner.child for runner in self._runners),
                self._front_end,
            ]
            self._announce()
            has_failed = self._watch(wake_reader)
            self._stop(is_hurried=signal.SIGINT in self._signals or has_failed)
            if has_failed:
                return 1
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
            # nohup(1) means that one; who is started with & by a shell has SIGINT ignored, too.
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._take_signal)
        return reader

    def _take_signal(self, number: int, _frame: object) -> None:
        """Stop in order at the first signal, at once at the second."""
        self._signals.append(number)
        if len(self._signals) == 2:  # noqa: PLR2004
            raise KeyboardInterrupt

    def _watch(self, wake_reader: socket.socket) -> bool:
        """Restart what dies until a signal says to stop, or a runner never becomes ready.

        Return whether it was the latter.
        """
        while not self._signals:
            self._state.beat()
            self._wait_for_ends(wake_reader, self._seconds_to_restart())
            reap_adopted(self._children)
            for runner in self._runners:
                runner.end_if_hung()
                if runner.failed_starts >= MOST_FAILED_STARTS:
                    logger.critical(
                        "a runner ended %d times and was never ready; the log above says why",
                        runner.failed_starts,
                    )
                    return True
            now = time.monotonic()
            for child in self._children:
                if child.restart_at is not None and child.restart_at <= now:
                    child.restart()
        return False

    def _wait_for_ends(self, wake_reader: socket.socket, seconds: float) -> None:
        """Wait for children to end, a signal, or so many seconds; reap what has ended."""
        # Not epoll, which needs a descriptor of its own.
        with selectors.PollSelector() as selector:
            selector.register(wake_reader, selectors.EVENT_READ)
            for child in self._children:
                if child.process is not None:
                    selector.register(child.descriptor, selectors.EVENT_READ, child)
            ready = selector.select(seconds)
        for key, _ in ready:
            if key.data is None:
                continue
            code = key.data.ended()
            logger.warning("%s ended with %s; restarting it", key.data.name, _exit_text(code))
            for runner in self._runners:
                if runner.child is key.data:
                    runner.note_end()

    def _seconds_to_restart(self) -> float:
        planned = [child.restart_at for child in self._children if child.restart_at is not None]
        if not planned:
            return WATCH_SECONDS
        return min(WATCH_SECONDS, max(0.0, min(planned) - time.monotonic()))

    def _stop(self, *, is_hurried: bool) -> None:
        """End in order: let routers notice, finish what is under way, then the rest.

        `is_hurried` skips the waits for others: routers and the last scrape.
        """
        settings = self._settings
        logger.info("stopping")
        self._state.phase = Phase.LEAVING
        if not is_hurried:
            time.sleep(settings.pre_stop_seconds)
        self._state.phase = Phase.CLOSED
        # Without this socket the kernel refuses new connections once the front-ends have closed
        # theirs.
        self._listener.close()
        front_end = self._front_end
        front_end.send(signal.SIGTERM)
        if not front_end.wait(settings.drain_seconds):
            self._state.phase = Phase.GIVING_UP
            if not front_end.wait(GIVE_UP_SECONDS):
                front_end.send(signal.SIGQUIT)
        front_end.stop(None, STOP_MARGIN_SECONDS)
        for runner in self._runners:
            runner.child.send(signal.SIGTERM)
        deadline = time.monotonic() + settings.runner_stop_seconds + STOP_MARGIN_SECONDS
        for runner in self._runners:
            runner.child.stop(None, max(0.0, deadline - time.monotonic()))
        self._metrics_listener.close()
        number = signal.SIGINT if is_hurried else signal.SIGTERM
        self._exporter.stop(number, settings.linger_seconds + EXPORTER_STOP_SECONDS)

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

    def _runner_command(self, settings_file: Path, number: int, device: str) -> Command:
        environment = _environment()
        if device:
            environment["CUDA_VISIBLE_DEVICES"] = device
        arguments = ["-m", "serving.runner", str(settings_file), str(number)]
        name = "runner" if len(self._devices) == 1 else f"runner {number}"
        return Command(name, arguments, environment)

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
            f"--web.linger-seconds={settings.linger_seconds}",
            "--store.remove-abandoned",
        ]  # fmt: skip
        return Command("exporter", arguments, _environment(), [descriptor])


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket. Raises SettingsError naming the address when it cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=LISTEN_BACKLOG)
        # Accepted connections have it too: who does not read what is sent is not waited for.
        milliseconds = int(1000 * UNREAD_SECONDS)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
    except OSError as error:
        code = error.errno or 0
        reason = os.strerror(code) if code > 0 else str(error)
        raise SettingsError(f"cannot listen on {host}:{port}: {reason}") from error
    return listener


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
    # Real-time signals have no names.
    names = {-each.value: f"signal {each.name}" for each in signal.Signals}
    return names.get(code, f"exit code {code}" if code >= 0 else f"signal {-code}")


def _raise_descriptor_limit() -> None:
    """Let the children have as many connections as the host allows, not the usual 1,024 files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MOST_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
