"""The errors of the serving package. They know reasons, not HTTP: `statuses.py` maps them.

ServingError
├── SettingsError                 a wrong setting; the command line ends with exit code 2
├── ModelLoadError                a model folder or file that cannot be served
├── ControlError                  a model cannot be loaded or unloaded, or nobody may
├── Unauthorized                  the caller's bearer token is missing or wrong
├── DataError                     files of rows or labels that cannot be used
├── WireError                     bytes between front-end and runner that are no valid frame
└── PredictionError               answers one request; `reason` is its label on /metrics
    ├── InvalidInput              the caller must ask differently
    │   ├── UnsupportedEncoding   a Content-Encoding that is not understood
    │   └── NotOffered            known to the protocol, not offered here
    ├── UnknownModel
    ├── UnknownVersion
    ├── TooLarge
    ├── BodyTooSlow               the body had not arrived by the deadline
    ├── DeadlineExceeded          the deadline passed in the queue or on the device
    ├── QueueFull                 the queue is at its limit
    ├── PredictedLate             the deadline cannot be met
    ├── Draining                  this replica is leaving
    ├── Loading                   no version is ready yet, or again
    ├── ModelError                the model raised or answered nonsense
    ├── RunnerLost                the runner died under the request
    └── InternalError             a defect of the server
"""

from typing import ClassVar, Literal

ControlProblem = Literal["closed", "missing", "failed"]


class ServingError(Exception):
    """Base of every error this package raises on purpose."""


class SettingsError(ServingError):
    """One or more settings are wrong; the message names each."""


class ModelLoadError(ServingError):
    """A model could not be read, built or warmed up; the message says which and why."""


class DataError(ServingError):
    """Rows of training data, or labels in a file, cannot be used; the message says why."""


class WireError(ServingError):
    """Bytes on the socket between front-end and runner are not a valid frame."""


class ControlError(ServingError):
    """A wish to load or unload a model is refused or could not be fulfilled."""

    def __init__(self, message: str, problem: ControlProblem) -> None:
        super().__init__(message)
        self.message = message
        self.problem = problem


class Unauthorized(ServingError):
    """A request without the bearer token that opens its route."""


class PredictionError(ServingError):
    """One request fails.

    `reason` is its label value, `retry_after_seconds` the wait worth trying.
    """

    reason: ClassVar[str]

    def __init__(self, message: str, *, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after_seconds = retry_after_seconds
        # Monotonic nanoseconds at which the runner took, assembled and computed; 0 where it did
        # not.
        self.stamps = (0, 0, 0)


class InvalidInput(PredictionError):
    """The request is malformed or does not fit the model."""

    reason = "invalid_input"


class UnsupportedEncoding(InvalidInput):
    """The body's Content-Encoding is none of identity, gzip and deflate."""


class NotOffered(InvalidInput):
    """The protocol knows what is asked for, this server does not offer it."""


class UnknownModel(PredictionError):
    """No model of that name is served here."""

    reason = "unknown_model"


class UnknownVersion(PredictionError):
    """The model is served, but not in that version or under that label."""

    reason = "unknown_version"


class TooLarge(PredictionError):
    """A body, a decompressed body, a JSON text or a number of rows is over its limit."""

    reason = "too_large"


class BodyTooSlow(PredictionError):
    """The body had not arrived when the request's time was up."""

    reason = "deadline_exceeded"


class DeadlineExceeded(PredictionError):
    """The request's time was up in the queue or during the device call."""

    reason = "deadline_exceeded"


class QueueFull(PredictionError):
    """The queue's rows, bytes or keys, or the bodies held, are at their limit."""

    reason = "queue_full"


class PredictedLate(PredictionError):
    """The deadline could not be met, so the request is refused at once."""

    reason = "predicted_late"


class Draining(PredictionError):
    """The server is shutting down."""

    reason = "draining"


class Loading(PredictionError):
    """The model has no ready version yet, or none at the moment."""

    reason = "loading"


class ModelError(PredictionError):
    """The model raised, or returned what cannot be an answer."""

    reason = "model_error"


class RunnerLost(PredictionError):
    """The runner's connection ended while it had the request."""

    reason = "runner_lost"


class InternalError(PredictionError):
    """A defect of the server; details are in the log under the request's id."""

    reason = "internal"
