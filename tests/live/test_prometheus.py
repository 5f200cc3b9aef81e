"""What a real Prometheus makes of the exposition: native histograms, exemplars, equal values."""

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from exporter import CATALOGUE, Recorder, open_recorder
from tests.live.exporters import exporter
from tests.live.prometheus import prometheus, query
from tests.live.servers import wait_for

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not installed"),
]

DURATION = "inferometer_request_duration_seconds"
LABELS = {"model": "digits", "version": "1", "outcome": "ok"}
TRACE = bytes(range(1, 17))
WIDTH = 2 ** (1 / 8)  # of a bucket of schema 3


@pytest.fixture
def recorder(store_path: Path) -> Iterator[Recorder]:
    recorder = open_recorder(store_path, "frontend", families=CATALOGUE)
    recorder.declare(model="digits", version="1")
    yield recorder
    recorder.close()


def observe(recorder: Recorder) -> list[float]:
    generator = random.Random(1)
    seconds = [generator.lognormvariate(-4, 1.5) for _ in range(5_000)]
    child = recorder.child(DURATION, **LABELS)
    for value in seconds:
        child.observe(value)
    return sorted(seconds)


def test_native_quantiles_lie_within_a_bucket_of_the_raw_ones(
    store_path: Path, tmp_path: Path, recorder: Recorder
) -> None:
    seconds = observe(recorder)
    with (
        exporter(store_path) as running,
        prometheus(tmp_path, f"127.0.0.1:{running.ports[0]}", "native-histograms") as url,
    ):
        selector = f'{DURATION}{{outcome="ok"}}'
        wait_for(lambda: query(url, f"histogram_count({selector})"), "the first scrape")

        assert [*query(url, f"histogram_count({selector})").values()] == [5_000]
        (total,) = query(url, f"histogram_sum({selector})").values()
        assert total == pytest.approx(sum(seconds), rel=1e-12)
        for quantile in (0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999):
            (found,) = query(url, f"histogram_quantile({quantile}, {selector})").values()
            raw = seconds[int(quantile * len(seconds))]
            assert raw / WIDTH <= found <= raw * WIDTH, quantile
        # One that nothing was observed in is ingested too.
        empty = f'histogram_count({DURATION}{{outcome="server_error"}})'
        assert [*query(url, empty).values()] == [0]
        assert [*query(url, "up").values()] == [1]


def test_the_three_formats_give_prometheus_the_same_values(
    store_path: Path, tmp_path: Path, recorder: Recorder
) -> None:
    observe(recorder)
    recorder.child("inferometer_rows_total", model="digits", version="1").inc(12)
    names = f"{DURATION}_(bucket|sum|count)|inferometer_rows_total|{DURATION}"
    expression = f'{{__name__=~"{names}"}}'
    found = []
    for number, (features, flags) in enumerate(
        [((), ()), (("native-histograms",), ("--no-web.native-histograms",))]
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        with (
            exporter(store_path, *flags) as running,
            prometheus(folder, f"127.0.0.1:{running.ports[0]}", *features) as url,
        ):
            wait_for(lambda url=url: query(url, expression), "the first scrape")
            samples = query(url, expression)
            found.append(
                {
                    frozenset(pair for pair in key if pair[0] != "instance"): value
                    for key, value in samples.items()
                }
            )
    assert len(found[0]) > 50
    assert found[0] == found[1]


def test_an_exemplar_leads_from_a_bucket_to_its_trace(
    store_path: Path, tmp_path: Path, recorder: Recorder
) -> None:
    child = recorder.child(DURATION, **LABELS)
    with (
        exporter(store_path) as running,
        prometheus(tmp_path, f"127.0.0.1:{running.ports[0]}", "exemplar-storage") as url,
    ):
        child.observe(0.3, TRACE)

        def exemplars() -> list[dict[str, object]]:
            answer = requests.get(
                f"{url}/api/v1/query_exemplars",
                params={"query": f"{DURATION}_bucket", "start": "0", "end": "9999999999"},
                timeout=5,
            )
            return [e for series in answer.json()["data"] for e in series["exemplars"]]

        (exemplar,) = wait_for(exemplars, "Prometheus stored the exemplar")
        assert exemplar["labels"] == {"trace_id": TRACE.hex()}
        assert float(str(exemplar["value"])) == 0.3
