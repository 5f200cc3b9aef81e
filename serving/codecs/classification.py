"""TensorFlow Serving's `:classify` and `:regress`, for models whose tensors they fit.

https://www.tensorflow.org/tfx/serving/api_rest#classify_and_regress_api is the source of the
format. An example joined with the context is a row of named inputs.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from serving.codecs.base import DecodedRequest, EncodedReply, ReplyOptions
from serving.codecs.json_text import read_object
from serving.codecs.rendering import dumps, nonfinite_mode, render_rows
from serving.codecs.signature import described_inputs, require_equal_rows, signature_of
from serving.codecs.tf_serving import DEFAULT_NONFINITE, read_rows, token_members
from serving.codecs.values import FLOATS
from serving.errors import InvalidInput, ModelError, NotOffered
from serving.model import ModelVersion, Signature, TensorSpec
from serving.quoting import kind_of, quoted, quoted_names

_Document = dict[str, object]


# Of an output, its values, the number of rows, a way of NaN, and the names of the classes.
Render = Callable[[TensorSpec, np.ndarray, int, str, Sequence[str]], object]


class ExamplesCodec:
    """Decodes lists of examples and encodes a result for each, as one of the two verbs has it."""

    protocol = "tf_serving"
    takes_binary = False

    def __init__(self, verb: str, render: Render) -> None:
        """`render` makes the results of the only output."""
        self._verb = verb
        self._render = render

    def decode(
        self, body: bytes | memoryview, version: ModelVersion, json_bytes: int | None = None
    ) -> DecodedRequest:
        """Return the tensors of `body`; raise InvalidInput, NotOffered or TooLarge."""
        del json_bytes
        body = bytes(body)
        return read_object(body, partial(_read, version, self._verb))

    def encode(
        self,
        request: DecodedRequest,
        version: ModelVersion,
        outputs: Mapping[str, np.ndarray],
        options: ReplyOptions,
    ) -> EncodedReply:
        """Return the reply's body."""
        (spec,) = version.signatures[request.signature].outputs
        mode = nonfinite_mode(options.nonfinite, DEFAULT_NONFINITE)
        names = _class_names(version, request.signature)
        results = self._render(spec, outputs[spec.name], request.rows, mode, names)
        return EncodedReply(dumps({"results": results} | token_members(request, options)))


def _class_names(version: ModelVersion, signature: str) -> Sequence[str]:
    """Return the names that are declared of a signature's output; it has one."""
    measured = version.measured
    if measured is None or measured.signature != signature:
        return ()
    return measured.declaration.classes


def _classes(
    spec: TensorSpec, array: np.ndarray, rows: int, nonfinite: str, names: Sequence[str]
) -> object:
    """Return label and score of each class; without names labels are places: "0", "1" and so on."""
    scores = _checked(array, rows, dimensions=2)
    width = scores.shape[1]
    labels = list(names) if len(names) == width else list(map(str, range(width)))
    flat = render_rows(spec.name, scores.reshape(-1), nonfinite=nonfinite)
    pairs = zip(labels * rows, flat, strict=True)
    return [[list(next(pairs)) for _ in labels] for _ in range(rows)]


def _numbers(
    spec: TensorSpec, array: np.ndarray, rows: int, nonfinite: str, _names: Sequence[str]
) -> object:
    values = _checked(array, rows, dimensions=None).reshape(-1)
    return render_rows(spec.name, values, nonfinite=nonfinite)


def _read(version: ModelVersion, verb: str, document: _Document) -> DecodedRequest:
    signature = signature_of(version, document.get("signature_name"))
    _require_mapping(verb, signature, version)
    examples = document.get("examples")
    if not isinstance(examples, list):
        said = f"got {kind_of(examples)}" if "examples" in document else "there is none"
        raise InvalidInput(f'"examples" must be a list, {said}')
    context = document.get("context", {})
    if not isinstance(context, dict):
        raise InvalidInput(f'"context" must be an object, got {kind_of(context)}')
    # Before it is joined with each example: a large context would multiply.
    unexpected = sorted(context.keys() - {spec.name for spec in signature.inputs})
    if unexpected:
        raise InvalidInput(
            f"context: unexpected {quoted(unexpected[0])};"
            f" the inputs are {described_inputs(signature)}"
        )
    rows = [_joined(index, example, context) for index, example in enumerate(examples)]
    inputs = read_rows(rows, signature, "examples")
    count = require_equal_rows({name: len(array) for name, array in inputs.items()})
    return DecodedRequest(signature.name, inputs, count)


def _joined(index: int, example: object, context: _Document) -> _Document:
    if not isinstance(example, dict):
        raise InvalidInput(f"examples[{index}] must be an object, got {kind_of(example)}")
    twice = sorted(example.keys() & context.keys())
    if twice:
        raise InvalidInput(f"examples[{index}]: {quoted_names(twice)} is in the context, too")
    return {**context, **example}


def _require_mapping(verb: str, signature: Signature, version: ModelVersion) -> None:
    """Raise NotOffered for a signature whose tensors have no form as classes or numbers."""
    problem = _input_problem(signature) or _output_problem(verb, signature.outputs)
    if problem:
        raise NotOffered(
            f"signature {quoted(signature.name)} {problem}, so :{verb} is not offered; use"
            f" /v1/models/{version.model}:predict"
        )


def _input_problem(signature: Signature) -> str:
    if signature.method_name.endswith(("/classify", "/regress")):
        return "takes serialized examples"
    return ""


def _output_problem(verb: str, outputs: tuple[TensorSpec, ...]) -> str:
    if len(outputs) != 1:
        return f"has {len(outputs)} outputs"
    (spec,) = outputs
    shapes_fit = (
        spec.shape is not None
        and (
            len(spec.shape) == 2  # noqa: PLR2004 - rows and classes
            if verb == "classify"
            else len(spec.shape) == 1 or spec.shape[1:] == (1,)
        )
    )
    if spec.datatype not in FLOATS or not shapes_fit:
        return f"has an output {quoted(spec.name)} of another form"
    return ""


def _checked(array: np.ndarray, rows: int, *, dimensions: int | None) -> np.ndarray:
    """Return an output that has what the signature promised. Raises ModelError."""
    is_right = array.ndim == dimensions if dimensions else array.size == rows
    if array.shape[:1] != (rows,) or not is_right:
        raise ModelError(f"the output has shape {list(array.shape)} for {rows} rows")
    return array


CLASSIFY = ExamplesCodec("classify", _classes)
REGRESS = ExamplesCodec("regress", _numbers)
