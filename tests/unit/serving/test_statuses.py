"""Statuses: every error has one, and bodies that any client can read."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving import errors
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
from serving.statuses import (
    STATUSES,
    error_body,
    error_headers,
    outcome_of,
    plain_error_body,
    status_of,
)


@pytest.mark.parametrize(
    ("kind", "code", "reason", "outcome"),
    [
        (InvalidInput, 400, "invalid_input", "client_error"),
        (UnsupportedEncoding, 415, "invalid_input", "client_error"),
        (NotOffered, 501, "invalid_input", "client_error"),
        (UnknownModel, 404, "unknown_model", "client_error"),
        (UnknownVersion, 404, "unknown_version", "client_error"),
        (TooLarge, 413, "too_large", "client_error"),
        (BodyTooSlow, 408, "deadline_exceeded", "client_error"),
        (DeadlineExceeded, 504, "deadline_exceeded", "server_error"),
        (QueueFull, 503, "queue_full", "server_error"),
        (PredictedLate, 503, "predicted_late", "server_error"),
        (Draining, 503, "draining", "server_error"),
        (Loading, 503, "loading", "server_error"),
        (RunnerLost, 503, "runner_lost", "server_error"),
        (ModelError, 500, "model_error", "server_error"),
        (InternalError, 500, "internal", "server_error"),
    ],
)
def test_every_error_has_a_status_a_reason_and_an_outcome(
    kind: type[PredictionError], code: int, reason: str, outcome: str
) -> None:
    error = kind("message")

    assert re.fullmatch(rf"{code} [A-Z][A-Za-z ]+", status_of(error))
    assert (error.reason, outcome_of(error)) == (reason, outcome)


def test_no_error_is_missing_from_the_table() -> None:
    kinds = {
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, PredictionError)
    }

    assert set(STATUSES) == kinds - {PredictionError}


def test_finer_errors_have_the_status_of_what_they_are() -> None:
    class FinerError(NotOffered):
        """A kind of its own in some module."""

    assert status_of(FinerError("message")) == "501 Not Implemented"


def test_body_names_error_reason_and_request() -> None:
    body = error_body(InvalidInput("body is empty; é"), "a-1")

    assert (
        body == '{"error":"body is empty; é","reason":"invalid_input","request_id":"a-1"}'.encode()
    )


@pytest.mark.parametrize(
    ("wait", "header", "exact"),
    [(0.12, "1", 0.12), (1.2, "2", 1.2), (99.0, "30", 99.0), (0.0, "1", 0.0), (None, "1", 1)],
)
def test_unavailable_replies_say_when_to_retry(
    wait: float | None, header: str, exact: float
) -> None:
    error = QueueFull("1,024 of 1,024 rows are waiting", retry_after_seconds=wait)

    assert error_headers(error) == [("Retry-After", header)]
    assert json.loads(error_body(error, "a"))["retry_after_seconds"] == exact


def test_other_replies_do_not() -> None:
    error = DeadlineExceeded("late", retry_after_seconds=3)

    assert error_headers(error) == []
    assert "retry_after_seconds" not in json.loads(error_body(error, "a"))


def test_unsupported_encoding_is_told_the_supported() -> None:
    assert error_headers(UnsupportedEncoding("br")) == [("Accept-Encoding", "gzip, deflate")]


@given(st.text(st.characters(codec=None), max_size=1000))
def test_messages_are_bounded_and_encodable(message: str) -> None:
    document = json.loads(plain_error_body(message, "invalid_input", "a"))

    assert len(document["error"]) <= 512
    assert document["error"][:511] == message.encode("utf-8", "replace").decode()[:511]


def test_half_a_surrogate_pair_does_not_break_the_body() -> None:
    body = error_body(InvalidInput("\ud800"), "a")

    assert json.loads(body)["error"] == "?"
