"""Tokens and labels on a real server: the rows of the checklist, and what else may be sent."""

import base64
import gzip
import hmac
import json
import threading
import zlib
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import requests

from tests.live.labels import CATS, KEY, NUMBER, OTHER_KEY, declared, send, signed, token_of
from tests.live.servers import Server, start_server, total
from tests.live.structures import BOXES, PIXELS, TEXTS

HALF = "/v1/models/half:predict"
INFER_HALF = "/v2/models/half/infer"
DAY = 86_400.0
TOKENS = "inferometer_feedback_token"
X3 = {"name": "x", "shape": [3, 2], "datatype": "FP32", "data": [2, 4, 6, 2, 0, 0]}


COUNTRIES = {"country": ["de", "at"]}
SUMS = {
    "task": "regression", "output": "sum", "segments": COUNTRIES | {"number": ["1", "2"]},
    "segment_columns": {"number": "n"},
}  # fmt: skip


@pytest.fixture(scope="module")
def server(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("feedback")
    served = {
        "half": declared(models, "half", folder, CATS),
        "log": declared(models, "log", folder, NUMBER),
        "order": declared(models, "order", folder, {"task": "ranking"}),
        "step": models / "step",
        "parts": declared(models, "half", folder / "parts", CATS | {"segments": COUNTRIES}),
        "sums": declared(models, "pair", folder / "sums", SUMS),
        "pixels": declared(models, "pixels", folder, PIXELS),
        "boxes": declared(models, "boxes", folder, BOXES),
        "text": declared(models, "text", folder, TEXTS),
    }
    keys = f"{OTHER_KEY},{KEY}"
    with start_server(
        served, folder, "--workers=2", "--feedback-corrections", f"--feedback-keys={keys}"
    ) as started:
        yield started


@pytest.fixture
def moved(server: Server) -> Iterator[dict[str, float]]:
    """What the label's counters have moved by at the end of the test; filled by `read`."""
    before = counters(server)
    found: dict[str, float] = {}
    yield found
    after = counters(server)
    assert found == {
        name: after[name] - before[name] for name in after if after[name] != before[name]
    }


def counters(server: Server) -> dict[str, float]:
    """Return the sums of what labels move."""
    samples = server.samples()
    results = {
        dict(labels)["result"]: value
        for (name, labels), value in samples.items()
        if name == "inferometer_feedback_total"
    }
    families = (
        "labels_total", "label_delay_seconds_count", "scored_labels_total", "confusion_total",
        "outcomes_total", "outcomes_retracted_total", "absolute_error_count",
        "teacher_agreement_total",
    )  # fmt: skip
    return results | {name: total(samples, f"inferometer_{name}") for name in families}


COUNTED = {
    "counted": 1.0, "labels_total": 1.0, "label_delay_seconds_count": 1.0,
    "scored_labels_total": 1.0, "confusion_total": 1.0,
}  # fmt: skip


# Tokens.


def test_46_tokens_of_tensorflow_serving(server: Server) -> None:
    one = server.post(HALF, '{"instances":[[2,4]]}')
    several = server.post(HALF, '{"instances":[[2,4],[6,2]]}')
    asked = server.post(HALF + "?feedback_tokens=true", '{"instances":[[2,4],[6,2]]}')
    columns = server.post(HALF + "?feedback_tokens=true", '{"inputs":[[2,4]]}')

    assert '{"predictions":[[1.0,2.0]]}' == one.text
    assert one.headers["X-Feedback-Token"].startswith("i1.")
    assert '{"predictions":[[1.0,2.0],[3.0,1.0]]}' == several.text
    assert "X-Feedback-Token" not in several.headers
    assert ["predictions", "prediction_id", "feedback_tokens"] == list(asked.json())
    assert asked.headers["X-Prediction-ID"] == asked.json()["prediction_id"]
    assert 2 == len(set(asked.json()["feedback_tokens"]))
    assert columns.headers["X-Feedback-Token"] == columns.json()["feedback_tokens"][0]


def test_47_tokens_of_open_inference(server: Server) -> None:
    one = server.post(INFER_HALF, {"inputs": [X3 | {"shape": [1, 2], "data": [2, 4]}]})
    asked = server.post(INFER_HALF, {"inputs": [X3], "parameters": {"feedback_tokens": True}})
    alone = server.post(INFER_HALF, {"inputs": [X3], "outputs": [{"name": TOKENS}]})
    raw = server.post(
        INFER_HALF, {"inputs": [X3], "outputs": [{"name": TOKENS}, {"name": "y"}],
                     "parameters": {"binary_data_output": True}}
    )  # fmt: skip

    assert one.headers["X-Feedback-Token"] == one.json()["parameters"]["feedback_token"]
    assert one.headers["X-Prediction-ID"] == one.json()["parameters"]["prediction_id"]
    assert ["y", TOKENS] == [output["name"] for output in asked.json()["outputs"]]
    assert ["prediction_id"] == list(asked.json()["parameters"])
    (tokens,) = alone.json()["outputs"]
    assert ("BYTES", [3], 3) == (tokens["datatype"], tokens["shape"], len(set(tokens["data"])))
    size = int(raw.headers["Inference-Header-Content-Length"])
    described = json.loads(raw.content[:size])["outputs"]
    assert [TOKENS, "y"] == [output["name"] for output in described]
    assert len(raw.content) - size == sum(o["parameters"]["binary_data_size"] for o in described)
    for token in tokens["data"]:
        assert (200, "counted") == _result(send(server, token, "dog"))


def test_48_no_task_no_token(server: Server) -> None:
    answer = server.post("/v1/models/step:predict?feedback_tokens=true", '{"instances":[1]}')
    infer = server.post(
        "/v2/models/step/infer",
        {"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [1]}],
         "parameters": {"feedback_tokens": True}},
    )  # fmt: skip

    assert '{"predictions":[3.0]}' == answer.text
    assert "X-Feedback-Token" not in {**answer.headers, **infer.headers}
    assert "X-Prediction-ID" in answer.headers
    assert ["y"] == [output["name"] for output in infer.json()["outputs"]]
    refused = server.post(
        "/v2/models/step/infer",
        {"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [1]}],
         "outputs": [{"name": TOKENS}]},
    )  # fmt: skip
    assert 400 == refused.status_code


def test_row_that_is_not_finite_has_no_token(server: Server) -> None:
    answer = server.post("/v1/models/log:predict?feedback_tokens=true", '{"instances":[1,0]}')

    tokens = answer.json()["feedback_tokens"]
    assert (str, type(None)) == tuple(map(type, tokens))
    assert (
        "X-Feedback-Token" not in server.post("/v1/models/log:predict", {"instances": [-1]}).headers
    )


def test_wish_that_is_no_truth_is_refused(server: Server) -> None:
    by_query = server.post(HALF + "?feedback_tokens=yes", '{"instances":[[2,4]]}')
    by_parameter = server.post(INFER_HALF, {"inputs": [X3], "parameters": {"feedback_tokens": 1}})

    assert (400, 400) == (by_query.status_code, by_parameter.status_code)


# Labels.


def _result(reply: tuple[int, Any]) -> tuple[int, str]:
    status, document = reply
    return status, document["result"]


def test_52_label_counts_once_and_can_be_corrected(server: Server, moved: dict[str, float]) -> None:
    token = token_of(server, "half", [2, 4])  # dog

    assert (200, {"result": "counted", "model": "half", "version": "1"}) == send(
        server, token, "dog"
    )
    assert (200, "duplicate") == _result(send(server, token, "dog"))
    assert (200, "corrected") == _result(send(server, token, "cat"))
    assert (200, "duplicate") == _result(send(server, token, "cat"))
    assert (200, "corrected") == _result(send(server, token, 1))

    moved.update(COUNTED | {"duplicate": 2.0, "corrected": 2.0})
    # tp of dog; then fp of dog and fn of cat; then tp of dog again.
    moved.update({"outcomes_total": 4.0, "outcomes_retracted_total": 3.0})


def test_52_label_of_a_number_cannot_be_corrected(server: Server, moved: dict[str, float]) -> None:
    token = token_of(server, "log", 1.0)

    assert (200, "counted") == _result(send(server, token, 0.5))
    assert (200, "duplicate") == _result(send(server, token, 0.5))
    assert (409, "conflict") == _result(send(server, token, 0.25))

    moved.update({"counted": 1.0, "duplicate": 1.0, "conflict": 1.0, "labels_total": 1.0})
    moved.update({"label_delay_seconds_count": 1.0, "absolute_error_count": 1.0})


def nested(depth: int) -> Any:
    label: Any = "dog"
    for _ in range(depth):
        label = [label]
    return label


def refused_labels(server: Server) -> list[tuple[Any, int, str, str]]:
    """Return bodies, each with status, result and message."""
    token = token_of(server, "half", [2, 4])
    number = token_of(server, "log", 1.0)
    head, _, tail = token.rpartition(".")
    altered = f"{head}.{'A' if tail[0] != 'A' else 'B'}{tail[1:]}"
    ours = token.split(".")[1]
    bomb = base64.urlsafe_b64encode(zlib.compress(b"[" + b"0" * 50_000_000)).rstrip(b"=").decode()
    return [
        ((altered, "dog"), 422, "bad_token", "altered"),
        (("", "dog"), 422, "bad_token", "no feedback token"),
        ((7, "dog"), 422, "bad_token", "string"),
        ((token.replace("i1.", "i0.", 1), "dog"), 422, "bad_token", "no feedback token"),
        ((token.replace(ours, "ffffff", 1), "dog"), 422, "bad_token", "does not have"),
        (("i1." + "x" * 100_000, "dog"), 422, "bad_token", "65536"),
        ((f"i1.{ours}..{bomb[:60_000]}.aaaaaa.bbbb", "dog"), 422, "bad_token", "altered"),
        ((signed(token, key="x" * 40), "dog"), 422, "bad_token", "altered"),
        ((signed(token, row=-1), "dog"), 422, "bad_token", "content"),
        ((signed(token, row=2**63), "dog"), 422, "bad_token", "content"),
        ((signed(token, row="0"), "dog"), 422, "bad_token", "content"),
        ((signed(token, row=True), "dog"), 422, "bad_token", "content"),
        ((signed(token, id="short"), "dog"), 422, "bad_token", "content"),
        ((signed(token, shift_seconds=400), "dog"), 422, "bad_token", "future"),
        ((signed(token, shift_seconds=-91 * DAY), "dog"), 410, "expired", "older"),
        ((signed(token, version="9"), "dog"), 404, "unknown_id", "version 9"),
        ((signed(token, model="other"), "dog"), 404, "unknown_id", "other"),
        ((signed(token, declaration="000000"), "dog"), 404, "unknown_id", "another task"),
        ((token, "dgo"), 422, "bad_label", 'label "dgo" is not a class; there are: cat, dog'),
        ((signed(token, values=7), "dog"), 422, "bad_token", "other content"),
        ((signed(token, values=True), "dog"), 422, "bad_token", "other content"),
        ((signed(token, values=None), "dog"), 422, "bad_token", "other content"),
        ((signed(token, values=[0.5]), "dog"), 422, "bad_token", "other content"),
        ((signed(token, values="x"), "dog"), 422, "bad_token", "other content"),
        ((signed(number, values={}), 1.0), 422, "bad_token", "other content"),
        ((signed(number, values=1e300), 1.0), 422, "bad_token", "other content"),
        ((token, nested(900)), 422, "bad_label", "label a list is neither"),
        ((token, "dog", {"labelled_at": "x", "source": "teacher"}), 422, "bad_label", "2026"),
        ((token, 2), 422, "bad_label", "label 2 is not a class"),
        ((token, 1.0), 422, "bad_label", "neither"),
        ((token, None), 422, "bad_label", "neither"),
        ((token, ["dog"]), 422, "bad_label", "neither"),
        ((token, "dog", {"labelled_at": "yesterday"}), 422, "bad_label", "2026-11-23T10:00:00Z"),
        ((token, "dog", {"labelled_at": "2999-01-01T00:00:00Z"}), 422, "bad_label", "between"),
        ((token, "dog", {"labelled_at": "1999-01-01T00:00:00Z"}), 422, "bad_label", "between"),
        ((number, True), 422, "bad_label", "number"),
        ((number, "1"), 422, "bad_label", "number"),
        ((number, 1e30), 422, "bad_label", "-1000 to 1000"),
        ((number, 2**63), 422, "bad_label", "-1000 to 1000"),
        ((number, 0.5, {"source": "teacher"}), 422, "bad_label", "classes"),
    ]  # fmt: skip


def test_53_label_that_is_refused_says_why_and_counts_nothing(
    server: Server, moved: dict[str, float]
) -> None:
    for (token, label, *more), status, result, message in refused_labels(server):
        found, document = send(server, token, label, **(more[0] if more else {}))

        assert (status, result) == (found, document["result"]), document
        assert message in document["error"]
        assert document["request_id"]
        moved[result] = moved.get(result, 0.0) + 1.0


@pytest.mark.parametrize("seconds", [200.0, -89 * DAY])
def test_clocks_may_differ_and_labels_may_be_late(server: Server, seconds: float) -> None:
    token = token_of(server, "half", [2, 4])
    before = server.samples()

    assert (200, "counted") == _result(send(server, signed(token, shift_seconds=seconds), "dog"))

    after, age = server.samples(), "1h" if seconds > 0 else "inf"
    name = "inferometer_labels_total"
    assert 1.0 == total(after, name, age=age) - total(before, name, age=age)


def test_older_key_still_verifies(server: Server) -> None:
    """A token of the key that signed before the rotation."""
    token = token_of(server, "half", [2, 4])
    key_id = hmac.new(OTHER_KEY.encode(), b"inferometer feedback key id", "sha256").hexdigest()[:6]
    old = signed(token, key=OTHER_KEY).split(".", 2)[2]

    assert (200, "counted") == _result(send(server, f"i1.{key_id}.{old}", "dog"))


def test_teacher_agrees_or_not_and_counts_nothing_else(
    server: Server, moved: dict[str, float]
) -> None:
    token = token_of(server, "half", [2, 4])

    assert (200, "counted") == _result(send(server, token, "cat", source="teacher"))
    assert (200, "duplicate") == _result(send(server, token, "cat", source="teacher"))

    moved.update({"counted": 1.0, "duplicate": 1.0, "teacher_agreement_total": 1.0})


def test_time_of_the_truth_is_what_the_delay_ends_with(server: Server) -> None:
    token = signed(token_of(server, "half", [2, 4]), shift_seconds=-10 * DAY)
    name = "inferometer_label_delay_seconds_sum"
    before = server.value(name)
    at = datetime.now(UTC) - timedelta(days=9)
    assert (200, "counted") == _result(send(server, token, "dog", labelled_at=at.isoformat()))

    assert server.value(name) - before == pytest.approx(DAY, abs=5)


MALFORMED = [
    pytest.param(b"[]", "send lists to /v1/feedback/batch", id="list"),
    pytest.param(b"{}", 'missing "token"', id="empty-object"),
    pytest.param(b'{"token":"x"}', 'missing "label"', id="no-label"),
    pytest.param(
        b'{"token":"x","lable":1}',
        'unknown key "lable"; known: token, prediction_id, row, label, labelled_at, prediction,'
        " source",
        id="unknown-key",
    ),
    pytest.param(b"not json", "not JSON", id="no-json"),
    pytest.param(b"", "empty", id="nothing"),
    pytest.param(b"[" * 100_000, "not JSON", id="deep"),
    pytest.param(b'{"token":"\\ud800","label":1}', "not JSON", id="surrogate"),
    pytest.param(b'{"token":"x","label":1,"source":"me"}', "truth or teacher", id="source"),
    pytest.param(b'{"prediction_id":"x","label":1}', "send the row's token", id="no-token"),
    pytest.param(b"\xff\xfe", "not JSON", id="no-text"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "message"), MALFORMED)
def test_54_what_is_no_label_is_400_and_uncounted(
    server: Server, moved: dict[str, float], body: bytes, message: str
) -> None:
    answer = server.post("/v1/feedback", body)

    assert 400 == answer.status_code
    assert message in answer.json()["error"]
    assert {} == moved


@pytest.mark.parametrize("is_lines", [False, True], ids=["array", "lines"])
def test_55_batch_counts_what_it_can(
    server: Server,
    moved: dict[str, float],
    is_lines: bool,  # noqa: FBT001
) -> None:
    tokens = [token_of(server, "half", [2, 4]) for _ in range(2)]
    expired = signed(tokens[0], shift_seconds=-91 * DAY)
    items = [
        {"token": tokens[0], "label": "dog"},
        {"token": tokens[1], "label": "cat"},
        {"token": tokens[0], "label": "dog"},
        {"token": expired, "label": "dog"},
        {"tokn": 1},
    ]
    lines = "\n\n".join(map(json.dumps, items)) + "\r\n"

    answer = server.post("/v1/feedback/batch", lines if is_lines else items)

    assert 200 == answer.status_code
    document = answer.json()
    expected = {"counted": 2, "duplicate": 1, "corrected": 0, "rejected": 2}
    assert expected == {name: document[name] for name in expected}
    assert [(3, "expired"), (4, "bad_label")] == [
        (error["index"], error["result"]) for error in document["errors"]
    ]
    moved.update({name: 2 * value for name, value in COUNTED.items()})
    moved.update({"duplicate": 1.0, "expired": 1.0, "bad_label": 1.0, "outcomes_total": 3.0})


def test_corrections_of_one_batch_follow_each_other(
    server: Server, moved: dict[str, float]
) -> None:
    token = token_of(server, "half", [2, 4])
    labels = ["dog", "cat", "cat", "dog", "dog", "cat"]

    answer = server.post("/v1/feedback/batch", [{"token": token, "label": one} for one in labels])

    expected = {"counted": 1, "duplicate": 2, "corrected": 3, "rejected": 0}
    assert expected == {name: answer.json()[name] for name in expected}
    moved.update(COUNTED | {"duplicate": 2.0, "corrected": 3.0})
    # A right label is one outcome, a wrong one two: dog, cat, dog, cat, and all but the last back.
    moved.update({"outcomes_total": 6.0, "outcomes_retracted_total": 4.0})


def test_zero_has_no_sign(server: Server) -> None:
    token = token_of(server, "log", 1.0)

    assert [(200, "counted"), (200, "duplicate")] == [
        _result(send(server, token, zero)) for zero in (0.0, -0.0)
    ]


HEAVY = [
    pytest.param(b"[" + b"[]," * 2_000_000 + b"[]]", id="lists"),
    pytest.param(b"{" + b"\n" * 7_000_000, id="newlines"),
    pytest.param(b"[" + b"{}," * 2_000_000 + b"{}]", id="objects"),
    pytest.param(b"[" * 7_000_000, id="brackets"),
    pytest.param(b"[[" + b"[]," * 2_000_000 + b"[]]]", id="nested"),
]


@pytest.mark.parametrize("body", HEAVY)
def test_heavy_bodies_are_refused_at_once(server: Server, body: bytes) -> None:
    answer = server.post(
        "/v1/feedback/batch", gzip.compress(body, 1), headers={"Content-Encoding": "gzip"}
    )

    assert answer.status_code in {400, 413, 422}
    assert answer.elapsed.total_seconds() < 5


def test_55_broken_lines_leave_the_others(server: Server) -> None:
    token = token_of(server, "half", [2, 4])
    lines = (
        b'{"token":"x","label":1}\n{"token"\n\n'
        + json.dumps({"token": token, "label": "dog"}).encode()
    )

    answer = server.post("/v1/feedback/batch", lines)

    assert [(0, "bad_token"), (1, "bad_label")] == [
        (error["index"], error["result"]) for error in answer.json()["errors"]
    ]
    assert 1 == answer.json()["counted"]


def test_55_batch_of_nothing_good_is_422(server: Server) -> None:
    answer = server.post("/v1/feedback/batch", [{"token": "x", "label": 1}] * 150)

    assert (422, 150, 100) == (
        answer.status_code, answer.json()["rejected"], len(answer.json()["errors"])
    )  # fmt: skip
    assert 200 == server.post("/v1/feedback/batch", []).status_code


@pytest.mark.parametrize("body", [b"", b"5", b'"x"', b"[1,", b"nonsense"])
def test_55_what_is_no_batch_is_400(server: Server, moved: dict[str, float], body: bytes) -> None:
    assert 400 == server.post("/v1/feedback/batch", body).status_code
    assert {} == moved


def test_56_too_much_counts_nothing(server: Server, moved: dict[str, float]) -> None:
    token = token_of(server, "half", [2, 4])
    item = {"token": token, "label": "dog"}

    many = server.post("/v1/feedback/batch", [item] + [{}] * 10_000)
    large = server.post("/v1/feedback/batch", [item | {"label": "x" * (9 << 20)}])
    single = server.post("/v1/feedback", item | {"label": "x" * (3 << 20)})

    assert [(413, "too_large")] * 3 == [
        (answer.status_code, answer.json()["reason"]) for answer in (many, large, single)
    ]
    assert {} == moved


def test_56_dry_run_moves_nothing_and_claims_nothing(
    server: Server, moved: dict[str, float]
) -> None:
    token = token_of(server, "half", [2, 4])
    dry = "/v1/feedback?dry_run=true"
    item = {"token": token, "label": "dog"}

    first = server.post(dry, item)
    again = server.post("/v1/feedback/batch?dry_run=true", [item, {"token": "x", "label": 1}])

    assert {"result": "counted", "model": "half", "version": "1", "dry_run": True} == first.json()
    assert (1, 1, True) == tuple(again.json()[name] for name in ("counted", "rejected", "dry_run"))
    assert 400 == server.post("/v1/feedback?dry_run=perhaps", item).status_code
    assert {} == moved
    assert (200, "counted") == _result(send(server, token, "dog"))
    assert "duplicate" == server.post(dry, item).json()["result"]
    assert "corrected" == server.post(dry, item | {"label": "cat"}).json()["result"]
    moved.update(COUNTED | {"outcomes_total": 1.0})


def test_ten_thousand_labels_in_one_request(server: Server) -> None:
    rows = [[float(number % 7), float(number % 5)] for number in range(1_000)]
    tokens = [
        token
        for _ in range(10)
        for token in server.post(HALF + "?feedback_tokens=true", {"instances": rows}).json()[
            "feedback_tokens"
        ]
    ]
    before = counters(server)

    answer = server.post("/v1/feedback/batch", [{"token": t, "label": "dog"} for t in tokens])
    again = server.post("/v1/feedback/batch", [{"token": t, "label": "dog"} for t in tokens])

    assert (10_000, 10_000) == (answer.json()["counted"], again.json()["duplicate"])
    after = counters(server)
    assert 10_000 == after["confusion_total"] - before["confusion_total"]


def test_label_sent_to_many_at_once_counts_once(server: Server, moved: dict[str, float]) -> None:
    rows = [[float(number % 7), 3.0] for number in range(200)]
    path = HALF + "?feedback_tokens=true"
    tokens = server.post(path, {"instances": rows}).json()["feedback_tokens"]
    body = json.dumps([{"token": token, "label": "dog"} for token in tokens])
    results: list[Counter[str]] = []

    def work() -> None:
        # A connection of its own, which any front-end may take.
        answer = requests.post(server.url + "/v1/feedback/batch", data=body, timeout=60)
        found = answer.json()
        if answer.status_code == 503:
            # Two at once; whoever waits too long is told to come again.
            results.append(Counter(busy=1))
        else:
            results.append(Counter({name: found[name] for name in ("counted", "duplicate")}))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    together = sum(results, Counter())
    assert 200 == together["counted"]
    assert 200 * (8 - together["busy"]) == together["counted"] + together["duplicate"]
    moved.update({name: 200 * value for name, value in COUNTED.items()})
    moved["duplicate"] = float(together["duplicate"])
    outcomes = server.value("inferometer_outcomes_total")
    assert outcomes
    moved["outcomes_total"] = 200.0 + sum(3.0 <= row[0] for row in rows)


def test_ranking_comes_back_with_its_label(server: Server, moved: dict[str, float]) -> None:
    path, rows = "/v1/models/order:predict", {"instances": [[0.5, 3.0, 1.0, 2.0]]}
    unasked = server.post(path, rows)
    asked = server.post(path + "?feedback_tokens=true", rows)
    (token,), (items,) = asked.json()["feedback_tokens"], asked.json()["predictions"]
    label = {"3": 2, "0": 1}
    queries = "inferometer_ranking_queries_total"
    before = server.value(queries)

    assert "X-Feedback-Token" not in unasked.headers
    assert [1, 3, 2, 0] == items
    assert token == asked.headers["X-Feedback-Token"]
    for prediction, result, message in (
        (None, "bad_label", "sent beside the label"),
        ([1, 3, 0, 2], "bad_token", "not the one"),
        ([1, 3, 2], "bad_token", "not the one"),
        ([1, 3, 3, 0], "bad_label", "each once"),
        ("1320", "bad_label", "list of items"),
    ):
        more = {} if prediction is None else {"prediction": prediction}
        status, document = send(server, token, label, **more)
        assert (422, result) == (status, document["result"])
        assert message in document["error"]
    assert (422, "bad_label") == _result(send(server, token, {"3": 31}, prediction=items))
    assert (200, "counted") == _result(send(server, token, label, prediction=items))
    assert (200, "duplicate") == _result(
        send(server, token, label, prediction=list(map(str, items)))
    )
    assert (409, "conflict") == _result(send(server, token, {"3": 1}, prediction=items))
    other = token_of(server, "half", [2, 4])
    assert (422, "bad_label") == _result(send(server, other, "dog", prediction=[0.1]))

    assert 1 == server.value(queries) - before
    moved.update({"counted": 1.0, "duplicate": 1.0, "conflict": 1.0, "bad_label": 5.0})
    moved.update({"bad_token": 2.0, "labels_total": 1.0, "label_delay_seconds_count": 1.0})


class Case(NamedTuple):
    """A model, a row that it predicts, labels of it, and what is refused with which result.

    `wrong` are other labels, `others` other predictions than the one that the token is of.
    """

    model: str
    row: Any
    labels: Any
    wrong: list[tuple[Any, str, str]]
    others: list[tuple[Any, str, str]]


STRUCTURES = [
    Case(
        "pixels",
        [[0, 1], [2, 2]],
        [[[0, 1], [2, 1]], {"shape": [2, 2], "runs": [[0, 1], [1, 1], [2, 1], [1, 1]]}],
        [
            ([[0, 1]], "bad_label", "of [1, 2], the image of [2, 2]"),
            ([[0, 1], [3, 2]], "bad_label", "class id 3; there are 0 to 2"),
            ("sky", "bad_label", "rows of class ids"),
        ],
        [
            ([[0, 1], [2, 1]], "bad_token", "not the one"),
            ([[0, 1, 2, 2]], "bad_token", "not the one"),
            ({"shape": [2, 2], "runs": [[0, 10**18]]}, "bad_label", "add up"),
        ],
    ),
    Case(
        "boxes",
        [[0, 0, 10, 10, 0.9, 0], [0, 0, 5, 5, 0.3, 1]],
        [[{"box": [0, 0, 10, 9], "class": "cat"}]],
        [
            ([{"box": [0, 0, 10, -9], "class": "cat"}], "bad_label", "width and a height"),
            ([{"box": [0, 0, 10, 9], "class": "cow"}], "bad_label", "cat, dog"),
            ({"box": [0, 0, 10, 9], "class": "cat"}, "bad_label", "a list"),
        ],
        [
            ({"detection_boxes": []}, "bad_label", "detection_scores"),
            (
                {"detection_boxes": [[0] * 4], "detection_scores": [1], "detection_classes": [0]},
                "bad_token",
                "not the one",
            ),
        ],
    ),
    Case(
        "text",
        "the cat sat on the mat",
        ["the cat sat on a mat", ["a cat sat on the mat", "it sat"]],
        [
            ([], "bad_label", "list of up to 8"),
            ("a" * 5_001, "bad_label", "5000 characters"),
            ([["a"]], "bad_label", "5000 characters"),
        ],
        [("the cat sat on the mat.", "bad_token", "not the one"), (7, "bad_label", "the text")],
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", STRUCTURES, ids=[case.model for case in STRUCTURES])
def test_structure_comes_back_with_its_label(
    server: Server, moved: dict[str, float], case: Case
) -> None:
    model, row, labels, wrong, others = case
    tokens, echoes = [], []
    for _ in labels:
        path = f"/v1/models/{model}:predict?feedback_tokens=true"
        answer = server.post(path, {"instances": [row]}).json()
        tokens += answer["feedback_tokens"]
        echoes.append(answer["predictions"][0])
    if model == "pixels":
        echoes = [row for _ in echoes]
    if model == "text":
        echoes = [echo["t"] for echo in echoes]

    for label, result, message in wrong:
        status, document = send(server, tokens[0], label, prediction=echoes[0])
        assert (422, result) == (status, document["result"])
        assert message in document["error"]
    for prediction, result, message in others:
        status, document = send(server, tokens[0], labels[0], prediction=prediction)
        assert (422, result) == (status, document["result"])
        assert message in document["error"]
    for token, echo, label in zip(tokens, echoes, labels, strict=True):
        assert (200, "counted") == _result(send(server, token, label, prediction=echo))
        assert (200, "duplicate") == _result(send(server, token, label, prediction=echo))
    other = [] if model == "boxes" else labels[0][:1] if model == "text" else [[2, 2], [2, 2]]
    assert (409, "conflict") == _result(send(server, tokens[0], other, prediction=echoes[0]))

    results = [result for _, result, _ in (*wrong, *others)]
    moved.update({name: float(results.count(name)) for name in set(results)})
    count = float(len(labels))
    moved.update({"counted": count, "duplicate": count, "conflict": 1.0})
    moved.update({"labels_total": count, "label_delay_seconds_count": count})


def test_labels_that_take_long_keep_no_others_from_being_taken(server: Server) -> None:
    """Half of a thousand overlapping boxes on either side of each: some tenths of a second."""
    path = "/v1/models/boxes:predict?feedback_tokens=true"
    image = [[0, 0, 10 + n / 1000, 10, 0.9, 0] for n in range(500)]
    answer = server.post(path, {"instances": [image] * 4}).json()
    truth = [{"box": [0, 0, 10 + n / 1000, 10], "class": "cat"} for n in range(500)]
    heavy = [
        {"token": token, "label": truth, "prediction": prediction}
        for token, prediction in zip(answer["feedback_tokens"], answer["predictions"], strict=True)
    ] * 4
    tokens = [token_of(server, "half", [2, 4]) for _ in range(20)]
    taken: list[Any] = []
    posts = [
        threading.Thread(
            target=lambda: taken.append(
                requests.post(
                    server.url + "/v1/feedback/batch?dry_run=true", json=heavy, timeout=60
                )
            )
        )
        for _ in range(3)
    ]
    for post in posts:
        post.start()
    results = [send(server, token, "dog")[1]["result"] for token in tokens]
    for post in posts:
        post.join()

    assert ["counted"] * 20 == results
    # The third finds both front-ends busy with the others, or has its turn in time.
    assert {200} <= {each.status_code for each in taken} <= {200, 503}
    done = next(each.json() for each in taken if each.status_code == 200)
    assert (len(heavy), 0) == (done["counted"], done["rejected"])


def test_segments_are_told_by_header_and_by_input(server: Server) -> None:
    def segments(name: str, model: str) -> dict[tuple[str, str, str], float]:
        return {
            (d["key"], d["segment"], d.get("correct", "")): value
            for (found, labels), value in server.samples().items()
            for d in (dict(labels),)
            if found == f"inferometer_segment_{name}_total" and d["model"] == model and value
        }

    for header, label in (("country=de", "dog"), ("country=de,plan=x", "cat"), ("country=xx", "dog"), ("", "dog")):  # fmt: skip # noqa: E501
        headers = {"X-Segment": header} if header else {}
        path = "/v1/models/parts:predict"
        answer = server.post(path, {"instances": [[2, 4]]}, headers=headers)
        token = answer.headers["X-Feedback-Token"]
        assert (200, "counted") == _result(send(server, token, label))
    rows = [{"a": [1, 2], "n": 1}, {"a": [1, 2], "n": 2}, {"a": [1, 2], "n": 3}]
    path = "/v1/models/sums:predict?feedback_tokens=true"
    answer = server.post(path, {"instances": rows}, headers={"X-Segment": "country=at"}).json()
    for token, prediction in zip(answer["feedback_tokens"], answer["predictions"], strict=True):
        label = prediction["sum"] + 0.5
        assert (200, "counted") == _result(send(server, token, label))

    assert {("country", "de", ""): 2, ("country", "__other__", ""): 2} == segments(
        "predictions", "parts"
    )
    assert {
        ("country", "de", "true"): 1, ("country", "de", "false"): 1,
        ("country", "__other__", "true"): 2,
    } == segments("labels", "parts")  # fmt: skip
    assert {
        ("country", "at", ""): 1.5, ("number", "1", ""): 0.5, ("number", "2", ""): 0.5,
        ("number", "__other__", ""): 0.5,
    } == segments("absolute_error_sum", "sums")  # fmt: skip
    assert {
        ("country", "at", "none"): 3, ("number", "1", "none"): 1, ("number", "2", "none"): 1,
        ("number", "__other__", "none"): 1,
    } == segments("labels", "sums")  # fmt: skip


def test_classes_have_their_names(server: Server) -> None:
    answers = [
        server.post(f"/v1/models/{model}:classify", {"examples": [{"x": [2, 4]}]}).json()
        for model in ("half", "boxes")
    ]

    assert {"results": [[["cat", 1.0], ["dog", 2.0]]]} == answers[0]
    assert "outputs" in answers[1]["error"]


def test_other_methods_are_405(server: Server) -> None:
    assert (405, 405) == tuple(
        server.get(path).status_code for path in ("/v1/feedback", "/v1/feedback/batch")
    )


def test_keys_are_nowhere_to_be_seen(server: Server) -> None:
    seen = server.log + requests.get(server.metrics_url + "/metrics", timeout=10).text

    assert [] == [key for key in (KEY, OTHER_KEY) if key in seen]
