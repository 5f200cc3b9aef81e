"""TensorFlow Serving's REST protocol, version 1: rows (`instances`) and columns (`inputs`).

https://www.tensorflow.org/tfx/serving/api_rest#predict_api is the source of the format.
"""

from collections.abc import Mapping
from functools import partial
from typing import cast

import numpy as np

from serving.codecs.base import DecodedRequest, EncodedReply, ReplyOptions
from serving.codecs.json_text import read_object
from serving.codecs.nesting import Place
from serving.codecs.number_rows import read_number_rows
from serving.codecs.rendering import dumps, nonfinite_mode, render_array, render_rows
from serving.codecs.signature import (
    described_inputs,
    input_names,
    require_equal_rows,
    require_json_outputs,
    signature_of,
)
from serving.codecs.values import column_to_array, rows_to_array
from serving.errors import InvalidInput, ModelError
from serving.model import ModelVersion, Signature
from serving.quoting import kind_of, quoted

# TensorFlow Serving writes non-finite numbers bare.
DEFAULT_NONFINITE = "token"

_Document = dict[str, object]
_Instances = list[dict[str, object]]


class TfServingCodec:
    """Decodes and encodes the bodies of `:predict`."""

    protocol = "tf_serving"
    takes_binary = False

    def decode(
        self, body: bytes | memoryview, version: ModelVersion, json_bytes: int | None = None
    ) -> DecodedRequest:
        """Return the tensors of `body`; raise InvalidInput, NotOffered or TooLarge."""
        del json_bytes
        body = bytes(body)
        return _read_plainly(body, version) or read_object(body, partial(_read, version))

    def encode(
        self,
        request: DecodedRequest,
        version: ModelVersion,
        outputs: Mapping[str, np.ndarray],
        options: ReplyOptions,
    ) -> EncodedReply:
        """Return the reply's body: bare values for one output, objects for several."""
        mode = nonfinite_mode(options.nonfinite, DEFAULT_NONFINITE)
        names = [spec.name for spec in version.signatures[request.signature].outputs]
        if not request.row_form:
            found = {"outputs": _columns(names, outputs, mode)}
            return EncodedReply(dumps(found | token_members(request, options)))
        _require_rows(names, outputs, request.rows)
        found = {"predictions": _rows(names, outputs, mode)}
        return EncodedReply(dumps(found | token_members(request, options)))


def token_members(request: DecodedRequest, options: ReplyOptions) -> _Document:
    """Return what stands beside the predictions for who asks for feedback tokens."""
    if not request.wants_tokens:
        return {}
    tokens = list(options.feedback_tokens or [None] * request.rows)
    return {"prediction_id": options.prediction_id, "feedback_tokens": tokens}


def _read_plainly(body: bytes, version: ModelVersion) -> DecodedRequest | None:
    """Return the request if it is rows of numbers for the only input of the default signature."""
    signature = version.signatures.get(version.default_signature)
    if signature is None or len(signature.inputs) != 1:
        return None
    (spec,) = signature.inputs
    rows = read_number_rows(body, spec)
    if rows is not None:
        require_json_outputs(signature.outputs)
    return None if rows is None else DecodedRequest(signature.name, {spec.name: rows}, len(rows))


def _read(version: ModelVersion, document: _Document) -> DecodedRequest:
    signature = signature_of(version, document.get("signature_name"))
    forms = document.keys() & {"instances", "inputs"}
    if len(forms) != 1:
        found = "both" if forms else "none"
        raise InvalidInput(f'expected exactly one of "instances" and "inputs"; found {found}')
    if "instances" in forms:
        inputs = read_rows(document["instances"], signature, "instances")
    else:
        inputs = _read_columns(document["inputs"], signature, version)
    require_json_outputs(signature.outputs)
    rows = require_equal_rows({name: len(array) for name, array in inputs.items()})
    if rows == 0:
        raise InvalidInput('"inputs" has no rows')
    return DecodedRequest(signature.name, inputs, rows, row_form="instances" in forms)


def read_rows(instances: object, signature: Signature, key: str) -> dict[str, np.ndarray]:
    """Return the inputs that a list of rows holds; `key` is what the body calls the list.

    Raises InvalidInput naming the first row that does not fit.
    """
    if not isinstance(instances, list):
        raise InvalidInput(f'"{key}" must be a list, got {kind_of(instances)}')
    if not instances:
        raise InvalidInput(f'"{key}" is empty')
    if len(signature.inputs) == 1:
        (spec,) = signature.inputs
        if not _is_named(instances[0], spec.name):
            return {spec.name: rows_to_array(instances, spec, place=Place(key))}
    named = _named_instances(instances, signature, key)
    return {
        spec.name: rows_to_array(
            [instance[spec.name] for instance in named],
            spec,
            place=Place(key, "" if len(signature.inputs) == 1 else f".{spec.name}"),
        )
        for spec in signature.inputs
    }


def _is_named(value: object, name: str) -> bool:
    """Return whether a value is {"name": value}; {"b64": …} is a string's value."""
    return isinstance(value, dict) and (value.keys() != {"b64"} or name == "b64")


def _named_instances(instances: list[object], signature: Signature, key: str) -> _Instances:
    expected = {spec.name for spec in signature.inputs}
    for index, instance in enumerate(instances):
        if not isinstance(instance, dict):
            kind = kind_of(instance)
            if index == 0:
                raise InvalidInput(
                    f"{key}[0] is {kind}; send objects with {input_names(signature)}"
                )
            raise InvalidInput(f"{key}[{index}] is {kind}, {key}[0] an object")
        if instance.keys() != expected:
            raise _wrong_names(f"{key}[{index}]", instance, signature)
    return cast("_Instances", instances)


def _wrong_names(place: str, instance: _Document, signature: Signature) -> InvalidInput:
    names = [spec.name for spec in signature.inputs]
    missing = [f"missing {quoted(name)}" for name in names if name not in instance]
    unexpected = [f"unexpected {quoted(name)}" for name in instance if name not in names]
    # One of each says enough; a caller's object may have thousands of keys.
    problems = ", ".join(missing[:1] + unexpected[:1])
    return InvalidInput(f"{place}: {problems}; the inputs are {described_inputs(signature)}")


def _read_columns(
    columns: object, signature: Signature, version: ModelVersion
) -> dict[str, np.ndarray]:
    if _looks_like_open_inference(columns):
        raise InvalidInput(
            "this looks like an Open Inference Protocol body;"
            f" send it to /v2/models/{version.model}/infer"
        )
    if columns == []:
        raise InvalidInput('"inputs" is empty')
    if len(signature.inputs) == 1:
        (spec,) = signature.inputs
        if not _is_named(columns, spec.name):
            return {spec.name: column_to_array(columns, spec, place=Place("inputs"))}
    if not isinstance(columns, dict):
        raise InvalidInput(
            f'"inputs" is {kind_of(columns)}; send an object with {input_names(signature)}'
        )
    inputs = {}
    for spec in signature.inputs:
        if spec.name not in columns:
            raise InvalidInput(f"missing input {quoted(spec.name)}")
        place = Place(f"inputs.{spec.name}")
        inputs[spec.name] = column_to_array(columns[spec.name], spec, place=place)
    return inputs


def _looks_like_open_inference(columns: object) -> bool:
    if not (isinstance(columns, list) and columns and isinstance(columns[0], dict)):
        return False
    return "name" in columns[0] and not columns[0].keys().isdisjoint({"datatype", "shape", "data"})


def _require_rows(names: list[str], outputs: Mapping[str, np.ndarray], rows: int) -> None:
    for name in names:
        shape = outputs[name].shape
        if shape[:1] != (rows,):
            found = shape[0] if shape else "no"
            raise ModelError(f'output "{name}" has {found} rows, the request has {rows}')


def _rows(names: list[str], outputs: Mapping[str, np.ndarray], nonfinite: str) -> object:
    if len(names) == 1:
        return render_array(names[0], outputs[names[0]], nonfinite=nonfinite)
    columns = [render_rows(name, outputs[name], nonfinite=nonfinite) for name in names]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _columns(names: list[str], outputs: Mapping[str, np.ndarray], nonfinite: str) -> object:
    rendered = {name: render_array(name, outputs[name], nonfinite=nonfinite) for name in names}
    return rendered[names[0]] if len(names) == 1 else rendered
