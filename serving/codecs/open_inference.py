"""The Open Inference Protocol, version 2, with tensors as JSON or as raw bytes beside it.

The format is `specification/protocol/inference_rest.md` of
https://github.com/kserve/open-inference-protocol.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial

import numpy as np

from serving.codecs.base import (
    JSON_BYTES_HEADER,
    TOKEN_OUTPUT,
    DecodedRequest,
    EncodedReply,
    ReplyOptions,
)
from serving.codecs.json_text import read_object
from serving.codecs.open_inference_inputs import name_of, objects_in, read_inputs
from serving.codecs.open_inference_parameters import (
    parameters_of,
    priority,
    timeout_seconds,
    validate_output,
    validate_request,
)
from serving.codecs.raw_tensors import SIZE_KEY, RawTensors, only_tensor
from serving.codecs.rendering import dumps, nonfinite_mode, render_flat
from serving.codecs.signature import (
    require_equal_rows,
    require_json_outputs,
    signature_of,
)
from serving.errors import InvalidInput, NotOffered
from serving.model import ModelVersion, TensorSpec
from serving.quoting import quoted, quoted_names
from serving.tensors import encode_tensor

# KServe's client cannot parse the bare form.
DEFAULT_NONFINITE = "null"

MAX_ID_CHARACTERS = 256

_Document = dict[str, object]


class OpenInferenceCodec:
    """Decodes and encodes the bodies of `/infer`."""

    protocol = "open_inference"
    takes_binary = True

    def decode(
        self, body: bytes | memoryview, version: ModelVersion, json_bytes: int | None = None
    ) -> DecodedRequest:
        """Return the tensors of `body`, of which `json_bytes` are JSON and the rest raw tensors.

        Raises InvalidInput, NotOffered or TooLarge.
        """
        if json_bytes is None:
            body = bytes(body)
            with _hint_at_missing_header(body):
                return read_object(body, partial(_read, version, None))
        if json_bytes == 0:
            return _raw_request(body, version)
        text = bytes(body[:json_bytes])
        return read_object(text, lambda found: _read(version, RawTensors(body, json_bytes), found))

    def encode(
        self,
        request: DecodedRequest,
        version: ModelVersion,
        outputs: Mapping[str, np.ndarray],
        options: ReplyOptions,
    ) -> EncodedReply:
        """Return the reply's body: the outputs asked for, in the order asked for."""
        mode = nonfinite_mode(options.nonfinite, DEFAULT_NONFINITE)
        specs = {spec.name: spec for spec in version.signatures[request.signature].outputs}
        reply: _Document = {"model_name": version.model, "model_version": version.version}
        if request.request_id is not None:
            reply["id"] = request.request_id
        if options.prediction_id is not None:
            reply["parameters"] = _reply_parameters(options)
        names = list(specs if request.outputs is None else request.outputs)
        if request.wants_tokens:
            specs[TOKEN_OUTPUT] = TensorSpec(TOKEN_OUTPUT, "BYTES", (-1,))
            outputs = {**outputs, TOKEN_OUTPUT: _token_array(request, options)}
            names += [] if TOKEN_OUTPUT in names else [TOKEN_OUTPUT]
        rendered, raw = [], []
        for name in names:
            if name in request.binary_outputs:
                data = encode_tensor(outputs[name], specs[name].datatype)
                raw.append(data)
                rendered.append(_described_raw(specs[name], outputs[name], len(data)))
            else:
                rendered.append(_render(specs[name], outputs[name], mode))
        reply["outputs"] = rendered
        head = dumps(reply)
        return EncodedReply(b"".join((head, *raw)), len(head)) if raw else EncodedReply(head)


def _reply_parameters(options: ReplyOptions) -> _Document:
    parameters: _Document = {"prediction_id": options.prediction_id}
    if options.header_token is not None:
        parameters["feedback_token"] = options.header_token
    return parameters


def _token_array(request: DecodedRequest, options: ReplyOptions) -> np.ndarray:
    """Return the rows' tokens as BYTES, empty for a row without one."""
    tokens = options.feedback_tokens or [None] * request.rows
    array = np.empty(request.rows, object)
    array[:] = [(token or "").encode() for token in tokens]
    return array


@contextmanager
def _hint_at_missing_header(body: bytes) -> Iterator[None]:
    """Say what is probably wrong with a body that is no JSON but speaks of raw tensors."""
    try:
        yield
    except InvalidInput as error:
        if b"binary_data_size" not in body or isinstance(error, NotOffered):
            raise
        message = f"{error.message}; is {JSON_BYTES_HEADER} missing?"
        raise InvalidInput(message) from None


def _raw_request(body: bytes | memoryview, version: ModelVersion) -> DecodedRequest:
    """Return the request that is nothing but one row of the only input."""
    spec, array = only_tensor(body, version)
    signature = version.signatures[version.default_signature]
    return DecodedRequest(
        signature.name,
        {spec.name: array},
        1,
        row_form=False,
        binary_outputs=frozenset(output.name for output in signature.outputs),
    )


def _read(version: ModelVersion, raw: RawTensors | None, document: _Document) -> DecodedRequest:
    tensors = _tensors(document, version)
    parameters = parameters_of(document, "")
    validate_request(parameters)
    signature = signature_of(version, parameters.get("signature_name"))
    inputs = read_inputs(tensors, signature, raw)
    rows = require_equal_rows({name: len(array) for name, array in inputs.items()})
    if rows == 0:
        raise InvalidInput('"inputs" has no rows')
    known = [spec.name for spec in signature.outputs]
    has_tokens = version.task != "none"
    wanted, binary = _wanted_outputs(
        document,
        [*known, TOKEN_OUTPUT] if has_tokens else known,
        is_binary=parameters.get("binary_data_output") is True,
    )
    wants_tokens = parameters.get("feedback_tokens") is True or TOKEN_OUTPUT in (wanted or ())
    require_json_outputs(
        spec
        for spec in signature.outputs
        if spec.name not in binary and (wanted is None or spec.name in wanted)
    )
    return DecodedRequest(
        signature.name,
        inputs,
        rows,
        outputs=wanted,
        timeout_seconds=timeout_seconds(parameters),
        priority=priority(parameters),
        row_form=False,
        request_id=_request_id(document),
        binary_outputs=binary,
        wants_tokens=wants_tokens and has_tokens,
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
    return objects_in(tensors, "inputs")


def _looks_like_tf_serving(document: _Document) -> bool:
    tensors = document.get("inputs")
    if tensors is None:
        return "instances" in document
    if isinstance(tensors, list):
        return bool(tensors) and isinstance(tensors[0], list)
    return isinstance(tensors, dict)


def _request_id(document: _Document) -> str | None:
    request_id = document.get("id")
    if request_id is None:
        return None
    if not isinstance(request_id, str) or len(request_id) > MAX_ID_CHARACTERS:
        raise InvalidInput(f"id must be a string of at most {MAX_ID_CHARACTERS} characters")
    return request_id


def _wanted_outputs(
    document: _Document, known: list[str], *, is_binary: bool
) -> tuple[tuple[str, ...] | None, frozenset[str]]:
    """Return the names of the outputs asked for, None for all, and of those to be sent raw.

    `is_binary` is what holds for an output that does not say.
    """
    if document.get("outputs") in (None, []):
        return None, frozenset(known if is_binary else ())
    wanted: list[str] = []
    binary: set[str] = set()
    for index, output in enumerate(objects_in(document["outputs"], "outputs")):
        name = name_of(output, f"outputs[{index}]")
        if name not in known:
            raise InvalidInput(f"no output {quoted(name)}; there are: {quoted_names(known)}")
        if name in wanted:
            raise InvalidInput(f"output {quoted(name)} asked for twice")
        parameters = parameters_of(output, f"output {quoted(name)}: ")
        validate_output(parameters, name)
        wanted.append(name)
        is_own_binary = parameters.get("binary_data")
        if is_binary if is_own_binary is None else is_own_binary:
            binary.add(name)
    return tuple(wanted), frozenset(binary)


def _described_raw(spec: TensorSpec, array: np.ndarray, size: int) -> _Document:
    return {
        "name": spec.name,
        "datatype": spec.datatype,
        "shape": list(array.shape),
        "parameters": {SIZE_KEY: size},
    }


def _render(spec: TensorSpec, array: np.ndarray, nonfinite: str) -> _Document:
    return {
        "name": spec.name,
        "datatype": spec.datatype,
        "shape": list(array.shape),
        "data": render_flat(spec.name, array, nonfinite=nonfinite),
    }
