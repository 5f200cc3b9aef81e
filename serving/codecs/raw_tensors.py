"""Tensors as raw bytes beside the JSON: the binary tensor data extension of Open Inference.

Little-endian, row-major, no padding; a BYTES element is a u32 length and its bytes. The format is
`extension_binary_data.md` of https://github.com/triton-inference-server/server.
"""

import math

import numpy as np

from serving.codecs.values import shape_fits
from serving.errors import InvalidInput, NotOffered, WireError
from serving.model import WIRE_DTYPES, ModelVersion, TensorSpec
from serving.quoting import quoted, shown, shown_shape
from serving.tensors import decode_tensors

SIZE_KEY = "binary_data_size"


class RawTensors:
    """The bytes that follow a request's JSON, taken tensor by tensor."""

    def __init__(self, body: bytes | memoryview, start: int) -> None:
        """Begin at `start`."""
        self._rest = memoryview(body)[start:]

    def take(self, size: object, spec: TensorSpec, shape: tuple[int, ...]) -> np.ndarray:
        """Return the next tensor, a view of the body where that is possible.

        Raises InvalidInput if `size` is not the tensor's own or there are not so many bytes.
        """
        owner = f"input {quoted(spec.name)}"
        if type(size) is not int or size < 0:
            raise InvalidInput(f"{owner}: {SIZE_KEY} must be a whole number, got {shown(size)}")
        needed = _needed(spec, shape)
        if needed is not None and needed != size:
            raise InvalidInput(
                f"{owner}: {SIZE_KEY} {size}, shape {shown_shape(shape)} of {spec.datatype} needs"
                f" {needed}"
            )
        if size > len(self._rest):
            raise InvalidInput(
                f"{owner}: {SIZE_KEY} {size}, but {len(self._rest)} bytes follow the JSON"
            )
        taken, self._rest = self._rest[:size], self._rest[size:]
        return _decoded(taken, spec, shape, owner)

    def finish(self) -> None:
        """Raise InvalidInput if there are bytes that belong to no input."""
        if self._rest:
            raise InvalidInput(f"{len(self._rest)} bytes after the last tensor")


def only_tensor(body: bytes | memoryview, version: ModelVersion) -> tuple[TensorSpec, np.ndarray]:
    """Return the input and its one row that a body without any JSON is.

    Raises InvalidInput unless the model has one input and the body one row of it; one unknown
    dimension follows from the body's length.
    """
    signature = version.signatures[version.default_signature]
    if len(signature.inputs) != 1:
        raise InvalidInput(
            f"a raw body needs a model with one input; {version.model} has {len(signature.inputs)}"
        )
    (spec,) = signature.inputs
    require_raw(spec)
    if spec.row_shape is None:
        raise InvalidInput("a raw body cannot tell a row of any shape")
    row_shape = list(spec.row_shape)
    if spec.datatype == "BYTES":
        if math.prod(row_shape) != 1:
            raise InvalidInput(
                f"a raw body is one string; a row has shape {shown_shape(tuple(row_shape))}"
            )
        array = np.empty((1, *row_shape), object)
        array.reshape(-1)[0] = bytes(body)
        return spec, array
    if row_shape.count(-1) == 1:
        known = -math.prod(row_shape) * WIRE_DTYPES[spec.datatype].itemsize
        row_shape[row_shape.index(-1)] = len(body) // known if known else 0
    shape = (1, *row_shape)
    if min(shape) < 0 or not shape_fits(shape, spec):
        raise InvalidInput(f"a raw body cannot tell a row of shape {shown_shape(shape[1:])}")
    raw = RawTensors(body, 0)
    return spec, raw.take(len(body), spec, shape)


def require_raw(spec: TensorSpec) -> None:
    """Raise NotOffered where an input cannot be sent as raw bytes, whatever they are."""
    if spec.datatype not in WIRE_DTYPES:
        raise NotOffered(f'input "{spec.name}" is {spec.datatype}, which is not offered here')
    if spec.shape == ():
        raise NotOffered(f'input "{spec.name}" has no batch dimension, which is not offered here')


def _needed(spec: TensorSpec, shape: tuple[int, ...]) -> int | None:
    """Return a tensor's size in bytes; None for strings, which tell it themselves."""
    if spec.datatype == "BYTES":
        return None
    return math.prod(shape) * WIRE_DTYPES[spec.datatype].itemsize


def _decoded(taken: memoryview, spec: TensorSpec, shape: tuple[int, ...], owner: str) -> np.ndarray:
    if spec.datatype == "BYTES" and math.prod(shape) * 4 > len(taken):
        raise InvalidInput(f"{owner}: {len(taken)} bytes cannot hold {math.prod(shape)} strings")
    try:
        ((_, _, array),) = decode_tensors([(spec.name, spec.datatype, shape)], taken)
    except WireError:
        if spec.datatype != "BYTES":
            raise InvalidInput(f"{owner}: shape {shown_shape(shape)} is too large") from None
        raise InvalidInput(
            f"{owner}: the bytes are not {math.prod(shape)} strings, each a length of 4 bytes,"
            " little-endian, and so many bytes"
        ) from None
    if spec.datatype == "BOOL" and array.view(np.uint8).max(initial=0) > 1:
        raise InvalidInput(f"{owner}: a BOOL is a byte of 0 or 1")
    return array
