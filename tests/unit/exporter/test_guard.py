"""The cardinality guard and exemplars: what labels and traces a store keeps, and where."""

from pathlib import Path

import pytest

from exporter import (
    CATALOGUE,
    CollectorSettings,
    ExporterError,
    Label,
    Scraper,
    ScrapeRequest,
    counter,
    histogram,
    open_recorder,
)
from exporter.metric import OTHER
from exporter.store_reader import StoreReader

DROPPED = next(f for f in CATALOGUE if f.name == "inferometer_dropped_series_total")
FAMILIES = (
    counter("events_total", "Events.", Label("kind"), by=("a", "b"), max_series=10),
    counter("hits_total", "Hits.", Label("result", ("hit", "miss")), exemplars=True),
    histogram("work_seconds", "Work.", buckets=(0.1, 1.0), native=True, exemplars=True),
    DROPPED,
)
TRACE = bytes(range(16))
OPENMETRICS = "application/openmetrics-text"


def rows(path: Path, name: str) -> dict[tuple[str, ...], float]:
    merged = StoreReader(path).view().families[name]
    return {labels: series.cells[0] for labels, series in merged.series.items()}


def test_label_sets_beyond_the_most_become_one_and_are_counted(store_path: Path) -> None:
    recorder = open_recorder(store_path, "a", families=FAMILIES)

    for number in range(1_000):
        recorder.child("events_total", kind=str(number)).inc()

    found = rows(store_path, "events_total")
    assert len(found) == 11
    assert found[OTHER,] == 990
    assert rows(store_path, DROPPED.name)["events_total",] == 990


def test_the_count_of_dropped_label_sets_stands_at_0_before_the_first(store_path: Path) -> None:
    recorder = open_recorder(store_path, "a", families=FAMILIES)

    recorder.child("events_total", kind="x").inc()

    assert rows(store_path, DROPPED.name)["events_total",] == 0


def test_the_most_holds_over_processes_and_a_row_never_changes_its_place(store_path: Path) -> None:
    first = open_recorder(store_path, "b", families=FAMILIES)
    for number in range(8):
        first.child("events_total", kind=f"first-{number}").inc()
    reader = StoreReader(store_path)
    reader.view()
    second = open_recorder(store_path, "a", families=FAMILIES)
    for number in range(8):
        second.child("events_total", kind=f"second-{number}").inc()

    view = reader.view()

    found = {k: s.cells[0] for k, s in view.families["events_total"].series.items()}
    assert len(found) == 11
    assert sum(found.values()) == 16
    assert all(found[f"first-{number}",] == 1 for number in range(8))
    assert found[OTHER,] == 6


def test_a_value_outside_a_closed_set_becomes_other(store_path: Path) -> None:
    recorder = open_recorder(store_path, "a", families=FAMILIES)

    recorder.child("hits_total", result="hit").inc()
    recorder.child("hits_total", result="maybe").inc(2)

    assert rows(store_path, "hits_total") == {("hit",): 1, (OTHER,): 2}
    assert rows(store_path, DROPPED.name) == {("hits_total",): 1}


def test_values_are_cut_and_every_character_is_kept(store_path: Path) -> None:
    recorder = open_recorder(store_path, "a", families=FAMILIES)
    hostile = 'a"b\\c\nd😀'

    recorder.child("events_total", kind=hostile).inc()
    recorder.child("events_total", kind="x" * 10_000).inc()

    assert rows(store_path, "events_total") == {(hostile,): 1, ("x" * 128,): 1}


def test_wrong_names_are_errors_when_a_child_is_resolved(store_path: Path) -> None:
    recorder = open_recorder(store_path, "a", families=FAMILIES)

    with pytest.raises(ExporterError, match="no metric family nothing"):
        recorder.child("nothing")
    with pytest.raises(ExporterError, match="has the labels"):
        recorder.child("events_total", sort="x")


def test_an_exemplar_stands_in_its_bucket_and_only_in_openmetrics(store_path: Path) -> None:
    recorder = open_recorder(store_path, "a", families=FAMILIES)
    recorder.child("work_seconds").observe(0.5, TRACE)
    recorder.child("work_seconds").observe(0.05)
    recorder.child("hits_total", result="miss").inc(1, TRACE)
    scraper = Scraper(store_path, CollectorSettings(), folds=False)

    openmetrics = scraper.scrape(ScrapeRequest(accept=OPENMETRICS)).body.decode().splitlines()
    text = scraper.scrape(ScrapeRequest()).body.decode()

    with_exemplar = [line for line in openmetrics if " # " in line and not line.startswith("#")]
    assert {line.split(" # ")[0] for line in with_exemplar} == {
        'hits_total{result="miss"} 1.0',
        'work_seconds_bucket{le="1.0"} 2.0',
    }
    assert all(f'trace_id="{TRACE.hex()}"' in line for line in with_exemplar)
    assert TRACE.hex() not in text


def test_the_newest_exemplar_wins_over_processes_and_survives_a_fold(store_path: Path) -> None:
    for number in range(3):
        recorder = open_recorder(store_path, "a", families=FAMILIES)
        recorder.child("work_seconds").observe(0.5 + number / 10, bytes([number]) * 16)
        recorder.close()
    reader = StoreReader(store_path)

    before = reader.view().families["work_seconds"].series[()].exemplars
    reader.fold()
    after = reader.view().families["work_seconds"].series[()].exemplars

    assert before == after
    assert after[1].trace_id == bytes([2]) * 16
    assert after[1].value == 0.7


def test_a_slot_is_written_at_most_once_a_second(store_path: Path) -> None:
    recorder = open_recorder(store_path, "a", families=FAMILIES)
    for number in range(100):
        recorder.child("work_seconds").observe(0.5, bytes([number]) * 16)

    found = StoreReader(store_path).view().families["work_seconds"].series[()].exemplars

    assert found[1].trace_id == bytes(16)  # the first


def test_other_bounds_after_a_reload_keep_count_and_sum(store_path: Path) -> None:
    def family(*bounds: float) -> object:
        return histogram("work_seconds", "Work.", buckets=bounds, native=True, exemplars=True)

    old = open_recorder(store_path, "a", families=[family(0.1, 1.0)])
    for value in (0.05, 0.3, 0.9, 5.0):
        old.child("work_seconds").observe(value)
    old.close()
    new = open_recorder(store_path, "b", families=[family(0.1, 0.3, 1.0)])
    for value in (0.05, 0.3, 0.9, 5.0):
        new.child("work_seconds").observe(value)
    reader = StoreReader(store_path)

    for _ in range(2):
        merged = reader.view().families["work_seconds"]
        assert merged.family.buckets == (0.1, 0.3, 1.0)
        assert sum(merged.series[()].cells[1:]) == 8
        assert merged.series[()].cells[0] == 12.5
        reader.fold()
