"""JSON text: what orjson refuses or rounds is read or told exactly, and nothing crashes."""

import contextlib
import gc
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.codecs.json_text import (
    PAUSE_COLLECTOR_BYTES,
    InexactInteger,
    parse,
    parse_exactly,
    read_object,
)
from serving.errors import InvalidInput, PredictionError

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(max_size=5), children),
    max_leaves=20,
)


@given(JSON_VALUES)
def test_values_equal_what_the_standard_library_reads(value: object) -> None:
    text = json.dumps(value)

    # Through repr, because NaN is not equal to itself.
    assert repr(parse(text.encode())) == repr(json.loads(text))
    assert repr(parse_exactly(text.encode())) == repr(json.loads(text))


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_bytes_give_a_value_or_a_prediction_error(body: bytes) -> None:
    for read in (parse, parse_exactly):
        with contextlib.suppress(PredictionError):
            value = read(body)
            # Encodable again, so a reply may quote any of it.
            assert json.dumps(value, ensure_ascii=False).encode()


@pytest.mark.parametrize(
    ("body", "value"),
    [
        pytest.param(b"[NaN]", [math.nan], id="nan"),
        pytest.param(b'[-Infinity,Infinity,"NaN"]', [-math.inf, math.inf, "NaN"], id="infinity"),
        pytest.param(b"\xef\xbb\xbf[1]\n", [1], id="mark-and-newline"),
        pytest.param(b'{"a":1,"a":2}', {"a": 2}, id="last-key-counts"),
        pytest.param(b"[18446744073709551615]", [2**64 - 1], id="uint64"),
        pytest.param(b"[1" + b"0" * 400 + b"]", [10**400], id="beyond-double"),
        pytest.param(b'[NaN,"\\ud83d\\ude00"]', [math.nan, "\U0001f600"], id="surrogate-pair"),
    ],
)
def test_values(body: bytes, value: object) -> None:
    assert repr(parse(body)) == repr(value)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        pytest.param(b"", "body is empty; send a JSON object", id="empty"),
        pytest.param(b" \r\n", "body is empty; send a JSON object", id="white"),
        pytest.param(b"\xef\xbb\xbf", "body is empty; send a JSON object", id="only-mark"),
        pytest.param(
            b'{"instances":[[2,4],]}',
            "JSON error at byte 19: trailing comma is not allowed",
            id="comma",
        ),
        pytest.param(
            b'\xef\xbb\xbf["\xc3\xa9",]',
            "JSON error at byte 8: trailing comma is not allowed",
            id="bytes-not-characters",
        ),
        pytest.param(
            b'["\xc3\xa9",NaN,]', "JSON error at byte 10: Expecting value", id="beside-nan"
        ),
        pytest.param(b"{}xyz", "3 bytes after the JSON value", id="after"),
        pytest.param(b"{} x \n", "1 byte after the JSON value", id="one-after"),
        pytest.param(b"[NaN] xyz", "3 bytes after the JSON value", id="after-nan"),
        pytest.param(b"[" * 2000, "nested deeper than 1024", id="deep"),
        pytest.param(b'{"a":' * 2000, "nested deeper than 1024", id="deep-objects"),
        pytest.param(b"[NaN," + b"[" * 100_000, "nested deeper than 1024", id="deep-beside-nan"),
        pytest.param(b'["\xff"]', "JSON error at byte 2: not UTF-8", id="not-utf8"),
        pytest.param(
            b'\xef\xbb\xbf["\xff"]', "JSON error at byte 5: not UTF-8", id="not-utf8-mark"
        ),
        pytest.param(b'[NaN,"\xff"]', "JSON error at byte 6: not UTF-8", id="not-utf8-beside-nan"),
        pytest.param(
            b'[1,"\\ud800"]', "JSON error at byte 4: no low surrogate in string", id="surrogate"
        ),
        pytest.param(
            b'[NaN,"\\ud800"]',
            "JSON error: a string holds half a surrogate pair",
            id="surrogate-beside-nan",
        ),
        pytest.param(b"[1e400]", "1e400 does not fit FP64", id="beyond-double"),
        pytest.param(
            b"[" + b"1" * 5000 + b"]",
            "JSON error: a number has more than 4,300 digits",
            id="digits",
        ),
    ],
)
def test_errors_say_where(body: bytes, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse(body)

    assert caught.value.message == message


def test_integers_beyond_64_bits_are_exact_where_they_matter() -> None:
    def read(document: dict[str, object]) -> object:
        value = document["n"]
        if isinstance(value, float):
            raise InexactInteger("too large")
        return value

    assert read_object(b'{"n":18446744073709551617}', read) == 2**64 + 1


def test_collector_rests_while_a_large_body_is_read() -> None:
    body = b'{"a":"' + b"a" * PAUSE_COLLECTOR_BYTES + b'"}'

    states = [read_object(text, lambda _: gc.isenabled()) for text in (b"{}", body)]

    assert states == [True, False]
    assert gc.isenabled()


def test_collector_runs_again_after_a_bad_body() -> None:
    with pytest.raises(InvalidInput):
        read_object(b"[" + b"1," * PAUSE_COLLECTOR_BYTES, lambda _: None)

    assert gc.isenabled()
