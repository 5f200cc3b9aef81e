"""What a scrape of eight processes costs, beside prometheus_client's multi-process collector.

Both sides hold the catalogue's families for one model, with the same values.
"""

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path

from bench.report import Ratio, summary
from exporter import CATALOGUE, CollectorSettings, Scraper, ScrapeRequest, open_recorder
from exporter.directory import block_paths

PROCESSES = 8
ROUNDS = 15
FIFTH = 0.2
DEATHS, WAVE = 500, 25
# Twelve models make about as many series as one model will once its quality is recorded too.
MODELS = [{"model": f"digits-{n}", "version": "1", "device": "cpu"} for n in range(12)]


def measure() -> list[Ratio]:
    """Return the ratio of the two scrapes' times, and what 500 dead processes add to ours."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        writers = [
            subprocess.Popen(
                [sys.executable, "-m", "bench.scraping", "write", directory],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": directory},
            )
            for _ in range(PROCESSES)
        ]
        try:
            for writer in writers:
                assert writer.stdout is not None
                writer.stdout.readline()
            return [_compare(Path(directory)), _after_deaths(Path(directory))]
        finally:
            for writer in writers:
                writer.kill()
                writer.wait()


def _compare(directory: Path) -> Ratio:
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.multiprocess import MultiProcessCollector

    scraper = Scraper(directory / "store", CollectorSettings(), folds=False)
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(directory))
    scraper.scrape(ScrapeRequest())
    ours, theirs = [], []
    for _ in range(ROUNDS):
        ours.append(_milliseconds(lambda: scraper.scrape(ScrapeRequest())))
        theirs.append(_milliseconds(lambda: generate_latest(registry)))
    lines = generate_latest(registry).count(b"\n")
    ratio = statistics.median(ours) / statistics.median(theirs)
    return Ratio(
        f"scrape of {PROCESSES} processes, {lines} lines, against prometheus_client's "
        "multi-process mode",
        summary(ours, "ms"),
        summary(theirs, "ms"),
        ratio,
        "at most 0.2",
        ratio <= FIFTH,
    )


def _after_deaths(directory: Path) -> Ratio:
    """Compare a scrape before and after many processes have recorded and been killed."""
    store = directory / "store"
    scraper = Scraper(store, CollectorSettings(), folds=True)
    before = [_milliseconds(lambda: scraper.scrape(ScrapeRequest())) for _ in range(2 * ROUNDS)]
    rows_before = _rows(scraper)
    command = [sys.executable, "-m", "bench.scraping", "die", str(directory)]
    subprocess.run(command, check=True)
    if _rows(scraper) - rows_before != DEATHS:
        raise RuntimeError(f"{_rows(scraper) - rows_before} of {DEATHS} increments were kept")
    while len(block_paths(store)) > PROCESSES:
        scraper.fold()
    after = [_milliseconds(lambda: scraper.scrape(ScrapeRequest())) for _ in range(2 * ROUNDS)]
    ratio = statistics.median(after[ROUNDS:]) / statistics.median(before[ROUNDS:])
    return Ratio(
        f"the same scrape after {DEATHS} processes have recorded and been killed, against before",
        summary(after[ROUNDS:], "ms"),
        summary(before[ROUNDS:], "ms"),
        ratio,
        "at most 1.2",
        ratio <= 1.2,  # noqa: PLR2004
    )


def _rows(scraper: Scraper) -> float:
    for merged in scraper.families():
        if merged.family.name == "inferometer_rows_total":
            return sum(series.cells[0] for series in merged.series.values())
    raise AssertionError("no rows were recorded")


def die(directory: Path) -> None:
    """Fork processes in waves; each records one row and is killed."""
    recorder = open_recorder(directory / "store", "frontend", families=CATALOGUE)
    rows = recorder.child("inferometer_rows_total", model="digits-0", version="1")
    for _ in range(DEATHS // WAVE):
        reading, writing = os.pipe()
        children = []
        for _ in range(WAVE):
            pid = os.fork()
            if pid == 0:
                rows.inc()
                os.write(writing, b".")
                signal.pause()
            children.append(pid)
        recorded = 0
        while recorded < WAVE:
            recorded += len(os.read(reading, WAVE))
        for pid in children:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _milliseconds(call: Callable[[], object]) -> float:
    begun = time.perf_counter_ns()
    call()
    return (time.perf_counter_ns() - begun) / 1e6


def write(directory: Path) -> None:
    """Record the same with both libraries, say so and wait to be killed."""
    from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

    recorder = open_recorder(directory / "store", "frontend", families=CATALOGUE)
    registry = CollectorRegistry()
    for family in CATALOGUE:
        if not family.recorded_by or not family.open_labels <= MODELS[0].keys():
            continue
        arguments = (family.name, family.help, family.label_names)
        if family.kind == "counter":
            metric = Counter(*arguments, registry=registry)
        elif family.kind == "gauge":
            metric = Gauge(*arguments, registry=registry, multiprocess_mode="livesum")
        else:
            metric = Histogram(*arguments, registry=registry, buckets=family.buckets)
        for values in dict.fromkeys(
            values
            for model in MODELS
            for values in product(
                *(label.values or (model[label.name],) for label in family.labels)
            )
        ):
            theirs = metric.labels(*values) if values else metric
            ours = recorder.child(family.name, **dict(zip(family.label_names, values, strict=True)))
            for child in (ours, theirs):
                if family.kind == "histogram":
                    child.observe(0.02)
                elif family.kind == "counter":
                    child.inc()
                else:
                    child.set(1.0)
    print("recorded", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    {"write": write, "die": die}[sys.argv[1]](Path(sys.argv[2]))
