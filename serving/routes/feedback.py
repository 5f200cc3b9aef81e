"""`/v1/feedback`: labels for predictions, one or many."""

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import orjson
from flask import Blueprint, Response, g, request

from serving.body import BodyBudget, TimeLimit
from serving.errors import InvalidInput, QueueFull
from serving.feedback.items import MalformedItem, item_of
from serving.feedback.preparing import STORE_ERROR
from serving.feedback.reading import items_of
from serving.feedback.service import FeedbackService, Outcome, Unfinished, brings_prediction
from serving.quoting import quoted
from serving.routes.bearer import require_bearer
from serving.routes.json_body import read_whole
from serving.settings import Settings

AT_ONCE, PATIENCE_SECONDS = 2, 1.0
# How many bodies may be there for each request that is being answered.
MOST_WAITING = 4
# A token and a label are small; an image's pixels may come twice.
SINGLE_BYTES = 2 << 20
MOST_ERRORS = 100
RETRY_SECONDS = "1"
COUNTED = ("counted", "duplicate", "corrected")
STATUSES = {
    **dict.fromkeys(COUNTED, 200),
    "unknown_id": 404,
    "conflict": 409,
    "expired": 410,
    "bad_token": 422,
    "bad_label": 422,
    STORE_ERROR: 503,
}


def make_blueprint(
    service: FeedbackService, settings: Settings, time_limit: TimeLimit
) -> Blueprint:
    """Return the two views; `time_limit` bounds reading bodies."""
    blueprint = Blueprint("feedback", __name__)
    turn = _Turns().turn
    body = _Bodies(settings, time_limit).body

    @blueprint.post("/v1/feedback")
    def one() -> Response:
        is_dry_run = _is_dry_run()
        with body(min(SINGLE_BYTES, settings.feedback_max_bytes)) as content:
            with turn():
                try:
                    item = item_of(_json(content))
                except MalformedItem as error:
                    raise InvalidInput(str(error)) from None
            with turn(is_long=brings_prediction(item)):
                try:
                    (outcome,) = service.take([item], is_dry_run=is_dry_run)
                except Unfinished as error:
                    (outcome,) = error.outcomes
        return _single_reply(outcome, is_dry_run=is_dry_run)

    @blueprint.post("/v1/feedback/batch")
    def many() -> Response:
        is_dry_run = _is_dry_run()
        failure = ""
        with body(settings.feedback_max_bytes) as content:
            with turn():
                items = items_of(content, settings.feedback_max_items, service.pause)
            with turn(is_long=any(map(brings_prediction, items))):
                try:
                    outcomes = service.take(items, is_dry_run=is_dry_run)
                except Unfinished as error:
                    outcomes, failure = error.outcomes, str(error)
        return _batch_reply(outcomes, failure, is_dry_run=is_dry_run)

    return blueprint


class _Bodies:
    """Reads the bodies of callers who may send labels.

    There is one budget for all of them: whoever sends slowly must not fill the memory.
    """

    def __init__(self, settings: Settings, time_limit: TimeLimit) -> None:
        self._auth_token = settings.feedback_auth_token
        self._time_limit = time_limit
        self._budget = BodyBudget(AT_ONCE * MOST_WAITING * settings.feedback_max_bytes)

    @contextmanager
    def body(self, max_bytes: int) -> Iterator[bytes]:
        if self._auth_token is not None:
            require_bearer(self._auth_token, "feedback token")
        held = self._budget.hold()
        try:
            yield read_whole(self._time_limit, max_bytes=max_bytes, held=held)
        finally:
            held.release()


class _Turns:
    """Lets a few requests count labels at the same time, and others wait a moment.

    Those that may take long have a turn of their own, so that the others need not wait for them.
    """

    def __init__(self) -> None:
        self._short = threading.BoundedSemaphore(AT_ONCE)
        self._long = threading.BoundedSemaphore(1)

    @contextmanager
    def turn(self, *, is_long: bool = False) -> Iterator[None]:
        free = self._long if is_long else self._short
        if not free.acquire(timeout=PATIENCE_SECONDS):
            raise QueueFull("labels are being taken already; send fewer at once")
        try:
            yield
        finally:
            free.release()


def _is_dry_run() -> bool:
    value = request.args.get("dry_run", "false")
    if value not in {"true", "false"}:
        raise InvalidInput(f"dry_run={quoted(value)}; expected true or false")
    return value == "true"


def _json(content: bytes) -> object:
    if not content.strip():
        raise InvalidInput("the body is empty")
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"the body is not JSON: {error.msg}") from None


def _single_reply(outcome: Outcome, *, is_dry_run: bool) -> Response:
    status = STATUSES[outcome.result]
    document: dict[str, object] = {"result": outcome.result}
    if outcome.model:
        document |= {"model": outcome.model, "version": outcome.version}
    if is_dry_run:
        document["dry_run"] = True
    if outcome.message:
        document |= {"error": _text(outcome.message), "request_id": g.request_id}
    return _reply(document, status)


def _batch_reply(outcomes: Sequence[Outcome], failure: str, *, is_dry_run: bool) -> Response:
    counts = Counter(outcome.result for outcome in outcomes)
    rejected = [
        {"index": index, "result": outcome.result, "error": _text(outcome.message)}
        for index, outcome in enumerate(outcomes)
        if outcome.result not in COUNTED
    ]
    document: dict[str, object] = {
        **{result: counts[result] for result in COUNTED},
        "rejected": len(rejected),
        "errors": rejected[:MOST_ERRORS],
    }
    if is_dry_run:
        document["dry_run"] = True
    if failure or counts[STORE_ERROR]:
        text = failure or "some labels could not be claimed; send all of it again"
        return _reply(document | {"error": text, "request_id": g.request_id}, 503)
    is_all_refused = bool(rejected) and len(rejected) == len(outcomes)
    return _reply(document, 422 if is_all_refused else 200)


def _text(message: str) -> str:
    """Return a message without what UTF-8 cannot hold, which tokens and labels may."""
    return message.encode("utf-8", "replace").decode()


def _reply(document: dict[str, object], status: int) -> Response:
    headers = {"Retry-After": RETRY_SECONDS} if status == STATUSES[STORE_ERROR] else {}
    return Response(orjson.dumps(document), status, headers, content_type="application/json")
