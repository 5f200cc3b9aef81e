"""The inputs of an Open Inference request, each in JSON or as raw bytes behind it."""

import math

import numpy as np

from serving.codecs.base import JSON_BYTES_HEADER
from serving.codecs.nesting import MAX_DIMENSIONS, Place, flatten
from serving.codecs.open_inference_parameters import parameters_of, validate_input
from serving.codecs.raw_tensors import SIZE_KEY, RawTensors, require_raw
from serving.codecs.signature import described_inputs
from serving.codecs.values import FlatValues, require_json_input, shape_fits, to_array
from serving.errors import InvalidInput
from serving.model import Signature, TensorSpec
from serving.quoting import kind_of, quoted, shown, shown_shape

MAX_DIMENSION = 2**63 - 1  # the protocol's shapes are of 64-bit integers

_Document = dict[str, object]


def read_inputs(
    tensors: list[_Document], signature: Signature, raw: RawTensors | None
) -> dict[str, np.ndarray]:
    """Return the arrays of a request's input objects, in the signature's order.

    Raises InvalidInput or NotOffered naming the first input that does not fit.
    """
    specs = {spec.name: spec for spec in signature.inputs}
    found: dict[str, _Document] = {}
    for index, tensor in enumerate(tensors):
        name = name_of(tensor, f"inputs[{index}]")
        if name not in specs:
            raise InvalidInput(
                f"unknown input {quoted(name)}; the inputs are {described_inputs(signature)}"
            )
        if name in found:
            raise InvalidInput(f"input {quoted(name)} given twice")
        found[name] = tensor
    for name in specs:
        if name not in found:
            raise InvalidInput(f"missing input {quoted(name)}")
    # Raw tensors follow in the order of the request, not of the signature.
    read = {name: _read_input(tensor, specs[name], raw) for name, tensor in found.items()}
    if raw is not None:
        raw.finish()
    return {name: read[name] for name in specs}


def _read_input(tensor: _Document, spec: TensorSpec, raw: RawTensors | None) -> np.ndarray:
    owner = f"input {quoted(spec.name)}"
    parameters = parameters_of(tensor, f"{owner}: ")
    validate_input(parameters, spec.name)
    datatype = tensor.get("datatype")
    if datatype != spec.datatype:
        said = datatype[:16] if isinstance(datatype, str) else shown(datatype)
        raise InvalidInput(f"{owner} is {spec.datatype}, request says {said}")
    size = parameters.get(SIZE_KEY)
    if size is not None:
        return _read_raw(tensor, spec, raw, size)
    require_json_input(spec)
    shape = _shape_of(tensor, owner)
    flat = _flat_data(tensor, owner, shape)
    if not shape_fits(shape, spec):
        expected = shown_shape((-1,) if spec.shape is None else spec.shape)
        raise InvalidInput(f"{owner}: expected shape {expected}, got {shown_shape(shape)}")
    try:
        return to_array(flat, spec).reshape(shape)
    except ValueError:
        # An empty tensor whose other dimensions are beyond numpy's index.
        raise InvalidInput(f"{owner}: shape {shown_shape(shape)} is too large") from None


def _read_raw(
    tensor: _Document, spec: TensorSpec, raw: RawTensors | None, size: object
) -> np.ndarray:
    owner = f"input {quoted(spec.name)}"
    if "data" in tensor:
        raise InvalidInput(f"{owner}: both data and {SIZE_KEY}")
    if raw is None:
        raise InvalidInput(f"{owner}: {SIZE_KEY} without the header {JSON_BYTES_HEADER}")
    require_raw(spec)
    shape = _shape_of(tensor, owner)
    array = raw.take(size, spec, shape)
    if not shape_fits(shape, spec):
        expected = shown_shape((-1,) if spec.shape is None else spec.shape)
        raise InvalidInput(f"{owner}: expected shape {expected}, got {shown_shape(shape)}")
    return array


def _shape_of(tensor: _Document, owner: str) -> tuple[int, ...]:
    shape = tensor.get("shape")
    if not isinstance(shape, list):
        raise InvalidInput(f"{owner}: shape must be a list, got {kind_of(shape)}")
    if not all(type(size) is int and size <= MAX_DIMENSION for size in shape):
        raise InvalidInput(f"{owner}: shape must hold whole numbers of 64 bits")
    if len(shape) > MAX_DIMENSIONS:
        raise InvalidInput(f"{owner}: more than {MAX_DIMENSIONS} dimensions")
    if any(size < 0 for size in shape):
        raise InvalidInput(
            f"{owner}: shape {shown_shape(tuple(shape))}: dimensions must be 0 or more"
        )
    return tuple(shape)


def _flat_data(tensor: _Document, owner: str, shape: tuple[int, ...]) -> FlatValues:
    """Return the values, sent flat or nested as `shape` says."""
    data = tensor.get("data")
    if not isinstance(data, list):
        said = f"got {kind_of(data)}" if "data" in tensor else "there is none"
        raise InvalidInput(f"{owner}: data must be a list, {said}")
    place = Place(f"{owner}, data")
    values, nesting = flatten(data, place)
    needed = math.prod(shape)
    if len(values) != needed:
        raise InvalidInput(
            f"{owner}: shape {shown_shape(shape)} needs {needed} value{'' if needed == 1 else 's'},"
            f" got {len(values)}"
        )
    if values and len(nesting) > 1 and nesting != shape:
        raise InvalidInput(
            f"{owner}: data is nested as {shown_shape(nesting)}, shape is {shown_shape(shape)}"
        )
    return FlatValues(values, nesting, place)


def objects_in(values: object, owner: str) -> list[_Document]:
    """Return a list of objects, or raise InvalidInput for whatever else it is."""
    if not isinstance(values, list):
        raise InvalidInput(f'"{owner}" must be a list, got {kind_of(values)}')
    for index, value in enumerate(values):
        if not isinstance(value, dict):
            raise InvalidInput(f"{owner}[{index}] must be an object, got {kind_of(value)}")
    return values


def name_of(value: _Document, place: str) -> str:
    """Return an object's name, or raise InvalidInput."""
    name = value.get("name")
    if not isinstance(name, str):
        raise InvalidInput(f"{place}.name must be a string, got {kind_of(name)}")
    return name
