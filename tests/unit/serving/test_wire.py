"""Frames and tensors between front-ends and runner: what goes in comes out, whatever the chunks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from serving.errors import WireError
from serving.model import NUMPY_DTYPES
from serving.tensors import decode_tensors, encode_tensor
from serving.wire import Frame, FrameReader, FrameType, encode_frame

NUMERIC = sorted(set(NUMPY_DTYPES) - {"BYTES"})


@given(
    heads=st.lists(st.dictionaries(st.text(max_size=8), st.integers(0, 9), max_size=3), max_size=5),
    payload=st.binary(max_size=64),
    cut=st.integers(1, 40),
)
def test_frames_survive_any_chunking(heads: list[dict[str, int]], payload: bytes, cut: int) -> None:
    stream = b"".join(
        encode_frame(FrameType.PREDICT, number, head, [payload])
        for number, head in enumerate(heads)
    )
    reader = FrameReader(1 << 20)

    frames = [
        frame
        for start in range(0, len(stream), cut)
        for frame in reader.feed(stream[start : start + cut])
    ]

    assert frames == [
        Frame(FrameType.PREDICT, number, head, payload) for number, head in enumerate(heads)
    ]


@given(data=st.data(), datatype=st.sampled_from(NUMERIC))
def test_numeric_tensors_come_back_bit_by_bit(data: st.DataObject, datatype: str) -> None:
    shape = data.draw(arrays.array_shapes(min_side=0, max_side=4))
    array = data.draw(arrays.arrays(NUMPY_DTYPES[datatype], shape))

    ((name, found, decoded),) = decode_tensors(
        [("x", datatype, shape)], encode_tensor(array, datatype)
    )

    assert (name, found, decoded.dtype, decoded.shape) == ("x", datatype, array.dtype, array.shape)
    assert decoded.tobytes() == array.tobytes()


@given(st.lists(st.binary(max_size=20), max_size=8))
def test_strings_come_back(items: list[bytes]) -> None:
    array = np.empty(len(items), object)
    array[:] = items

    ((_, _, decoded),) = decode_tensors(
        [("s", "BYTES", [len(items)])], encode_tensor(array, "BYTES")
    )

    assert decoded.tolist() == items


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: there\r\n\r\n",
        encode_frame(FrameType.HELLO, 0, {}, [b"x" * 65]),
        encode_frame(FrameType.HELLO, 0, {}).replace(b"IM\x01", b"IM\x09"),
        encode_frame(FrameType.HELLO, 0, {})[:-2] + b"[}",
        encode_frame(FrameType.HELLO, 0, [1]),
    ],
    ids=["http", "too-large", "other-protocol", "no-json", "no-object"],
)
def test_what_is_no_frame_is_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        list(FrameReader(64).feed(data))


@pytest.mark.parametrize(
    ("described", "payload"),
    [
        ([("x", "FP32", [2])], b"1234"),
        ([("x", "FP32", [1])], b"12345678"),
        ([("x", "FP99", [1])], b"1234"),
        ([("x", "BYTES", [1])], b"\x09\x00\x00\x00abc"),
    ],
    ids=["short", "long", "unknown", "cut-string"],
)
def test_a_payload_that_does_not_fit_is_refused(
    described: list[tuple[str, str, list[int]]], payload: bytes
) -> None:
    with pytest.raises(WireError):
        decode_tensors(described, payload)
