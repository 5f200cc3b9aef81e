"""Ten thousand feedback requests that nobody should send: nothing is counted, nobody is hurt."""

import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.live.labels import CATS, KEY, NUMBER, declared, send, token_of
from tests.live.servers import Server, start_server, total

TOKENS_LETTERS = "abcXYZ019-_.~/+=% \u00e9\u0000"
REFUSED = {400, 404, 409, 410, 413, 422}
EXAMPLES, PER_EXAMPLE = 100, 50
FAMILIES = (
    "labels_total", "outcomes_total", "outcomes_retracted_total", "confusion_total",
    "scored_labels_total", "log_loss_sum_total", "brier_sum_total", "score_bin_total",
    "score_rank_below_total", "absolute_error_count", "squared_error_sum_total",
    "error_sum_total", "label_delay_seconds_count", "teacher_agreement_total",
)  # fmt: skip
sent: Counter[int] = Counter()

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda children: (
        st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=8), children, max_size=4)
    ),
    max_leaves=8,
)
keys = st.sampled_from(
    ["token", "label", "labelled_at", "source", "prediction", "prediction_id", "row", "lable"]
)
bodies = st.dictionaries(keys, json_values, max_size=6) | json_values


@pytest.fixture(scope="module")
def server(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("hostile-feedback")
    served = {
        "half": declared(models, "half", folder / "half", CATS),
        "number": declared(models, "log", folder / "number", NUMBER),
    }
    with start_server(served, folder, "--workers=2", f"--feedback-keys={KEY}") as started:
        yield started


def post(server: Server, path: str, body: bytes, **headers: str) -> int:
    answer = server.session.post(server.url + path, data=body, headers=headers, timeout=30)
    sent[answer.status_code] += 1
    assert answer.status_code != 500, (path, body[:500])
    return answer.status_code


def encoded(value: Any) -> bytes:
    """Return JSON with NaN and surrogates as Python writes them: some of it is no JSON."""
    return json.dumps(value, ensure_ascii=True).encode()


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(documents=st.lists(bodies, min_size=PER_EXAMPLE, max_size=PER_EXAMPLE))
def test_any_json_is_refused(server: Server, documents: list[Any]) -> None:
    for document in documents:
        assert post(server, "/v1/feedback", encoded(document)) in REFUSED
    status = post(server, "/v1/feedback/batch", encoded(documents))
    assert status in {*REFUSED, 200}


def test_any_change_of_a_token_is_refused(server: Server) -> None:
    chosen = random.Random(3)
    tokens = [token_of(server, "half", [2, 4]), token_of(server, "number", 1.0)]
    labels: list[Any] = ["dog", 0.5]
    for token, label in zip(tokens, labels, strict=True):
        changed = {token[:cut] for cut in range(len(token))}
        for place in range(len(token)):
            for letter in chosen.sample(TOKENS_LETTERS, 18):
                changed.add(token[:place] + letter + token[place + 1 :])
        changed.discard(token)
        # The last character of base64 may hold bits that say nothing.
        changed = {one for one in changed if one[:-1] != token[:-1]}
        for one in changed:
            body = encoded({"token": one, "label": label})
            assert post(server, "/v1/feedback", body) == 422, one


CORPUS = [
    b"", b"\x00", b"\xff\xfe", b"{", b"}", b"[", b"[[", b"null", b"true", b"0", b'""', b"{}{}",
    b"[" * 5_000, b'{"a":' * 5_000, b'{"token":"\\ud800","label":1}', b'[{"token":"\\ud800"}]',
    b'{"token":1e400,"label":NaN}', b"[1,]", b"[,]", b"[{}", b"[{},", b"[{}]x", b"{}\n{}",
    b"\xef\xbb\xbf{}", b'{"token":"' + b"x" * 70_000 + b'","label":0}', b"\r\n" * 5_000, b"[ ]",
    b'{"label":"a","label":"b","token":"c","token":"d"}', b"-", b"1" * 5_000, b"{\n}", b"[]\n[]",
]  # fmt: skip


@pytest.mark.parametrize(
    "path", ["/v1/feedback", "/v1/feedback/batch", "/v1/feedback?dry_run=true"]
)
def test_what_is_hardly_json_is_refused(server: Server, path: str) -> None:
    for body in CORPUS:
        assert post(server, path, body) in {*REFUSED, 200}
    for encoding in ("gzip", "deflate", "br", "x"):
        header = {"Content-Encoding": encoding}
        assert post(server, path, b"\x1f\x8b\x00nonsense", **header) in {400, 415}


def test_counters_are_untouched_and_the_server_is_well(server: Server) -> None:
    samples = server.samples()

    assert sum(sent.values()) >= 10_000, sent
    assert dict.fromkeys(FAMILIES, 0.0) == {
        name: total(samples, f"inferometer_{name}") for name in FAMILIES
    }
    for result in ("counted", "duplicate", "corrected", "conflict", "store_error"):
        assert 0.0 == total(samples, "inferometer_feedback_total", result=result)
    series = {name for name, _ in samples}
    assert "inferometer_labels_total" in series
    exits = [v for (name, _), v in samples.items() if name == "inferometer_process_exits_total"]
    assert 0.0 == sum(exits)
    assert (200, "counted") == _result(send(server, token_of(server, "half", [2, 4]), "dog"))
    assert requests.get(server.url + "/readyz", timeout=5).status_code == 200
    assert "Traceback" not in server.log


def _result(reply: tuple[int, Any]) -> tuple[int, str]:
    return reply[0], reply[1]["result"]
