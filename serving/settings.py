"""The settings of `inferometer serve`: one frozen object, checked as a whole.

They are read from a TOML file, the environment and the command line, in that order of growing
strength (`load_settings`). Defaults that are not obvious say why where they stand.
"""

import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from serving.errors import SettingsError

ENVIRONMENT_PREFIX = "INFEROMETER_"
EXPORTER_PREFIX = "INFEROMETER_EXPORTER_"

MODEL_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
# The statistics route of the Open Inference Protocol takes this name's place.
RESERVED_MODEL_NAMES = frozenset({"stats"})

# What Kubernetes injects for a Service that happens to be called `inferometer`.
SERVICE_LINK = re.compile(r"INFEROMETER_(SERVICE_(HOST|PORT)|PORT_\d+_TCP)(_|$)")

MEBIBYTE = 1 << 20
MAX_STORE_PATH_BYTES = 90  # A Unix socket's whole path has at most 107.


def _split_list(value: object) -> object:
    return (
        [part for part in re.split(r"[,\s]+", value) if part] if isinstance(value, str) else value
    )


def _split_models(value: object) -> object:
    """Accept `name=path` items beside a mapping; a missing name is the last part of the path."""
    if isinstance(value, Mapping):
        return value
    items = _split_list(value)
    if not isinstance(items, list):
        return items
    models: dict[str, str] = {}
    for item in items:
        name, equals, path = str(item).partition("=")
        if not equals:
            name, path = Path(item).name.removesuffix(".keras"), item
        if name in models:
            raise ValueError(f"model name {name!r} is given twice")
        models[name] = path
    return models


class Settings(BaseModel):
    """Everything `inferometer serve` can be told."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=False)

    models: Annotated[dict[str, Path], BeforeValidator(_split_models)] = Field(
        default_factory=dict, description="models to serve, each NAME=PATH"
    )
    host: str = Field("127.0.0.1", description="address the server listens on")
    port: int = Field(
        8501, ge=0, le=65535, description="port of the server; 0 lets the kernel choose"
    )
    metrics_host: str = Field("127.0.0.1", description="address the exporter listens on")
    metrics_port: int = Field(8502, ge=0, le=65535, description="port of the exporter's /metrics")
    # One front-end fills about one core; the runner and the kernel need the rest.
    workers: int = Field(
        default_factory=lambda: max(1, min(8, os.cpu_count() or 1)),
        ge=1,
        le=256,
        description="front-end processes",
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
    allowed_batch_rows: Annotated[tuple[int, ...], BeforeValidator(_split_list)] = Field(
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
    intra_op_threads: int | None = Field(
        None,
        ge=1,
        description="TensorFlow's threads within an operation; default: cores less workers",
    )
    # More made neither a small nor a large network faster.
    inter_op_threads: int = Field(1, ge=1, description="TensorFlow's threads across operations")
    gpu_memory_growth: bool = Field(
        default=True, description="let TensorFlow take GPU memory as needed, not all at start"
    )
    stall_seconds: float = Field(
        30.0, gt=0, description="a batch that takes longer shows as a stalled runner"
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
    max_request_rows: int = Field(1024, ge=1, description="most rows in one request")
    request_timeout_seconds: float = Field(
        30.0, gt=0, le=3600, description="longest time a request may take"
    )
    # Longer than the usual 60 s idle time of a load balancer, so the server never closes first.
    keep_alive_seconds: int = Field(75, ge=1, description="how long an idle connection stays open")
    server_timing: bool = Field(default=True, description="send the phases as Server-Timing header")
    reject_nonfinite_inputs: bool = Field(
        default=False, description="answer 400 to NaN and infinity in inputs"
    )
    drain_seconds: float = Field(
        25.0, ge=0, description="how long requests in flight may take to finish at shutdown"
    )
    record_metrics: bool = Field(
        default=True,
        description="false only to measure what recording costs: /metrics is then empty",
    )

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        problems = [*self._model_problems(), *self._batch_problems()]
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

    @property
    def effective_intra_op_threads(self) -> int:
        """The setting, or the cores that the front-ends leave."""
        return self.intra_op_threads or max(1, (os.cpu_count() or 1) - self.workers)


def load_settings(
    *, flags: Mapping[str, object], environment: Mapping[str, str], file: Path | None
) -> Settings:
    """Return the settings of all three sources; flags win over the environment, that over the file.

    Raises SettingsError, a sentence for each wrong setting with where it came from.
    """
    sources: dict[str, str] = {}
    merged: dict[str, Any] = {}
    problems: list[str] = []
    for name, value in _read_file(file).items():
        merged[name], sources[name] = value, str(file)
    for variable, name, value in _read_environment(environment, problems):
        merged[name], sources[name] = value, variable
    for name, value in flags.items():
        merged[name], sources[name] = value, "the command line"
    try:
        settings = Settings.model_validate(merged)
    except ValidationError as error:
        problems += [_sentence(details, sources) for details in error.errors(include_url=False)]
        raise SettingsError("\n".join(problems)) from error
    # Looked for here alone: a restarted child must not stumble over a path that has gone since.
    problems += [
        f"models: {name}: no such file or folder: {path}"
        for name, path in settings.models.items()
        if not path.exists()
    ]
    if (
        settings.store_path
        and len(os.fsencode(settings.store_path.absolute())) > MAX_STORE_PATH_BYTES
    ):
        problems.append(
            f"store_path: longer than {MAX_STORE_PATH_BYTES} bytes, and sockets lie in it, "
            f"got {str(settings.store_path)[:64]!r}"
        )
    if problems:
        raise SettingsError("\n".join(problems))
    return settings


def _read_file(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        return tomllib.loads(file.read_text())
    except OSError as error:
        raise SettingsError(f"settings file {file}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"settings file {file}: {error}") from error


def _read_environment(
    environment: Mapping[str, str], problems: list[str]
) -> Iterable[tuple[str, str, str]]:
    for variable, value in environment.items():
        if not variable.startswith(ENVIRONMENT_PREFIX) or variable.startswith(EXPORTER_PREFIX):
            continue
        if SERVICE_LINK.match(variable) or (variable == "INFEROMETER_PORT" and "://" in value):
            continue
        name = variable.removeprefix(ENVIRONMENT_PREFIX).lower()
        if name not in Settings.model_fields:
            problems.append(f"{variable} names no setting")
            continue
        yield variable, name, value


def _sentence(details: ErrorDetails, sources: Mapping[str, str]) -> str:
    message = details["msg"].removeprefix("Value error, ")
    if not details["loc"]:
        return message
    name = str(details["loc"][0])
    origin = f" (from {sources[name]})" if name in sources else ""
    if details["type"] == "extra_forbidden":
        return f"{name} names no setting{origin}"
    place = ".".join(map(str, details["loc"]))
    return f"{place}: {message}, got {str(details['input'])[:64]!r}{origin}"
