"""The Open Inference Protocol, version 2, with tensors as JSON.

The format is `specification/protocol/inference_rest.md` of
https://github.com/kserve/open-inference-protocol.
"""

import math
from collections.abc import Mapping
from functools import partial

import numpy as np

from serving.codecs.base import DecodedRequest
from serving.codecs.json_text import read_object
from serving.codecs.nesting import MAX_DIMENSIONS, Place, flatten
from serving.codecs.open_inference_parameters import (
    parameters_of,
    timeout_seconds,
    validate_input,
    validate_output,
    validate_request,
)
from serving.codecs.rendering import dumps, nonfinite_mode, render_flat
from serving.codecs.signature import described_inputs, require_equal_rows, signature_of
from serving.codecs.values import FlatValues, require_json_input, shape_fits, to_array
from serving.errors import InvalidInput
from serving.model import ModelVersion, Signature, TensorSpec
from serving.quoting import kind_of, quoted, quoted_names, shown, shown_shape

# KServe's client cannot parse the bare form.
DEFAULT_NONFINITE = "null"

MAX_ID_CHARACTERS = 256
MAX_DIMENSION = 2**63 - 1  # the protocol's shapes are of 64-bit integers

_Document = dict[str, object]


class OpenInferenceCodec:
    """Decodes and encodes the bodies of `/infer`."""

    protocol = "open_inference"

    def decode(self, body: bytes, version: ModelVersion) -> DecodedRequest:
        """Return the tensors of `body`; raise InvalidInput, NotOffered or TooLarge."""
        return read_object(body, partial(_read, version))

    def encode(
        self,
        request: DecodedRequest,
        version: ModelVersion,
        outputs: Mapping[str, np.ndarray],
        *,
        nonfinite: str | None,
    ) -> bytes:
        """Return the reply's body: the outputs asked for, in the order asked for."""
        mode = nonfinite_mode(nonfinite, DEFAULT_NONFINITE)
        specs = {spec.name: spec for spec in version.signatures[request.signature].outputs}
        reply: _Document = {"model_name": version.model, "model_version": version.version}
        if request.request_id is not None:
            reply["id"] = request.request_id
        reply["outputs"] = [
            _render(specs[name], outputs[name], mode) for name in request.outputs or specs
        ]
        return dumps(reply)


def _read(version: ModelVersion, document: _Document) -> DecodedRequest:
    tensors = _tensors(document, version)
    parameters = parameters_of(document, "")
    validate_request(parameters)
    signature = signature_of(version, parameters.get("signature_name"))
    inputs = _read_inputs(tensors, signature)
    rows = require_equal_rows({name: len(array) for name, array in inputs.items()})
    if rows == 0:
        raise InvalidInput('"inputs" has no rows')
    return DecodedRequest(
        signature.name,
        inputs,
        rows,
        outputs=_wanted_outputs(document, signature),
        timeout_seconds=timeout_seconds(parameters),
        row_form=False,
        request_id=_request_id(document),
    )


def _tensors(document: _Document, version: ModelVersion) -> list[_Document]:
    """Return the request's input objects, or say where the body belongs."""
    tensors = document.get("inputs")
    if _looks_like_tf_serving(document):
        raise InvalidInput(
            "this looks like a TensorFlow Serving body;"
            f" send it to /v1/models/{version.model}:predict"
        )
    if "inputs" not in document:
        raise InvalidInput('missing "inputs", a list of tensors')
    return _objects(tensors, "inputs")


def _looks_like_tf_serving(document: _Document) -> bool:
    tensors = document.get("inputs")
    if tensors is None:
        return "instances" in document
    if isinstance(tensors, list):
        return bool(tensors) and isinstance(tensors[0], list)
    return isinstance(tensors, dict)


def _objects(values: object, owner: str) -> list[_Document]:
    if not isinstance(values, list):
        raise InvalidInput(f'"{owner}" must be a list, got {kind_of(values)}')
    for index, value in enumerate(values):
        if not isinstance(value, dict):
            raise InvalidInput(f"{owner}[{index}] must be an object, got {kind_of(value)}")
    return values


def _name_of(value: _Document, place: str) -> str:
    name = value.get("name")
    if not isinstance(name, str):
        raise InvalidInput(f"{place}.name must be a string, got {kind_of(name)}")
    return name


def _request_id(document: _Document) -> str | None:
    request_id = document.get("id")
    if request_id is None:
        return None
    if not isinstance(request_id, str) or len(request_id) > MAX_ID_CHARACTERS:
        raise InvalidInput(f"id must be a string of at most {MAX_ID_CHARACTERS} characters")
    return request_id


def _read_inputs(tensors: list[_Document], signature: Signature) -> dict[str, np.ndarray]:
    specs = {spec.name: spec for spec in signature.inputs}
    found: dict[str, _Document] = {}
    for index, tensor in enumerate(tensors):
        name = _name_of(tensor, f"inputs[{index}]")
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
    return {name: _read_input(found[name], spec) for name, spec in specs.items()}


def _read_input(tensor: _Document, spec: TensorSpec) -> np.ndarray:
    owner = f"input {quoted(spec.name)}"
    validate_input(parameters_of(tensor, f"{owner}: "), spec.name)
    datatype = tensor.get("datatype")
    if datatype != spec.datatype:
        said = datatype[:16] if isinstance(datatype, str) else shown(datatype)
        raise InvalidInput(f"{owner} is {spec.datatype}, request says {said}")
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


def _wanted_outputs(document: _Document, signature: Signature) -> tuple[str, ...] | None:
    """Return the names of the outputs asked for; None for all."""
    if not document.get("outputs"):
        return None
    known = [spec.name for spec in signature.outputs]
    wanted: list[str] = []
    for index, output in enumerate(_objects(document["outputs"], "outputs")):
        name = _name_of(output, f"outputs[{index}]")
        if name not in known:
            raise InvalidInput(f"no output {quoted(name)}; there are: {quoted_names(known)}")
        if name in wanted:
            raise InvalidInput(f"output {quoted(name)} asked for twice")
        validate_output(parameters_of(output, f"output {quoted(name)}: "), name)
        wanted.append(name)
    return tuple(wanted)


def _render(spec: TensorSpec, array: np.ndarray, nonfinite: str) -> _Document:
    return {
        "name": spec.name,
        "datatype": spec.datatype,
        "shape": list(array.shape),
        "data": render_flat(spec.name, array, nonfinite=nonfinite),
    }
