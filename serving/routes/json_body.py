"""The JSON body of a route that is no prediction: small, and an object or nothing."""

import orjson
from flask import Request

from serving.errors import InvalidInput, TooLarge
from serving.quoting import kind_of

MAX_BYTES = 64 << 10


def json_object(request: Request) -> dict[str, object]:
    """Return the body's object, empty for an empty body. Raises InvalidInput or TooLarge."""
    if (request.content_length or 0) > MAX_BYTES:
        raise TooLarge(f"body of {request.content_length:,} bytes; the limit is {MAX_BYTES:,}")
    body = request.stream.read(MAX_BYTES + 1)
    if len(body) > MAX_BYTES:
        raise TooLarge(f"body of more than {MAX_BYTES:,} bytes, the limit")
    if not body.strip():
        return {}
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"the body is not JSON: {error.msg}") from None
    if not isinstance(document, dict):
        raise InvalidInput(f"the body must be an object, got {kind_of(document)}")
    return document
