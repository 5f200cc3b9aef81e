"""The settings of `inferometer serve`: one frozen object, checked as a whole.

Defaults that are not obvious say why where they stand. `settings_reading.py` knows where the
settings come from.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, SecretStr, model_validator

from serving.cores import usable_cores
from serving.settings_feedback import FeedbackSettings
from serving.settings_forms import (
    ALL_MODELS,
    none_if_empty,
    split_by_model,
    split_labels,
    split_list,
    split_models,
)
from serving.version_policy import VersionPolicy, canonical_version, parse_version_policy

ENVIRONMENT_PREFIX = "INFEROMETER_"
EXPORTER_PREFIX = "INFEROMETER_EXPORTER_"

MODEL_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
LABEL = re.compile(r"[A-Za-z0-9_]{1,64}")
# The statistics route of the Open Inference Protocol takes this name's place.
RESERVED_MODEL_NAMES = frozenset({"stats"})

MEBIBYTE = 1 << 20
MOST_SECONDS = 86_400


class Settings(FeedbackSettings):
    """Everything `inferometer serve` can be told."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    models: Annotated[dict[str, Path], BeforeValidator(split_models)] = Field(
        default_factory=dict, description="models to serve, each NAME=PATH"
    )
    versions: Annotated[dict[str, str], BeforeValidator(split_by_model)] = Field(
        default_factory=lambda: {ALL_MODELS: "latest:1"},
        description="version folders to serve: latest:N, all or 1+3; or MODEL=… for each model",
    )
    version_labels: Annotated[dict[str, dict[str, str]], BeforeValidator(split_labels)] = Field(
        default_factory=dict, description="names of versions, each MODEL:LABEL=VERSION"
    )
    host: str = Field("127.0.0.1", description="address the server listens on")
    port: int = Field(
        8501, ge=0, le=65535, description="port of the server; 0 lets the kernel choose"
    )
    metrics_host: str = Field("127.0.0.1", description="address the exporter listens on")
    metrics_port: int = Field(8502, ge=0, le=65535, description="port of the exporter's /metrics")
    # One front-end fills about one core; the runner and the kernel need the rest.
    workers: int = Field(
        default_factory=lambda: min(8, usable_cores()),
        ge=1,
        le=256,
        description="front-end processes",
    )
    runners: int | None = Field(
        None, ge=1, le=64, description="model processes; default: one per GPU, else one"
    )
    inline: bool = Field(
        default=False, description="one process for model and application, for debugging"
    )
    store_path: Path | None = Field(
        None, description="directory of the metric store, on tmpfs; default: by port in /dev/shm"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="least severe level that is logged"
    )

    # 64 rows of a small dense network take about twice as long as one; beyond that latency grows
    # faster than throughput.
    max_batch_rows: int = Field(64, ge=1, le=1024, description="most rows in one device call")
    allowed_batch_rows: Annotated[tuple[int, ...], BeforeValidator(split_list)] = Field(
        (), description="batch sizes to pad to, rising; empty: any on a CPU, powers of two on a GPU"
    )
    # An idle device never waits; rows gather by themselves while it is busy.
    max_delay_seconds: float = Field(
        0.0, ge=0, le=10, description="how long an idle device waits for more rows"
    )
    # 16 full batches, so the longest wait is about 16 device calls.
    queue_limit_rows: int = Field(1024, ge=2, description="rows a model's queue may hold")
    # Four of the largest requests; rows alone do not bound memory.
    queue_limit_bytes: int = Field(
        256 * MEBIBYTE, ge=1, description="bytes of tensors the runner's queues may hold"
    )
    # Every shape is a queue of its own that never fills.
    queue_limit_keys: int = Field(64, ge=1, description="distinct row shapes waiting per model")
    # On a CPU more than one only divides the cores; on a GPU one batch may be assembled while
    # another computes.
    instances: int = Field(1, ge=1, le=16, description="batches computed at once, per model")
    # A request that must come late costs device time others need.
    admission_control: bool = Field(
        default=True, description="refuse at once what its deadline would catch in the queue"
    )
    # Low priority is delayed, never starved.
    priority_aging_seconds: float = Field(
        1.0, ge=0.001, le=3600, description="wait after which a request moves up a priority class"
    )
    # One client's bad input must not slow everyone.
    isolation_share: float = Field(
        0.1, ge=0, le=1, description="most of the time spent on finding bad rows in failed batches"
    )
    batching: Literal["auto", "off", "force"] = Field(
        "auto", description="auto batches where rows are independent; off never; force unchecked"
    )
    poll_seconds: float = Field(
        5.0, gt=0, le=3600, description="how often the model folders are looked at"
    )
    # A half-copied folder or a short lack of memory heals; a broken model must not load for ever.
    load_retries: int = Field(5, ge=0, description="further attempts to load a broken version")
    load_retry_seconds: float = Field(
        5.0, gt=0, description="wait before the first of them, doubled for each up to 300"
    )
    swap: Literal["beside", "stop_first"] = Field(
        "beside", description="stop_first where memory holds one version only"
    )
    # As long as a request can live.
    drain_version_seconds: float = Field(
        30.0, ge=0, description="how long requests of a version that goes may take"
    )
    intra_op_threads: int | None = Field(
        None,
        ge=1,
        description="TensorFlow's threads within an operation; default: cores less workers",
    )
    # More made no network faster; with less than one a model's batch would wait for another's.
    inter_op_threads: int | None = Field(
        None,
        ge=1,
        description="TensorFlow's threads across operations; default: one per model and instance",
    )
    gpu_memory_growth: bool = Field(
        default=True, description="let TensorFlow take GPU memory as needed, not all at start"
    )
    gpu_memory_limit_bytes: int | None = Field(
        None, ge=1, description="GPU memory TensorFlow may take; default: no limit"
    )
    canary_seconds: float = Field(
        30.0, gt=0, description="an idle version proves itself with a row of its own that often"
    )
    # Raise both for a model whose batch takes longer.
    stall_seconds: float = Field(
        30.0, gt=0, description="a batch that takes longer shows as a stalled runner"
    )
    hang_seconds: float = Field(
        120.0, gt=0, description="a batch that takes longer ends the runner, which starts anew"
    )

    front_end_hang_seconds: int = Field(
        60, ge=5, description="a front-end that does not answer for so long is started anew"
    )

    # The top bucket of the size histograms.
    max_body_bytes: int = Field(64 * MEBIBYTE, ge=1, description="largest request body")
    max_decompressed_bytes: int = Field(
        64 * MEBIBYTE, ge=1, description="largest request body after decompression"
    )
    # Parsing is one step for a worker: 16 MiB of short rows take more than a second.
    max_json_bytes: int = Field(16 * MEBIBYTE, ge=1, description="largest JSON text")
    # 1,000 connections could otherwise bring 64 GB.
    max_buffered_bytes: int = Field(
        256 * MEBIBYTE, ge=1, description="bytes of bodies one front-end holds at once"
    )
    send_limit_bytes: int = Field(
        128 * MEBIBYTE, ge=1, description="bytes that may wait on a front-end's line to a runner"
    )
    max_request_rows: int = Field(1024, ge=1, description="most rows in one request")
    request_timeout_seconds: float = Field(
        30.0, gt=0, le=3600, description="longest time a request may take"
    )
    # Longer than the usual 60 s idle time of a load balancer, so the server never closes first.
    keep_alive_seconds: int = Field(75, ge=1, description="how long an idle connection stays open")
    server_timing: bool = Field(default=True, description="send the phases as Server-Timing header")
    # Compression costs front-end time, which a proxy in front has more of.
    response_gzip_min_bytes: int = Field(
        0, ge=0, description="smallest prediction that is gzipped for callers that ask; 0: none"
    )
    reject_nonfinite_inputs: bool = Field(
        default=False, description="answer 400 to NaN and infinity in inputs"
    )
    debug_routes: bool = Field(default=True, description="answer /debug/slow")
    # Load and unload change what is served, so they are closed until this is set.
    control_token: Annotated[SecretStr | None, BeforeValidator(none_if_empty)] = Field(
        None, description="bearer token of the load and unload routes; unset: they answer 403"
    )
    cors_origins: Annotated[tuple[str, ...], BeforeValidator(split_list)] = Field(
        (), description="origins of web pages that may ask, or *"
    )
    # Routers need seconds to notice that a replica leaves.
    pre_stop_seconds: float = Field(
        5.0, ge=0, le=3600, description="how long a stopping server goes on while not ready"
    )
    drain_seconds: float = Field(
        25.0, ge=0, description="how long requests in flight may take to finish at shutdown"
    )
    runner_stop_seconds: float = Field(
        5.0, ge=0, description="how long the batch on the device may take to end at shutdown"
    )
    linger_seconds: float = Field(
        15.0, ge=0, description="how long the exporter waits for a last scrape at shutdown"
    )
    record_metrics: bool = Field(
        default=True,
        description="false only to measure what recording costs: /metrics is then empty",
    )

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        problems = [
            *self._model_problems(),
            *self._version_problems(),
            *self._batch_problems(),
            *self._time_problems(),
            *self.feedback_problems(processes=1 if self.inline else self.workers),
        ]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _model_problems(self) -> Iterable[str]:
        for name in self.models:
            if not MODEL_NAME.fullmatch(name) or name in RESERVED_MODEL_NAMES:
                yield (
                    f"models: {name!r} cannot be a model's name; use 1 to 64 letters, digits, "
                    "'_', '-' and '.', beginning with a letter, a digit or '_', "
                    f"and not {sorted(RESERVED_MODEL_NAMES)}"
                )

    def _version_problems(self) -> Iterable[str]:
        for model, text in self.versions.items():
            if model not in {ALL_MODELS, *self.models}:
                yield f"versions: there is no model {model[:64]!r}"
            try:
                parse_version_policy(text)
            except ValueError as error:
                yield f"versions: {error}"
        for model, labels in self.version_labels.items():
            if model not in self.models:
                yield f"version_labels: there is no model {model[:64]!r}"
            for label, version in labels.items():
                if not LABEL.fullmatch(label) or not version.isdecimal():
                    yield f"version_labels: {label[:64]!r} = {version[:64]!r}: expected NAME=NUMBER"

    def _batch_problems(self) -> Iterable[str]:
        if self.queue_limit_rows < 2 * self.max_batch_rows:
            yield (
                f"queue_limit_rows: {self.queue_limit_rows} is less than 2 × max_batch_rows "
                f"({self.max_batch_rows}): batches would never fill"
            )
        if self.max_request_rows > self.queue_limit_rows:
            yield (
                f"max_request_rows: {self.max_request_rows} is over queue_limit_rows "
                f"({self.queue_limit_rows}): such a request could never be admitted"
            )
        sizes = self.allowed_batch_rows
        if sizes and (
            sizes[-1] != self.max_batch_rows or list(sizes) != sorted(set(sizes)) or sizes[0] < 1
        ):
            yield (
                f"allowed_batch_rows: {list(sizes)} must rise from at least 1 and end with "
                f"max_batch_rows ({self.max_batch_rows})"
            )

    def _time_problems(self) -> Iterable[str]:
        for name in type(self).model_fields:
            value = getattr(self, name)
            if name.endswith("_seconds") and value > MOST_SECONDS:
                yield f"{name}: {value} is over {MOST_SECONDS:,}, a day"

    def version_policy(self, model: str) -> VersionPolicy:
        """Return which of a model's versions are served."""
        default = self.versions.get(ALL_MODELS, "latest:1")
        return parse_version_policy(self.versions.get(model, default))

    def labels(self, model: str) -> dict[str, str]:
        """Return a model's version by label."""
        labels = self.version_labels.get(model, {})
        return {label: canonical_version(version) for label, version in labels.items()}

    @property
    def effective_intra_op_threads(self) -> int:
        """The setting, or each runner's share of the cores that the front-ends leave."""
        cores = usable_cores() - self.workers
        return self.intra_op_threads or max(1, cores // (self.runners or 1))

    @property
    def effective_inter_op_threads(self) -> int:
        """The setting, or one for each batch that can be computed at the same time."""
        return self.inter_op_threads or max(1, len(self.models) * self.instances)
