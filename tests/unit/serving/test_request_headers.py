"""Request headers: ids safe to echo, times that only shorten, priorities that are numbers."""

import re

import pytest

from serving.errors import InvalidInput
from serving.request_headers import (
    json_bytes_of,
    priority_of,
    request_id_of,
    timeout_seconds_of,
)

OWN = "HTTP_X_REQUEST_TIMEOUT_MS"
ENVOY = "HTTP_X_ENVOY_EXPECTED_RQ_TIMEOUT_MS"
PRIORITY = "HTTP_X_REQUEST_PRIORITY"


@pytest.mark.parametrize("wanted", ["a-1", "A.b_c:d/e+f=g-0", "x" * 128])
def test_wellformed_id_is_echoed(wanted: str) -> None:
    assert request_id_of({"HTTP_X_REQUEST_ID": wanted}) == wanted


@pytest.mark.parametrize(
    "environ",
    [
        pytest.param({}, id="absent"),
        pytest.param({"HTTP_X_REQUEST_ID": ""}, id="empty"),
        pytest.param({"HTTP_X_REQUEST_ID": "a 1"}, id="space"),
        pytest.param({"HTTP_X_REQUEST_ID": "a1\n"}, id="newline"),
        pytest.param({"HTTP_X_REQUEST_ID": "x" * 200}, id="long"),
        pytest.param({"HTTP_X_REQUEST_ID": "é"}, id="not-ascii"),
    ],
)
def test_other_ids_are_replaced(environ: dict[str, object]) -> None:
    first, second = request_id_of(environ), request_id_of(environ)

    assert re.fullmatch("[0-9a-f]{32}", first)
    assert first != second


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        pytest.param({}, 30, id="default"),
        pytest.param({OWN: "100"}, 0.1, id="own"),
        pytest.param({OWN: "0100"}, 0.1, id="leading-zero"),
        pytest.param({OWN: "60000"}, 30, id="never-extends"),
        pytest.param({ENVOY: "200"}, 0.2, id="envoy"),
        pytest.param({ENVOY: "60000"}, 30, id="envoy-never-extends"),
        pytest.param({OWN: "100", ENVOY: "200"}, 0.1, id="least-own"),
        pytest.param({OWN: "300", ENVOY: "200"}, 0.2, id="least-envoy"),
        pytest.param({ENVOY: "abc"}, 30, id="44-envoy-malformed"),
        pytest.param({ENVOY: "0"}, 30, id="envoy-zero"),
    ],
)
def test_headers_shorten_the_time(environ: dict[str, object], seconds: float) -> None:
    assert timeout_seconds_of(environ, 30) == seconds


@pytest.mark.parametrize("text", ["x", "-1", "0", "1.5", "", "1e3", "²", "9" * 5000])
def test_malformed_time_of_the_caller_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"^X-Request-Timeout-Ms must be whole milliseconds"):
        timeout_seconds_of({OWN: text}, 30)


@pytest.mark.parametrize(
    ("environ", "priority"),
    [
        ({}, 2),
        *(({PRIORITY: text}, int(text)) for text in "123"),
        ({PRIORITY: "0"}, 2),
        ({PRIORITY: "9"}, 2),
    ],
)
def test_numbers_are_priorities(environ: dict[str, object], priority: int) -> None:
    assert priority_of(environ) == priority


LENGTH = "HTTP_INFERENCE_HEADER_CONTENT_LENGTH"


@pytest.mark.parametrize(
    ("environ", "size"), [({}, None), ({LENGTH: "0"}, 0), ({LENGTH: " 8 "}, 8)]
)
def test_header_says_how_much_is_json(environ: dict[str, object], size: int | None) -> None:
    assert json_bytes_of(environ, 8) == size


@pytest.mark.parametrize("text", ["-1", "abc", "9", "", "1.0", "8" * 400])
def test_40_length_that_is_none_or_beyond_the_body_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"^Inference-Header-Content-Length must be"):
        json_bytes_of({LENGTH: text}, 8)


@pytest.mark.parametrize("text", ["high", "", "-1", "1.5"])
def test_other_priorities_are_refused(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        priority_of({PRIORITY: text})

    assert caught.value.message == (
        f'X-Request-Priority must be 1 (high), 2 (normal) or 3 (low); got "{text}"'
    )
