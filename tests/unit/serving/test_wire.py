"""Frames and tensors between front-ends and runner: what goes in comes out, whatever the chunks."""

import socket
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from serving.errors import WireError
from serving.model import NUMPY_DTYPES
from serving.outbox import Outbox
from serving.tensors import decode_tensors, encode_tensor
from serving.wire import (
    LARGE_FRAME_BYTES,
    MAX_HEAD_BYTES,
    Frame,
    FrameReader,
    FrameType,
    frame_parts,
)

NUMERIC = sorted(set(NUMPY_DTYPES) - {"BYTES"})
MOST_BYTES = 4 << 20


def frame_of(
    kind: FrameType, number: int, head: object, payload: Sequence[bytes | memoryview] = ()
) -> bytes:
    return b"".join(frame_parts(kind, number, head, payload))


@given(
    heads=st.lists(st.dictionaries(st.text(max_size=8), st.integers(0, 9), max_size=3), max_size=5),
    payload=st.binary(max_size=64),
    cut=st.integers(1, 40),
)
def test_frames_survive_any_chunking(heads: list[dict[str, int]], payload: bytes, cut: int) -> None:
    stream = b"".join(
        frame_of(FrameType.PREDICT, number, head, [payload]) for number, head in enumerate(heads)
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


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.lists(
        st.one_of(st.integers(0, 100), st.integers(LARGE_FRAME_BYTES - 2, MOST_BYTES)), max_size=6
    ),
    cut=st.integers(10_000, 1 << 20),
)
def test_large_frames_between_small_ones_survive_any_chunking(sizes: list[int], cut: int) -> None:
    payloads = [bytes([number]) * size for number, size in enumerate(sizes)]
    stream = b"".join(
        frame_of(FrameType.PREDICT, number, {"n": number}, [payload])
        for number, payload in enumerate(payloads)
    )
    reader = FrameReader(MOST_BYTES)

    frames = [
        frame
        for start in range(0, len(stream), cut)
        for frame in reader.feed(stream[start : start + cut])
    ]

    assert payloads == [bytes(frame.payload) for frame in frames]
    assert list(range(len(sizes))) == [frame.head["n"] for frame in frames]


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.lists(
        st.one_of(st.integers(0, 100), st.integers(LARGE_FRAME_BYTES - 2, MOST_BYTES)),
        min_size=1,
        max_size=90,
    ),
    parts=st.integers(1, 3),
)
def test_frames_come_through_a_socket(sizes: list[int], parts: int) -> None:
    # At most three large ones: memory, not meaning.
    sizes = [size if index < 3 else min(size, 100) for index, size in enumerate(sizes)]
    payloads = [bytes([number]) * size for number, size in enumerate(sizes)]
    outbox, reader = Outbox(), FrameReader(MOST_BYTES)
    for number, payload in enumerate(payloads):
        cuts = [len(payload) * part // parts for part in range(parts + 1)]
        pieces = [payload[start:stop] for start, stop in pairwise(cuts)]
        outbox.put(frame_parts(FrameType.PREDICT, number, {}, pieces))
    frames: list[Frame] = []
    sender, receiver = socket.socketpair()
    with sender, receiver:
        sender.settimeout(0)
        receiver.settimeout(0)
        while len(frames) < len(payloads):
            outbox.send(sender)
            frames += reader.receive(receiver) or []
        sender.close()

        assert reader.receive(receiver) is None
    assert outbox.size == 0
    assert payloads == [bytes(frame.payload) for frame in frames]


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param([b"x" * MOST_BYTES, b""], id="empty tensor last"),
        pytest.param([b"", b"x" * MOST_BYTES], id="empty tensor first"),
        pytest.param([b"x" * LARGE_FRAME_BYTES, *[b""] * 100, b"y"], id="many empty tensors"),
    ],
)
def test_empty_tensors_beside_large_ones_are_sent(payload: list[bytes]) -> None:
    outbox, reader = Outbox(), FrameReader(2 * MOST_BYTES)
    outbox.put(frame_parts(FrameType.RESULT, 1, {}, payload))
    frames: list[Frame] = []
    sender, receiver = socket.socketpair()
    with sender, receiver:
        sender.settimeout(0)
        receiver.settimeout(0)
        while not frames:
            outbox.send(sender)
            frames += reader.receive(receiver) or []

    assert b"".join(payload) == bytes(frames[0].payload)
    assert outbox.size == 0


def test_head_that_the_other_side_would_refuse_is_not_sent() -> None:
    with pytest.raises(WireError):
        frame_parts(FrameType.PREDICT, 1, {"inputs": "x" * MAX_HEAD_BYTES})


def test_frames_before_a_bad_one_are_taken() -> None:
    sender, receiver = socket.socketpair()
    with sender, receiver:
        sender.sendall(frame_of(FrameType.PREDICT, 7, {}) + b"no frame" * 10)
        frames = FrameReader(64).receive(receiver)
        assert frames is not None

        assert 7 == next(frames).request_id
        with pytest.raises(WireError):
            next(frames)


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
        frame_of(FrameType.HELLO, 0, {}, [b"x" * 65]),
        frame_of(FrameType.HELLO, 0, {}).replace(b"IM\x01", b"IM\x09"),
        frame_of(FrameType.HELLO, 0, {})[:-2] + b"[}",
        frame_of(FrameType.HELLO, 0, [1]),
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
