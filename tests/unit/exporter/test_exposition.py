"""The exposition.

What is recorded comes out in every format, and nothing a store holds breaks it.
"""

import contextlib
import gzip
import resource
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter import (
    CATALOGUE,
    CollectorSettings,
    Recorder,
    Scraper,
    ScrapeRequest,
    open_recorder,
)
from exporter.collectors.backlog import BacklogCollector
from exporter.collectors.base import GuardedCollectors
from exporter.collectors.process import ProcessCollector
from exporter.view import MergedFamily, View

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


@pytest.fixture
def recorder(store_path: Path) -> Recorder:
    recorder = open_recorder(store_path, "frontend", families=CATALOGUE)
    recorder.declare(model="digits", version="1")
    return recorder


@pytest.fixture
def scraper(store_path: Path) -> Scraper:
    return Scraper(store_path, CollectorSettings(), folds=True)


def test_both_formats_parse_and_carry_the_same_values(recorder: Recorder, scraper: Scraper) -> None:
    recorder.child("inferometer_rows_total", model="digits", version="1").inc(12)
    labels = {"model": "digits", "version": "1", "outcome": "ok"}
    recorder.child("inferometer_request_duration_seconds", **labels).observe(0.02)

    text = parse_text(scraper.scrape(ScrapeRequest()).body.decode())
    openmetrics = parse_openmetrics(scraper.scrape(ScrapeRequest(accept=OPENMETRICS)).body.decode())

    def values(families: object) -> dict[object, float]:
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in families  # type: ignore[attr-defined]
            for sample in family.samples
            if "frontend"
            not in sample.labels.values()  # CPU and memory move on between the scrapes
            and not sample.name.endswith("_seconds")
        }

    from_text = values(text)
    assert from_text == values(openmetrics)
    key = ("inferometer_rows_total", frozenset({("model", "digits"), ("version", "1")}))
    assert from_text[key] == 12


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_the_exposition_passes_promtool(recorder: Recorder, scraper: Scraper) -> None:
    recorder.child(
        "inferometer_model_info", model="digits", version="1", format="f", signature="s", task=""
    ).set(1)
    body = scraper.scrape(ScrapeRequest()).body

    check = subprocess.run(
        ["promtool", "check", "metrics"], input=body, capture_output=True, check=False
    )

    assert (check.returncode, check.stderr.decode()) == (0, "")


@pytest.mark.usefixtures("recorder")
def test_gzip_is_used_when_it_is_accepted(scraper: Scraper) -> None:
    exposition = scraper.scrape(ScrapeRequest(accept_encoding="gzip"))

    assert ("Content-Encoding", "gzip") in exposition.headers
    assert b"inferometer_requests_total" in gzip.decompress(exposition.body)


@pytest.mark.usefixtures("recorder")
def test_every_family_of_the_catalogue_has_help_and_type(scraper: Scraper) -> None:
    body = scraper.scrape(ScrapeRequest()).body.decode()
    families = {family.name: family for family in parse_text(body)}

    declared = [f for f in CATALOGUE if not f.is_absent_until_set and "frontend" in f.recorded_by]
    assert declared
    for family in declared:
        if family.open_labels <= {"model", "version"}:
            found = families[family.name.removesuffix("_total")]
            assert (found.type, found.documentation) == (family.kind, family.help)


def test_a_store_that_is_gone_leaves_the_exporters_own_families(
    store_path: Path, scraper: Scraper
) -> None:
    shutil.rmtree(store_path)

    body = scraper.scrape(ScrapeRequest()).body.decode()

    assert "inferometer_exporter_blocks 0.0" in body
    assert not scraper.is_ready


def test_a_collector_that_fails_costs_its_own_rows_only() -> None:
    class Broken:
        names = ("inferometer_build_info",)

        def collect(self, view: View) -> list[MergedFamily]:  # noqa: ARG002
            raise RuntimeError("on purpose")

    collectors = GuardedCollectors({"broken": Broken(), "process": ProcessCollector()})

    deadline = time.monotonic() + 10
    found = collectors.collect(View(), ScrapeRequest(), deadline)
    families = {merged.family.name: merged for merged in found}
    success = families["inferometer_collector_success"].series
    assert {labels: series.cells for labels, series in success.items()} == {
        ("broken",): [0.0],
        ("process",): [1.0],
    }
    assert "inferometer_processes" in families


def test_the_backlog_counts_connections_that_nobody_accepted() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=16) as listener:
        address = listener.getsockname()[:2]
        waiting = [socket.create_connection(address) for _ in range(3)]
        (family,) = BacklogCollector([address]).collect(View())
        for connection in waiting:
            connection.close()

    assert [series.cells for series in family.series.values()] == [[3.0]]


# Opens as many connections as it is told, and holds them until its input ends.
CLIENTS = """
import socket, sys
address = ("127.0.0.1", int(sys.argv[1]))
held = [socket.create_connection(address) for _ in range(int(sys.argv[2]))]
print("connected", flush=True)
sys.stdin.read()
"""


def test_the_backlog_is_found_beside_thousands_of_open_connections() -> None:
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    accepted, waiting = min(10_000, most - 500), 5
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=1_024))
        host, port = listener.getsockname()[:2]
        clients = stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-c", CLIENTS, str(port), str(accepted + waiting)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
        )
        for _ in range(accepted):
            stack.enter_context(listener.accept()[0])
        assert clients.stdout is not None
        assert clients.stdout.readline() == b"connected\n"

        collector = BacklogCollector([(host, port)])
        seconds = []
        for _ in range(5):
            begun = time.monotonic()
            (family,) = collector.collect(View())
            seconds.append(time.monotonic() - begun)
        assert [series.cells for series in family.series.values()] == [[5.0]]
        assert min(seconds) < 0.05
        clients.kill()


def test_no_backlog_is_shown_for_an_address_nobody_listens_on() -> None:
    assert list(BacklogCollector([("127.0.0.1", 1)]).collect(View())) == []
