"""The body of a request, read from a WSGI environment within limits of size and time.

It knows neither gunicorn nor gevent: the caller brings the time limit.
"""

import re
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from typing import NamedTuple, Protocol, TypeVar, cast, runtime_checkable

from serving.decompression import decompress, encoding_of
from serving.errors import BodyTooSlow, InvalidInput, NotOffered, QueueFull, TooLarge
from serving.quoting import quoted
from serving.tensors import uninitialized

# Enough for a usual body in one call, little enough that a limit is noticed early.
READ_BYTES = 1 << 20

_LENGTH = re.compile(r"[0-9]{1,18}")

Wanted = TypeVar("Wanted")
Got = TypeVar("Got")

TimeLimit = Callable[[float], AbstractContextManager[object]]


class Readable(Protocol):
    """What `wsgi.input` is."""

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes; none at the end."""


@runtime_checkable
class Fillable(Protocol):
    """What can be read into a buffer of the caller's, which saves copies of a large body."""

    def readinto(self, buffer: memoryview, /) -> int:
        """Read up to as many bytes as the buffer has; return how many, 0 at the end."""


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """The sizes up to which a body is read: as sent, and decompressed."""

    max_body_bytes: int
    max_decompressed_bytes: int


class BodyBudget:
    """The bytes of bodies that one process holds at once."""

    def __init__(self, limit: int) -> None:
        """Hold nothing yet."""
        self._limit = limit
        self._used = 0

    def hold(self) -> "HeldBytes":
        """Return the share of one request; it must be released."""
        return HeldBytes(self)

    def take(self, size: int) -> None:
        """Take `size` bytes or raise QueueFull."""
        if self._used + size > self._limit:
            raise QueueFull(
                f"bodies of {self._used:,} bytes are held here, the limit is {self._limit:,}",
                retry_after_seconds=1.0,
            )
        self._used += size

    def give_back(self, size: int) -> None:
        """Return what was taken."""
        self._used -= size


class HeldBytes:
    """What one request has taken of a budget."""

    def __init__(self, budget: BodyBudget) -> None:
        """Take nothing yet."""
        self._budget = budget
        self._size = 0

    def take(self, size: int) -> None:
        """Take more, or raise QueueFull."""
        self._budget.take(size)
        self._size += size

    def release(self) -> None:
        """Give everything back."""
        self._budget.give_back(self._size)
        self._size = 0


class Body(NamedTuple):
    """A body as the codec gets it, and its size as it was sent."""

    content: bytes | memoryview
    sent_bytes: int


def read_body(
    environ: Mapping[str, object],
    *,
    stream: Readable | Fillable | None = None,
    limits: BodyLimits,
    held: HeldBytes,
    time_limit: TimeLimit,
    seconds: float,
) -> Body:
    """Return the whole body, decompressed.

    It is read from `stream`, by default `wsgi.input`; only a Fillable one gives a view.
    `time_limit(seconds)` is a context manager that raises TimeoutError or itself when the time is
    up. Raises TooLarge, UnsupportedEncoding, NotOffered, BodyTooSlow, or InvalidInput when the body
    does not arrive as announced.
    """
    declared = _declared_length(environ)
    if declared is not None and declared > limits.max_body_bytes:
        raise TooLarge(f"body of {declared:,} bytes; the limit is {limits.max_body_bytes:,}")
    encoding = encoding_of(environ)
    reading: Callable[[], bytes | memoryview]
    if isinstance(stream, Fillable) and declared is not None:
        reading = partial(_fill, stream, declared, held)
    else:
        readable = cast("Readable", stream or environ["wsgi.input"])
        reading = (
            partial(_read_chunked, readable, limits.max_body_bytes, held)
            if declared is None
            else partial(_read_declared, readable, declared, held)
        )
    sent = _in_time(time_limit(seconds), reading)
    content = decompress(sent, encoding, limit=limits.max_decompressed_bytes)
    return Body(content, len(sent))


def has_body(environ: Mapping[str, object]) -> bool:
    """Return whether a request announces a body."""
    return (
        environ.get("CONTENT_LENGTH", "0") not in {"", "0"} or "HTTP_TRANSFER_ENCODING" in environ
    )


def _declared_length(environ: Mapping[str, object]) -> int | None:
    """Return the Content-Length, None for a chunked body."""
    transfer = str(environ.get("HTTP_TRANSFER_ENCODING", "")).strip().lower()
    if transfer == "chunked":
        return None
    if transfer not in ("", "identity"):
        raise NotOffered(f"Transfer-Encoding {quoted(transfer)}; supported: chunked")
    length = str(environ.get("CONTENT_LENGTH") or 0).strip()
    if not _LENGTH.fullmatch(length):
        raise InvalidInput(f"Content-Length {quoted(length)} is not a whole number")
    return int(length)


def _in_time(
    timer: AbstractContextManager[object], reading: Callable[[], bytes | memoryview]
) -> bytes | memoryview:
    itself: object = timer
    try:
        with timer:
            return reading()
    except TimeoutError as error:
        raise _too_slow() from error
    except BaseException as error:
        # gevent's Timeout is its own exception, and no Exception.
        if error is itself:
            raise _too_slow() from error
        raise


def _read_declared(stream: Readable, length: int, held: HeldBytes) -> bytes:
    pieces = []
    missing = length
    while missing and (piece := _read(stream.read, min(missing, READ_BYTES))):
        held.take(len(piece))
        pieces.append(piece)
        missing -= len(piece)
    if missing:
        raise _ended(length - missing, length)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _fill(stream: Fillable, length: int, held: HeldBytes) -> memoryview:
    buffer = uninitialized(length)
    filled = 0
    while filled < length:
        received = _read(stream.readinto, buffer[filled : filled + READ_BYTES])
        if not received:
            raise _ended(filled, length)
        held.take(received)
        filled += received
    return buffer


def _read_chunked(stream: Readable, limit: int, held: HeldBytes) -> bytes:
    buffer = BytesIO()
    while piece := _read(stream.read, min(READ_BYTES, limit + 1 - buffer.tell())):
        held.take(len(piece))
        buffer.write(piece)
        if buffer.tell() > limit:
            raise TooLarge(f"chunked body of more than {limit:,} bytes, the limit")
    return buffer.getvalue()


def _read(read: Callable[[Wanted], Got], wanted: Wanted) -> Got:
    try:
        return read(wanted)
    except TimeoutError:
        raise
    except Exception as error:
        # Whatever the server calls it: a malformed chunk, a chunk cut short, a reset connection.
        raise InvalidInput(
            f"the body could not be read: {type(error).__name__}; send the announced bytes or"
            " well-formed chunks"
        ) from error


def _ended(received: int, length: int) -> InvalidInput:
    return InvalidInput(f"body ended after {received:,} of {length:,} bytes")


def _too_slow() -> BodyTooSlow:
    return BodyTooSlow(
        "the body had not arrived by the deadline; send it faster or allow more time"
    )
