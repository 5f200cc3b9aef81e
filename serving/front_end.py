"""A front-end worker's application: built after the fork, on gevent, without TensorFlow."""

import gc
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, cast

import gevent
from gevent.monkey import get_original
from gevent.threadpool import ThreadPool

from exporter import CollectorSettings, Recorder, Scraper
from serving.app import Application, make_app
from serving.deadlines import TimeLimits
from serving.feedback.assembly import make_feedback
from serving.feedback.keys import written_keys
from serving.gunicorn_server import GunicornServer
from serving.model_table import ModelTable
from serving.process import (
    open_process_recorder,
    read_process_settings,
    start_logging,
    store_path_of,
)
from serving.request_metrics import RequestMetrics
from serving.runner_client import SocketRunnerClient
from serving.settings import Settings

T = TypeVar("T")

TICK_SECONDS = 1.0
PATIENCE_SECONDS = 1.0


def make_application() -> Application:
    """Build everything a front-end needs; called by gunicorn in each worker."""
    settings = read_process_settings(Path(os.environ["INFEROMETER_SETTINGS_FILE"]))
    start_logging(settings, "frontend")
    recorder = _open_recorder(settings)
    metrics = RequestMetrics(recorder, settings.models)
    feedback = make_feedback(
        settings,
        written_keys(store_path_of(settings)),
        recorder,
        waiting=_GeventWaiting(),
        table=lambda: client.table,
    )

    def models_changed(table: ModelTable) -> None:
        metrics.follow_versions(table.served())
        feedback.follow_versions([*table.served(), *table.on_disk])

    client = SocketRunnerClient(settings, models_changed=models_changed)
    client.start(patience_seconds=PATIENCE_SECONDS)
    gevent.spawn(_tick, recorder)
    limits = TimeLimits()
    app = make_app(
        settings,
        client=client,
        metrics=metrics,
        scraper=_scraper(settings),
        time_limit=limits,
        server=GunicornServer(limits),
        feedback=feedback,
    )
    # What has been built by now stays for good: the collector need not look at it again.
    gc.collect()
    gc.freeze()
    return app


def _open_recorder(settings: Settings) -> Recorder:
    # The unpatched lock: greenlets never switch inside a record, and a patched one costs several
    # times as much.
    make_lock = get_original("_thread", "allocate_lock")
    return open_process_recorder(settings, "frontend", make_lock=make_lock)


def _scraper(settings: Settings) -> Scraper:
    store_path = store_path_of(settings)
    collectors = CollectorSettings(((settings.host, settings.port),), store_path=store_path)
    return Scraper(store_path, collectors, folds=False)


def _caught(call: Callable[[], T]) -> tuple[T | None, Exception | None]:
    try:
        return call(), None
    except Exception as error:
        return None, error


def _applied(pool: ThreadPool, call: Callable[[], T]) -> T:
    # A pool prints what is raised in it, which is our caller's to tell.
    found, error = pool.apply(_caught, (call,))
    if error is not None:
        raise error
    return cast("T", found)


class _GeventWaiting:
    """Has what may take long done by a thread, so that other requests go on meanwhile."""

    def __init__(self) -> None:
        # One, since the store takes one call at a time. What computes has others, or labels would
        # wait for an image's pixels: one for labels and one for tokens.
        self._store, self._computer = ThreadPool(1), ThreadPool(2)

    def blocking(self, call: Callable[[], T]) -> T:
        return _applied(self._store, call)

    def computing(self, call: Callable[[], T]) -> T:
        return _applied(self._computer, call)

    def pause(self) -> None:
        gevent.sleep(0)


def _tick(recorder: Recorder) -> None:
    while True:
        recorder.tick()
        gevent.sleep(TICK_SECONDS)
