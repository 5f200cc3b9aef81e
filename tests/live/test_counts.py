"""Every request is counted exactly once, in the exposition and by a real Prometheus."""

import json
import shutil
import threading
from collections import Counter
from pathlib import Path

import pytest
import requests

from grafana.definitions import DASHBOARDS
from grafana.promql import filled
from grafana.scope import written_out
from tests.live.prometheus import prometheus, query
from tests.live.servers import Samples, Server, start_server, total, wait_for

CLIENTS = 6
ROUNDS = 25

TENSOR = {"name": "x", "shape": [2, 2], "datatype": "FP32", "data": [1, 2, 3, 4]}

# What each client sends in every round: path, body, status, reason (empty for a success), rows.
REQUESTS = (
    ("/v1/models/half:predict", {"instances": [[2, 4]]}, 200, "", 1),
    ("/v1/models/half:predict", {"instances": [[1, 1], [3, 3], [5, 5]]}, 200, "", 3),
    ("/v2/models/half/infer", {"inputs": [TENSOR]}, 200, "", 2),
    ("/v1/models/half:predict", {"instances": [[1]]}, 400, "invalid_input", 0),
    ("/v1/models/half:predict", "not json", 400, "invalid_input", 0),
    ("/v2/models/half/infer", {"inputs": []}, 400, "invalid_input", 0),
    ("/v1/models/haf:predict", {"instances": [[1, 2]]}, 404, "unknown_model", 0),
    ("/v1/models/half/versions/9:predict", {"instances": [[1, 2]]}, 404, "unknown_version", 0),
    ("/v1/models/half:predict", {"instances": [[1, 2]] * 1025}, 413, "too_large", 0),
    ("/v1/models/picky:predict", {"instances": [13]}, 500, "model_error", 0),
)  # fmt: skip
PHASES = ("parse", "queue", "assemble", "compute", "deliver", "render")


def send_all(server: Server) -> None:
    """Send the known requests from several clients at once, checking each status."""
    wrong: list[str] = []

    def work() -> None:
        with requests.Session() as session:
            for _ in range(ROUNDS):
                for path, body, status, _, _ in REQUESTS:
                    data = body if isinstance(body, str) else json.dumps(body)
                    answer = session.post(server.url + path, data=data, timeout=60)
                    if answer.status_code != status:
                        wrong.append(f"{path}: {answer.status_code} {answer.text}")

    clients = [threading.Thread(target=work) for _ in range(CLIENTS)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    assert wrong == []


def expected_counts() -> tuple[Counter[tuple[str, str]], Counter[str]]:
    """Return how often each (protocol, code) and each reason was sent."""
    codes: Counter[tuple[str, str]] = Counter()
    reasons: Counter[str] = Counter()
    for path, _, status, reason, _ in REQUESTS:
        protocol = "tf_serving" if path.startswith("/v1") else "open_inference"
        codes[protocol, str(status)] += CLIENTS * ROUNDS
        if reason:
            reasons[reason] += CLIENTS * ROUNDS
    return codes, reasons


@pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not installed")
def test_every_count_is_exact_in_the_exposition_and_by_promql(models: Path, tmp_path: Path) -> None:
    served = {name: models / name for name in ("half", "picky")}
    with (
        start_server(served, tmp_path, "--workers=2") as server,
        prometheus(tmp_path, server.metrics_url.removeprefix("http://")) as url,
    ):
        wait_for(lambda: query(url, "inferometer_requests_total"), "the first scrape")

        send_all(server)

        codes, reasons = expected_counts()
        for samples in (server.samples(), server.samples(server.url)):
            check_exposition(samples, codes, reasons)
        sent = sum(codes.values())
        wait_for(
            lambda: sum(query(url, "sum(inferometer_requests_total)").values()) == sent,
            "Prometheus has scraped the last request",
            seconds=15,
        )
        check_promql(url, codes, reasons)
        check_dashboards(url)


def check_exposition(
    samples: Samples, codes: Counter[tuple[str, str]], reasons: Counter[str]
) -> None:
    sent = sum(codes.values())
    for (protocol, code), count in codes.items():
        assert total(samples, "inferometer_requests_total", protocol=protocol, code=code) == count
    for reason, count in reasons.items():
        assert total(samples, "inferometer_request_failures_total", reason=reason) == count
    assert total(samples, "inferometer_requests_total") == sent
    assert total(samples, "inferometer_request_failures_total") == sum(reasons.values())
    assert total(samples, "inferometer_request_duration_seconds_count") == sent
    assert total(samples, "inferometer_request_size_bytes_count") == sent
    rows = CLIENTS * ROUNDS * sum(rows for *_, rows in REQUESTS)
    assert total(samples, "inferometer_rows_total") == rows
    assert total(samples, "inferometer_requests_in_flight") == 0
    # The bad rows of `picky` were computed too, and again where they had failed together.
    computed = rows + CLIENTS * ROUNDS + total(samples, "inferometer_batch_retries_total")
    assert total(samples, "inferometer_batch_rows_sum") == computed
    batches = total(samples, "inferometer_batches_total")
    assert batches == total(samples, "inferometer_batch_rows_count")
    assert batches == total(samples, "inferometer_batch_compute_seconds_count")
    assert total(samples, "inferometer_batch_compute_seconds_sum") == pytest.approx(
        total(samples, "inferometer_device_busy_seconds_total")
    )
    # Models beside each other occupy the device once.
    active = total(samples, "inferometer_device_active_seconds_total")
    assert 0 < active <= total(samples, "inferometer_device_busy_seconds_total")
    assert 1 == total(samples, "inferometer_device_runners", device="cpu")
    duration = total(samples, "inferometer_request_duration_seconds_sum")
    phases = [total(samples, "inferometer_request_phase_seconds_sum", phase=p) for p in PHASES]
    assert sum(phases) == pytest.approx(duration, rel=1e-9)
    assert all(phase > 0 for phase in phases)


def check_promql(url: str, codes: Counter[tuple[str, str]], reasons: Counter[str]) -> None:
    by_code = query(url, "sum by (protocol, code) (inferometer_requests_total) > 0")
    assert by_code == {
        frozenset({("protocol", protocol), ("code", code)}): count
        for (protocol, code), count in codes.items()
    }
    by_reason = query(url, "sum by (reason) (inferometer_request_failures_total) > 0")
    assert by_reason == {frozenset({("reason", reason)}): n for reason, n in reasons.items()}
    phases = query(url, "sum(inferometer_request_phase_seconds_sum)")
    duration = query(url, "sum(inferometer_request_duration_seconds_sum)")
    assert sum(phases.values()) == pytest.approx(sum(duration.values()), rel=1e-9)


def check_dashboards(url: str) -> None:
    """Prometheus takes every query of every panel; what comes of it: test_dashboards.py."""
    for dashboard in DASHBOARDS:
        for panel in dashboard.panels:
            for target in panel.targets:
                text = {"query": filled(written_out(target.expression))}
                answer = requests.get(f"{url}/api/v1/query", params=text, timeout=10).json()
                assert answer["status"] == "success", f"{panel.title}: {answer}"


def test_an_unknown_name_never_becomes_a_label(models: Path, tmp_path: Path) -> None:
    with start_server({"half": models / "half"}, tmp_path) as server:
        for number in range(50):
            server.predict(f"made-up-{number}", {"instances": [[1, 2]]})

        names = {dict(labels).get("model") for _, labels in server.samples()}

    assert names == {None, "half", "__unknown__"}
