"""A front-end worker's application: built after the fork, on gevent, without TensorFlow."""

import gc
import os
from itertools import chain
from pathlib import Path

import gevent
from gevent.monkey import get_original

from exporter import CollectorSettings, Recorder, Scraper
from serving.app import Application, make_app
from serving.deadlines import TimeLimits
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

TICK_SECONDS = 1.0
PATIENCE_SECONDS = 1.0


def make_application() -> Application:
    """Build everything a front-end needs; called by gunicorn in each worker."""
    settings = read_process_settings(Path(os.environ["INFEROMETER_SETTINGS_FILE"]))
    start_logging(settings, "frontend")
    # The unpatched lock: greenlets never switch inside a record, and a patched one costs several
    # times as much.
    recorder = open_process_recorder(
        settings, "frontend", make_lock=get_original("_thread", "allocate_lock")
    )
    metrics = RequestMetrics(recorder, settings.models)

    def models_changed(table: ModelTable) -> None:
        metrics.follow_versions(chain.from_iterable(table.versions.values()))

    client = SocketRunnerClient(settings, models_changed=models_changed)
    client.start(patience_seconds=PATIENCE_SECONDS)
    gevent.spawn(_tick, recorder)
    store_path = store_path_of(settings)
    collectors = CollectorSettings(((settings.host, settings.port),), store_path=store_path)
    scraper = Scraper(store_path, collectors, folds=False)
    limits = TimeLimits()
    # What has been built by now stays for good: the collector need not look at it again.
    gc.collect()
    gc.freeze()
    return make_app(
        settings,
        client=client,
        metrics=metrics,
        scraper=scraper,
        time_limit=limits,
        server=GunicornServer(limits),
    )


def _tick(recorder: Recorder) -> None:
    while True:
        recorder.tick()
        gevent.sleep(TICK_SECONDS)
