"""TensorFlow Serving's protocol: the bodies of the checklist and what replies look like."""

import contextlib
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from serving.codecs import CODECS
from serving.codecs.base import DecodedRequest, ReplyOptions
from serving.codecs.finite import reject_nonfinite
from serving.codecs.metadata import tf_serving_metadata, tf_serving_status
from serving.errors import InvalidInput, ModelError, NotOffered, PredictionError
from serving.model import NUMPY_DTYPES, ModelVersion, Signature, TensorSpec

CODEC = CODECS["tf_serving"]

NUMERIC = sorted(set(NUMPY_DTYPES) - {"BYTES"})


def float32(values: object) -> np.ndarray:
    return np.array(values, np.float32)


def int64(values: object) -> np.ndarray:
    return np.array(values, np.int64)


def model(
    name: str, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...], state: str = "ready"
) -> ModelVersion:
    signature = Signature("serving_default", inputs, outputs)
    return ModelVersion(name, "1", state, "saved_model", {"serving_default": signature})


X = TensorSpec("x", "FP32", (-1,), "serving_default_x:0")
Y = TensorSpec("y", "FP32", (-1,))
HALF = model(
    "half",
    (TensorSpec("x", "FP32", (-1, 2), "serving_default_x:0"),),
    (TensorSpec("y", "FP32", (-1, 2), "StatefulPartitionedCall:0"),),
)
PAIR = model(
    "pair",
    (TensorSpec("a", "FP32", (-1, 2)), TensorSpec("n", "INT64", (-1,))),
    (TensorSpec("next", "INT64", (-1,)), TensorSpec("sum", "FP32", (-1,))),
)
LOG = model("log", (X,), (Y,))
TEXT = model(
    "text",
    (TensorSpec("s", "BYTES", (-1,)),),
    (TensorSpec("t", "BYTES", (-1,)), TensorSpec("t_bytes", "BYTES", (-1,))),
)
FIXED = model("fixed", (TensorSpec("x", "FP32", (2, 1)),), (Y,))
FREE = model("free", (TensorSpec("x", "FP32", None),), (Y,))
WIDE = model("wide", (TensorSpec("x", "FP32", (-1, -1, 2)),), (Y,))
NONE = model("none", (), (Y,))
MODELS = {one.model: one for one in (NONE, HALF, PAIR, LOG, TEXT, FIXED, FREE, WIDE)}


def decode(name: str, body: str | bytes) -> DecodedRequest:
    return CODEC.decode(body.encode() if isinstance(body, str) else body, MODELS[name])


def refusal(name: str, body: str | bytes) -> str:
    with pytest.raises(InvalidInput) as caught:
        decode(name, body)
    return caught.value.message


def replied(version: ModelVersion, outputs: dict[str, np.ndarray], **options: object) -> bytes:
    rows = len(next(iter(outputs.values())))
    request = DecodedRequest(
        "serving_default", {}, rows, row_form=bool(options.get("row_form", True))
    )
    mode = options.get("nonfinite")
    options = ReplyOptions(None if mode is None else str(mode))
    return CODEC.encode(request, version, outputs, options).body


@pytest.mark.parametrize(
    ("name", "body", "inputs", "rows"),
    [
        pytest.param("half", '{"instances":[[2,4]]}', {"x": [[2, 4]]}, 1, id="rows"),
        pytest.param(
            "half",
            '{"signature_name":"serving_default","instances":[[2,4]],"more":[1]}',
            {"x": [[2, 4]]},
            1,
            id="signature-and-unknown-key",
        ),
        pytest.param(
            "half", '{"signature_name":"","inputs":[[2,4]]}', {"x": [[2, 4]]}, 1, id="bare"
        ),
        pytest.param("half", '{"instances":[{"x":[2,4]}]}', {"x": [[2, 4]]}, 1, id="named-row"),
        pytest.param("half", '{"inputs":{"x":[[2,4]]}}', {"x": [[2, 4]]}, 1, id="named-column"),
        pytest.param("half", b'\xef\xbb\xbf{"instances":[[2,4]]}', {"x": [[2, 4]]}, 1, id="mark"),
        pytest.param("half", '{"instances":[[2,4]]}\r\n', {"x": [[2, 4]]}, 1, id="newline"),
        pytest.param(
            "half", '{"instances":[[9,9]],"instances":[[2,4]]}', {"x": [[2, 4]]}, 1, id="last-key"
        ),
        pytest.param(
            "pair",
            '{"instances":[{"a":[1,2],"n":3},{"n":1,"a":[0,0]}]}',
            {"a": [[1, 2], [0, 0]], "n": [3, 1]},
            2,
            id="several-inputs",
        ),
        pytest.param(
            "pair", '{"inputs":{"a":[[1,2]],"n":[3]}}', {"a": [[1, 2]], "n": [3]}, 1, id="columns"
        ),
        pytest.param(
            "pair",
            '{"inputs":{"a":[[1,2]],"n":[3],"z":[[7]]}}',
            {"a": [[1, 2]], "n": [3]},
            1,
            id="extra-column",
        ),
        pytest.param(
            "pair",
            '{"instances":[{"a":[0,0],"n":9007199254740993}]}',
            {"a": [[0, 0]], "n": [9007199254740993]},
            1,
            id="exact-integer",
        ),
        pytest.param("log", '{"instances":[0,-1]}', {"x": [0, -1]}, 2, id="scalars"),
        pytest.param("fixed", '{"instances":[[1],[2]]}', {"x": [[1], [2]]}, 2, id="fixed-rows"),
        pytest.param("free", '{"instances":[[[1,2]]]}', {"x": [[[1, 2]]]}, 1, id="unknown-rank"),
        pytest.param("free", '{"inputs":[1,2,3]}', {"x": [1, 2, 3]}, 3, id="unknown-rank-column"),
        pytest.param(
            "wide",
            '{"instances":[[[1,2],[3,4],[5,6]]]}',
            {"x": [[[1, 2], [3, 4], [5, 6]]]},
            1,
            id="wide",
        ),
        pytest.param(
            "text", '{"instances":["é",{"b64":"aGk="}]}', {"s": ["é".encode(), b"hi"]}, 2, id="text"
        ),
        pytest.param("text", '{"instances":[{"s":{"b64":""}}]}', {"s": [b""]}, 1, id="empty-b64"),
    ],
)
def test_good_bodies_become_tensors(
    name: str, body: str | bytes, inputs: dict[str, list[object]], rows: int
) -> None:
    decoded = decode(name, body)

    specs = {spec.name: spec for spec in MODELS[name].signatures["serving_default"].inputs}
    assert {key: value.tolist() for key, value in decoded.inputs.items()} == inputs
    assert {key: value.dtype for key, value in decoded.inputs.items()} == {
        key: NUMPY_DTYPES[spec.datatype] for key, spec in specs.items()
    }
    assert (decoded.rows, decoded.signature) == (rows, "serving_default")


@pytest.mark.parametrize(
    ("body", "row_form"),
    [
        pytest.param('{"instances":[[2,4]]}', True, id="rows"),
        pytest.param('{"inputs":[[2,4]]}', False, id="columns"),
    ],
)
def test_reply_has_the_form_of_the_request(body: str, row_form: bool) -> None:  # noqa: FBT001
    decoded = decode("half", body)

    assert decoded.row_form == row_form


@pytest.mark.parametrize(
    ("name", "body", "message"),
    [
        pytest.param(
            "pair",
            '{"instances":[{"a":[1,2],"m":3}]}',
            'instances[0]: missing "n", unexpected "m"; the inputs are a FP32 [2], n INT64 []',
            id="5-names",
        ),
        pytest.param(
            "half",
            '{"instances":[{"y":3}]}',
            'instances[0]: missing "x", unexpected "y"; the inputs are x FP32 [2]',
            id="5-one-input",
        ),
        pytest.param(
            "pair",
            '{"instances":[[1,2]]}',
            "instances[0] is a list; send objects with a, n",
            id="6-list",
        ),
        pytest.param(
            "pair",
            '{"instances":[{"a":[1,2],"n":3},[1,2]]}',
            "instances[1] is a list, instances[0] an object",
            id="6-list-after-object",
        ),
        pytest.param(
            "half",
            '{"instances":[[1,2],{"x":[1,2]}]}',
            "instances[1] is an object, instances[0] a list",
            id="6-object-after-list",
        ),
        pytest.param(
            "half",
            "{}",
            'expected exactly one of "instances" and "inputs"; found none',
            id="7-none",
        ),
        pytest.param(
            "half",
            '{"instances":[[2,4]],"inputs":[[2,4]]}',
            'expected exactly one of "instances" and "inputs"; found both',
            id="7-both",
        ),
        pytest.param("half", '{"instances":[]}', '"instances" is empty', id="7-empty"),
        pytest.param(
            "half", '{"instances":5}', '"instances" must be a list, got a number', id="7-number"
        ),
        pytest.param("half", "", "body is empty; send a JSON object", id="8-empty"),
        pytest.param("half", "[[2,4]]", "top level must be an object, got a list", id="8-list"),
        pytest.param(
            "half",
            '{"instances":[[2,4],]}',
            "JSON error at byte 19: trailing comma is not allowed",
            id="8-syntax",
        ),
        pytest.param(
            "half", '{"instances":[[2,4]]}xyz', "3 bytes after the JSON value", id="8-after"
        ),
        pytest.param("half", "[" * 2000, "nested deeper than 1024", id="8-deep"),
        pytest.param(
            "half",
            '{"instances":[[2,4],[1]]}',
            "instances[1]: shape [1], but instances[0] has [2]",
            id="9-ragged",
        ),
        pytest.param(
            "half",
            '{"instances":[[2,4,6]]}',
            'instances[0]: expected shape [2] (FP32, input "x"), got [3]',
            id="9-long",
        ),
        pytest.param(
            "half",
            '{"instances":[[[2,4]]]}',
            'instances[0]: expected shape [2] (FP32, input "x"), got [1,2];'
            " send each row without the batch dimension",
            id="9-batch-dimension",
        ),
        pytest.param(
            "wide",
            '{"instances":[[[1,2],[3]]]}',
            "instances[0][1]: shape [1], but instances[0][0] has [2]",
            id="9-ragged-inside",
        ),
        pytest.param(
            "wide",
            '{"instances":[[[1,2],3]]}',
            "instances[0][1] is a number, instances[0][0] a list",
            id="9-leaf-beside-list",
        ),
        pytest.param(
            "half",
            '{"instances":[[2,[4]]]}',
            "instances[0][1] is a list, instances[0][0] a number",
            id="9-list-beside-leaf",
        ),
        pytest.param(
            "half",
            '{"inputs":[[2,4,6]]}',
            'inputs: expected shape [-1,2] (FP32, input "x"), got [1,3]',
            id="9-column",
        ),
        pytest.param(
            "half",
            '{"inputs":{"x":[2,4]}}',
            'inputs.x: expected shape [-1,2] (FP32, input "x"), got [2]; send a list of rows',
            id="9-column-without-batch-dimension",
        ),
        pytest.param(
            "half",
            '{"instances":[[2,"4"]]}',
            'instances[0][1]: "4" is a string, expected FP32',
            id="10-string",
        ),
        pytest.param(
            "half",
            '{"instances":[[2,true]]}',
            "instances[0][1]: true is a boolean, expected FP32",
            id="10-boolean",
        ),
        pytest.param(
            "half",
            '{"instances":[[2,null]]}',
            "instances[0][1]: null is no value, expected FP32",
            id="10-null",
        ),
        pytest.param(
            "half",
            '{"instances":[[2,1e39]]}',
            "instances[0][1]: 1e39 does not fit FP32",
            id="10-1e39",
        ),
        pytest.param(
            "half", '{"instances":[[2,1e400]]}', "1e400 does not fit FP64", id="10-beyond-double"
        ),
        pytest.param(
            "pair",
            '{"instances":[{"a":[1,2],"n":1.0}]}',
            "instances[0].n: 1.0 is not an INT64 (send 1)",
            id="11-whole-float",
        ),
        pytest.param(
            "pair",
            '{"instances":[{"a":[1,2],"n":1.5}]}',
            "instances[0].n: 1.5 is not an INT64",
            id="11-float",
        ),
        pytest.param(
            "pair",
            '{"instances":[{"a":[1,2],"n":9223372036854775808}]}',
            "instances[0].n: 9223372036854775808 does not fit INT64",
            id="11-2^63",
        ),
        pytest.param(
            "pair",
            '{"instances":[{"a":[1,2],"n":18446744073709551617}]}',
            "instances[0].n: 18446744073709551617 does not fit INT64",
            id="11-beyond-64-bits",
        ),
        pytest.param(
            "pair",
            '{"inputs":{"a":[[1,2]],"n":[-1e20]}}',
            "inputs.n[0]: -1e20 does not fit INT64",
            id="11-large-float",
        ),
        pytest.param(
            "text",
            '{"instances":[{"b64":"data:,aGk="}]}',
            'instances[0]: not standard base64 (no "data:" prefix; + and /)',
            id="15-data-url",
        ),
        pytest.param(
            "text",
            '{"instances":["a",{"b64":"_w=="}]}',
            'instances[1]: not standard base64 (no "data:" prefix; + and /)',
            id="15-url-alphabet",
        ),
        pytest.param(
            "text",
            '{"instances":[{"b64":"aGk"}]}',
            'instances[0]: not standard base64 (no "data:" prefix; + and /)',
            id="15-no-padding",
        ),
        pytest.param(
            "text",
            '{"instances":[{"b64":5}]}',
            "instances[0]: b64 must be a string, got a number",
            id="15-number",
        ),
        pytest.param(
            "half",
            '{"instances":[{"b64":"aGk="}]}',
            'b64 is for strings; input "x" is FP32',
            id="15-b64-for-a-list",
        ),
        pytest.param(
            "log",
            '{"instances":[{"b64":"aGk="}]}',
            'b64 is for strings; input "x" is FP32',
            id="15-b64-for-a-number",
        ),
        pytest.param(
            "half",
            '{"signature_name":"foo","instances":[[2,4]]}',
            'no signature "foo"; there are: serving_default',
            id="29-unknown",
        ),
        pytest.param(
            "half",
            '{"signature_name":5,"instances":[[2,4]]}',
            "signature_name must be a string",
            id="29-number",
        ),
        pytest.param(
            "pair", '{"inputs":{"a":[[1,2]]}}', 'missing input "n"', id="34-missing-column"
        ),
        pytest.param(
            "pair",
            '{"inputs":{"a":[[1,2]],"n":[1,2]}}',
            "inputs differ in rows: a 1, n 2",
            id="34-rows-differ",
        ),
        pytest.param(
            "pair",
            '{"inputs":[[1,2]]}',
            '"inputs" is a list; send an object with a, n',
            id="34-bare",
        ),
        pytest.param(
            "log",
            '{"instances":[Infinity,1' + "0" * 400 + "]}",
            f"instances[1]: 1{'0' * 62}… does not fit FP32",
            id="10-integer-beyond-double",
        ),
        pytest.param(
            "text",
            '{"instances":["a",{"b64":"aGk=","more":1}]}',
            "instances[1] is an object, expected BYTES",
            id="15-more-than-b64",
        ),
        pytest.param(
            "half",
            '{"inputs":5}',
            'inputs: expected shape [-1,2] (FP32, input "x"), got []',
            id="bare-number",
        ),
        pytest.param(
            "none",
            '{"instances":[1]}',
            'signature "serving_default" has no inputs, so it has no rows',
            id="no-inputs",
        ),
        pytest.param("half", '{"inputs":[]}', '"inputs" is empty', id="no-columns"),
        pytest.param("half", '{"inputs":{"x":[]}}', '"inputs" has no rows', id="no-rows"),
        pytest.param(
            "half",
            '{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[2,4]}]}',
            "this looks like an Open Inference Protocol body; send it to /v2/models/half/infer",
            id="36",
        ),
        pytest.param(
            "fixed",
            '{"instances":[[1],[2],[3]]}',
            '3 rows, but input "x" takes exactly 2 ([2,1])',
            id="fixed-rows",
        ),
        pytest.param(
            "free",
            '{"instances":' + "[" * 70 + "1" + "]" * 70 + "}",
            "instances: more than 64 dimensions",
            id="dimensions",
        ),
    ],
)
def test_bad_bodies_are_told_what_was_expected(name: str, body: str, message: str) -> None:
    assert refusal(name, body) == message


@pytest.mark.parametrize(
    ("datatype", "good", "bad"),
    [
        ("INT8", -128, 128),
        ("UINT8", 255, -1),
        ("INT16", 32767, 32768),
        ("UINT16", 65535, 65536),
        ("INT32", -(2**31), 2**31),
        ("UINT32", 2**32 - 1, 2**32),
        ("INT64", -(2**63), -(2**63) - 1),
        ("UINT64", 2**64 - 1, 2**64),
        ("FP16", 65504, 65520),
        ("FP32", 3.4e38, 3.5e38),
        ("FP64", 1.7e308, 10**309),
    ],
)
def test_numbers_must_fit_the_dtype(datatype: str, good: float, bad: float) -> None:
    version = model("m", (TensorSpec("x", datatype, (-1,)),), (Y,))

    decoded = CODEC.decode(json.dumps({"instances": [good]}).encode(), version)
    with pytest.raises(InvalidInput, match=f" does not fit {datatype}$"):
        CODEC.decode(json.dumps({"instances": [bad]}).encode(), version)

    assert decoded.inputs["x"][0] == np.array(good, NUMPY_DTYPES[datatype])


@pytest.mark.parametrize(
    ("datatype", "value", "message"),
    [
        ("BOOL", 1, "instances[0]: 1 is a number, expected BOOL"),
        ("BYTES", 5, "instances[0]: 5 is a number, expected BYTES"),
        ("BYTES", True, "instances[0]: true is a boolean, expected BYTES"),
        ("INT32", "4", 'instances[0]: "4" is a string, expected INT32'),
        ("INT32", False, "instances[0]: false is a boolean, expected INT32"),
        ("UINT8", 2.0, "instances[0]: 2.0 is not a UINT8 (send 2)"),
        ("INT8", math.nan, "instances[0]: NaN is not an INT8"),
    ],
)
def test_values_must_be_of_the_dtype(datatype: str, value: object, message: str) -> None:
    version = model("m", (TensorSpec("x", datatype, (-1,)),), (Y,))

    with pytest.raises(InvalidInput) as caught:
        CODEC.decode(json.dumps({"instances": [value]}).encode(), version)

    assert caught.value.message == message


@pytest.mark.parametrize(
    ("spec", "kind"),
    [
        pytest.param(TensorSpec("x", "BF16", (-1,)), InvalidInput, id="bf16"),
        pytest.param(TensorSpec("x", "COMPLEX64", (-1,)), NotOffered, id="complex"),
        pytest.param(TensorSpec("x", "FP32", ()), NotOffered, id="no-batch-dimension"),
    ],
)
def test_inputs_without_a_json_form_are_refused(spec: TensorSpec, kind: type[Exception]) -> None:
    with pytest.raises(kind) as caught:
        CODEC.decode(b'{"inputs":[1]}', model("m", (spec,), (Y,)))

    assert type(caught.value) is kind


def test_quoted_values_are_cut() -> None:
    message = refusal("half", json.dumps({"instances": [[2, "long" * 100]]}))

    assert message == f'instances[0][1]: "{("long" * 16)[:63]}…" is a string, expected FP32'


def test_nonfinite_numbers_are_read_bare() -> None:
    decoded = decode("log", '{"instances":[NaN,Infinity,-Infinity,1]}')

    np.testing.assert_array_equal(
        decoded.inputs["x"], np.array([np.nan, np.inf, -np.inf, 1], np.float32)
    )


@pytest.mark.parametrize(
    ("name", "body", "message"),
    [
        ("log", '{"instances":[NaN]}', "instances[0]: NaN is not finite"),
        ("half", '{"instances":[[1,2],[3,-Infinity]]}', "instances[1][1]: -Infinity is not finite"),
        ("pair", '{"instances":[{"a":[1,NaN],"n":1}]}', "instances[0].a[1]: NaN is not finite"),
        ("log", '{"inputs":[1,Infinity]}', "inputs.x[1]: Infinity is not finite"),
    ],
)
def test_nonfinite_numbers_can_be_refused(name: str, body: str, message: str) -> None:
    decoded = decode(name, body)

    with pytest.raises(InvalidInput) as caught:
        reject_nonfinite(decoded)

    assert caught.value.message == message


def test_finite_numbers_are_not_refused() -> None:
    reject_nonfinite(decode("pair", '{"instances":[{"a":[1,2],"n":1}]}'))


@pytest.mark.parametrize(
    ("version", "outputs", "row_form", "body"),
    [
        pytest.param(
            HALF, {"y": float32([[1, 2]])}, True, b'{"predictions":[[1.0,2.0]]}', id="1-rows"
        ),
        pytest.param(
            HALF, {"y": float32([[1, 2]])}, False, b'{"outputs":[[1.0,2.0]]}', id="3-columns"
        ),
        pytest.param(
            PAIR,
            {"sum": float32([6, 1]), "next": int64([4, 2])},
            True,
            b'{"predictions":[{"next":4,"sum":6.0},{"next":2,"sum":1.0}]}',
            id="4-rows",
        ),
        pytest.param(
            PAIR,
            {"sum": float32([6]), "next": int64([9007199254740994])},
            False,
            b'{"outputs":{"next":[9007199254740994],"sum":[6.0]}}',
            id="4-columns",
        ),
        pytest.param(
            LOG,
            {"y": float32([-np.inf, np.nan])},
            True,
            b'{"predictions":[-Infinity,NaN]}',
            id="12-token-is-the-default",
        ),
    ],
)
def test_replies_are_rows_or_columns(
    version: ModelVersion,
    outputs: dict[str, np.ndarray],
    row_form: bool,  # noqa: FBT001
    body: bytes,
) -> None:
    assert replied(version, outputs, row_form=row_form) == body


def test_strings_are_text_or_base64_by_the_name_of_the_output() -> None:
    strings = np.array(["é".encode(), b"hi"], object)

    body = replied(TEXT, {"t": strings, "t_bytes": strings})

    assert json.loads(body)["predictions"] == [
        {"t": "é", "t_bytes": {"b64": "w6k="}},
        {"t": "hi", "t_bytes": {"b64": "aGk="}},
    ]


def test_nonfinite_numbers_among_several_outputs() -> None:
    outputs = {"sum": float32([np.nan, 0.1]), "next": int64([1, 2])}

    body = replied(PAIR, outputs)

    assert body == b'{"predictions":[{"next":1,"sum":NaN},{"next":2,"sum":0.1}]}'


def test_output_with_another_number_of_rows_is_a_model_error() -> None:
    request = DecodedRequest("serving_default", {}, 3)

    with pytest.raises(ModelError, match='output "y" has 2 rows, the request has 3'):
        CODEC.encode(request, LOG, {"y": float32([1, 2])}, ReplyOptions())


@given(data=st.data(), datatype=st.sampled_from(NUMERIC), row_form=st.booleans())
def test_arrays_come_back_through_reply_and_request(
    data: st.DataObject,
    datatype: str,
    row_form: bool,  # noqa: FBT001
) -> None:
    # Row and column bodies hold what replies hold, under other names.
    shape = data.draw(arrays.array_shapes(min_side=0, max_side=4, max_dims=4))
    array = data.draw(arrays.arrays(NUMPY_DTYPES[datatype], (max(shape[0], 1), *shape[1:])))
    version = model(
        "m",
        (TensorSpec("x", datatype, (-1, *shape[1:])),),
        (TensorSpec("y", datatype, (-1, *shape[1:])),),
    )

    body = replied(version, {"y": array}, row_form=row_form)
    names = (b'"predictions"', b'"instances"') if row_form else (b'"outputs"', b'"inputs"')
    decoded = CODEC.decode(body.replace(*names), version)

    found = decoded.inputs["x"]
    assert (found.dtype, found.shape, decoded.rows) == (array.dtype, array.shape, len(array))
    np.testing.assert_array_equal(found, array)


@given(st.lists(st.binary(max_size=12), min_size=1, max_size=6))
def test_strings_come_back_through_reply_and_request(strings: list[bytes]) -> None:
    array = np.empty(len(strings), object)
    array[:] = strings
    version = model(
        "m", TEXT.signatures["serving_default"].inputs, (TensorSpec("t_bytes", "BYTES", (-1,)),)
    )

    body = replied(version, {"t_bytes": array})
    decoded = CODEC.decode(body.replace(b'"predictions"', b'"instances"'), version)

    assert decoded.inputs["s"].tolist() == strings


@given(
    st.lists(
        st.lists(st.integers(-(2**80), 2**80) | st.floats(width=32), min_size=3, max_size=3),
        min_size=1,
        max_size=5,
    )
)
def test_numbers_equal_what_the_standard_library_and_numpy_read(rows: list[list[float]]) -> None:
    text = json.dumps({"instances": rows})
    version = model("m", (TensorSpec("x", "FP32", (-1, 3)),), (Y,))

    decoded = CODEC.decode(text.encode(), version)

    expected = np.array(json.loads(text)["instances"], np.float64).astype(np.float32)
    np.testing.assert_array_equal(decoded.inputs["x"], expected)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda children: (
        st.lists(children, max_size=4)
        | st.dictionaries(
            st.sampled_from(["a", "n", "x", "b64", "name", "data"]), children, max_size=3
        )
    ),
    max_leaves=12,
)


@given(
    document=st.dictionaries(
        st.sampled_from(["instances", "inputs", "signature_name", "other"]), JSON_VALUES, max_size=2
    ),
    name=st.sampled_from(sorted(MODELS)),
)
def test_any_json_gives_tensors_or_a_prediction_error(
    document: dict[str, object], name: str
) -> None:
    body = json.dumps(document)

    with contextlib.suppress(PredictionError):
        decoded = decode(name, body)
        assert {len(array) for array in decoded.inputs.values()} == {decoded.rows}


@given(st.binary(max_size=40))
def test_any_bytes_give_a_prediction_error(body: bytes) -> None:
    with pytest.raises(PredictionError):
        decode("half", body)


@pytest.mark.parametrize(
    ("state", "shown", "code"),
    [
        ("loading", "LOADING", "OK"),
        ("warming", "LOADING", "OK"),
        ("ready", "AVAILABLE", "OK"),
        ("draining", "UNLOADING", "OK"),
        ("failed", "END", "UNKNOWN"),
        ("unloaded", "END", "OK"),
    ],
)
def test_status_maps_every_state(state: str, shown: str, code: str) -> None:
    version = ModelVersion("half", "1", state, "keras", {}, "broken" if code == "UNKNOWN" else "")

    assert tf_serving_status("half", [version]) == {
        "name": "half",
        "ready": state == "ready",
        "model_version_status": [
            {
                "version": "1",
                "state": shown,
                "status": {"error_code": code, "error_message": version.error},
            }
        ],
    }


def test_metadata_is_a_signature_definition() -> None:
    document = tf_serving_metadata(HALF)

    shape = {
        "dim": [{"size": "-1", "name": ""}, {"size": "2", "name": ""}],
        "unknown_rank": False,
    }
    assert document == {
        "model_spec": {"name": "half", "signature_name": "", "version": "1"},
        "metadata": {
            "signature_def": {
                "signature_def": {
                    "serving_default": {
                        "inputs": {
                            "x": {
                                "dtype": "DT_FLOAT",
                                "tensor_shape": shape,
                                "name": "serving_default_x:0",
                            }
                        },
                        "outputs": {
                            "y": {
                                "dtype": "DT_FLOAT",
                                "tensor_shape": shape,
                                "name": "StatefulPartitionedCall:0",
                            }
                        },
                        "method_name": "tensorflow/serving/predict",
                        "defaults": {},
                    }
                }
            }
        },
    }


@pytest.mark.parametrize(
    ("datatype", "dtype"),
    [
        ("BOOL", "DT_BOOL"),
        ("INT8", "DT_INT8"),
        ("UINT64", "DT_UINT64"),
        ("FP16", "DT_HALF"),
        ("BF16", "DT_BFLOAT16"),
        ("FP64", "DT_DOUBLE"),
        ("BYTES", "DT_STRING"),
    ],
)
def test_metadata_names_datatypes_as_tensorflow(datatype: str, dtype: str) -> None:
    document = tf_serving_metadata(model("m", (TensorSpec("x", datatype, None),), ()))

    assert json.dumps(document).count(f'"{dtype}"') == 1
    assert '"tensor_shape": {"dim": [], "unknown_rank": true}' in json.dumps(document)
