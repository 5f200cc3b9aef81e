"""Rendering: arrays as JSON that reads back equal, in every mode for non-finite numbers."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from serving.codecs.rendering import (
    NONFINITE_MODES,
    dumps,
    nonfinite_mode,
    render_array,
    render_flat,
    render_rows,
)
from serving.errors import InvalidInput, ModelError, NotOffered
from serving.model import NUMPY_DTYPES

FLOATS = ("FP16", "FP32", "FP64")
NUMERIC = sorted(set(NUMPY_DTYPES) - {"BYTES"})


def complex64(values: object) -> np.ndarray:
    return np.array(values, np.complex64)


def float16(values: object) -> np.ndarray:
    return np.array(values, np.float16)


def float32(values: object) -> np.ndarray:
    return np.array(values, np.float32)


def float64(values: object) -> np.ndarray:
    return np.array(values, np.float64)


def int64(values: object) -> np.ndarray:
    return np.array(values, np.int64)


def int8(values: object) -> np.ndarray:
    return np.array(values, np.int8)


def uint64(values: object) -> np.ndarray:
    return np.array(values, np.uint64)


def rendered(array: np.ndarray, nonfinite: str = "token", name: str = "y") -> bytes:
    return dumps(render_array(name, array, nonfinite=nonfinite))


def objects(*items: object) -> np.ndarray:
    array = np.empty(len(items), object)
    array[:] = items
    return array


@pytest.mark.parametrize(
    ("array", "text"),
    [
        pytest.param(float32([0.1, 3, -0.0]), b"[0.1,3.0,-0.0]", id="fp32"),
        pytest.param(float64([0.1, 3, 1e20]), b"[0.1,3.0,1e+20]", id="fp64"),
        pytest.param(float16([0.1, 3, 1e-7]), b"[0.1,3.0,1e-7]", id="fp16"),
        pytest.param(
            int64([2**63 - 1, -(2**63)]),
            b"[9223372036854775807,-9223372036854775808]",
            id="int64",
        ),
        pytest.param(uint64([2**64 - 1]), b"[18446744073709551615]", id="uint64"),
        pytest.param(int8([[1], [-1]]), b"[[1],[-1]]", id="int8"),
        pytest.param(np.array([True, False]), b"[true,false]", id="bool"),
        pytest.param(np.zeros((2, 0), np.float32), b"[[],[]]", id="no-columns"),
        pytest.param(float32([[1, 2], [3, 4]]).T, b"[[1.0,3.0],[2.0,4.0]]", id="view-with-gaps"),
        pytest.param(np.array(2, np.float32), b"2.0", id="no-dimensions"),
        pytest.param(
            np.frombuffer(b"-" + float32([1, 2]).tobytes(), np.float32, offset=1),
            b"[1.0,2.0]",
            id="unaligned",
        ),
        pytest.param(objects("é".encode(), b"null"), '["é","null"]'.encode(), id="text"),
    ],
)
def test_arrays_become_nested_lists(array: np.ndarray, text: bytes) -> None:
    assert rendered(array) == text


@pytest.mark.parametrize(
    ("mode", "text"),
    [
        ("token", b"[[-Infinity,NaN],[1.0,Infinity]]"),
        ("null", b"[[null,null],[1.0,null]]"),
        ("string", b'[["-Infinity","NaN"],[1.0,"Infinity"]]'),
    ],
)
@pytest.mark.parametrize("datatype", FLOATS)
def test_nonfinite_numbers_follow_the_mode(datatype: str, mode: str, text: bytes) -> None:
    array = np.array([[-np.inf, np.nan], [1, np.inf]], NUMPY_DTYPES[datatype])

    assert rendered(array, mode) == text
    assert dumps(render_rows("y", array, nonfinite=mode)) == text
    assert dumps(render_flat("y", array, nonfinite=mode)) == text.replace(b"],[", b",")[1:-1]


@pytest.mark.parametrize("render", [render_array, render_rows, render_flat])
def test_nonfinite_number_can_be_an_error(render: object) -> None:
    assert callable(render)
    with pytest.raises(ModelError) as caught:
        render("y", float32([[1, 2], [-np.inf, 0]]), nonfinite="error")

    assert caught.value.message == (
        'output "y", row 1: -Infinity is not finite; ask with nonfinite=token, null or string'
    )


@pytest.mark.parametrize("mode", NONFINITE_MODES)
def test_finite_numbers_are_the_same_in_every_mode(mode: str) -> None:
    assert rendered(float32([0.1]), mode) == b"[0.1]"


def test_unknown_mode_is_told_the_four() -> None:
    with pytest.raises(InvalidInput) as caught:
        nonfinite_mode("bogus", "token")

    assert caught.value.message == ('nonfinite="bogus"; expected one of token, null, string, error')


@pytest.mark.parametrize(("wanted", "mode"), [(None, "token"), ("null", "null")])
def test_mode_has_a_default(wanted: str | None, mode: str) -> None:
    assert nonfinite_mode(wanted, "token") == mode


def test_output_named_bytes_is_base64() -> None:
    array = objects(b"\xff", b"hi")

    assert rendered(array, name="t_bytes") == b'[{"b64":"/w=="},{"b64":"aGk="}]'


def test_bytes_that_are_no_text_name_output_and_row() -> None:
    with pytest.raises(InvalidInput) as caught:
        rendered(objects(b"\xff"), name="t")

    assert caught.value.message == (
        'output "t", row 0 is not UTF-8; name it t_bytes or ask for binary_data over /v2'
    )


def test_dtype_without_a_json_form_is_not_offered() -> None:
    with pytest.raises(NotOffered, match='output "y" is complex64'):
        rendered(complex64([1]))


@given(data=st.data(), datatype=st.sampled_from(NUMERIC))
def test_numbers_read_back_equal(data: st.DataObject, datatype: str) -> None:
    shape = data.draw(arrays.array_shapes(max_dims=4, max_side=4))
    array = data.draw(arrays.arrays(NUMPY_DTYPES[datatype], shape))

    values = json.loads(rendered(array))
    rows = json.loads(dumps(render_rows("y", array, nonfinite="token")))
    flat = json.loads(dumps(render_flat("y", array, nonfinite="token")))

    for found in (values, rows, np.array(flat, object).reshape(shape).tolist()):
        np.testing.assert_array_equal(np.array(found, array.dtype), array, strict=True)


@given(st.floats(width=16, allow_nan=False, allow_infinity=False))
def test_half_precision_is_as_short_as_it_can_be(value: float) -> None:
    text = rendered(float16([value]))[1:-1].decode()

    digits = next(
        count for count in range(1, 8) if np.float16(f"{value:.{count}g}") == np.float16(value)
    )
    mantissa = text.lower().split("e")[0].replace("-", "").replace(".", "").strip("0")
    assert len(mantissa) <= digits
    assert math.isclose(float(text), value, rel_tol=1e-3, abs_tol=1e-7)
