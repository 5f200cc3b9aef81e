"""The one table from the errors of predictions to HTTP: status line, outcome, headers and body."""

import math

import orjson

from serving.errors import (
    BodyTooSlow,
    DeadlineExceeded,
    Draining,
    InternalError,
    InvalidInput,
    Loading,
    ModelError,
    NotOffered,
    PredictedLate,
    PredictionError,
    QueueFull,
    RunnerLost,
    TooLarge,
    UnknownModel,
    UnknownVersion,
    UnsupportedEncoding,
)
from serving.quoting import cut

OK = "ok"
CLIENT_ERROR = "client_error"
SERVER_ERROR = "server_error"

UNAVAILABLE = "503 Service Unavailable"

# Overload is 503, not 429: the replica is short, not the caller at fault.
STATUSES: dict[type[PredictionError], str] = {
    InvalidInput: "400 Bad Request",
    UnsupportedEncoding: "415 Unsupported Media Type",
    NotOffered: "501 Not Implemented",
    UnknownModel: "404 Not Found",
    UnknownVersion: "404 Not Found",
    TooLarge: "413 Content Too Large",
    BodyTooSlow: "408 Request Timeout",
    DeadlineExceeded: "504 Gateway Timeout",
    QueueFull: UNAVAILABLE,
    PredictedLate: UNAVAILABLE,
    Draining: UNAVAILABLE,
    Loading: UNAVAILABLE,
    RunnerLost: UNAVAILABLE,
    ModelError: "500 Internal Server Error",
    InternalError: "500 Internal Server Error",
}

MAX_MESSAGE_CHARACTERS = 512

MIN_RETRY_SECONDS = 1
MAX_RETRY_SECONDS = 30

# The content codings of a request's body, told to whoever sent another.
ACCEPTED_ENCODINGS = "gzip, deflate"


def status_of(error: PredictionError) -> str:
    """Return the status line, such as `400 Bad Request`."""
    return next(STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES)


def outcome_of(error: PredictionError) -> str:
    """Return the label value that says whose fault it was.

    What is not offered is 501, but the caller must ask differently: it must not burn the error
    budget.
    """
    is_client_error = isinstance(error, NotOffered) or status_of(error).startswith("4")
    return CLIENT_ERROR if is_client_error else SERVER_ERROR


def error_headers(error: PredictionError) -> list[tuple[str, str]]:
    """Return the headers that only this error's reply carries."""
    if isinstance(error, UnsupportedEncoding):
        return [("Accept-Encoding", ACCEPTED_ENCODINGS)]
    wait = _retry_after_seconds(error)
    if wait is None:
        return []
    whole = min(max(math.ceil(wait), MIN_RETRY_SECONDS), MAX_RETRY_SECONDS)
    return [("Retry-After", str(whole))]


def error_body(error: PredictionError, request_id: str) -> bytes:
    """Return the JSON body that every error has, with the exact `retry_after_seconds` of a 503."""
    document = _document(error.message, error.reason, request_id)
    wait = _retry_after_seconds(error)
    if wait is not None:
        document["retry_after_seconds"] = wait
    return orjson.dumps(document)


def plain_error_body(message: str, reason: str, request_id: str) -> bytes:
    """Return the same body for an error that is none of a prediction's, such as an unknown path."""
    return orjson.dumps(_document(message, reason, request_id))


def _retry_after_seconds(error: PredictionError) -> float | None:
    if status_of(error) != UNAVAILABLE:
        return None
    wait = error.retry_after_seconds
    return MIN_RETRY_SECONDS if wait is None else wait


def _document(message: str, reason: str, request_id: str) -> dict[str, object]:
    # Python strings may hold what UTF-8 cannot.
    encodable = message.encode("utf-8", "replace").decode()
    return {
        "error": cut(encodable, characters=MAX_MESSAGE_CHARACTERS),
        "reason": reason,
        "request_id": request_id,
    }
