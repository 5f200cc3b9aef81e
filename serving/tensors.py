"""Tensors as bytes, on the wire between processes and in the binary form of Open Inference.

Little-endian, row-major, without padding; a BYTES element is a u32 length and its bytes.
"""

import struct
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from serving.errors import WireError
from serving.model import WIRE_DTYPES

ELEMENT_LENGTH = struct.Struct("<I")
COPY_BYTES = 16 << 10  # below this a copy costs less than a view


def uninitialized(size: int) -> memoryview:
    """Return so many bytes of memory to be filled.

    Unlike a bytearray's it is not zeroed first, and the kernel gives pages only as they are filled:
    a large size that somebody merely announces costs nothing.
    """
    return np.empty(size, np.uint8).data


def encode_tensor(array: np.ndarray, datatype: str) -> bytes | memoryview:
    """Return an array's bytes in the order and form of the wire, without a copy if it is large."""
    if datatype == "BYTES":
        return b"".join(ELEMENT_LENGTH.pack(len(item)) + item for item in array.ravel())
    if array.nbytes > COPY_BYTES and array.flags.c_contiguous:
        return array.view(np.uint8).reshape(-1).data
    return array.tobytes()


def decode_tensors(
    described: Iterable[Sequence[Any]], payload: bytes | memoryview
) -> list[tuple[str, str, np.ndarray]]:
    """Return (name, datatype, array) for each (name, datatype, shape) in order.

    Numeric arrays are views of the payload. Raises WireError when the payload does not
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
                dtype = WIRE_DTYPES[datatype]
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


def _decode_bytes(payload: bytes | memoryview, position: int, count: int) -> tuple[np.ndarray, int]:
    array = np.empty(count, object)
    for index in range(count):
        (length,) = ELEMENT_LENGTH.unpack_from(payload, position)
        position += ELEMENT_LENGTH.size
        array[index] = bytes(payload[position : position + length])
        position += length
    if position > len(payload):
        raise WireError("a BYTES tensor is cut short")
    return array, position
