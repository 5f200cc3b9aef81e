"""The JSON body of a route that is no prediction: of bounded size, mostly an object or nothing."""

import orjson
from flask import request

from serving.body import BodyBudget, BodyLimits, HeldBytes, TimeLimit, read_body
from serving.errors import InvalidInput
from serving.quoting import kind_of

MAX_BYTES = 64 << 10
SECONDS = 10.0


def json_object(time_limit: TimeLimit) -> dict[str, object]:
    """Return the object that the present request's body is, empty for an empty body.

    Raises what `read_body` raises, and InvalidInput.
    """
    body = read_whole(time_limit, max_bytes=MAX_BYTES, held=BodyBudget(MAX_BYTES).hold())
    if not body.strip():
        return {}
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"the body is not JSON: {error.msg}") from None
    if not isinstance(document, dict):
        raise InvalidInput(f"the body must be an object, got {kind_of(document)}")
    return document


def read_whole(time_limit: TimeLimit, *, max_bytes: int, held: HeldBytes) -> bytes:
    """Return the present request's body. Raises what `read_body` raises."""
    return bytes(
        read_body(
            request.environ,
            limits=BodyLimits(max_bytes, max_bytes),
            held=held,
            time_limit=time_limit,
            seconds=SECONDS,
        ).content
    )
