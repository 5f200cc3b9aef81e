"""`/v1/feedback`: labels for predictions, one or many."""

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import orjson
from flask import Blueprint, Response, g, request

from serving.body import TimeLimit
from serving.errors import InvalidInput, QueueFull, TooLarge
from serving.feedback.items import Item, MalformedItem, item_of
from serving.feedback.service import STORE_ERROR, FeedbackService, Outcome, StoreDown
from serving.quoting import quoted
from serving.routes.bearer import require_bearer
from serving.routes.json_body import read_whole
from serving.settings import Settings

AT_ONCE, PATIENCE_SECONDS = 2, 1.0
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

    def body() -> bytes:
        if settings.feedback_auth_token is not None:
            require_bearer(settings.feedback_auth_token, "feedback token")
        return read_whole(time_limit, max_bytes=settings.feedback_max_bytes)

    @blueprint.post("/v1/feedback")
    def one() -> Response:
        content = body()
        try:
            item = item_of(_json(content))
        except MalformedItem as error:
            raise InvalidInput(str(error)) from None
        is_dry_run = _is_dry_run()
        with turn():
            try:
                (outcome,) = service.take([item], is_dry_run=is_dry_run)
            except StoreDown as error:
                outcome = Outcome(STORE_ERROR, str(error))
        return _single_reply(outcome, is_dry_run=is_dry_run)

    @blueprint.post("/v1/feedback/batch")
    def many() -> Response:
        items = _items(body(), settings.feedback_max_items)
        is_dry_run = _is_dry_run()
        failure = ""
        with turn():
            try:
                outcomes = service.take(items, is_dry_run=is_dry_run)
            except StoreDown as error:
                outcomes, failure = error.outcomes, str(error)
        return _batch_reply(outcomes, failure, is_dry_run=is_dry_run)

    return blueprint


class _Turns:
    """Lets a few requests count labels at the same time, and others wait a moment."""

    def __init__(self) -> None:
        self._free = threading.BoundedSemaphore(AT_ONCE)

    @contextmanager
    def turn(self) -> Iterator[None]:
        if not self._free.acquire(timeout=PATIENCE_SECONDS):
            raise QueueFull("labels are being taken already; send fewer at once")
        try:
            yield
        finally:
            self._free.release()


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


def _items(content: bytes, most: int) -> list[Item | MalformedItem]:
    """Return the labels of a JSON array or of lines of JSON."""
    if content.lstrip()[:1] == b"[":
        documents = _json(content)
        assert isinstance(documents, list)
        _require_few(len(documents), most)
        return [_item(document) for document in documents]
    if not content.strip():
        raise InvalidInput("the body is empty")
    if content.lstrip()[:1] != b"{":
        raise InvalidInput("the body must be a JSON array, or a JSON object a line")
    lines = [line for line in content.split(b"\n") if line.strip()]
    _require_few(len(lines), most)
    return [_item_of_line(line) for line in lines]


def _require_few(found: int, most: int) -> None:
    if found > most:
        raise TooLarge(f"{found:,} labels in one request; the limit is {most:,}: split it")


def _item_of_line(line: bytes) -> Item | MalformedItem:
    try:
        document = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return MalformedItem(f"the line is not JSON: {error.msg}")
    return _item(document)


def _item(document: object) -> Item | MalformedItem:
    try:
        return item_of(document)
    except MalformedItem as error:
        return error


def _single_reply(outcome: Outcome, *, is_dry_run: bool) -> Response:
    status = STATUSES[outcome.result]
    document: dict[str, object] = {"result": outcome.result}
    if outcome.model:
        document |= {"model": outcome.model, "version": outcome.version}
    if is_dry_run:
        document["dry_run"] = True
    if outcome.message:
        document |= {"error": outcome.message, "request_id": g.request_id}
    return _reply(document, status)


def _batch_reply(outcomes: Sequence[Outcome], failure: str, *, is_dry_run: bool) -> Response:
    counts = Counter(outcome.result for outcome in outcomes)
    rejected = [
        {"index": index, "result": outcome.result, "error": outcome.message}
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


def _reply(document: dict[str, object], status: int) -> Response:
    # Tokens and labels in messages may hold what UTF-8 cannot.
    headers = {"Retry-After": RETRY_SECONDS} if status == STATUSES[STORE_ERROR] else {}
    return Response(orjson.dumps(document), status, headers, content_type="application/json")
