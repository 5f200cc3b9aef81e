"""The story of one prediction, top to bottom: check, read, decode, ask the runner, render, record.

It knows neither Flask nor sockets: the gateway brings a WSGI environment, the client brings
outputs.
"""

import logging
import time

from exporter import UNKNOWN
from serving.body import BodyBudget, BodyLimits, HeldBytes, TimeLimit, read_body
from serving.codecs.base import (
    JSON_BYTES_HEADER,
    Codec,
    DecodedRequest,
    EncodedReply,
    ReplyOptions,
)
from serving.codecs.finite import reject_nonfinite
from serving.compression import HEADERS, VARY, compressed
from serving.errors import (
    Draining,
    InternalError,
    PredictionError,
    TooLarge,
    UnknownVersion,
)
from serving.exchange import Answer, Environ, Incoming, Target
from serving.feedback.assembly import Feedback
from serving.model import ModelVersion
from serving.prediction import Call, Prediction, RunnerClient
from serving.progress import Progress
from serving.request_headers import (
    json_bytes_of,
    new_prediction_id,
    nonfinite_mode_of,
    priority_of,
    request_id_of,
    sampled_trace_of,
    timeout_seconds_of,
    wants_tokens,
)
from serving.request_metrics import PHASES, RequestMetrics
from serving.settings import Settings
from serving.slow_log import SlowLog
from serving.status_page import Phase, ServerState
from serving.statuses import OK, error_body, error_headers, outcome_of, status_of

NANOSECONDS = 1e9
JSON = "application/json"
OCTETS = "application/octet-stream"
SERVER_TIMING = ", ".join(f"{name};dur=%.3f" for name in (*PHASES, "total"))

logger = logging.getLogger(__name__)


class PredictionService:
    """Answers prediction requests of every protocol."""

    def __init__(
        self,
        client: RunnerClient,
        metrics: RequestMetrics,
        settings: Settings,
        *,
        time_limit: TimeLimit,
        state: ServerState,
        slow_log: SlowLog,
        feedback: Feedback,
    ) -> None:
        """`time_limit` returns a context that raises TimeoutError after that many seconds."""
        self._client = client
        self._metrics = metrics
        self._settings = settings
        self._time_limit = time_limit
        self._state = state
        self._slow_log = slow_log
        self._issuer, self._segmenter = feedback.issuer, feedback.segmenter
        self._limits = BodyLimits(settings.max_body_bytes, settings.max_decompressed_bytes)
        self._bodies = BodyBudget(settings.max_buffered_bytes)

    def answer(self, codec: Codec, incoming: Incoming) -> Answer:
        """Predict.

        Every failure is an answer too, and every answer is recorded before it is returned.
        """
        received = time.monotonic_ns()
        target, environ = incoming.target, incoming.environ
        request = Progress(request_id_of(environ), received, sampled_trace_of(environ))
        if target.model in self._settings.models:
            request.model = target.model
        in_flight = self._metrics.in_flight(request.model)
        in_flight.inc()
        try:
            reply = self._predict(codec, incoming, request)
            return self._succeed(codec, environ, request, reply)
        except PredictionError as error:
            return self._fail(codec, request, error)
        except Exception:
            logger.exception("request %s failed for a reason of the server", request.request_id)
            return self._fail(codec, request, InternalError("the server failed; its log says why"))
        finally:
            in_flight.dec()

    def _predict(self, codec: Codec, incoming: Incoming, request: Progress) -> EncodedReply:
        target, environ = incoming.target, incoming.environ
        if self._state.phase >= Phase.CLOSED:
            raise Draining("the server is shutting down", retry_after_seconds=1.0)
        # A caller can shorten the time, never extend it.
        allowed = timeout_seconds_of(environ, self._settings.request_timeout_seconds)
        deadline = request.received + int(allowed * NANOSECONDS)
        priority = priority_of(environ)
        nonfinite, is_asked = nonfinite_mode_of(environ), wants_tokens(environ)
        version, decoded = self._decoded(codec, incoming, request, deadline)
        request.rows = decoded.rows
        if decoded.timeout_seconds is not None:
            allowed = min(allowed, decoded.timeout_seconds)
            deadline = request.received + int(allowed * NANOSECONDS)
        self._check(decoded)
        wish = self._issuer.wish(version, decoded, is_asked=is_asked)
        request.parsed = time.monotonic_ns()
        call = Call(deadline, decoded.priority or priority)
        version, prediction = self._ask(target, version, wish.request, call)
        request.delivered = time.monotonic_ns()
        request.version = version.version
        request.runner_stamps, request.batch = prediction.stamps, prediction.batch
        request.prediction_id = new_prediction_id()
        outputs, segments = prediction.outputs, self._segmenter.count(version, decoded, environ)
        tokens = self._issuer.tokens(wish, version, outputs, request.prediction_id, segments)
        options = ReplyOptions(nonfinite, request.prediction_id, tokens)
        request.feedback_token = options.header_token
        return codec.encode(wish.decoded, version, outputs, options)

    def _decoded(
        self, codec: Codec, incoming: Incoming, request: Progress, deadline: int
    ) -> tuple[ModelVersion, DecodedRequest]:
        """Return the version that is asked for, and the rows."""
        table = self._client.table
        version = self._resolve(incoming.target)
        request.version = version.version
        held = self._bodies.hold()
        try:
            content = self._read(incoming, request, held, deadline)
            if self._client.table is not table:
                # Reading has taken long: from here to the runner nothing waits.
                version = self._resolve(incoming.target)
                request.version = version.version
            json_bytes = self._json_bytes(codec, incoming.environ, len(content))
            return version, codec.decode(content, version, json_bytes)
        finally:
            held.release()

    def _resolve(self, target: Target) -> ModelVersion:
        return self._client.table.ready(target.model, target.version, target.label)

    def _ask(
        self, target: Target, version: ModelVersion, decoded: DecodedRequest, call: Call
    ) -> tuple[ModelVersion, Prediction]:
        try:
            return version, self._client.predict(version, decoded, call)
        except UnknownVersion:
            # It was unloaded on the way. Who has not asked for it gets another, once.
            other = self._resolve(target)
            is_same = other.signatures.get(decoded.signature) == version.signatures.get(
                decoded.signature
            )
            if target.version is not None or other.version == version.version or not is_same:
                raise
            return other, self._client.predict(other, decoded, call)

    def _read(
        self, incoming: Incoming, request: Progress, held: HeldBytes, deadline: int
    ) -> bytes | memoryview:
        body = read_body(
            incoming.environ,
            stream=incoming.body,
            limits=self._limits,
            held=held,
            time_limit=self._time_limit,
            seconds=(deadline - time.monotonic_ns()) / NANOSECONDS,
        )
        request.body_is_read = True
        request.body_bytes = body.sent_bytes
        return body.content

    def _json_bytes(self, codec: Codec, environ: Environ, body_bytes: int) -> int | None:
        """Return how much of a body is JSON, None where all of it is."""
        announced = json_bytes_of(environ, body_bytes) if codec.takes_binary else None
        size = body_bytes if announced is None else announced
        limit = self._settings.max_json_bytes
        if size > limit:
            raise TooLarge(
                f"{size:,} bytes of JSON; the limit is {limit:,}: send tensors in binary over /v2"
            )
        return announced

    def _check(self, decoded: DecodedRequest) -> None:
        limit = self._settings.max_request_rows
        if decoded.rows > limit:
            raise TooLarge(
                f"{decoded.rows:,} rows in one request; the limit is {limit:,}: split it"
            )
        if self._settings.reject_nonfinite_inputs:
            reject_nonfinite(decoded)

    def _succeed(
        self, codec: Codec, environ: Environ, request: Progress, reply: EncodedReply
    ) -> Answer:
        least_bytes = self._settings.response_gzip_min_bytes
        packed = compressed(reply.body, environ, least_bytes=least_bytes)
        body = reply.body if packed is None else packed
        seconds = request.seconds(time.monotonic_ns())
        self._record(codec, request, code="200", outcome=OK, seconds=seconds, reply=body)
        headers = self._headers(request, seconds, EncodedReply(body, reply.json_bytes))
        if least_bytes:
            headers += VARY
        if packed is not None:
            headers += HEADERS
        return Answer("200 OK", headers, body, keeps_open=self._keeps_open)

    def _fail(self, codec: Codec, request: Progress, error: PredictionError) -> Answer:
        if any(error.stamps):
            request.runner_stamps = error.stamps
        body = error_body(error, request.request_id)
        seconds = request.seconds(time.monotonic_ns())
        status = status_of(error)
        request.rows = 0
        self._record(
            codec,
            request,
            code=status[:3],
            reason=error.reason,
            outcome=outcome_of(error),
            seconds=seconds,
            reply=body,
        )
        headers = self._headers(request, seconds, EncodedReply(body))
        headers += error_headers(error)
        is_read = request.body_is_read
        return Answer(status, headers, body, closes=not is_read, keeps_open=self._keeps_open)

    @property
    def _keeps_open(self) -> bool:
        """Whether connections stay open; those of a server that leaves go to another."""
        return self._state.phase == Phase.SERVING

    def _record(
        self,
        codec: Codec,
        request: Progress,
        *,
        code: str,
        outcome: str,
        seconds: tuple[float, ...],
        reply: bytes,
        reason: str = "",
    ) -> None:
        self._metrics.record(
            (request.model, request.version, codec.protocol),
            code=code,
            reason=reason,
            outcome=outcome,
            seconds=seconds,
            sizes=(request.body_bytes, len(reply)),
            rows=request.rows,
            trace_id=request.trace_id,
        )
        if self._slow_log.wants(seconds[0], is_failure=bool(reason)):
            self._slow_log.keep(request.slow_request(codec.protocol, code, reason, seconds))

    def _headers(
        self, request: Progress, seconds: tuple[float, ...], reply: EncodedReply
    ) -> list[tuple[str, str]]:
        headers = [
            ("Content-Type", JSON if reply.json_bytes is None else OCTETS),
            ("Content-Length", str(len(reply.body))),
            ("Cache-Control", "no-store"),
            ("X-Request-ID", request.request_id),
        ]
        if request.prediction_id:
            headers.append(("X-Prediction-ID", request.prediction_id))
        if request.feedback_token is not None:
            headers.append(("X-Feedback-Token", request.feedback_token))
        if reply.json_bytes is not None:
            headers.append((JSON_BYTES_HEADER, str(reply.json_bytes)))
        if request.version != UNKNOWN:
            headers.append(("X-Model-Version", request.version))
        if self._settings.server_timing:
            headers.append(("Server-Timing", _server_timing(seconds)))
        return headers


def _server_timing(seconds: tuple[float, ...]) -> str:
    total, *phases = (1000 * duration for duration in seconds)
    return SERVER_TIMING % (*phases, total)
