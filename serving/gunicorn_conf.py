"""gunicorn's configuration: front-ends that know neither TensorFlow nor each other.

Hooks run in gunicorn's arbiter or worker, where an exception ends the server: they do next to
nothing.
"""

import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import gevent
from gunicorn.workers.ggevent import GeventWorker

from serving.process import read_process_settings, store_path_of

SETTINGS_FILE_VARIABLE = "INFEROMETER_SETTINGS_FILE"
LISTEN_DESCRIPTOR_VARIABLE = "INFEROMETER_LISTEN_DESCRIPTOR"
CLOSE_IDLE_SECONDS = 0.05

_settings = read_process_settings(Path(os.environ[SETTINGS_FILE_VARIABLE]))


class _IdleConnectionEnd(BaseException):
    """Ends the wait for a connection's next request."""


class _Idle:
    """The wait for a connection's next request: ends by itself, or when the worker stops."""

    def __init__(self, idle: set[gevent.Greenlet], seconds: float) -> None:
        self._idle = idle
        self._timeout = gevent.Timeout(seconds, False)  # noqa: FBT003
        self._greenlet = gevent.getcurrent()

    def __enter__(self) -> Self:
        self._idle.add(self._greenlet)
        self._timeout.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        self._idle.discard(self._greenlet)
        suppressed = bool(self._timeout.__exit__(kind, error, trace))
        return suppressed or isinstance(error, _IdleConnectionEnd)


class FrontEndWorker(GeventWorker):  # type: ignore[misc]  # gunicorn is not typed
    """gunicorn's gevent worker, which at shutdown does not wait for idle keep-alive connections."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Begin with no idle connection."""
        super().__init__(*args, **kwargs)
        self._idle: set[gevent.Greenlet] = set()

    def timeout_ctx(self) -> _Idle:
        """Return the context in which a connection's next request is awaited."""
        return _Idle(self._idle, self.cfg.keepalive)

    def handle_exit(self, sig: int, frame: object) -> None:
        """Stop gracefully: requests in flight finish, idle connections close."""
        super().handle_exit(sig, frame)
        gevent.spawn(self._close_idle)

    def _close_idle(self) -> None:
        while True:
            gevent.sleep(CLOSE_IDLE_SECONDS)
            for greenlet in list(self._idle):
                greenlet.kill(_IdleConnectionEnd, block=False)


bind = [f"fd://{os.environ[LISTEN_DESCRIPTOR_VARIABLE]}"]
wsgi_app = "serving.front_end:make_application()"
worker_class = FrontEndWorker
workers = _settings.workers
worker_connections = 2000
keepalive = _settings.keep_alive_seconds
timeout = 60
graceful_timeout = int(_settings.drain_seconds) + 5
# On tmpfs, where touching a file never waits for a disk.
worker_tmp_dir = str(store_path_of(_settings))
control_socket_disable = True
accesslog = None
# A start line for each process is enough, and the supervisor writes one.
loglevel = "warning" if _settings.log_level == "info" else _settings.log_level
proc_name = "inferometer"


def worker_abort(worker: FrontEndWorker) -> None:
    """Note that the worker is killed because it did not answer in time."""
    extensions = getattr(worker.wsgi, "extensions", {})
    if "inferometer" in extensions:
        extensions["inferometer"].note_exit("timeout")
