"""Every reply of the REST API: the checklist of its specification, row by row, on a real server."""

import gzip
import re
import secrets
import socket
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.live.rest import (
    TIMEOUT_SECONDS,
    Client,
    Reply,
    check_error,
    chunk,
    head,
    parsed,
    rest_of,
)
from tests.live.servers import start_server, total, wait_for

MODELS = (
    "half", "step", "pair", "log", "text", "nap", "picky", "together", "rows", "ragged",
)  # fmt: skip
SETTINGS = (
    "--max-batch-rows=4",
    "--queue-limit-rows=8",
    "--max-request-rows=8",
    "--max-body-bytes=1048576",
    "--max-decompressed-bytes=1048576",
    "--max-json-bytes=524288",
    "--workers=2",
    "--versions=step=all",
    "--version-labels=step:stable=1,step:canary=2",
    "--control-token=open-sesame",
)
PHASES = ("parse", "queue", "assemble", "compute", "deliver", "render")

HALF = "/v1/models/half:predict"
PAIR = "/v1/models/pair:predict"
LOG = "/v1/models/log:predict"
TEXT = "/v1/models/text:predict"
STEP = "/v1/models/step:predict"
NAP = "/v1/models/nap:predict"
PICKY = "/v1/models/picky:predict"
INFER_HALF = "/v2/models/half/infer"
INFER_PAIR = "/v2/models/pair/infer"
INFER_NAP = "/v2/models/nap/infer"

FIRST = b'{"instances":[[2,4]]}'
FIRST_ANSWER = '{"predictions":[[1.0,2.0]]}'
X = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [2, 4]}
Y = {"name": "y", "datatype": "FP32", "shape": [1, 2], "data": [1.0, 2.0]}
A = {"name": "a", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}
N = {"name": "n", "shape": [1], "datatype": "INT64", "data": [3]}
SECONDS = {"name": "x", "shape": [1], "datatype": "FP32"}


@pytest.fixture(scope="module")
def client(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("rest-api")
    with start_server({name: models / name for name in MODELS}, folder, *SETTINGS) as server:
        yield Client(server)


@pytest.fixture(scope="module")
def strict(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A server with a long queue that refuses inputs that are not finite."""
    folder = tmp_path_factory.mktemp("rest-api-strict")
    served = {name: models / name for name in ("half", "log")}
    arguments = (
        "--queue-limit-rows=1024",
        "--max-batch-rows=4",
        "--workers=2",
        "--reject-nonfinite-inputs",
    )
    with start_server(served, folder, *arguments) as server:
        yield Client(server)


# Predictions: what answers 200.

ROW_4 = '{"instances":[{"a":[1,2],"n":3},{"a":[0,0],"n":1}]}'
BINARY_TEXT = '{"instances":["é",{"b64":"aGk="}]}'

ANSWERS = [
    pytest.param(HALF, FIRST, FIRST_ANSWER, id="1-rows"),
    pytest.param(HALF, b"\xef\xbb\xbf" + FIRST, FIRST_ANSWER, id="2-byte-order-mark"),
    pytest.param(HALF, FIRST + b"\n", FIRST_ANSWER, id="2-trailing-newline"),
    pytest.param(HALF, '{"inputs":[[2,4]]}', '{"outputs":[[1.0,2.0]]}', id="3-columns"),
    pytest.param(LOG, '{"instances":[0,-1]}', '{"predictions":[-Infinity,NaN]}', id="12-bare"),
    pytest.param(
        LOG + "?nonfinite=token",
        '{"instances":[0,-1]}',
        '{"predictions":[-Infinity,NaN]}',
        id="12-token",
    ),
    pytest.param(
        LOG + "?nonfinite=null", '{"instances":[0,-1]}', '{"predictions":[null,null]}', id="12-null"
    ),
    pytest.param(
        LOG + "?nonfinite=string",
        '{"instances":[0,-1]}',
        '{"predictions":["-Infinity","NaN"]}',
        id="12-string",
    ),
    pytest.param(LOG, '{"instances":[NaN]}', '{"predictions":[NaN]}', id="13-input"),
    pytest.param(STEP, '{"instances":[1]}', '{"predictions":[3.0]}', id="16-newest"),
    pytest.param(
        "/v1/models/step/versions/2:predict",
        '{"instances":[1]}',
        '{"predictions":[3.0]}',
        id="16-version",
    ),
    pytest.param(
        "/v1/models/step/versions/01:predict",
        '{"instances":[1]}',
        '{"predictions":[2.0]}',
        id="16-leading-zero",
    ),
    pytest.param(
        "/v1/models/step/labels/stable:predict",
        '{"instances":[1]}',
        '{"predictions":[2.0]}',
        id="16-stable",
    ),
    pytest.param(
        "/v1/models/step/labels/canary:predict",
        '{"instances":[1]}',
        '{"predictions":[3.0]}',
        id="16-canary",
    ),
    pytest.param(
        "/v1/models/half:classify",
        '{"examples":[{"x":[2,4]},{"x":[0,1]}]}',
        '{"results":[[["0",1.0],["1",2.0]],[["0",0.0],["1",0.5]]]}',
        id="30-classify",
    ),
    pytest.param(
        "/v1/models/step:regress", '{"examples":[{"x":1}]}', '{"results":[3.0]}', id="30-regress"
    ),
    pytest.param(
        "/v1/models/step:regress",
        '{"examples":[{},{}],"context":{"x":1}}',
        '{"results":[3.0,3.0]}',
        id="30-context",
    ),
    pytest.param("/V1/Models/half:PREDICT", FIRST, FIRST_ANSWER, id="19-any-case"),
    pytest.param("/v1/models/half%3Apredict", FIRST, FIRST_ANSWER, id="19-percent-encoded"),
    pytest.param(HALF + "/", FIRST, FIRST_ANSWER, id="19-trailing-slash"),
    pytest.param(HALF + "?unknown=1", FIRST, FIRST_ANSWER, id="19-unknown-query-key"),
]


@pytest.mark.parametrize(("path", "body", "answer"), ANSWERS)
def test_prediction_is_answered_to_the_letter(
    client: Client, path: str, body: str | bytes, answer: str
) -> None:
    reply = client.predict(path, body)

    assert (200, answer) == (reply.status, reply.text)


DOCUMENTS = [
    pytest.param(
        PAIR,
        ROW_4,
        {"predictions": [{"sum": 6.0, "next": 4}, {"sum": 1.0, "next": 2}]},
        id="4-rows",
    ),
    pytest.param(
        PAIR,
        '{"inputs":{"a":[[1,2]],"n":[3]}}',
        {"outputs": {"sum": [6.0], "next": [4]}},
        id="4-columns",
    ),
    pytest.param(
        PAIR,
        '{"inputs":{"a":[[1,2]],"n":[3],"z":[1]}}',
        {"outputs": {"sum": [6.0], "next": [4]}},
        id="4-extra-name",
    ),
    pytest.param(
        TEXT,
        BINARY_TEXT,
        {
            "predictions": [
                {"t": "é", "t_bytes": {"b64": "w6k="}},
                {"t": "hi", "t_bytes": {"b64": "aGk="}},
            ]
        },
        id="14",
    ),
    pytest.param(
        INFER_HALF,
        {"id": "42", "inputs": [X], "outputs": [{"name": "y"}]},
        {"model_name": "half", "model_version": "1", "id": "42", "outputs": [Y]},
        id="32-flat",
    ),
    pytest.param(
        INFER_HALF,
        {"id": "42", "inputs": [X | {"data": [[2, 4]]}], "outputs": [{"name": "y"}]},
        {"model_name": "half", "model_version": "1", "id": "42", "outputs": [Y]},
        id="32-nested",
    ),
    pytest.param(
        INFER_HALF,
        {"inputs": [X]},
        {"model_name": "half", "model_version": "1", "outputs": [Y]},
        id="32-without-id",
    ),
    pytest.param(
        INFER_PAIR,
        {"inputs": [A, N], "outputs": [{"name": "next"}, {"name": "sum"}]},
        {
            "model_name": "pair",
            "model_version": "1",
            "outputs": [
                {"name": "next", "datatype": "INT64", "shape": [1], "data": [4]},
                {"name": "sum", "datatype": "FP32", "shape": [1], "data": [6.0]},
            ],
        },
        id="35-order",
    ),
    pytest.param(
        INFER_HALF,
        {"inputs": [X], "parameters": {"unheard_of": 1}},
        {"model_name": "half", "model_version": "1", "outputs": [Y]},
        id="45-unknown-parameter",
    ),
]


@pytest.mark.parametrize(("path", "body", "answer"), DOCUMENTS)
def test_prediction_is_answered_with_this_document(
    client: Client, path: str, body: Any, answer: dict[str, Any]
) -> None:
    reply = client.predict(path, body)

    document = reply.json
    if path.startswith("/v2"):
        # 47: each prediction has an id of its own.
        assert {"prediction_id": reply.headers["X-Prediction-ID"]} == document.pop("parameters")
    assert (200, answer) == (reply.status, document)


def test_1_answer_has_every_header(client: Client) -> None:
    reply = client.predict(HALF, FIRST)

    assert "application/json" == reply.headers["Content-Type"]
    assert "no-store" == reply.headers["Cache-Control"]
    assert "1" == reply.headers["X-Model-Version"]
    assert re.fullmatch("[A-Za-z0-9_-]{22}", reply.headers["X-Prediction-ID"])
    assert "X-Feedback-Token" not in reply.headers
    assert re.fullmatch("[0-9a-f]{32}", reply.headers["X-Request-ID"])


def test_1_phases_of_the_server_timing_add_up(client: Client) -> None:
    reply = client.predict(HALF, FIRST)

    timing = reply.headers["Server-Timing"]
    phases = {
        name: float(milliseconds)
        for name, milliseconds in re.findall(r"(\w+);dur=([0-9.]+)(?:, |$)", timing)
    }
    assert [*PHASES, "total"] == list(phases)
    assert phases.pop("total") == pytest.approx(sum(phases.values()), abs=0.01)


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"Content-Type": "application/x-www-form-urlencoded"}, id="2-form"),
        pytest.param({"Content-Type": "text/plain"}, id="2-text"),
        pytest.param({}, id="2-none"),
        pytest.param({"Content-Encoding": "identity"}, id="2-identity"),
    ],
)
def test_content_type_is_ignored(client: Client, headers: dict[str, str]) -> None:
    reply = client.predict(HALF, FIRST, headers)

    assert (200, FIRST_ANSWER) == (reply.status, reply.text)


def test_11_64_bit_integers_are_exact(client: Client) -> None:
    reply = client.predict(PAIR, '{"instances":[{"a":[1,2],"n":9007199254740993}]}')

    assert 200 == reply.status
    assert 9007199254740994 == reply.json["predictions"][0]["next"]


def test_16_version_header_is_the_version_that_answered(client: Client) -> None:
    assert "2" == client.predict(STEP, '{"instances":[1]}').headers["X-Model-Version"]


def test_16_open_inference_names_the_version_that_answered(client: Client) -> None:
    body = {"inputs": [SECONDS | {"data": [1]}]}

    reply = client.predict("/v2/models/step/versions/2/infer", body)

    assert ("2", [3.0]) == (reply.json["model_version"], reply.json["outputs"][0]["data"])
    assert "2" == reply.headers["X-Model-Version"]


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        pytest.param("gzip", gzip.compress(FIRST), id="23-gzip"),
        pytest.param("deflate", zlib.compress(FIRST), id="23-deflate"),
        pytest.param(
            "gzip", gzip.compress(FIRST[:5]) + gzip.compress(FIRST[5:]), id="23-two-members"
        ),
    ],
)
def test_compressed_body_is_read(client: Client, encoding: str, body: bytes) -> None:
    reply = client.predict(HALF, body, {"Content-Encoding": encoding})

    assert (200, FIRST_ANSWER) == (reply.status, reply.text)


def test_28_largest_request_is_answered_in_order_by_two_batches(client: Client) -> None:
    rows = [[2 * number, 0] for number in range(8)]
    before = client.server.value("inferometer_batches_total", model="half")

    reply = client.predict(HALF, {"instances": rows})

    assert [[float(number), 0.0] for number in range(8)] == reply.json["predictions"]
    assert 2 == client.server.value("inferometer_batches_total", model="half") - before


# Predictions: what is refused. Status, reason, message.

INVALID = "invalid_input"
HALF_SHAPE = 'instances[0]: expected shape [2] (FP32, input "x"), got '
NOT_BASE64 = 'instances[0]: not standard base64 (no "data:" prefix; + and /)'
FOUND = 'expected exactly one of "instances" and "inputs"; found '

REFUSALS = [
    pytest.param(
        PAIR,
        '{"instances":[{"a":[1,2],"m":3}]}',
        'instances[0]: missing "n", unexpected "m"; the inputs are a FP32 [2], n INT64 []',
        id="5",
    ),
    pytest.param(
        PAIR, '{"instances":[[1,2]]}', "instances[0] is a list; send objects with a, n", id="6-list"
    ),
    pytest.param(
        PAIR,
        '{"instances":[{"a":[1,2],"n":3},[1,2]]}',
        "instances[1] is a list, instances[0] an object",
        id="6-list-after-object",
    ),
    pytest.param(HALF, "{}", FOUND + "none", id="7-none"),
    pytest.param(HALF, '{"instances":[[2,4]],"inputs":[[2,4]]}', FOUND + "both", id="7-both"),
    pytest.param(HALF, '{"instances":[]}', '"instances" is empty', id="7-empty"),
    pytest.param(
        HALF, '{"instances":5}', '"instances" must be a list, got a number', id="7-number"
    ),
    pytest.param(HALF, b"", "body is empty; …", id="8-empty"),
    pytest.param(HALF, "[[2,4]]", "top level must be an object, got a list", id="8-list"),
    pytest.param(HALF, '{"instances":[[2,4],]}', "JSON error at byte 19: …", id="8-comma"),
    pytest.param(HALF, FIRST + b"xyz", "3 bytes after the JSON value", id="8-bytes-after"),
    pytest.param(HALF, "[" * 2000, "nested deeper than 1024", id="8-deep"),
    pytest.param(
        HALF,
        '{"instances":' + "[" * 2000 + "]" * 2000 + "}",
        "nested deeper than 1024",
        id="8-deep-instances",
    ),
    pytest.param(
        HALF,
        '{"instances":[[2,4],[1]]}',
        "instances[1]: shape [1], but instances[0] has [2]",
        id="9-ragged",
    ),
    pytest.param(HALF, '{"instances":[[2,4,6]]}', HALF_SHAPE + "[3]", id="9-too-long"),
    pytest.param(
        HALF,
        '{"instances":[[[2,4]]]}',
        HALF_SHAPE + "[1,2]; send each row without the batch dimension",
        id="9-batch-dimension",
    ),
    pytest.param(
        HALF,
        '{"instances":[[2,"4"]]}',
        'instances[0][1]: "4" is a string, expected FP32',
        id="10-string",
    ),
    pytest.param(
        HALF,
        '{"instances":[[2,true]]}',
        "instances[0][1]: true is a boolean, expected FP32",
        id="10-boolean",
    ),
    pytest.param(
        HALF, '{"instances":[[2,null]]}', "instances[0][1]: null…, expected FP32", id="10-null"
    ),
    pytest.param(HALF, '{"instances":[[2,1e39]]}', "…1e39 does not fit FP32", id="10-too-large"),
    pytest.param(
        PAIR,
        '{"instances":[{"a":[1,2],"n":1.0}]}',
        "instances[0].n: 1.0 is not an INT64 (send 1)",
        id="11-float",
    ),
    pytest.param(
        PAIR,
        '{"instances":[{"a":[1,2],"n":9223372036854775808}]}',
        "… does not fit INT64",
        id="11-too-large",
    ),
    pytest.param(
        LOG + "?nonfinite=bogus",
        '{"instances":[0,-1]}',
        '…"bogus"…token, null, string, error',
        id="12-bogus",
    ),
    pytest.param(TEXT, '{"instances":[{"b64":"data:,aGk="}]}', NOT_BASE64, id="15-data-prefix"),
    pytest.param(TEXT, '{"instances":[{"b64":"_w=="}]}', NOT_BASE64, id="15-url-alphabet"),
    pytest.param(
        HALF,
        '{"instances":[{"b64":"aGk="}]}',
        'b64 is for strings; input "x" is FP32',
        id="15-not-a-string",
    ),
    pytest.param(
        TEXT,
        '{"instances":[{"b64":"/w=="}]}',
        'output "t", row 0 is not UTF-8; name it t_bytes…',
        id="15-not-utf-8",
    ),
    pytest.param(
        HALF,
        '{"signature_name":"foo","instances":[[2,4]]}',
        'no signature "foo"; there are: serving_default',
        id="29-unknown",
    ),
    pytest.param(
        HALF,
        '{"signature_name":5,"instances":[[2,4]]}',
        "signature_name must be a string",
        id="29-number",
    ),
    pytest.param(
        INFER_HALF,
        {"inputs": [X | {"shape": [2, 2]}]},
        'input "x": shape [2,2] needs 4 values, got 2',
        id="33-too-few",
    ),
    pytest.param(
        INFER_HALF,
        {"inputs": [X | {"shape": [-1, 2]}]},
        'input "x": …dimensions must be 0 or more',
        id="33-negative",
    ),
    pytest.param(
        INFER_HALF,
        {"inputs": [X | {"datatype": "FP64"}]},
        'input "x" is FP32, request says FP64',
        id="33-datatype",
    ),
    pytest.param(
        INFER_HALF,
        {"inputs": [X | {"data": [2, "4"]}]},
        '…"4" is a string, expected FP32',
        id="33-strings",
    ),
    pytest.param(INFER_PAIR, {"inputs": [A]}, 'missing input "n"', id="34-missing"),
    pytest.param(INFER_PAIR, {"inputs": [A, N, N]}, 'input "n" given twice', id="34-twice"),
    pytest.param(
        INFER_PAIR,
        {"inputs": [A, N, N | {"name": "q"}]},
        'unknown input "q"; …',
        id="34-unknown",
    ),
    pytest.param(
        INFER_PAIR,
        {"inputs": [A, N | {"shape": [2], "data": [3, 4]}]},
        "inputs differ in rows: a 1, n 2",
        id="34-rows",
    ),
    pytest.param(
        INFER_PAIR,
        {"inputs": [A, N], "outputs": [{"name": "z"}]},
        'no output "z"; there are: next, sum',
        id="35-unknown",
    ),
    pytest.param(
        INFER_HALF,
        FIRST,
        "this looks like a TensorFlow Serving body; send it to /v1/models/half:predict",
        id="36-v1-body",
    ),
    pytest.param(
        HALF,
        {"inputs": [X]},
        "this looks like …; send it to /v2/models/half/infer",
        id="36-v2-body",
    ),
    pytest.param(
        INFER_NAP,
        {"inputs": [SECONDS | {"data": [0]}], "parameters": {"timeout": "x"}},
        '…timeout…"x"',
        id="44-timeout-string",
    ),
    pytest.param(
        INFER_NAP,
        {"inputs": [SECONDS | {"data": [0]}], "parameters": {"timeout": -1}},
        "…timeout…-1",
        id="44-timeout-negative",
    ),
]


@pytest.mark.parametrize(("path", "body", "message"), REFUSALS)
def test_invalid_input_is_refused_and_counted(
    client: Client, path: str, body: Any, message: str
) -> None:
    before = client.failures(INVALID)

    reply = client.predict(path, body)

    check_error(reply, 400, INVALID, message)
    assert 1 == client.failures(INVALID) - before


OTHER_REFUSALS = [
    pytest.param(
        LOG + "?nonfinite=error", '{"instances":[0,-1]}', (500, "model_error"), "…", id="12-error"
    ),
    pytest.param(
        "/v1/models/step/versions/9:predict",
        '{"instances":[1]}',
        (404, "unknown_version"),
        "model step has no version 9; ready: 1, 2",
        id="17-version",
    ),
    pytest.param(
        "/v2/models/step/versions/9/infer",
        {"inputs": []},
        (404, "unknown_version"),
        "model step has no version 9; ready: 1, 2",
        id="17-open-inference",
    ),
    pytest.param(
        "/v1/models/step/labels/old:predict",
        '{"instances":[1]}',
        (404, "unknown_version"),
        'no label "old"; there are: canary, stable',
        id="17-label",
    ),
    pytest.param(
        "/v1/models/haf:predict",
        FIRST,
        (404, "unknown_model"),
        'no model "haf"; served here: half, …',
        id="18",
    ),
    pytest.param(
        "/v2/models/haf/infer",
        {"inputs": [X]},
        (404, "unknown_model"),
        'no model "haf"; served here: half, …',
        id="18-open-inference",
    ),
    pytest.param(
        HALF,
        b" " * 614_400,
        (413, "too_large"),
        "614,400 bytes of JSON; the limit is 524,288: send tensors in binary over /v2",
        id="25-json",
    ),
    pytest.param(
        HALF,
        {"instances": [[2, 4]] * 9},
        (413, "too_large"),
        "9 rows in one request; the limit is 8: split it",
        id="28-nine-rows",
    ),
    pytest.param(
        INFER_NAP,
        {"inputs": [SECONDS | {"data": [0.3]}], "parameters": {"timeout": 100000}},
        (504, "deadline_exceeded"),
        "…",
        id="44-timeout",
    ),
    pytest.param(
        INFER_HALF,
        {"inputs": [X], "parameters": {"sequence_id": 7}},
        (501, INVALID),
        "…sequence_id…",
        id="45-sequence",
    ),
    pytest.param(
        INFER_HALF,
        {"inputs": [X | {"parameters": {"shared_memory_region": "r"}}]},
        (501, INVALID),
        "…shared_memory_region…",
        id="45-shared-memory",
    ),
    pytest.param(
        INFER_HALF,
        {"inputs": [X], "outputs": [{"name": "y", "parameters": {"classification": 3}}]},
        (501, INVALID),
        "…classification…",
        id="45-classification",
    ),
    pytest.param(PICKY, '{"instances":[13]}', (500, "model_error"), "…", id="63-alone"),
    pytest.param(
        "/v1/models/rows:predict", '{"instances":[13]}', (500, "model_error"), "…", id="63-rows"
    ),
]


@pytest.mark.parametrize(("path", "body", "failure", "message"), OTHER_REFUSALS)
def test_refusal_has_its_status_and_is_counted(
    client: Client, path: str, body: Any, failure: tuple[int, str], message: str
) -> None:
    before = client.failures(failure[1])

    reply = client.predict(path, body)

    check_error(reply, *failure, message)
    assert 1 == client.failures(failure[1]) - before


def test_18_unknown_name_becomes_no_label(client: Client) -> None:
    before = client.failures("unknown_model", model="__unknown__")

    client.predict("/v1/models/haf:predict", FIRST)

    assert 1 == client.failures("unknown_model", model="__unknown__") - before


def test_17_unresolved_version_becomes_no_label(client: Client) -> None:
    before = client.failures("unknown_version", model="step", version="__unknown__")

    client.predict("/v1/models/step/versions/9:predict", '{"instances":[1]}')

    assert 1 == client.failures("unknown_version", model="step", version="__unknown__") - before


def test_error_of_a_prediction_shows_its_phases(client: Client) -> None:
    assert "total;dur=" in client.predict(HALF, "{}").headers["Server-Timing"]


def test_13_input_that_is_not_finite_is_refused_where_asked(strict: Client) -> None:
    reply = strict.predict(LOG, '{"instances":[NaN]}')

    check_error(reply, 400, INVALID, "instances[0]: NaN is not finite")


ENCODED = [
    pytest.param(
        "gzip",
        gzip.compress(FIRST)[:-6],
        (400, INVALID),
        "gzip body is damaged or cut short",
        id="24-cut",
    ),
    pytest.param(
        "gzip",
        gzip.compress(bytes(2 << 20)),
        (413, "too_large"),
        "decompressed body exceeds 1,048,576 bytes",
        id="24-bomb",
    ),
    pytest.param(
        "br",
        FIRST,
        (415, INVALID),
        'Content-Encoding "br"; supported: gzip, deflate',
        id="24-brotli",
    ),
]


@pytest.mark.parametrize(("encoding", "body", "failure", "message"), ENCODED)
def test_encoded_body_is_refused(
    client: Client, encoding: str, body: bytes, failure: tuple[int, str], message: str
) -> None:
    reply = client.predict(HALF, body, {"Content-Encoding": encoding})

    check_error(reply, *failure, message)


def test_24_unsupported_encoding_names_the_supported(client: Client) -> None:
    reply = client.predict(HALF, FIRST, {"Content-Encoding": "br"})

    assert "gzip, deflate" == reply.headers["Accept-Encoding"]


# Deadlines by header.

TIMEOUTS = [
    pytest.param({"X-Request-Timeout-Ms": "100"}, 504, id="44-own"),
    pytest.param({"X-Envoy-Expected-Rq-Timeout-Ms": "100"}, 504, id="44-envoy"),
    pytest.param({"X-Envoy-Expected-Rq-Timeout-Ms": "abc"}, 200, id="44-envoy-malformed"),
    pytest.param({"X-Request-Timeout-Ms": "90000"}, 200, id="44-longer-than-ours"),
]


@pytest.mark.parametrize(("headers", "status"), TIMEOUTS)
def test_caller_can_shorten_the_time(client: Client, headers: dict[str, str], status: int) -> None:
    def batches() -> float:
        return client.server.value("inferometer_batches_total", model="nap")

    before = batches()

    reply = client.predict(NAP, '{"instances":[0.3]}', headers)

    wait_for(lambda: batches() == before + 1, "nap is idle again")
    assert status == reply.status


@pytest.mark.parametrize("timeout", ["abc", "0", "-1", "1.5"])
def test_44_malformed_time_of_the_caller_is_refused(client: Client, timeout: str) -> None:
    reply = client.predict(NAP, '{"instances":[0]}', {"X-Request-Timeout-Ms": timeout})

    check_error(reply, 400, INVALID, f"X-Request-Timeout-Ms …{timeout}…")


def test_44_time_of_zero_is_the_default(client: Client) -> None:
    body = {"inputs": [SECONDS | {"data": [0]}], "parameters": {"timeout": 0}}

    assert 200 == client.predict(INFER_NAP, body).status


@pytest.mark.parametrize(
    ("priority", "status"), [("1", 200), ("3", 200), ("0", 200), ("9", 200), ("high", 400)]
)
def test_priority_must_be_a_number(client: Client, priority: str, status: int) -> None:
    assert status == client.predict(HALF, FIRST, {"X-Request-Priority": priority}).status


# Paths and methods. None of these counts as a prediction.

LOST = [
    pytest.param("POST", "/v1/models/step/versions/abc:predict", 400, id="17-version-abc"),
    pytest.param("POST", "//v1/models/half:predict", 404, id="20-double-slash"),
    pytest.param("POST", "/v1/models/half:explain", 400, id="20-unknown-verb"),
    pytest.param("POST", "/nope", 404, id="20-unknown"),
    pytest.param("GET", "/nope", 404, id="20-unknown-get"),
    pytest.param("GET", "/v1/models/haf", 404, id="31-unknown-model"),
    pytest.param("GET", "/v1/models/haf/metadata", 404, id="31-unknown-model-metadata"),
    pytest.param("GET", "/v1/models/half/versions/9", 404, id="31-unknown-version"),
    pytest.param("GET", "/v1/models/half/labels/old", 404, id="31-unknown-label"),
    pytest.param("GET", "/v2/models/haf", 404, id="57-unknown-model"),
    pytest.param("GET", "/v2/models/haf/ready", 404, id="57-unknown-model-ready"),
    pytest.param("GET", "/v2/models/half/versions/9/ready", 404, id="57-unknown-version-ready"),
]


@pytest.mark.parametrize(("method", "path", "status"), LOST)
def test_path_that_leads_nowhere_is_a_json_error(
    client: Client, method: str, path: str, status: int
) -> None:
    reply = client.ask(method, path, FIRST if method == "POST" else None)

    assert status == reply.status, reply.text
    assert {"error", "reason", "request_id"} == set(reply.json)
    assert "application/json" == reply.headers["Content-Type"]


WRONG_METHODS = [
    pytest.param("GET", HALF, "OPTIONS, POST", id="21-get"),
    pytest.param("HEAD", HALF, "OPTIONS, POST", id="21-head"),
    pytest.param("PUT", HALF, "OPTIONS, POST", id="21-put"),
    pytest.param("GET", INFER_HALF, "OPTIONS, POST", id="21-open-inference"),
    pytest.param("POST", "/v1/models/half", "GET, HEAD, OPTIONS", id="21-post"),
    pytest.param("POST", "/metrics", "GET, HEAD, OPTIONS", id="58-post"),
]


@pytest.mark.parametrize(("method", "path", "allowed"), WRONG_METHODS)
def test_wrong_method_names_the_allowed(
    client: Client, method: str, path: str, allowed: str
) -> None:
    reply = client.ask(method, path)

    assert (405, allowed) == (reply.status, reply.headers["Allow"])
    assert method == "HEAD" or "invalid_input" == reply.json["reason"]
    assert "no-store" == reply.headers["Cache-Control"]


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        pytest.param(HALF, "OPTIONS, POST", id="22-prediction"),
        pytest.param("/v1/models/half", "GET, HEAD, OPTIONS", id="22-status"),
    ],
)
def test_options_are_told(client: Client, path: str, allowed: str) -> None:
    reply = client.ask("OPTIONS", path)

    assert (204, allowed, b"") == (reply.status, reply.headers["Allow"], reply.body)


# Documents of models and of the server.

STATUS = {
    "name": "half",
    "ready": True,
    "model_version_status": [
        {
            "version": "1",
            "state": "AVAILABLE",
            "status": {"error_code": "OK", "error_message": ""},
        }
    ],
}
ALIVE = {"status": "alive", "live": True}
READY = {"status": "ready", "ready": True, "live": True}
PAGES = [
    pytest.param("/v1/models/half", STATUS, id="31-status"),
    pytest.param("/v1/models/half/", STATUS, id="31-trailing-slash"),
    pytest.param("/V1/MODELS/half", STATUS, id="31-any-case"),
    pytest.param("/v1/models/half/versions/1", STATUS, id="31-version"),
    pytest.param("/v1/models", {"models": sorted(MODELS)}, id="31-models"),
    pytest.param("/v2/models", {"models": sorted(MODELS)}, id="31-open-inference-models"),
    pytest.param(
        "/v2/models/half",
        {
            "name": "half",
            "versions": ["1"],
            "platform": "tensorflow_savedmodel",
            "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}],
            "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 2]}],
        },
        id="31-open-inference-model",
    ),
    pytest.param("/livez", ALIVE, id="57-livez"),
    pytest.param("/readyz", READY, id="57-readyz"),
    pytest.param("/healthz", ALIVE | {"ready": True}, id="57-healthz"),
    pytest.param("/v2/health/live", ALIVE, id="57-open-inference-live"),
    pytest.param("/v2/health/ready", READY, id="57-open-inference-ready"),
    pytest.param("/v2/models/half/ready", {"name": "half", "ready": True}, id="57-model"),
    pytest.param(
        "/v2/models/half/versions/1/ready", {"name": "half", "ready": True}, id="57-version"
    ),
    pytest.param("/", {"status": "alive", "name": "inferometer", "version": "0.1.0"}, id="57-root"),
]


@pytest.mark.parametrize(("path", "document"), PAGES)
def test_page_is_this_document(client: Client, path: str, document: dict[str, Any]) -> None:
    reply = client.ask("GET", path)

    assert (200, document) == (reply.status, reply.json)
    assert "application/json" == reply.headers["Content-Type"]


def test_31_metadata_is_tensorflow_servings(client: Client) -> None:
    document = client.ask("GET", "/v1/models/half/metadata").json

    assert {"name": "half", "signature_name": "", "version": "1"} == document["model_spec"]
    signature = document["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert {
        "x": {
            "dtype": "DT_FLOAT",
            "tensor_shape": {
                "dim": [{"size": "-1", "name": ""}, {"size": "2", "name": ""}],
                "unknown_rank": False,
            },
            "name": "serving_default_x:0",
        }
    } == signature["inputs"]
    assert ["y"] == list(signature["outputs"])
    assert ("tensorflow/serving/predict", {}) == (signature["method_name"], signature["defaults"])


@pytest.mark.parametrize("path", ["/v1/models/half", "/livez", "/readyz", "/v2", "/metrics"])
def test_31_head_has_the_headers_of_get_and_no_body(client: Client, path: str) -> None:
    whole = client.ask("GET", path)

    head = client.ask("HEAD", path)

    assert (whole.status, b"") == (head.status, head.body)
    assert set(whole.headers) == set(head.headers)
    assert whole.headers["Content-Type"] == head.headers["Content-Type"]


# Metrics over the serving port.

OPEN_METRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


def _families(text: str) -> set[str]:
    return {family.name for family in text_string_to_metric_families(text)}


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        pytest.param({}, "text/plain; version=0.0.4; charset=utf-8", id="58-text"),
        pytest.param(
            {"Accept": "application/openmetrics-text; version=1.0.0"},
            OPEN_METRICS,
            id="58-openmetrics",
        ),
    ],
)
def test_metrics_are_negotiated(client: Client, accept: dict[str, str], content_type: str) -> None:
    reply = client.ask("GET", "/metrics", headers=accept)

    received = reply.headers["Content-Type"].removesuffix("; escaping=underscores")
    assert (200, content_type) == (reply.status, received)
    assert (content_type == OPEN_METRICS) == reply.text.endswith("# EOF\n")


@pytest.mark.parametrize(
    ("path", "body", "family"),
    [
        pytest.param(HALF, FIRST, "inferometer_request_duration_seconds_bucket", id="bucket"),
        pytest.param(HALF, "{", "inferometer_request_failures_total", id="failure"),
    ],
)
def test_60_sampled_trace_is_an_exemplar(client: Client, path: str, body: Any, family: str) -> None:
    trace_id = secrets.token_hex(16)
    openmetrics = {"Accept": "application/openmetrics-text; version=1.0.0"}

    def exemplars() -> list[str]:
        client.predict(path, body, {"traceparent": f"00-{trace_id}-{'1' * 16}-01"})
        lines = client.ask("GET", "/metrics", headers=openmetrics).text.splitlines()
        return [line for line in lines if f'trace_id="{trace_id}"' in line]

    # A slot takes one exemplar a second, so the first may come too soon after another test's.
    found = wait_for(exemplars, "the exemplar is shown", seconds=10)

    assert any(line.startswith(family) for line in found)
    assert trace_id not in client.ask("GET", "/metrics").text


def test_58_metrics_are_compressed_once(client: Client) -> None:
    plain = client.ask("GET", "/metrics")

    reply = client.ask("GET", "/metrics", headers={"Accept-Encoding": "gzip"})

    assert "gzip" == reply.headers["Content-Encoding"]
    assert _families(plain.text) == _families(gzip.decompress(reply.body).decode())


def test_58_alias_has_the_same_metrics(client: Client) -> None:
    plain = client.ask("GET", "/metrics")

    alias = client.ask("GET", "/monitoring/prometheus/metrics")

    assert 200 == alias.status
    assert _families(plain.text) == _families(alias.text)


# Request ids.


@pytest.mark.parametrize("path", [HALF, "/livez"])
@pytest.mark.parametrize(
    ("sent", "is_echoed"),
    [
        pytest.param("a-1", True, id="60-echoed"),
        pytest.param("a 1", False, id="60-space"),
        pytest.param("a" * 200, False, id="60-too-long"),
    ],
)
def test_request_id_is_echoed_if_well_formed(
    client: Client, path: str, sent: str, *, is_echoed: bool
) -> None:
    headers = {"X-Request-ID": sent}

    reply = (
        client.predict(path, FIRST, headers)
        if path == HALF
        else client.ask("GET", path, None, headers)
    )

    received = reply.headers["X-Request-ID"]
    assert received == sent if is_echoed else re.fullmatch("[0-9a-f]{32}", received)


def test_60_error_body_has_the_request_id(client: Client) -> None:
    assert "a-1" == client.predict(HALF, "{}", {"X-Request-ID": "a-1"}).json["request_id"]


# Bodies as they arrive, over a socket.

CHUNKED = "Transfer-Encoding: chunked"


def test_25_chunked_body_is_read(client: Client) -> None:
    body = chunk(FIRST[:7]) + chunk(FIRST[7:]) + chunk(b"")

    reply = client.exchange(head(HALF, CHUNKED, "Connection: close") + body)

    assert (200, FIRST_ANSWER) == (reply.status, reply.text)


def test_25_chunked_body_over_the_limit_is_refused(client: Client) -> None:
    body = chunk(b" " * 65536) * 32 + chunk(b"")

    reply = client.exchange(head(HALF, CHUNKED) + body)

    check_error(reply, 413, "too_large", "…1,048,576…")


def test_25_declared_length_over_the_limit_is_refused_at_once(client: Client) -> None:
    reply = client.exchange(head(HALF, "Content-Length: 3000000"))

    message = "body of 3,000,000 bytes; the limit is 1,048,576"
    check_error(reply, 413, "too_large", message)


def test_25_reply_before_the_body_says_that_the_connection_closes(client: Client) -> None:
    reply = client.exchange(head(HALF, "Content-Length: 3000000"))

    assert "close" == reply.headers["Connection"]


def test_26_expectation_is_met_before_the_body_is_sent(client: Client) -> None:
    client.count()
    length = f"Content-Length: {len(FIRST)}"
    with socket.create_connection(client.address, timeout=TIMEOUT_SECONDS) as connection:
        connection.sendall(head(HALF, length, "Expect: 100-continue", "Connection: close"))
        first = connection.recv(65536)
        connection.sendall(FIRST)
        reply = parsed(rest_of(connection))

    assert b"HTTP/1.1 100 Continue\r\n\r\n" == first
    assert (200, FIRST_ANSWER) == (reply.status, reply.text)


def test_26_other_transfer_encoding_is_not_offered(client: Client) -> None:
    body = chunk(gzip.compress(FIRST)) + chunk(b"")

    reply = client.exchange(head(HALF, "Transfer-Encoding: gzip, chunked") + body)

    check_error(reply, 501, INVALID, "Transfer-Encoding …")


def test_27_body_that_ends_early_is_refused(client: Client) -> None:
    reply = client.exchange(head(HALF, "Content-Length: 10") + b"abc", half_closes=True)

    check_error(reply, 400, INVALID, "body ended after 3 of 10 bytes")


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"zz\r\nabc\r\n0\r\n\r\n", id="27-size"),
        pytest.param(b"3\r\nabcdef\r\n0\r\n\r\n", id="27-end"),
    ],
)
def test_malformed_chunk_is_refused(client: Client, body: bytes) -> None:
    reply = client.exchange(head(HALF, CHUNKED) + body)

    check_error(reply, 400, INVALID, "…")


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(
            head(HALF, "Content-Length: 10", "X-Request-Timeout-Ms: 200") + b"abc",
            id="27-declared",
        ),
        pytest.param(
            head(HALF, CHUNKED, "X-Request-Timeout-Ms: 200") + chunk(b"abc"), id="27-chunked"
        ),
    ],
)
def test_body_that_never_arrives_costs_the_connection(client: Client, sent: bytes) -> None:
    reply = client.exchange(sent)

    check_error(reply, 408, "deadline_exceeded", "…")


# Several requests at once.


def _in_threads(client: Client, requests: list[tuple[str, Any]]) -> list[Reply]:
    """Send these at the same time and return the replies in their order."""
    barrier = threading.Barrier(len(requests))
    replies: dict[int, Reply] = {}

    def work(number: int) -> None:
        barrier.wait(TIMEOUT_SECONDS)
        replies[number] = client.predict(*requests[number])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(requests))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [replies[number] for number in range(len(requests))]


def test_61_row_too_many_is_refused_while_the_model_is_busy(client: Client) -> None:
    replies: list[Reply] = []

    def send(rows: list[float]) -> threading.Thread:
        body = {"instances": rows}
        thread = threading.Thread(target=lambda: replies.append(client.predict(NAP, body)))
        thread.start()
        return thread

    def gauges() -> tuple[float, float]:
        samples = client.server.samples()
        in_flight = total(samples, "inferometer_requests_in_flight", model="nap")
        return in_flight, total(samples, "inferometer_queue_rows", model="nap")

    wait_for(lambda: gauges() == (0, 0), "nap is idle")
    busy = send([2.0] * 4)
    wait_for(lambda: gauges() == (1, 0), "nap is busy")
    waiting = send([0.0] * 8)
    wait_for(lambda: gauges() == (2, 8), "8 rows are waiting")

    refused = client.predict(NAP, '{"instances":[0]}')

    was_busy = busy.is_alive()
    for thread in (busy, waiting):
        thread.join()
    check_error(refused, 503, "queue_full", "model nap: 8 of 8 rows are waiting; retry in … s")
    assert 1 <= int(refused.headers["Retry-After"]) <= 30
    assert 0 < refused.json["retry_after_seconds"]
    assert was_busy
    assert [200, 200] == [reply.status for reply in replies]


def test_63_bad_row_fails_its_own_request_only(client: Client) -> None:
    bodies = ['{"instances":[1]}', '{"instances":[13]}', *['{"instances":[1]}'] * 4]
    statuses: set[tuple[int, ...]] = set()

    def has_failed_together() -> bool:
        replies = _in_threads(client, [(PICKY, body) for body in bodies])
        statuses.add(tuple(reply.status for reply in replies))
        return client.server.value("inferometer_batch_retries_total", model="picky") > 0

    wait_for(has_failed_together, "a bad and a good row in one batch")

    assert {(200, 500, 200, 200, 200, 200)} == statuses


def test_67_each_of_100_concurrent_requests_gets_its_own_rows(strict: Client) -> None:
    rows = [
        [[10 * number + row, -number] for row in range(number % 8 + 1)] for number in range(100)
    ]

    replies = _in_threads(strict, [(HALF, {"instances": own}) for own in rows])

    assert [[[a / 2, b / 2] for a, b in own] for own in rows] == [
        reply.json["predictions"] for reply in replies
    ]


# After all of that.


def test_every_prediction_request_was_counted_once(client: Client) -> None:
    samples = client.server.samples()

    assert client.sent == total(samples, "inferometer_requests_total")
    assert client.sent == total(samples, "inferometer_request_duration_seconds_count")


def test_no_request_is_left_in_flight(client: Client) -> None:
    assert 0 == client.server.value("inferometer_requests_in_flight")


def test_log_has_no_traceback(client: Client) -> None:
    assert "Traceback" not in client.server.log
