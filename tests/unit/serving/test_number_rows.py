"""The short way for rows of numbers gives what the long way gives, or leaves the body to it."""

import json
from functools import partial

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from serving.codecs.json_text import read_object
from serving.codecs.number_rows import read_number_rows
from serving.codecs.tf_serving import _read
from serving.errors import PredictionError
from serving.model import ModelVersion, Signature, TensorSpec

NUMBERS = st.one_of(
    st.integers(-(2**70), 2**70), st.floats(allow_nan=False, allow_infinity=False), st.just(-0.0)
)
ODDITIES = st.one_of(st.booleans(), st.none(), st.text(max_size=3), st.just(1e39), st.just([]))
ROWS = st.one_of(
    st.lists(st.lists(NUMBERS, min_size=2, max_size=2), min_size=1, max_size=4),
    st.lists(st.lists(st.one_of(NUMBERS, ODDITIES), max_size=3), max_size=3),
    st.lists(st.one_of(NUMBERS, ODDITIES, st.lists(NUMBERS, max_size=2)), max_size=4),
    st.lists(st.lists(st.lists(NUMBERS, max_size=2), max_size=2), max_size=2),
)
DOCUMENTS = st.one_of(
    st.fixed_dictionaries({"instances": ROWS}),
    st.fixed_dictionaries({"instances": ROWS, "signature_name": st.sampled_from(["", "other"])}),
    st.fixed_dictionaries({"inputs": ROWS}),
    ROWS,
)
SPECS = st.sampled_from(
    [
        TensorSpec("x", datatype, shape)
        for datatype in ("FP16", "FP32", "FP64", "INT64", "BOOL")
        for shape in ((-1,), (-1, 2), (2, 2), (-1, -1), (-1, 2, 1), None, ())
    ]
)


def long_way(body: bytes, spec: TensorSpec) -> np.ndarray:
    signature = Signature("serving_default", (spec,), ())
    version = ModelVersion("m", "1", "ready", "saved_model", {"serving_default": signature})
    return read_object(body, partial(_read, version)).inputs["x"]


def check(body: bytes, spec: TensorSpec) -> None:
    """Whatever the short way takes, the long way takes, with the same bits."""
    found = read_number_rows(body, spec)
    if found is not None:
        expected = long_way(body, spec)
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        assert found.tobytes() == expected.tobytes()


@given(document=DOCUMENTS, spec=SPECS)
@example(document={"instances": [[1, [2]], [3, 4]]}, spec=TensorSpec("x", "FP32", (-1, 2)))
@example(document={"instances": [[1], [2, 3, 4]]}, spec=TensorSpec("x", "FP32", (-1, 2)))
@example(document={"instances": [1, [2]]}, spec=TensorSpec("x", "FP32", (-1,)))
@settings(max_examples=500, deadline=None)
def test_it_agrees_with_the_long_way(document: object, spec: TensorSpec) -> None:
    check(json.dumps(document).encode(), spec)


@given(
    rows=st.lists(st.lists(NUMBERS, min_size=2, max_size=2), min_size=1, max_size=3),
    position=st.integers(0, 200),
    noise=st.one_of(st.binary(max_size=3), st.sampled_from([b"[", b"]", b",", b"1", b'"', b"e9"])),
)
@settings(max_examples=500, deadline=None)
def test_it_agrees_with_the_long_way_on_damaged_text(
    rows: list[list[float]], position: int, noise: bytes
) -> None:
    body = bytearray(json.dumps({"instances": rows}).encode())
    body[position % len(body) : position % len(body) + 1] = noise

    try:
        check(bytes(body), TensorSpec("x", "FP32", (-1, 2)))
    except PredictionError as error:
        raise AssertionError(f"the long way refuses what the short way took: {error}") from error


@pytest.mark.parametrize(
    "body",
    [
        b'{"instances":[[1,2],[3,4.5]]}',
        b' {"instances" : [ [1e2, -0.5] ] } \n',
        b'{"instances":[[9007199254740993,18446744073709551615]]}',
    ],
    ids=["plain", "spaced", "large-integers"],
)
def test_plain_rows_take_the_short_way(body: bytes) -> None:
    spec = TensorSpec("x", "FP32", (-1, 2))

    found = read_number_rows(body, spec)

    assert found is not None
    assert np.array_equal(found, np.array(json.loads(body)["instances"], np.float32))


@pytest.mark.parametrize(
    "body",
    [
        b'{"instances":[[1,true]]}',
        b'{"instances":[[1,null]]}',
        b'{"instances":[[1,"2"]]}',
        b'{"instances":[[1,1e39]]}',
        b'{"instances":[[1,NaN]]}',
        b'{"instances":[[1,2]],"instances":[[3,4]]}',
        b'{"instances":[]}',
        b'{"instances":[[1,2]]} x',
        b"",
        b"[" * 3000,
    ],
)
def test_anything_else_is_left_to_the_long_way(body: bytes) -> None:
    assert read_number_rows(body, TensorSpec("x", "FP32", (-1, 2))) is None
