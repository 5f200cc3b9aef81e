"""What an increment, an observation and a whole request's record cost, beside prometheus_client.

prometheus_client is in its multi-process mode, with its files on the same tmpfs.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from bench.report import Ratio, summary
from exporter import CATALOGUE, open_recorder

ROUNDS = 7
CALLS = 100_000
QUARTER = 0.25

Pair = tuple[Callable[[], None], Callable[[], None]]


def measure() -> list[Ratio]:
    """Return the three ratios, measured where prometheus_client's mode is set from the start."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        output = subprocess.run(
            [sys.executable, "-m", "bench.recording", directory],
            env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": directory},
            stdout=subprocess.PIPE,
            check=True,
        ).stdout
    return [Ratio(**fields) for fields in json.loads(output)]


def _pairs(store: Path) -> dict[str, Pair]:
    from prometheus_client import CollectorRegistry, Counter, Histogram, values

    assert values.ValueClass is not values.MutexValue, "PROMETHEUS_MULTIPROC_DIR came too late"
    registry = CollectorRegistry()
    families = {family.name: family for family in CATALOGUE}
    duration = families["inferometer_request_duration_seconds"]
    labels = ["model", "version", "outcome"]
    labels_of_ok = {"model": "digits", "version": "1", "outcome": "ok"}

    recorder = open_recorder(store, "frontend", families=CATALOGUE)
    recorder.declare(model="digits", version="1")
    our_counter = recorder.child("inferometer_rows_total", model="digits", version="1")
    our_histogram = recorder.child(duration.name, **labels_of_ok)
    record = recorder.bundle((our_counter,) * 2, (our_histogram,) * 9)

    their_counter = Counter("rows", "x", labels[:2], registry=registry).labels("digits", "1")
    their_histogram = Histogram(
        "duration_seconds", "x", labels, buckets=duration.buckets, registry=registry
    ).labels(*labels_of_ok.values())
    observations = (0.0123, 0.0002, 0.003, 0.0001, 0.007, 0.001, 0.001, 0.02, 0.4)

    def their_record() -> None:
        their_counter.inc()
        their_counter.inc(32)
        for value in observations:
            their_histogram.observe(value)

    return {
        "counter increment": (our_counter.inc, their_counter.inc),
        "histogram observation, 15 buckets": (
            lambda: our_histogram.observe(0.0123),
            lambda: their_histogram.observe(0.0123),
        ),
        "one request's record: 2 counters, 9 histograms": (
            lambda: record((1.0, 32.0), observations),
            their_record,
        ),
    }


def _ratio(name: str, ours: Callable[[], None], theirs: Callable[[], None]) -> Ratio:
    our_times, their_times = [], []
    calls = CALLS // 5 if "record" in name else CALLS
    for _ in range(ROUNDS):
        our_times.append(_nanoseconds(ours, calls))
        their_times.append(_nanoseconds(theirs, calls))
    ratio = statistics.median(our_times) / statistics.median(their_times)
    return Ratio(
        f"{name}, against prometheus_client's multi-process mode",
        summary(our_times, "ns"),
        summary(their_times, "ns"),
        ratio,
        "at most 0.25",
        ratio <= QUARTER,
    )


def _nanoseconds(call: Callable[[], None], calls: int) -> float:
    begun = time.perf_counter_ns()
    for _ in range(calls):
        call()
    return (time.perf_counter_ns() - begun) / calls


def _main(store: Path) -> None:
    rows = [_ratio(name, ours, theirs) for name, (ours, theirs) in _pairs(store).items()]
    print(json.dumps([asdict(row) for row in rows]))


if __name__ == "__main__":
    _main(Path(sys.argv[1]) / "store")
