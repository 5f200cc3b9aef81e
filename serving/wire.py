"""Frames between front-ends and the runner: their bytes, and the tensors in them.

A frame is 24 bytes little-endian (magic `IM`, protocol, type, head length u32, payload length u64,
request id u64), then a JSON head, then the payload. Tensors lie in the payload in the order the
head names them, row-major without padding; a BYTES element is a u32 length and its bytes, as in the
Open Inference Protocol's binary extension.
"""

import struct
from collections.abc import Iterable, Iterator, Sequence
from enum import IntEnum
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson

from serving.errors import WireError
from serving.model import NUMPY_DTYPES
from serving.process import store_path_of
from serving.settings import Settings

MAGIC = b"IM"
PROTOCOL = 1
FRAME = struct.Struct("<2sBBIQQ")
ELEMENT_LENGTH = struct.Struct("<I")

MAX_HEAD_BYTES = 64 << 10
# Small frames must not wait behind a large one, so each front-end has a second connection for
# those.
LARGE_FRAME_BYTES = 256 << 10
READ_BYTES = 256 << 10
SOCKET_BUFFER_BYTES = 1 << 20


def runner_socket_path(settings: Settings) -> Path:
    """Return where the runner listens: in the store directory, which is this user's alone."""
    return store_path_of(settings) / "runner-0.sock"


def largest_payload_bytes(settings: Settings) -> int:
    """Return the largest payload that a request within its limits can have.

    `0,` is two bytes of JSON and eight of INT64.
    """
    return max(settings.max_decompressed_bytes, 4 * settings.max_json_bytes)


class FrameType(IntEnum):
    """What a frame is."""

    HELLO = 1
    WELCOME = 2
    MODELS = 3
    PREDICT = 5
    RESULT = 6
    FAILURE = 7
    CANCEL = 8
    GOODBYE = 11


class Frame(NamedTuple):
    """One frame as it was received; `head` is the JSON object, `payload` the raw bytes."""

    type: int
    request_id: int
    head: dict[str, Any]
    payload: bytes


def encode_frame(
    kind: FrameType, request_id: int, head: object, payload: Sequence[bytes | memoryview] = ()
) -> bytes:
    """Return a frame's bytes."""
    encoded = orjson.dumps(head)
    size = sum(map(len, payload))
    prefix = FRAME.pack(MAGIC, PROTOCOL, kind, len(encoded), size, request_id)
    return b"".join((prefix, encoded, *payload))


class FrameReader:
    """Cuts a stream of bytes into frames."""

    __slots__ = ("_buffer", "_max_payload_bytes")

    def __init__(self, max_payload_bytes: int) -> None:
        """Refuse frames whose payload is larger."""
        self._buffer = bytearray()
        self._max_payload_bytes = max_payload_bytes

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield the frames that are complete with `data`.

        Raises WireError for bytes that are no frame; the connection is then of no use.
        """
        buffer = self._buffer
        buffer += data
        position = 0
        while len(buffer) - position >= FRAME.size:
            magic, protocol, kind, head_bytes, payload_bytes, request_id = FRAME.unpack_from(
                buffer, position
            )
            self._check(magic, protocol, head_bytes, payload_bytes)
            payload_at = position + FRAME.size + head_bytes
            end = payload_at + payload_bytes
            if end > len(buffer):
                break
            try:
                head = orjson.loads(bytes(buffer[position + FRAME.size : payload_at]))
            except orjson.JSONDecodeError as error:
                raise WireError("a frame's head is not JSON") from error
            if not isinstance(head, dict):
                raise WireError("a frame's head is not an object")
            yield Frame(kind, request_id, head, bytes(buffer[payload_at:end]))
            position = end
        del buffer[:position]

    def _check(self, magic: bytes, protocol: int, head_bytes: int, payload_bytes: int) -> None:
        if magic != MAGIC:
            raise WireError(f"a frame begins with {magic!r}")
        if protocol != PROTOCOL:
            raise WireError(f"the peer speaks protocol {protocol}, this side {PROTOCOL}")
        if head_bytes > MAX_HEAD_BYTES or payload_bytes > self._max_payload_bytes:
            raise WireError(f"a frame of {head_bytes} + {payload_bytes} bytes is over the limit")


def encode_tensor(array: np.ndarray, datatype: str) -> bytes:
    """Return an array's bytes in the order and form of the wire."""
    if datatype == "BYTES":
        return b"".join(ELEMENT_LENGTH.pack(len(item)) + item for item in array.ravel())
    return array.tobytes()


def decode_tensors(
    described: Iterable[Sequence[Any]], payload: bytes
) -> list[tuple[str, str, np.ndarray]]:
    """Return (name, datatype, array) for each (name, datatype, shape) in order.

    Numeric arrays are read-only views of the payload. Raises WireError when the payload does not
    fit.
    """
    tensors = []
    position = 0
    for name, datatype, shape in described:
        count = 1
        for dimension in shape:
            count *= dimension
        try:
            if datatype == "BYTES":
                array, position = _decode_bytes(payload, position, count)
            else:
                dtype = NUMPY_DTYPES[datatype]
                array = (
                    np.frombuffer(payload, dtype, count, position) if count else np.empty(0, dtype)
                )
                position += count * dtype.itemsize
            tensors.append((name, datatype, array.reshape(shape)))
        except (KeyError, ValueError, struct.error) as error:
            raise WireError(f"tensor {name!r} does not fit its payload") from error
    if position != len(payload):
        raise WireError(f"{len(payload) - position} bytes after the last tensor")
    return tensors


def _decode_bytes(payload: bytes, position: int, count: int) -> tuple[np.ndarray, int]:
    array = np.empty(count, object)
    for index in range(count):
        (length,) = ELEMENT_LENGTH.unpack_from(payload, position)
        position += ELEMENT_LENGTH.size
        array[index] = payload[position : position + length]
        position += length
    if position > len(payload):
        raise WireError("a BYTES tensor is cut short")
    return array, position
