"""The exporter process: `inferometer exporter`, alone or started by `inferometer serve`."""

import contextlib
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from exporter.catalogue import CATALOGUE
from exporter.directory import block_paths, open_directory, remove_when_abandoned
from exporter.errors import ExporterError, SettingsError, StoreError
from exporter.gpu.relay import remove_relayed
from exporter.http import ExporterServer, Site, listen
from exporter.log import start_logging
from exporter.null_recorder import NullRecorder
from exporter.recorder import Recorder, open_recorder
from exporter.scrape import Scraper
from exporter.settings import ExporterSettings, WebSettings, read_settings
from exporter.web_config import WebConfigFile

# EX_TEMPFAIL of sysexits.h: whoever looks after this process starts another.
ANOTHER_TAKES_OVER = 75
FOLD_SECONDS = 2.0
TICK_SECONDS = 1.0
# How long the processes of a supervisor that was killed may take to end before the store is
# removed.
ABANDONED_SECONDS = 15.0
ABANDONED_POLL_SECONDS = 0.1

logger = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the exporter until SIGTERM or SIGINT; return 0, 1 for a failure, 2 for wrong usage."""
    try:
        settings = read_settings(sys.argv[1:] if arguments is None else arguments)
    except SettingsError as error:
        print(f"inferometer exporter: {error}", file=sys.stderr)
        return 2
    start_logging(settings.log_level, settings.log_format)
    try:
        _run(settings)
    except SettingsError as error:
        print(f"inferometer exporter: {error}", file=sys.stderr)
        return 2
    except (ExporterError, OSError) as error:
        print(f"inferometer exporter: {error}", file=sys.stderr)
        return 1
    return 0


def _run(settings: ExporterSettings) -> None:
    stopping = threading.Event()
    lingers = True

    def stop(number: int, _frame: object) -> None:
        nonlocal lingers
        # A terminal's Ctrl-C waits for nothing.
        lingers = lingers and number == signal.SIGTERM
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    open_directory(settings.store_path)
    web = settings.web
    config = WebConfigFile(web.config_file)
    recorder = _open_recorder(settings)
    listeners = _listeners(web)
    endings = contextlib.ExitStack()
    leave = _way_out(recorder, listeners, stopping)
    scraper = _scraper(settings, recorder, leave, endings)
    site = Site(
        scraper, config,
        metrics_path=web.telemetry_path, max_requests=web.max_requests, remark=_remark(settings),
    )  # fmt: skip
    servers = [ExporterServer(listener, site) for listener in listeners]
    scraper.families()  # Ready means that the store could be merged.
    _serve(servers, "https" if config.current().tls else "http", web.telemetry_path)
    while not stopping.wait(FOLD_SECONDS):
        scraper.fold()
    if lingers and settings.linger_seconds:
        scraper.fold()
        site.last_scrape.wait_for_another(settings.linger_seconds)
    for server in servers:
        server.shutdown()
        server.server_close()
    endings.close()
    recorder.close()
    if settings.removes_abandoned_store:
        _remove_abandoned_store(settings)


def _scraper(
    settings: ExporterSettings,
    recorder: Recorder,
    leave: Callable[[str], None],
    endings: contextlib.ExitStack,
) -> Scraper:
    if "gpu" in settings.collectors.disabled:
        remove_relayed(settings.store_path)  # What one before may have passed on.
    collectors = replace(
        settings.collectors, recorder=lambda: recorder, leave=leave, at_end=endings.callback
    )
    return Scraper(settings.store_path, collectors, folds=True, settings=settings.exposition)


def _serve(servers: Sequence[ExporterServer], scheme: str, path: str) -> None:
    for server in servers:
        threading.Thread(target=server.serve_forever, name="http", daemon=True).start()
        host, port = str(server.server_address[0]), server.server_address[1]
        name = f"[{host}]" if ":" in host else host
        logger.info("metrics on %s://%s:%d%s", scheme, name, port, path)


def _way_out(
    recorder: Recorder, listeners: Sequence[socket.socket], stopping: threading.Event
) -> Callable[[str], None]:
    def leave(cause: str) -> None:
        """End at once, unless the process ends already.

        Until all threads have ended what is open stays open: it is closed.
        """
        if stopping.is_set():
            return
        logger.critical("this process ends with code %d; another is to begin", ANOTHER_TAKES_OVER)
        try:
            recorder.note_exit(cause)
            recorder.close()
            for listener in listeners:
                listener.close()
        finally:
            os._exit(ANOTHER_TAKES_OVER)

    return leave


def _remark(settings: ExporterSettings) -> str:
    gpu = settings.collectors.gpu
    return "The GPUs are simulated." if gpu is not None and gpu.simulated else ""


def _open_recorder(settings: ExporterSettings) -> Recorder:
    """Open the exporter's own block; where that cannot be, it still serves the others'."""
    try:
        return open_recorder(
            settings.store_path, "exporter", families=CATALOGUE, tick_seconds=TICK_SECONDS
        )
    except StoreError as error:
        logger.error("this process is not on /metrics: %s", error)  # noqa: TRY400
        return NullRecorder(CATALOGUE)


def _listeners(web: WebSettings) -> list[socket.socket]:
    if web.listen_descriptor is not None:
        return [socket.socket(fileno=web.listen_descriptor)]
    return [listen(address) for address in web.listen_addresses]


def _remove_abandoned_store(settings: ExporterSettings) -> None:
    """Clean up after a supervisor that was killed.

    Its other processes end first, then the store goes.
    """
    # Without GPUs: this only tidies up.
    quiet = replace(settings.collectors, gpu=None, store_path=None)
    reader = Scraper(settings.store_path, quiet, folds=True)
    deadline = time.monotonic() + ABANDONED_SECONDS
    while time.monotonic() < deadline:
        try:
            reader.fold()
            if not block_paths(settings.store_path):
                break
        except StoreError:
            return
        time.sleep(ABANDONED_POLL_SECONDS)
    remove_when_abandoned(settings.store_path)


if __name__ == "__main__":
    sys.exit(main())
