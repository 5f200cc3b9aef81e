"""The Open Inference Protocol with JSON tensors: the bodies of the checklist and the replies."""

import contextlib
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from serving.codecs import CODECS
from serving.codecs.base import DecodedRequest, ReplyOptions
from serving.codecs.metadata import open_inference_metadata, open_inference_server
from serving.errors import InvalidInput, NotOffered, PredictionError
from serving.model import NUMPY_DTYPES, ModelVersion, Signature, TensorSpec

CODEC = CODECS["open_inference"]

NUMERIC = sorted(set(NUMPY_DTYPES) - {"BYTES"})


def float32(values: object) -> np.ndarray:
    return np.array(values, np.float32)


def int64(values: object) -> np.ndarray:
    return np.array(values, np.int64)


def model(
    name: str, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]
) -> ModelVersion:
    signature = Signature("serving_default", inputs, outputs)
    return ModelVersion(name, "1", "ready", "saved_model", {"serving_default": signature})


HALF = model("half", (TensorSpec("x", "FP32", (-1, 2)),), (TensorSpec("y", "FP32", (-1, 2)),))
PAIR = model(
    "pair",
    (TensorSpec("a", "FP32", (-1, 2)), TensorSpec("n", "INT64", (-1,))),
    (TensorSpec("next", "INT64", (-1,)), TensorSpec("sum", "FP32", (-1,))),
)
TEXT = model(
    "text",
    (TensorSpec("s", "BYTES", (-1, 2)),),
    (TensorSpec("t", "BYTES", (-1, 2)), TensorSpec("t_bytes", "BYTES", (-1, 2))),
)
FREE = model("free", (TensorSpec("x", "FP32", None),), ())
GROWING = model("growing", (TensorSpec("x", "FP32", (-1, -1)),), ())
MODELS = {one.model: one for one in (HALF, PAIR, TEXT, FREE, GROWING)}


def x(**changes: object) -> dict[str, object]:
    """Return the input of section 5, changed; None leaves a key out."""
    tensor = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [2, 4], **changes}
    return {key: value for key, value in tensor.items() if value is not None}


A = {"name": "a", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}
N = {"name": "n", "shape": [1], "datatype": "INT64", "data": [3]}


def decode(name: str, document: object) -> DecodedRequest:
    return CODEC.decode(json.dumps(document).encode(), MODELS[name])


def refused(name: str, document: object) -> PredictionError:
    with pytest.raises(PredictionError) as caught:
        decode(name, document)
    return caught.value


@pytest.mark.parametrize(
    "document",
    [
        pytest.param({"id": "42", "inputs": [x()], "outputs": [{"name": "y"}]}, id="flat"),
        pytest.param(
            {"id": "42", "inputs": [x(data=[[2, 4]])], "outputs": [{"name": "y"}]}, id="nested"
        ),
        pytest.param(
            {
                "id": "42",
                "inputs": [x(parameters={})],
                "outputs": [{"name": "y", "parameters": {"binary_data": False}}],
                "parameters": {"unknown": 1, "sequence_id": 0, "priority": 3, "timeout": 0},
            },
            id="45-unknown-parameter",
        ),
        pytest.param(
            {
                "id": "42",
                "inputs": [x()],
                "outputs": [{"name": "y"}],
                "parameters": {"signature_name": "serving_default", "binary_data_output": False},
            },
            id="signature-name",
        ),
    ],
)
def test_good_bodies_become_tensors(document: object) -> None:
    decoded = decode("half", document)

    np.testing.assert_array_equal(decoded.inputs["x"], float32([[2, 4]]), strict=True)
    assert (decoded.rows, decoded.request_id, decoded.outputs) == (1, "42", ("y",))
    assert (decoded.timeout_seconds, decoded.row_form) == (None, False)


def test_several_inputs_in_any_order() -> None:
    decoded = decode("pair", {"inputs": [N, A]})

    assert {name: array.tolist() for name, array in decoded.inputs.items()} == {
        "a": [[1.0, 2.0]],
        "n": [3],
    }
    assert (decoded.request_id, decoded.outputs) == (None, None)


def test_strings_are_text_or_base64() -> None:
    tensor = {"name": "s", "shape": [1, 2], "datatype": "BYTES", "data": ["é", {"b64": "/w=="}]}

    decoded = decode("text", {"inputs": [tensor]})

    assert decoded.inputs["s"].tolist() == [["é".encode(), b"\xff"]]


def test_timeout_beyond_any_float_is_the_longest() -> None:
    decoded = decode("half", {"inputs": [x()], "parameters": {"timeout": 10**400}})

    assert decoded.timeout_seconds == 1e9


@pytest.mark.parametrize(
    ("microseconds", "seconds"), [(100_000, 0.1), (1, 1e-6), (0, None), (None, None)]
)
def test_timeout_is_microseconds(microseconds: int | None, seconds: float | None) -> None:
    decoded = decode("half", {"inputs": [x()], "parameters": {"timeout": microseconds}})

    assert decoded.timeout_seconds == seconds


@pytest.mark.parametrize(
    ("name", "document", "message"),
    [
        pytest.param(
            "half",
            {"inputs": [x(shape=[2, 2])]},
            'input "x": shape [2,2] needs 4 values, got 2',
            id="33-count",
        ),
        pytest.param(
            "half",
            {"inputs": [x(shape=[-1, 2])]},
            'input "x": shape [-1,2]: dimensions must be 0 or more',
            id="33-negative",
        ),
        pytest.param(
            "half",
            {"inputs": [x(datatype="FP64")]},
            'input "x" is FP32, request says FP64',
            id="33-datatype",
        ),
        pytest.param(
            "half",
            {"inputs": [x(datatype=None)]},
            'input "x" is FP32, request says null',
            id="no-datatype",
        ),
        pytest.param(
            "half",
            {"inputs": [x(data=["2", "4"])]},
            'input "x", data[0]: "2" is a string, expected FP32',
            id="33-strings",
        ),
        pytest.param(
            "half",
            {"inputs": [x(data=[[2, None]])]},
            'input "x", data[0][1]: null is no value, expected FP32',
            id="33-null",
        ),
        pytest.param(
            "half",
            {"inputs": [x(data=[1e39, 1])]},
            'input "x", data[0]: 1e39 does not fit FP32',
            id="33-range",
        ),
        pytest.param(
            "half",
            {"inputs": [x(shape=[2, 1])]},
            'input "x": expected shape [-1,2], got [2,1]',
            id="shape-of-the-model",
        ),
        pytest.param(
            "half",
            {"inputs": [x(data=[[2], [4]])]},
            'input "x": data is nested as [2,1], shape is [1,2]',
            id="nesting",
        ),
        pytest.param(
            "half",
            {"inputs": [x(data=[[2, 4], [5]])]},
            'input "x", data[1]: shape [1], but input "x", data[0] has [2]',
            id="ragged",
        ),
        pytest.param(
            "half",
            {"inputs": [x(shape=[0, 2], data=[])]},
            '"inputs" has no rows',
            id="no-rows",
        ),
        pytest.param(
            "free",
            {"inputs": [x(shape=[], data=[1])]},
            'input "x": expected shape [-1], got []',
            id="no-dimension",
        ),
        pytest.param(
            "growing",
            {"inputs": [x(shape=[2**62, 0], data=[])]},
            'input "x": shape [4611686018427387904,0] is too large',
            id="beyond-numpy",
        ),
        pytest.param(
            "half",
            {"inputs": [x(shape=None)]},
            'input "x": shape must be a list, got null',
            id="no-shape",
        ),
        pytest.param(
            "half",
            {"inputs": [x(shape=[1.0, 2])]},
            'input "x": shape must hold whole numbers of 64 bits',
            id="float-in-shape",
        ),
        pytest.param(
            "half",
            {"inputs": [x(shape=[1] * 65)]},
            'input "x": more than 64 dimensions',
            id="dimensions",
        ),
        pytest.param(
            "half",
            {"inputs": [x(data=None)]},
            'input "x": data must be a list, there is none',
            id="no-data",
        ),
        pytest.param(
            "half",
            {"inputs": [x(data=5)]},
            'input "x": data must be a list, got a number',
            id="bare-data",
        ),
        pytest.param("pair", {"inputs": [A]}, 'missing input "n"', id="34-missing"),
        pytest.param("pair", {"inputs": [A, N, N]}, 'input "n" given twice', id="34-twice"),
        pytest.param(
            "pair",
            {"inputs": [A, N, x(name="q")]},
            'unknown input "q"; the inputs are a FP32 [2], n INT64 []',
            id="34-unknown",
        ),
        pytest.param(
            "pair",
            {"inputs": [A, {**N, "shape": [2], "data": [3, 4]}]},
            "inputs differ in rows: a 1, n 2",
            id="34-rows",
        ),
        pytest.param(
            "pair",
            {"inputs": [A, N], "outputs": [{"name": "z"}]},
            'no output "z"; there are: next, sum',
            id="35-unknown-output",
        ),
        pytest.param(
            "pair",
            {"inputs": [A, N], "outputs": [{"name": "sum"}, {"name": "sum"}]},
            'output "sum" asked for twice',
            id="35-output-twice",
        ),
        pytest.param(
            "half",
            {"instances": [[2, 4]]},
            "this looks like a TensorFlow Serving body; send it to /v1/models/half:predict",
            id="36-rows",
        ),
        pytest.param(
            "half",
            {"inputs": [[2, 4]]},
            "this looks like a TensorFlow Serving body; send it to /v1/models/half:predict",
            id="36-columns",
        ),
        pytest.param(
            "half",
            {"inputs": {"x": [[2, 4]]}},
            "this looks like a TensorFlow Serving body; send it to /v1/models/half:predict",
            id="36-named-columns",
        ),
        pytest.param("half", {}, 'missing "inputs", a list of tensors', id="no-inputs"),
        pytest.param("half", {"inputs": 5}, '"inputs" must be a list, got a number', id="number"),
        pytest.param(
            "half", {"inputs": [5]}, "inputs[0] must be an object, got a number", id="no-object"
        ),
        pytest.param(
            "half",
            {"inputs": [x(name=5)]},
            "inputs[0].name must be a string, got a number",
            id="name",
        ),
        pytest.param("half", [], "top level must be an object, got a list", id="top-level"),
        pytest.param(
            "half",
            {"id": "i" * 257, "inputs": [x()]},
            "id must be a string of at most 256 characters",
            id="long-id",
        ),
        pytest.param(
            "half",
            {"id": 42, "inputs": [x()]},
            "id must be a string of at most 256 characters",
            id="number-id",
        ),
        pytest.param(
            "half",
            {"inputs": [x()], "parameters": []},
            "parameters must be an object, got a list",
            id="parameters",
        ),
        pytest.param(
            "half",
            {"inputs": [x(parameters=5)]},
            'input "x": parameters must be an object, got a number',
            id="parameters-of-input",
        ),
        pytest.param(
            "half",
            {"inputs": [x()], "parameters": {"timeout": "x"}},
            'parameters.timeout must be whole microseconds, 0 or more; got "x"',
            id="44-string",
        ),
        pytest.param(
            "half",
            {"inputs": [x()], "parameters": {"timeout": -1}},
            "parameters.timeout must be whole microseconds, 0 or more; got -1",
            id="44-negative",
        ),
        pytest.param(
            "half",
            {"inputs": [x()], "parameters": {"timeout": True}},
            "parameters.timeout must be whole microseconds, 0 or more; got true",
            id="44-boolean",
        ),
        pytest.param(
            "half",
            {"inputs": [x()], "parameters": {"priority": "high"}},
            'parameters.priority must be a whole number, 0 or more; got "high"',
            id="priority",
        ),
        pytest.param(
            "half",
            {"inputs": [x()], "outputs": ""},
            '"outputs" must be a list, got a string',
            id="outputs-empty-string",
        ),
        pytest.param(
            "half",
            {"inputs": [x()], "outputs": {}},
            '"outputs" must be a list, got an object',
            id="outputs-empty-object",
        ),
        pytest.param(
            "half",
            {"inputs": [x()], "parameters": {"signature_name": "foo"}},
            'no signature "foo"; there are: serving_default',
            id="29-unknown",
        ),
        pytest.param(
            "half",
            {"inputs": [x()], "parameters": {"signature_name": 5}},
            "signature_name must be a string",
            id="29-number",
        ),
    ],
)
def test_bad_bodies_are_told_what_was_expected(name: str, document: object, message: str) -> None:
    error = refused(name, document)

    assert (type(error), error.message) == (InvalidInput, message)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        pytest.param(
            {"inputs": [x()], "parameters": {"sequence_id": 7}},
            "sequence_id: stateful sequences are not offered here",
            id="45-sequence",
        ),
        pytest.param(
            {"inputs": [x(data=None, parameters={"shared_memory_region": "r"})]},
            'input "x": shared_memory_region: shared memory is not offered here',
            id="45-shared-memory-input",
        ),
        pytest.param(
            {
                "inputs": [x()],
                "outputs": [{"name": "y", "parameters": {"shared_memory_region": "r"}}],
            },
            'output "y": shared_memory_region: shared memory is not offered here',
            id="45-shared-memory-output",
        ),
        pytest.param(
            {"inputs": [x()], "outputs": [{"name": "y", "parameters": {"classification": 3}}]},
            'output "y": classification is not offered here; ask for the tensor',
            id="45-classification",
        ),
    ],
)
def test_what_cannot_be_ignored_is_not_offered(document: object, message: str) -> None:
    error = refused("half", document)

    assert (type(error), error.message) == (NotOffered, message)


def test_reply_is_as_in_the_specification() -> None:
    request = decode("half", {"id": "42", "inputs": [x()], "outputs": [{"name": "y"}]})

    body = CODEC.encode(request, HALF, {"y": float32([[1, 2]])}, ReplyOptions()).body

    assert body == (
        b'{"model_name":"half","model_version":"1","id":"42","outputs":'
        b'[{"name":"y","datatype":"FP32","shape":[1,2],"data":[1.0,2.0]}]}'
    )


@pytest.mark.parametrize("own", [True, False, None])
def test_output_that_does_not_say_is_sent_as_the_request_says(own: object) -> None:
    output = {"name": "y", "parameters": {"binary_data": own}}
    document = {"inputs": [x()], "outputs": [output], "parameters": {"binary_data_output": True}}

    assert (own is not False) == ("y" in decode("half", document).binary_outputs)


@pytest.mark.parametrize("number", [2**63, 2**64, 2**70, 10**400])
def test_integers_of_any_size_are_whole_numbers(number: int) -> None:
    parameters = {"priority": number, "timeout": number}

    request = decode("half", {"inputs": [x()], "parameters": parameters})

    assert (None, 1e9) == (request.priority, request.timeout_seconds)


def test_large_float_is_no_whole_number() -> None:
    error = refused("half", {"inputs": [x()], "parameters": {"priority": 1e30}})

    message = "parameters.priority must be a whole number, 0 or more; got 1e30"
    assert isinstance(error, InvalidInput)
    assert error.message == message


def test_reply_has_no_id_where_none_was_given() -> None:
    request = decode("half", {"inputs": [x()]})

    body = CODEC.encode(request, HALF, {"y": float32([[1, 2]])}, ReplyOptions()).body

    assert list(json.loads(body)) == ["model_name", "model_version", "outputs"]


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        pytest.param([{"name": "sum"}, {"name": "next"}], ["sum", "next"], id="35-order"),
        pytest.param([{"name": "next"}], ["next"], id="35-filter"),
        pytest.param([], ["next", "sum"], id="empty-is-all"),
    ],
)
def test_outputs_are_filtered_and_ordered(wanted: list[object], names: list[str]) -> None:
    request = decode("pair", {"inputs": [A, N], "outputs": wanted})

    body = CODEC.encode(
        request, PAIR, {"next": int64([4]), "sum": float32([6])}, ReplyOptions()
    ).body

    assert [output["name"] for output in json.loads(body)["outputs"]] == names


@pytest.mark.parametrize(
    ("nonfinite", "data"),
    [
        (None, b"[null,1.0]"),
        ("token", b"[NaN,1.0]"),
        ("string", b'["NaN",1.0]'),
    ],
)
def test_nonfinite_numbers_are_null_by_default(nonfinite: str | None, data: bytes) -> None:
    request = decode("half", {"inputs": [x()]})

    body = CODEC.encode(request, HALF, {"y": float32([[np.nan, 1]])}, ReplyOptions(nonfinite)).body

    assert b'"data":' + data + b"}]}" in body


def test_string_outputs_are_flat() -> None:
    request = DecodedRequest("serving_default", {}, 2, row_form=False)
    strings = np.array([[b"a", b"b"], [b"c", b"d"]], object)

    body = CODEC.encode(request, TEXT, {"t": strings, "t_bytes": strings}, ReplyOptions()).body

    plain, encoded = json.loads(body)["outputs"]
    assert plain == {
        "name": "t",
        "datatype": "BYTES",
        "shape": [2, 2],
        "data": ["a", "b", "c", "d"],
    }
    assert encoded["data"] == [{"b64": text} for text in ("YQ==", "Yg==", "Yw==", "ZA==")]


def test_string_output_that_is_no_text_names_its_row() -> None:
    request = DecodedRequest("serving_default", {}, 2, outputs=("t",), row_form=False)
    strings = np.array([[b"a", b"b"], [b"c", b"\xff"]], object)

    with pytest.raises(InvalidInput) as caught:
        CODEC.encode(request, TEXT, {"t": strings}, ReplyOptions())

    assert caught.value.message == (
        'output "t", row 1 is not UTF-8; name it t_bytes or ask for binary_data over /v2'
    )


@given(data=st.data(), datatype=st.sampled_from(NUMERIC), is_nested=st.booleans())
def test_arrays_come_back_through_reply_and_request(
    data: st.DataObject,
    datatype: str,
    is_nested: bool,  # noqa: FBT001
) -> None:
    shape = data.draw(arrays.array_shapes(min_side=0, max_side=4, max_dims=4))
    array = data.draw(arrays.arrays(NUMPY_DTYPES[datatype], (max(shape[0], 1), *shape[1:])))
    spec = TensorSpec("x", datatype, (-1, *shape[1:]))
    version = model("m", (spec,), (spec,))

    reply = json.loads(
        CODEC.encode(
            DecodedRequest("serving_default", {}, len(array), row_form=False),
            version,
            {"x": array},
            ReplyOptions("token"),
        ).body
    )
    (tensor,) = reply["outputs"]
    if is_nested:
        tensor["data"] = np.array(tensor["data"], object).reshape(array.shape).tolist()
    decoded = CODEC.decode(json.dumps({"inputs": [tensor]}).encode(), version)

    np.testing.assert_array_equal(decoded.inputs["x"], array, strict=True)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda children: (
        st.lists(children, max_size=4)
        | st.dictionaries(st.sampled_from(["b64", "name", "timeout", "x"]), children, max_size=3)
    ),
    max_leaves=8,
)
SHAPES = st.lists(st.integers(-1, 3), max_size=3) | JSON_VALUES
DATA = st.lists(st.floats() | st.integers(), max_size=4) | JSON_VALUES
TENSORS = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["x", "a", "n", "s"]) | JSON_VALUES,
        "datatype": st.sampled_from(["FP32", "INT64", "BYTES"]) | JSON_VALUES,
        "shape": SHAPES,
        "data": DATA,
        "parameters": JSON_VALUES,
    },
)


@given(
    document=st.fixed_dictionaries(
        {"inputs": st.lists(TENSORS, max_size=2) | JSON_VALUES},
        optional={"id": JSON_VALUES, "outputs": JSON_VALUES, "parameters": JSON_VALUES},
    ),
    name=st.sampled_from(sorted(MODELS)),
)
def test_any_json_gives_tensors_or_a_prediction_error(
    document: dict[str, object], name: str
) -> None:
    with contextlib.suppress(PredictionError):
        decoded = decode(name, document)
        assert {len(array) for array in decoded.inputs.values()} == {decoded.rows}


def test_server_metadata_names_the_server() -> None:
    document = open_inference_server()

    assert (document["name"], document["version"]) == ("inferometer", "0.1.0")
    assert "binary_tensor_data" in document["extensions"]


@pytest.mark.parametrize(
    ("name", "inputs"),
    [
        ("half", [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}]),
        ("free", [{"name": "x", "datatype": "FP32", "shape": [-1]}]),
    ],
)
def test_model_metadata_lists_tensors(name: str, inputs: list[object]) -> None:
    document = open_inference_metadata(MODELS[name], ["2", "1"])

    assert (document["name"], document["versions"]) == (name, ["2", "1"])
    assert document["platform"] == "tensorflow_savedmodel"
    assert document["inputs"] == inputs
