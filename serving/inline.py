"""`--inline`: model and application in one process, with threads in place of sockets.

For tests, notebooks and debugging: a breakpoint in any of it stops all of it. The same queue,
batcher and application are used, behind the same interface.
"""

import logging
import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import TypeVar

from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from exporter import (
    CATALOGUE,
    CollectorSettings,
    ExporterServer,
    Family,
    OwnedDirectory,
    Recorder,
    Scraper,
    Site,
    default_store_path,
)
from serving.app import Application, make_app
from serving.codecs.base import DecodedRequest
from serving.errors import DeadlineExceeded, InternalError
from serving.feedback.assembly import Feedback, make_feedback
from serving.feedback.keys import keys_for_this_run
from serving.model import ModelVersion
from serving.model_table import ModelTable, merged, table_of
from serving.prediction import Call, Control, ControlOutcome, Prediction
from serving.process import open_process_recorder, store_path_of
from serving.request_metrics import RequestMetrics
from serving.runner.incoming import not_served
from serving.runner.job import BatchKey, Job
from serving.runner.runner import Runner
from serving.settings import Settings
from serving.supervisor import listen
from serving.wsgi_server import PlainServer

T = TypeVar("T")

NANOSECONDS = 1e9
BROKEN_DEVICE_STATUS = 3

logger = logging.getLogger("inline")


class InlineRunnerClient:
    """Puts rows straight into the queues of a runner in this process."""

    def __init__(self, runner: Runner, labels: dict[str, dict[str, str]]) -> None:
        """Know no models before the start."""
        self.table = ModelTable(labels=labels)
        self._runner = runner
        self._catalog = runner.catalog
        self._labels = labels
        self._follow: Callable[[ModelTable], None]

    def start(self, *, models_changed: Callable[[ModelTable], None]) -> None:
        """Start the runner's threads and the loading of its models.

        `models_changed` gets every table before it is used.
        """
        self._follow = models_changed
        self._runner.start(announce=self._models_changed, after_batch=lambda: None)
        self._runner.loader.start()

    @property
    def is_connected(self) -> bool:
        """Always: the runner is this process."""
        return True

    def predict(self, version: ModelVersion, request: DecodedRequest, call: Call) -> Prediction:
        """Queue the rows and wait for their outputs until the deadline."""
        served = self._catalog.find(version.model, version.version)
        if served is None:
            raise not_served(self._catalog, version.model, version.version)
        answered = threading.Event()
        is_batchable = served.batchable[request.signature]
        job = _make_job(version, request, call, answered, is_batchable=is_batchable)
        queue = self._runner.queues[version.model]
        queue.offer(job)
        queue.wake()
        if not answered.wait(max(0.0, (call.deadline_ns - time.monotonic_ns()) / NANOSECONDS)):
            queue.remove(job)
            raise DeadlineExceeded("the deadline passed before the model had answered")
        return _prediction(job)

    def not_ready(self) -> list[str]:
        """Return why each model that is not ready is not."""
        return self.table.not_ready()

    def control(self, action: str, model: str) -> ControlOutcome:
        """Have a model loaded or unloaded; return when it is done."""
        outcomes: SimpleQueue[ControlOutcome] = SimpleQueue()
        self._runner.loader.control(Control(action, model, outcomes.put))
        return outcomes.get()

    def _models_changed(self) -> None:
        table = merged([table_of(self._catalog.announced())], self._labels)
        self._follow(table)
        self.table = table


def make_inline_app(settings: Settings) -> Application:
    """Return the application with its runner inside, for `app.test_client()` or any WSGI server.

    `settings.store_path` must name a directory; TensorFlow is imported here.
    """
    from serving.runner import tensorflow_model
    from serving.runner.__main__ import device_name

    tensorflow_model.configure(
        intra_op_threads=settings.effective_intra_op_threads,
        inter_op_threads=settings.effective_inter_op_threads,
        gpu_memory_growth=settings.gpu_memory_growth,
        gpu_memory_limit_bytes=settings.gpu_memory_limit_bytes,
    )
    recorder = open_process_recorder(settings, "frontend", families=_families_of_one_process())
    metrics = RequestMetrics(recorder, settings.models)
    has_gpu = tensorflow_model.has_gpu()
    runner = _make_runner(settings, recorder, device_name(has_gpu=has_gpu), has_gpu=has_gpu)
    labels = {model: settings.labels(model) for model in settings.models}
    client = InlineRunnerClient(runner, labels)
    feedback = make_feedback(
        settings,
        keys_for_this_run(settings),
        recorder,
        waiting=_PlainWaiting(),
        table=lambda: client.table,
    )
    client.start(models_changed=partial(_follow, metrics, feedback))
    return make_app(
        settings,
        client=client,
        metrics=metrics,
        scraper=_scraper(settings),
        time_limit=_no_time_limit,
        server=PlainServer(),
        feedback=feedback,
    )


def _make_runner(settings: Settings, recorder: Recorder, device: str, *, has_gpu: bool) -> Runner:
    return Runner(
        settings,
        recorder,
        number=0,
        device=device,
        has_gpu=has_gpu,
        give_up=partial(_end_process, store_path_of(settings)),
    )


def _follow(metrics: RequestMetrics, feedback: Feedback, table: ModelTable) -> None:
    metrics.follow_versions(table.served())
    feedback.follow_versions([*table.served(), *table.on_disk])


class _PlainWaiting:
    """Waits: each request has a thread of its own."""

    def blocking(self, call: Callable[[], T]) -> T:
        return call()

    def computing(self, call: Callable[[], T]) -> T:
        return call()

    def pause(self) -> None:
        pass


def serve_inline(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; return the exit code."""
    listener = listen(settings.host, settings.port)
    metrics_listener = listen(settings.metrics_host, settings.metrics_port)
    port = listener.getsockname()[1]
    directory = OwnedDirectory(settings.store_path or default_store_path(str(port)))
    settings = settings.model_copy(update={"port": port, "store_path": directory.path})
    try:
        server = _make_server(settings, listener)
        exporter = ExporterServer(metrics_listener, Site(_scraper(settings)))
        for thread_target in (server.serve_forever, exporter.serve_forever):
            threading.Thread(target=thread_target, daemon=True).start()
        logger.info("serving %s on http://%s:%d", ", ".join(settings.models), settings.host, port)
        logger.info("metrics on http://%s:%d/metrics", *exporter.server_address[:2])
        signal.sigwait({signal.SIGTERM, signal.SIGINT})
    finally:
        directory.remove()
    return 0


def _make_server(settings: Settings, listener: socket.socket) -> BaseWSGIServer:
    # Blocked before any thread starts, so that only the main thread takes them.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    return make_server(
        settings.host,
        settings.port,
        make_inline_app(settings),
        threaded=True,
        request_handler=_KeepAliveHandler,
        fd=listener.fileno(),
    )


class _KeepAliveHandler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_request(self, *_arguments: object) -> None:
        """Log nothing per request."""


def _end_process(store_path: Path, reason: str) -> None:
    """End at once: the device is of no use, and there is no other process to restart this one."""
    logger.critical("%s", reason)
    shutil.rmtree(store_path, ignore_errors=True)
    logging.shutdown()
    os._exit(BROKEN_DEVICE_STATUS)


def _scraper(settings: Settings) -> Scraper:
    assert settings.store_path is not None
    addresses = CollectorSettings(((settings.host, settings.port),))
    return Scraper(settings.store_path, addresses, folds=True)


def _families_of_one_process() -> tuple[Family, ...]:
    """Return the catalogue with everything that any role records recorded by this one process."""
    return tuple(
        replace(family, recorded_by=("frontend",)) if family.recorded_by else family
        for family in CATALOGUE
    )


def _make_job(
    version: ModelVersion,
    request: DecodedRequest,
    call: Call,
    answered: threading.Event,
    *,
    is_batchable: bool,
) -> Job:
    specs = version.signatures[request.signature].inputs
    inputs = tuple(request.inputs[spec.name] for spec in specs)
    shapes = tuple(
        (spec.datatype, array.shape[1:]) for spec, array in zip(specs, inputs, strict=True)
    )
    return Job(
        model=version.model,
        version=version.version,
        signature=request.signature,
        inputs=inputs,
        rows=request.rows,
        size_bytes=sum(array.nbytes for array in inputs),
        key=BatchKey(version.version, request.signature, shapes, is_batchable),
        deadline_ns=call.deadline_ns,
        answer=lambda _job: answered.set(),
        wanted=request.outputs,
        priority=call.priority,
    )


def _prediction(job: Job) -> Prediction:
    stamps = (job.taken_ns, job.assembled_ns, job.computed_ns)
    if job.error is not None:
        job.error.stamps = stamps
        raise job.error
    if job.outputs is None or job.batch is None:
        raise InternalError("the server failed; its log says why")
    names = job.wanted or tuple(job.outputs)
    return Prediction({name: job.outputs[name] for name in names}, stamps, job.batch)


@contextmanager
def _no_time_limit(_seconds: float) -> Iterator[None]:
    """Do not bound reading: without greenlets only the socket's own timeout can."""
    yield
