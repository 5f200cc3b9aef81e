"""Open Inference's binary tensors: what numpy writes comes back, and nothing else is taken."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from serving.codecs.base import DecodedRequest, EncodedReply, ReplyOptions
from serving.codecs.open_inference import OpenInferenceCodec
from serving.errors import InvalidInput, NotOffered
from serving.model import WIRE_DTYPES, ModelVersion, Signature, TensorSpec

CODEC = OpenInferenceCodec()
NUMBERS = sorted(set(WIRE_DTYPES) - {"BYTES"})


def model(*inputs: TensorSpec, outputs: tuple[TensorSpec, ...] = ()) -> ModelVersion:
    signature = Signature("serving_default", inputs, outputs or inputs)
    return ModelVersion("half", "1", "ready", "saved_model", {"serving_default": signature})


HALF = model(TensorSpec("x", "FP32", (-1, 2)), outputs=(TensorSpec("y", "FP32", (-1, 2)),))
PAIR = model(TensorSpec("a", "FP32", (-1, 2)), TensorSpec("n", "INT64", (-1,)))
TEXT = model(TensorSpec("s", "BYTES", (-1,)))
ROW = np.array([[2, 4]], "<f4").tobytes()


def tensor(name: str, datatype: str, shape: list[int], size: Any) -> dict[str, Any]:
    parameters = {"binary_data_size": size}
    return {"name": name, "datatype": datatype, "shape": shape, "parameters": parameters}


X = tensor("x", "FP32", [1, 2], 8)


def decode(version: ModelVersion, document: Any, raw: bytes) -> DecodedRequest:
    head = json.dumps(document).encode()
    return CODEC.decode(head + raw, version, len(head))


def refused(version: ModelVersion, document: Any, raw: bytes) -> str:
    with pytest.raises(InvalidInput) as caught:
        decode(version, document, raw)
    return caught.value.message


def test_39_raw_tensor_is_the_array() -> None:
    decoded = decode(HALF, {"inputs": [X]}, ROW)

    np.testing.assert_array_equal(np.array([[2, 4]], np.float32), decoded.inputs["x"], strict=True)


def test_raw_tensors_follow_in_the_order_of_the_request() -> None:
    inputs = [tensor("n", "INT64", [1], 8), tensor("a", "FP32", [1, 2], 8)]

    decoded = decode(PAIR, {"inputs": inputs}, np.array([7], "<i8").tobytes() + ROW)

    assert (decoded.inputs["n"].tolist(), decoded.inputs["a"].tolist()) == ([7], [[2, 4]])


def test_json_and_raw_inputs_may_be_mixed() -> None:
    n = {"name": "n", "datatype": "INT64", "shape": [1], "data": [7]}

    decoded = decode(PAIR, {"inputs": [n, tensor("a", "FP32", [1, 2], 8)]}, ROW)

    assert (decoded.inputs["n"].tolist(), decoded.inputs["a"].tolist()) == ([7], [[2, 4]])


@pytest.mark.parametrize(
    ("inputs", "raw", "message"),
    [
        (
            [tensor("x", "FP32", [1, 2], 4)],
            ROW[:4],
            'input "x": binary_data_size 4, shape [1,2] of FP32 needs 8',
        ),
        ([{**X, "data": [2, 4]}], ROW, 'input "x": both data and binary_data_size'),
        ([X], ROW[:7], 'input "x": binary_data_size 8, but 7 bytes follow the JSON'),
        ([X], ROW + b"!", "1 bytes after the last tensor"),
        (
            [tensor("x", "FP32", [1, 2], "8")],
            ROW,
            'input "x": binary_data_size must be a whole number, got "8"',
        ),
        ([tensor("x", "FP32", [1, 3], 12)], ROW + ROW[:4], "expected shape [-1,2], got [1,3]"),
        ([tensor("x", "FP32", [2**62, 2**62], 8)], ROW, "binary_data_size 8"),
        ([tensor("x", "FP32", [0, 2], 0)], b"", '"inputs" has no rows'),
    ],
    ids=["size", "both", "short", "long", "text", "shape", "huge", "empty"],
)
def test_raw_tensor_that_does_not_fit_is_refused(
    inputs: list[Any], raw: bytes, message: str
) -> None:
    assert message in refused(HALF, {"inputs": inputs}, raw)


@pytest.mark.parametrize(
    "raw",
    [b"\x02\0\0\0h", b"\xff\xff\xff\xffhi", b"\x01\0\0\0h\x01\0\0\0i", b"\0\0\0"],
    ids=["cut", "length", "two", "head"],
)
def test_strings_must_be_as_many_as_the_shape_says(raw: bytes) -> None:
    assert 'input "s"' in refused(TEXT, {"inputs": [tensor("s", "BYTES", [1], len(raw))]}, raw)


def test_shape_of_strings_is_bounded_by_their_bytes() -> None:
    document = {"inputs": [tensor("s", "BYTES", [2**40], 8)]}

    assert "cannot hold" in refused(TEXT, document, bytes(8))


def test_40_missing_header_is_guessed() -> None:
    body = json.dumps({"inputs": [X]}).encode() + b"\xff" + ROW

    with pytest.raises(InvalidInput, match="is Inference-Header-Content-Length missing"):
        CODEC.decode(body, HALF, None)


def test_raw_size_without_the_header_is_refused() -> None:
    body = json.dumps({"inputs": [X]}).encode()

    with pytest.raises(InvalidInput, match="without the header Inference-Header-Content-Length"):
        CODEC.decode(body, HALF, None)


def test_41_raw_body_is_one_row_of_the_only_input() -> None:
    decoded = CODEC.decode(ROW, HALF, 0)

    assert (decoded.inputs["x"].tolist(), decoded.binary_outputs) == ([[2, 4]], {"y"})


@pytest.mark.parametrize(
    ("version", "body", "message"),
    [
        (PAIR, ROW, "a raw body needs a model with one input"),
        (HALF, ROW[:4], 'input "x": binary_data_size 4, shape [1,2] of FP32 needs 8'),
        (model(TensorSpec("x", "FP32", (-1, -1, -1))), ROW, "a raw body cannot tell a row"),
        (model(TensorSpec("x", "FP32", None)), ROW, "a raw body cannot tell a row"),
    ],
    ids=["two-inputs", "size", "two-unknown", "no-rank"],
)
def test_raw_body_that_is_no_row_is_refused(
    version: ModelVersion, body: bytes, message: str
) -> None:
    with pytest.raises(InvalidInput, match=r"raw body|binary_data_size") as caught:
        CODEC.decode(body, version, 0)

    assert message in caught.value.message


def test_length_of_the_only_unknown_dimension_follows_from_a_raw_body() -> None:
    decoded = CODEC.decode(ROW, model(TensorSpec("x", "FP32", (-1, -1))), 0)

    assert decoded.inputs["x"].tolist() == [[2, 4]]


def test_42_only_the_outputs_asked_for_in_binary_are_raw() -> None:
    outputs = [{"name": "n", "parameters": {"binary_data": True}}, {"name": "a"}]
    a = {"name": "a", "datatype": "FP32", "shape": [1, 2], "data": [2, 4]}
    n = {"name": "n", "datatype": "INT64", "shape": [1], "data": [7]}
    body = json.dumps({"inputs": [a, n], "outputs": outputs}).encode()
    decoded = CODEC.decode(body, PAIR, None)

    reply = CODEC.encode(decoded, PAIR, decoded.inputs, ReplyOptions())

    document, raw = split(reply)
    first, second = document["outputs"]
    assert (first["parameters"], "data" in first, second["data"]) == (
        {"binary_data_size": 8},
        False,
        [2.0, 4.0],
    )
    assert raw == np.array([7], "<i8").tobytes()


def test_bfloat16_has_no_json_form() -> None:
    version = model(TensorSpec("x", "BF16", (-1,)))
    raw = {"inputs": [tensor("x", "BF16", [1], 2)]}

    with pytest.raises(NotOffered, match="BF16, which JSON cannot carry; ask for binary_data"):
        decode(version, raw, b"\x80\x3f")

    binary = {**raw, "parameters": {"binary_data_output": True}}
    assert decode(version, binary, b"\x80\x3f").inputs["x"].tolist() == [0x3F80]


def test_boolean_is_a_byte_of_0_or_1() -> None:
    version = model(TensorSpec("x", "BOOL", (-1,)))

    message = refused(version, {"inputs": [tensor("x", "BOOL", [1], 1)]}, b"\x02")

    assert message == 'input "x": a BOOL is a byte of 0 or 1'


@given(data=st.data(), datatype=st.sampled_from(NUMBERS))
def test_arrays_come_back_through_reply_and_request(data: st.DataObject, datatype: str) -> None:
    shape = data.draw(arrays.array_shapes(min_side=0, max_side=4, max_dims=4))
    array = data.draw(arrays.arrays(WIRE_DTYPES[datatype], (max(shape[0], 1), *shape[1:])))

    assert_comes_back(TensorSpec("x", datatype, (-1, *shape[1:])), array)


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=5))
def test_strings_come_back_through_reply_and_request(strings: list[bytes]) -> None:
    assert_comes_back(TensorSpec("x", "BYTES", (-1,)), np.array([*strings, None], object)[:-1])


def assert_comes_back(spec: TensorSpec, array: np.ndarray) -> None:
    version = model(spec)
    asked = DecodedRequest(
        "serving_default", {}, len(array), row_form=False, binary_outputs=frozenset({"x"})
    )

    document, raw = split(CODEC.encode(asked, version, {"x": array}, ReplyOptions()))
    document["parameters"] = {"binary_data_output": True}
    decoded = decode(version, {**document, "inputs": document.pop("outputs")}, raw)

    # Bits, so that every NaN is itself.
    if spec.datatype == "BYTES":
        assert decoded.inputs["x"].tolist() == array.tolist()
    else:
        assert decoded.inputs["x"].shape == array.shape
        assert decoded.inputs["x"].tobytes() == array.tobytes()


def split(reply: EncodedReply) -> tuple[dict[str, Any], bytes]:
    assert reply.json_bytes is not None
    return json.loads(reply.body[: reply.json_bytes]), reply.body[reply.json_bytes :]
