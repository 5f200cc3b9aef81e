"""Recording: exact over threads, processes and greenlets, in the right bucket, never torn."""

import math
import mmap
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from exporter import (
    ScrapeRequest,
    StoreCollector,
    counter,
    histogram,
    open_recorder,
)
from exporter.collectors.base import GuardedCollectors, family_of
from exporter.native import EDGES, FIRST_INDEX, bucket_indices
from exporter.store_reader import StoreReader
from exporter.view import MergedFamily, View

BOUNDS = (0.0005, 0.001, 0.25, 0.5, 1.0, 10.0)
FAMILIES = (
    counter("events_total", "Events.", by=("worker",)),
    histogram("work_seconds", "Work.", buckets=BOUNDS, by=("worker",), native=True),
)
EDGES_AND_NEIGHBOURS = [
    value
    for edge in sorted({*BOUNDS, *EDGES})
    for value in (math.nextafter(edge, 0), edge, math.nextafter(edge, math.inf))
]

INCREMENT = """
import sys
if sys.argv[2] == "gevent":
    from gevent import monkey
    monkey.patch_all()
import threading
from pathlib import Path
from tests.unit.exporter.test_recording import FAMILIES
from exporter import open_recorder
recorder = open_recorder(Path(sys.argv[1]), "worker", families=FAMILIES)
events = recorder.child("events_total")
record = recorder.bundle((events,), (recorder.child("work_seconds"),))
def work():
    for _ in range(1000):
        events.inc()
        record((1,), (0.3,))
threads = [threading.Thread(target=work) for _ in range(16)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""

ALTERNATE = """
import mmap, struct, sys
first, second = struct.unpack("2d", b"\\x55" * 8 + b"\\x2a" * 8)
with open(sys.argv[1], "r+b") as file:
    cells = memoryview(mmap.mmap(file.fileno(), 0)).cast("d")
while True:
    cells[1] = first
    cells[1] = second
"""


@pytest.mark.parametrize("kind", ["threads", "gevent"])
def test_many_threads_of_many_processes_add_up_exactly(store_path: Path, kind: str) -> None:
    processes = [
        subprocess.Popen([sys.executable, "-c", INCREMENT, str(store_path), kind]) for _ in range(4)
    ]
    assert [process.wait() for process in processes] == [0] * 4

    families = StoreReader(store_path).view().families

    assert families["events_total"].series[()].cells == [4 * 16 * 2_000]
    assert sum(families["work_seconds"].series[()].cells[1:]) == 4 * 16 * 1_000


def test_every_edge_and_its_neighbours_fall_into_the_right_buckets(store_path: Path) -> None:
    recorder = open_recorder(store_path, "worker", families=FAMILIES)
    child = recorder.child("work_seconds")
    for value in EDGES_AND_NEIGHBOURS:
        child.observe(value)

    merged = StoreReader(store_path).view().families["work_seconds"]
    cells = merged.series[()].cells[1:]

    running = list(accumulate(cells))
    for place, bound in zip(merged.family.classic_places, (*BOUNDS, math.inf), strict=True):
        assert running[place] == sum(value <= bound for value in EDGES_AND_NEIGHBOURS)
    found: dict[int, float] = {}
    for index, count in zip(bucket_indices(merged.family.edges), cells, strict=True):
        found[index] = found.get(index, 0) + count
    assert found[FIRST_INDEX] == sum(value <= EDGES[0] for value in EDGES_AND_NEIGHBOURS)
    for number, (low, high) in enumerate(zip(EDGES, (*EDGES[1:], math.inf), strict=True), 1):
        inside = sum(low < value <= high for value in EDGES_AND_NEIGHBOURS)
        assert found[FIRST_INDEX + number] == inside


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1.0])
def test_what_is_no_amount_is_not_recorded(store_path: Path, value: float) -> None:
    recorder = open_recorder(store_path, "worker", families=FAMILIES)
    events, work = recorder.child("events_total"), recorder.child("work_seconds")

    events.inc(value)
    work.observe(value)
    recorder.bundle((events,), (work,))((value,), (value,))

    families = StoreReader(store_path).view().families
    assert families["events_total"].series[()].cells == [0.0]
    assert not any(families["work_seconds"].series[()].cells)


def test_a_value_is_never_seen_half_written(store_path: Path) -> None:
    """A process alternates between two bit patterns; readers see no third."""
    path = store_path / "cell"
    path.write_bytes(bytes(mmap.PAGESIZE))
    writer = subprocess.Popen([sys.executable, "-c", ALTERNATE, path])
    try:
        seen = set()
        descriptor = os.open(path, os.O_RDONLY)
        deadline = time.monotonic() + 30
        while os.pread(descriptor, 8, 8) == bytes(8):  # until the writer has begun
            assert time.monotonic() < deadline
        for _ in range(300_000):
            seen.add(os.pread(descriptor, 8, 8))
        os.close(descriptor)
    finally:
        writer.kill()
        writer.wait()
    assert seen == {b"\x55" * 8, b"\x2a" * 8}


def test_a_registry_of_prometheus_client_shows_a_store(store_path: Path) -> None:
    recorder = open_recorder(store_path, "worker", families=FAMILIES)
    recorder.child("events_total").inc(3)
    recorder.child("work_seconds").observe(0.3)
    registry = CollectorRegistry()
    registry.register(StoreCollector(store_path))

    text = generate_latest(registry).decode()

    assert "events_total 3.0" in text
    assert 'work_seconds_bucket{le="0.5"} 1.0' in text


class Hanging:
    """A collector that hangs until it is told not to."""

    names = ("inferometer_build_info",)

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.runs = 0

    def collect(self, view: View) -> Iterator[MergedFamily]:  # noqa: ARG002
        self.runs += 1
        self.go_on.wait()
        yield family_of("inferometer_build_info")


@contextmanager
def hanging() -> Iterator[Hanging]:
    collector = Hanging()
    try:
        yield collector
    finally:
        collector.go_on.set()


def test_a_collector_that_hangs_is_late_and_is_not_run_twice() -> None:
    with hanging() as collector:
        collectors = GuardedCollectors({"hanging": collector})

        def success() -> list[float]:
            found = collectors.collect(View(), ScrapeRequest(), time.monotonic() + 0.05)
            families = {merged.family.name: merged for merged in found}
            return families["inferometer_collector_success"].series["hanging",].cells

        begun = time.monotonic()
        assert [success() for _ in range(5)] == [[0.0]] * 5
        assert time.monotonic() - begun < 2
        assert collector.runs == 1

        collector.go_on.set()
        deadline = time.monotonic() + 10
        while success() == [0.0]:
            assert time.monotonic() < deadline


def test_a_scrape_waits_for_a_collector_without_holding_up_others() -> None:
    with hanging() as collector:
        collectors = GuardedCollectors({"hanging": collector})

        def success(seconds: float) -> list[float]:
            found = collectors.collect(View(), ScrapeRequest(), time.monotonic() + seconds)
            families = {merged.family.name: merged for merged in found}
            return families["inferometer_collector_success"].series["hanging",].cells

        patient: list[float] = []
        thread = threading.Thread(target=lambda: patient.extend(success(30)))
        thread.start()
        while not collector.runs:
            pass
        assert success(0.05) == [0.0]
        collector.go_on.set()
        thread.join()

    assert patient == [1.0]
    assert collector.runs == 1
