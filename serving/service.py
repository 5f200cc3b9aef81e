"""The story of one prediction, top to bottom: check, read, decode, ask the runner, render, record.

It knows neither Flask nor sockets: the gateway brings a WSGI environment, the client brings
outputs.
"""

import logging
import time
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import parse_qsl

from exporter import UNKNOWN
from serving.body import BodyBudget, BodyLimits, HeldBytes, TimeLimit, read_body
from serving.codecs.base import Codec, DecodedRequest
from serving.codecs.finite import reject_nonfinite
from serving.codecs.rendering import NONFINITE_MODES
from serving.errors import InternalError, InvalidInput, PredictionError, TooLarge, UnknownVersion
from serving.model import ModelVersion
from serving.prediction import RunnerClient
from serving.request_headers import (
    request_id_of,
    sampled_trace_of,
    timeout_seconds_of,
    validate_priority,
)
from serving.request_metrics import PHASES, RequestMetrics
from serving.settings import Settings
from serving.statuses import OK, error_body, error_headers, outcome_of, status_of

NANOSECONDS = 1e9
JSON = "application/json"
SERVER_TIMING = ", ".join(f"{name};dur=%.3f" for name in (*PHASES, "total"))

Environ = dict[str, object]

logger = logging.getLogger(__name__)


class Target(NamedTuple):
    """What a path names: a model, and a version or a label of it or neither."""

    model: str
    version: str | None = None
    label: str | None = None


class Answer(NamedTuple):
    """A reply: status line, headers, body.

    `closes` says that the request's body was not read whole.
    """

    status: str
    headers: list[tuple[str, str]]
    body: bytes
    closes: bool = False


@dataclass(slots=True)
class _Request:
    """What is known so far of one request; failures are recorded with whatever that is."""

    request_id: str
    received: int
    trace_id: bytes | None
    model: str = UNKNOWN
    version: str = UNKNOWN
    parsed: int = 0
    runner_stamps: tuple[int, int, int] = (0, 0, 0)
    delivered: int = 0
    rows: int = 0
    body_bytes: int = 0
    body_is_read: bool = False
    extra_headers: list[tuple[str, str]] = field(default_factory=list)

    def seconds(self, ended: int) -> tuple[float, ...]:
        """Return the whole duration and its six phases.

        They are the differences of seven stamps; one that was not reached gets the time of the end.
        """
        taken, assembled, computed = self.runner_stamps
        parsed = self.parsed or ended
        taken = taken or ended
        assembled = assembled or ended
        computed = computed or ended
        delivered = self.delivered or ended
        return (
            (ended - self.received) / NANOSECONDS,
            (parsed - self.received) / NANOSECONDS,
            (taken - parsed) / NANOSECONDS,
            (assembled - taken) / NANOSECONDS,
            (computed - assembled) / NANOSECONDS,
            (delivered - computed) / NANOSECONDS,
            (ended - delivered) / NANOSECONDS,
        )


class PredictionService:
    """Answers prediction requests of every protocol."""

    def __init__(
        self,
        client: RunnerClient,
        metrics: RequestMetrics,
        settings: Settings,
        *,
        time_limit: TimeLimit,
    ) -> None:
        """`time_limit` returns a context that raises TimeoutError after that many seconds."""
        self._client = client
        self._metrics = metrics
        self._settings = settings
        self._time_limit = time_limit
        self._limits = BodyLimits(
            settings.max_body_bytes, settings.max_decompressed_bytes, settings.max_json_bytes
        )
        self._bodies = BodyBudget(settings.max_buffered_bytes)

    def answer(self, codec: Codec, target: Target, environ: Environ) -> Answer:
        """Predict.

        Every failure is an answer too, and every answer is recorded before it is returned.
        """
        received = time.monotonic_ns()
        request = _Request(request_id_of(environ), received, sampled_trace_of(environ))
        if target.model in self._settings.models:
            request.model = target.model
        in_flight = self._metrics.in_flight(request.model)
        in_flight.inc()
        try:
            body = self._predict(codec, target, environ, request)
            return self._succeed(codec, request, body)
        except PredictionError as error:
            return self._fail(codec, request, error)
        except Exception:
            logger.exception("request %s failed for a reason of the server", request.request_id)
            return self._fail(codec, request, InternalError("the server failed; its log says why"))
        finally:
            in_flight.dec()

    def _predict(self, codec: Codec, target: Target, environ: Environ, request: _Request) -> bytes:
        version = self._version(target)
        request.version = version.version
        # A caller can shorten the time, never extend it.
        allowed = timeout_seconds_of(environ, self._settings.request_timeout_seconds)
        deadline = request.received + int(allowed * NANOSECONDS)
        validate_priority(environ)
        nonfinite = _nonfinite_mode(environ)
        held = self._bodies.hold()
        try:
            content = self._read(environ, request, held, deadline)
            decoded = codec.decode(content, version)
        finally:
            held.release()
        request.rows = decoded.rows
        if decoded.timeout_seconds is not None:
            allowed = min(allowed, decoded.timeout_seconds)
            deadline = request.received + int(allowed * NANOSECONDS)
        self._check(decoded)
        request.parsed = time.monotonic_ns()
        prediction = self._client.predict(version, decoded, deadline)
        request.delivered = time.monotonic_ns()
        request.runner_stamps = prediction.stamps
        return codec.encode(decoded, version, prediction.outputs, nonfinite=nonfinite)

    def _version(self, target: Target) -> ModelVersion:
        if target.label is not None:
            self._client.table.model(target.model)
            raise UnknownVersion(f'no label "{target.label[:64]}"; there are none')
        return self._client.table.ready(target.model, target.version)

    def _read(self, environ: Environ, request: _Request, held: HeldBytes, deadline: int) -> bytes:
        body = read_body(
            environ,
            limits=self._limits,
            held=held,
            time_limit=self._time_limit,
            seconds=(deadline - time.monotonic_ns()) / NANOSECONDS,
        )
        request.body_is_read = True
        request.body_bytes = body.sent_bytes
        return body.content

    def _check(self, decoded: DecodedRequest) -> None:
        limit = self._settings.max_request_rows
        if decoded.rows > limit:
            raise TooLarge(
                f"{decoded.rows:,} rows in one request; the limit is {limit:,}: split it"
            )
        if self._settings.reject_nonfinite_inputs:
            reject_nonfinite(decoded)

    def _succeed(self, codec: Codec, request: _Request, body: bytes) -> Answer:
        seconds = request.seconds(time.monotonic_ns())
        self._metrics.record(
            (request.model, request.version, codec.protocol),
            code="200",
            reason="",
            outcome=OK,
            seconds=seconds,
            sizes=(request.body_bytes, len(body)),
            rows=request.rows,
            trace_id=request.trace_id,
        )
        headers = self._headers(request, seconds, len(body))
        return Answer("200 OK", headers, body)

    def _fail(self, codec: Codec, request: _Request, error: PredictionError) -> Answer:
        if any(error.stamps):
            request.runner_stamps = error.stamps
        body = error_body(error, request.request_id)
        seconds = request.seconds(time.monotonic_ns())
        status = status_of(error)
        self._metrics.record(
            (request.model, request.version, codec.protocol),
            code=status[:3],
            reason=error.reason,
            outcome=outcome_of(error),
            seconds=seconds,
            sizes=(request.body_bytes, len(body)),
            rows=0,
            trace_id=request.trace_id,
        )
        headers = self._headers(request, seconds, len(body))
        headers += error_headers(error)
        return Answer(status, headers, body, closes=not request.body_is_read)

    def _headers(
        self, request: _Request, seconds: tuple[float, ...], body_bytes: int
    ) -> list[tuple[str, str]]:
        headers = [
            ("Content-Type", JSON),
            ("Content-Length", str(body_bytes)),
            ("Cache-Control", "no-store"),
            ("X-Request-ID", request.request_id),
        ]
        if request.version != UNKNOWN:
            headers.append(("X-Model-Version", request.version))
        if self._settings.server_timing:
            headers.append(("Server-Timing", _server_timing(seconds)))
        return headers


def _nonfinite_mode(environ: Environ) -> str | None:
    query = str(environ.get("QUERY_STRING", ""))
    if "nonfinite" not in query:
        return None
    mode = dict(parse_qsl(query)).get("nonfinite")
    if mode is not None and mode not in NONFINITE_MODES:
        raise InvalidInput(f'nonfinite="{mode[:64]}"; expected one of {", ".join(NONFINITE_MODES)}')
    return mode


def _server_timing(seconds: tuple[float, ...]) -> str:
    total, *phases = (1000 * duration for duration in seconds)
    return SERVER_TIMING % (*phases, total)
