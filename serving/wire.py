"""Frames between front-ends and the runner.

A frame is 24 bytes little-endian (magic `IM`, protocol, type, head length u32, payload length u64,
request id u64), then a JSON head, then the payload. Tensors (`tensors.py`) lie in the payload in
the order the head names them.
"""

import socket
import struct
from collections.abc import Iterator, Sequence
from enum import IntEnum
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from serving.errors import WireError
from serving.process import store_path_of
from serving.settings import Settings
from serving.tensors import uninitialized

MAGIC = b"IM"
PROTOCOL = 1
FRAME = struct.Struct("<2sBBIQQ")

# Thousands of tensors with long names; whoever has more is refused before anything is sent.
MAX_HEAD_BYTES = 1 << 20
# Small frames must not wait behind a large one, so each front-end has a second connection for
# those.
LARGE_FRAME_BYTES = 256 << 10
READ_BYTES = 256 << 10
SOCKET_BUFFER_BYTES = 1 << 20

Parts = Sequence[bytes | memoryview]


def runner_socket_path(settings: Settings, number: int) -> Path:
    """Return where a runner listens: in the store directory, which is this user's alone."""
    return store_path_of(settings) / f"runner-{number}.sock"


class LineLimits(NamedTuple):
    """What one connection carries: the largest payload of a frame, and how much may wait."""

    payload_bytes: int
    unsent_bytes: int


def line_limits(settings: Settings) -> LineLimits:
    """Return the limits of every connection.

    The largest payload is that of a request within its limits: `0,` is two bytes of JSON and eight
    of INT64.
    """
    payload_bytes = max(settings.max_decompressed_bytes, 4 * settings.max_json_bytes)
    # Whatever the setting, one frame always fits.
    largest_frame = FRAME.size + MAX_HEAD_BYTES + payload_bytes
    return LineLimits(payload_bytes, max(settings.send_limit_bytes, largest_frame))


class FrameType(IntEnum):
    """What a frame is."""

    HELLO = 1
    WELCOME = 2
    MODELS = 3
    MODELS_ACK = 4
    PREDICT = 5
    RESULT = 6
    FAILURE = 7
    CANCEL = 8
    CONTROL = 9
    CONTROL_RESULT = 10
    GOODBYE = 11


class Frame(NamedTuple):
    """One frame as it was received; `head` is the JSON object, `payload` the raw bytes."""

    type: int
    request_id: int
    head: dict[str, Any]
    payload: bytes | memoryview


def frame_parts(kind: FrameType, request_id: int, head: object, payload: Parts = ()) -> Parts:
    """Return a frame's bytes, in parts where they are many, so as not to copy them.

    Raises WireError for a head that the other side would refuse, with the connection.
    """
    encoded = orjson.dumps(head)
    if len(encoded) > MAX_HEAD_BYTES:
        raise WireError(f"a frame's head of {len(encoded):,} bytes")
    size = sum(map(len, payload))
    prefix = FRAME.pack(MAGIC, PROTOCOL, kind, len(encoded), size, request_id)
    parts = (prefix, encoded, *payload)
    return parts if size > LARGE_FRAME_BYTES else (b"".join(parts),)


class FrameReader:
    """Cuts a stream of bytes into frames."""

    __slots__ = ("_buffer", "_filled", "_large", "_max_payload_bytes")

    def __init__(self, max_payload_bytes: int) -> None:
        """Refuse frames whose payload is larger."""
        self._buffer = bytearray()
        self._max_payload_bytes = max_payload_bytes
        # A frame whose large payload is still arriving, and how much of it is there: it gets a
        # buffer of its own, into which the socket is read.
        self._large: Frame | None = None
        self._filled = 0

    def receive(self, sock: socket.socket) -> Iterator[Frame] | None:
        """Read once from a non-blocking socket; return an iterator as `feed` does.

        None at the end of the stream. Raises OSError.
        """
        if self._large is None:
            data = sock.recv(READ_BYTES)
            return self.feed(data) if data else None
        assert isinstance(self._large.payload, memoryview)
        received = sock.recv_into(self._large.payload[self._filled : self._filled + READ_BYTES])
        if not received:
            return None
        self._filled += received
        return self._finished()

    def feed(self, data: bytes | memoryview) -> Iterator[Frame]:
        """Yield the frames that are complete with `data`.

        Raises WireError for bytes that are no frame; the connection is then of no use.
        """
        if self._large is not None:
            data = self._fill(data)
            yield from self._finished()
        self._buffer += data
        position = 0
        try:
            while (found := self._frame_at(position)) is not None:
                position, frame = found
                if frame is not None:
                    yield frame
        finally:
            # Also when whoever takes the frames fails: each is given once.
            del self._buffer[:position]

    def _frame_at(self, position: int) -> tuple[int, Frame | None] | None:
        """Return where the next frame begins, and this one if it is whole; None without one.

        A large payload whose head is there is begun, and takes what there is of it.
        """
        buffer = self._buffer
        if len(buffer) - position < FRAME.size:
            return None
        magic, protocol, kind, head_bytes, payload_bytes, request_id = FRAME.unpack_from(
            buffer, position
        )
        self._check(magic, protocol, head_bytes, payload_bytes)
        payload_at = position + FRAME.size + head_bytes
        end = payload_at + payload_bytes
        is_whole = end <= len(buffer)
        if not is_whole and (payload_at > len(buffer) or payload_bytes <= LARGE_FRAME_BYTES):
            return None
        head = _decode_head(bytes(buffer[position + FRAME.size : payload_at]))
        if is_whole:
            return end, Frame(kind, request_id, head, bytes(buffer[payload_at:end]))
        self._large = Frame(kind, request_id, head, uninitialized(payload_bytes))
        self._filled = 0
        with memoryview(buffer) as view:
            self._fill(view[payload_at:])
        return len(buffer), None

    def _fill(self, data: bytes | memoryview) -> bytes | memoryview:
        """Take what belongs to the large payload; return the rest."""
        assert self._large is not None
        payload = self._large.payload
        assert isinstance(payload, memoryview)
        taken = min(len(data), len(payload) - self._filled)
        payload[self._filled : self._filled + taken] = data[:taken]
        self._filled += taken
        return data[taken:]

    def _finished(self) -> Iterator[Frame]:
        """Yield the frame with the large payload once that is whole."""
        if self._large is not None and self._filled == len(self._large.payload):
            frame, self._large = self._large, None
            yield frame

    def _check(self, magic: bytes, protocol: int, head_bytes: int, payload_bytes: int) -> None:
        if magic != MAGIC:
            raise WireError(f"a frame begins with {magic!r}")
        if protocol != PROTOCOL:
            raise WireError(f"the peer speaks protocol {protocol}, this side {PROTOCOL}")
        if head_bytes > MAX_HEAD_BYTES or payload_bytes > self._max_payload_bytes:
            raise WireError(f"a frame of {head_bytes} + {payload_bytes} bytes is over the limit")


def _decode_head(data: bytes) -> dict[str, Any]:
    try:
        head = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise WireError("a frame's head is not JSON") from error
    if not isinstance(head, dict):
        raise WireError("a frame's head is not an object")
    return head
