"""JSON text to Python values: orjson where it can, the standard library where only it can.

It knows nothing of protocols or tensors. A caller's text raises InvalidInput or TooLarge alone.
"""

import gc
import json
import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import orjson

from serving.errors import InvalidInput, TooLarge
from serving.quoting import cut, kind_of

BYTE_ORDER_MARK = b"\xef\xbb\xbf"

# A collection between allocations costs a small body nothing and doubles the time of a large one
# (measured); below this the pause would cost more than it saves.
PAUSE_COLLECTOR_BYTES = 256 << 10

MAX_DEPTH = 1024  # orjson's own limit

# orjson's messages by which its other errors are told apart.
_CONTENT_AFTER_VALUE = "unexpected content after document"
_TOO_DEEP = "depth limit exceeded"
_NUMBER_TOO_LARGE = "number is infinity when parsed as double"

_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")

_JsonObject = dict[str, object]
_Result = TypeVar("_Result")


class InexactInteger(InvalidInput):
    """A float of 2^63 or more stands where an integer is expected.

    orjson reads integers beyond 64 bits as floats, so the text may hold an integer; only the
    standard library tells which one.
    """


def read_object(body: bytes, read: Callable[[_JsonObject], _Result]) -> _Result:
    """Return what `read` makes of the JSON object that `body` is.

    `read` is called a second time, with integers of any size, when it raises InexactInteger.
    """
    if len(body) < PAUSE_COLLECTOR_BYTES:
        return _read_object(body, read)
    with _paused_collector():
        return _read_object(body, read)


def parse(body: bytes) -> object:
    """Return the JSON value in `body`; bare NaN, Infinity and -Infinity are floats."""
    text = body.removeprefix(BYTE_ORDER_MARK)
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        if error.msg == _NUMBER_TOO_LARGE or b"NaN" in text or b"Infinity" in text:
            return parse_exactly(body)
        raise _syntax_error(error, body) from None
    except MemoryError:
        raise _out_of_memory(body) from None


def parse_exactly(body: bytes) -> object:
    """Return the JSON value in `body`, several times slower, with every integer exact."""
    text = body.removeprefix(BYTE_ORDER_MARK)
    try:
        value = json.loads(text.decode(), parse_float=_finite)
        if _SURROGATE_ESCAPE.search(text):
            # orjson refuses half a surrogate pair, the standard library does not; replies could
            # not be encoded with one.
            json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise _syntax_error(error, body) from None
    except UnicodeDecodeError as error:
        raise _not_utf8(error, body) from None
    except UnicodeEncodeError:
        raise InvalidInput("JSON error: a string holds half a surrogate pair") from None
    except RecursionError:
        raise _too_deep() from None
    except MemoryError:
        raise _out_of_memory(body) from None
    except ValueError:
        # Python's bound on the digits of an integer, against quadratic time.
        raise InvalidInput("JSON error: a number has more than 4,300 digits") from None
    return value


def _read_object(body: bytes, read: Callable[[_JsonObject], _Result]) -> _Result:
    try:
        return read(_as_object(parse(body)))
    except InexactInteger:
        return read(_as_object(parse_exactly(body)))


def _as_object(value: object) -> _JsonObject:
    if not isinstance(value, dict):
        raise InvalidInput(f"top level must be an object, got {kind_of(value)}")
    return value


@contextmanager
def _paused_collector() -> Iterator[None]:
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise InvalidInput(f"{cut(text)} does not fit FP64")
    return value


def _syntax_error(error: json.JSONDecodeError, body: bytes) -> InvalidInput:
    text = body.removeprefix(BYTE_ORDER_MARK)
    if not text.strip():
        return InvalidInput("body is empty; send a JSON object")
    if error.msg == _TOO_DEEP:
        return _too_deep()
    try:
        decoded = text.decode()
    except UnicodeDecodeError as problem:
        return _not_utf8(problem, body)
    # Both parsers count characters; the caller's editor and this message count bytes.
    position = len(body) - len(text) + len(decoded[: error.pos].encode())
    if error.msg in (_CONTENT_AFTER_VALUE, "Extra data"):
        count = len(body.rstrip()) - position
        return InvalidInput(f"{count:,} byte{'' if count == 1 else 's'} after the JSON value")
    return InvalidInput(f"JSON error at byte {position}: {error.msg}")


def _not_utf8(error: UnicodeDecodeError, body: bytes) -> InvalidInput:
    mark = len(BYTE_ORDER_MARK) if body.startswith(BYTE_ORDER_MARK) else 0
    return InvalidInput(f"JSON error at byte {mark + error.start}: not UTF-8")


def _too_deep() -> InvalidInput:
    return InvalidInput(f"nested deeper than {MAX_DEPTH}")


def _out_of_memory(body: bytes) -> TooLarge:
    return TooLarge(f"{len(body):,} bytes of JSON need more memory than there is; send fewer rows")
