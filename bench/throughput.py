"""Requests a second, beside a constant Flask view and beside the server without metrics."""

import json
import os
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

from bench.load import (
    SECONDS,
    WARM_UP_SECONDS,
    Load,
    Sample,
    alternate,
    constant_view,
    cpu_seconds,
    run_wrk,
    server,
)
from bench.models import PIXELS
from bench.report import Ratio, summary

STARTS = 4
HEAVY_ROUNDS = 6
SCRAPED_ROUNDS = 16
HEAVY_ROWS = 320
HEAVY_BATCH_ROWS = 32
HEAVY_CONNECTIONS = 64
DENSE = "/v1/models/dense:predict"


def measure(models: Path) -> list[Ratio]:
    """Return the ratios of the dense model at two loads, and of the compute-bound model."""
    body = models / "dense.json"
    row = [round((index * 37 % 256) / 255, 4) for index in range(PIXELS)]
    body.write_text(json.dumps({"instances": [row]}))
    samples: dict[int, list[list[Sample]]] = {connections: [[], [], []] for connections in (64, 16)}
    # Two starts of the same server differ by some percent for as long as they run (where their
    # memory lies, who accepted what): what compares two servers needs several of each.
    for _ in range(STARTS):
        with (
            server("serve", f"dense={models}/dense") as measured,
            server("serve", f"dense={models}/dense", "--no-record-metrics") as unmeasured,
            constant_view() as constant,
        ):
            for connections, sides in samples.items():
                load = Load(DENSE, body, connections)
                alternate([(each, load) for each in (measured, unmeasured, constant)], sides)
    rows = []
    for connections, sides in samples.items():
        rows += _dense_ratios(connections, *sides)
    rows += _scraped_ratios(models, Load(DENSE, body, 64))
    rows.append(_heavy_ratio(models))
    return rows


def _scraped_ratios(models: Path, load: Load) -> list[Ratio]:
    """Return what a scrape each second costs the server, and how fast one is under full load."""
    scraped, alone, used, took = [], [], 0.0, 0.0
    with server("serve", f"dense={models}/dense") as running:
        exporter = _child_of(running.pid, b"exporter")
        run_wrk(running.url, load, WARM_UP_SECONDS)
        for _ in range(SCRAPED_ROUNDS):
            alone.append(run_wrk(running.url, load, SECONDS))
            before, begun = cpu_seconds(exporter), time.monotonic()
            with _scrapes(running.metrics_url, every=1.0):
                scraped.append(run_wrk(running.url, load, SECONDS))
            used += cpu_seconds(exporter) - before
            took += time.monotonic() - begun
        with _scrapes(running.metrics_url, every=0.05) as times:
            run_wrk(running.url, load, 10)
    ratio = statistics.median(scraped) / statistics.median(alone)
    slowest = statistics.quantiles(times, n=100)[-1]
    return [
        Ratio(
            "the same at 64 connections, scraped each second, against not scraped",
            summary(scraped, "requests/s"),
            summary(alone, "requests/s"),
            ratio,
            "at least 0.99",
            ratio >= 0.99,  # noqa: PLR2004
        ),
        _exporter_share(used / took),
        Ratio(
            f"a scrape while 64 connections saturate the server, 99th percentile of {len(times)} "
            "in seconds",
            summary([1000 * seconds for seconds in times], "ms"),
            "–",
            slowest,
            "below 0.1",
            slowest < 0.1,  # noqa: PLR2004
        ),
    ]


def _exporter_share(used: float) -> Ratio:
    """Return the exporter's CPU time beside the machine's: throughput is too noisy to tell."""
    cores = len(os.sched_getaffinity(0))
    return Ratio(
        "CPU time of the exporter meanwhile, against the machine's",
        f"{1000 * used:.1f} ms a second",
        f"{cores} cores",
        used / cores,
        "at most 0.01",
        used / cores <= 0.01,  # noqa: PLR2004
    )


def _child_of(pid: int, module: bytes) -> int:
    """Return the child of a process that runs a Python module."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return next(
        int(child)
        for child in children
        if module in Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
    )


@contextmanager
def _scrapes(url: str, *, every: float) -> Iterator[list[float]]:
    """Scrape beside what is done inside, `every` so many seconds; yield how long each took."""
    stop = threading.Event()
    times: list[float] = []

    def run() -> None:
        while not stop.wait(every):
            begun = time.perf_counter()
            with urllib.request.urlopen(f"{url}/metrics", timeout=10) as answer:
                answer.read()
            times.append(time.perf_counter() - begun)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield times
    finally:
        stop.set()
        thread.join()


def _dense_ratios(
    connections: int, measured: list[Sample], unmeasured: list[Sample], constant: list[Sample]
) -> list[Ratio]:
    ours, bare, reference = ([s.rate for s in side] for side in (measured, unmeasured, constant))
    our_cpu, bare_cpu = ([s.cpu for s in side] for side in (measured, unmeasured))
    against_constant = statistics.median(ours) / statistics.median(reference)
    against_itself = statistics.median(ours) / statistics.median(bare)
    cpu_ratio = statistics.median(our_cpu) / statistics.median(bare_cpu)
    at = f"at {connections} connections"
    return [
        Ratio(
            f"dense model (784-128-10, 6 kB JSON) {at}, against a Flask view that parses the "
            "JSON and answers a constant",
            summary(ours, "requests/s"),
            summary(reference, "requests/s"),
            against_constant,
            "at least 1.0",
            against_constant >= 1.0,
        ),
        Ratio(
            f"the same {at} with all metrics, against itself without",
            summary(ours, "requests/s"),
            summary(bare, "requests/s"),
            against_itself,
            "at least 0.97",
            against_itself >= 0.97,  # noqa: PLR2004
        ),
        Ratio(
            f"the same {at}, CPU time a request with all metrics, against itself without",
            summary(our_cpu, "µs"),
            summary(bare_cpu, "µs"),
            cpu_ratio,
            "at most 1.03",
            cpu_ratio <= 1.03,  # noqa: PLR2004
        ),
    ]


def _heavy_ratio(models: Path) -> Ratio:
    """Both sides compute the same number of rows, and the time until the last of them counts.

    Counting answers for a fixed time instead would lose the batch of 0.6 s that is on the device
    when the time is up, up to a tenth of all.
    """
    served, bare = [], []
    with server("serve", f"heavy={models}/heavy", "--workers=1") as (url, *_):
        for _ in range(HEAVY_ROUNDS):
            served.append(_rows_a_second(url, HEAVY_ROWS))
            command = [sys.executable, "-m", "bench.models", "--bare", str(models)]
            command += [str(HEAVY_BATCH_ROWS), str(HEAVY_ROWS)]
            bare.append(
                float(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
            )
    ratio = statistics.median(served) / statistics.median(bare)
    return Ratio(
        f"compute-bound model (about 20 ms a row), {HEAVY_ROWS} rows in single requests over "
        f"{HEAVY_CONNECTIONS} connections, against its concrete function in a bare loop",
        summary(served, "rows/s"),
        summary(bare, "rows/s"),
        ratio,
        "at least 0.97",
        ratio >= 0.97,  # noqa: PLR2004
    )


def _rows_a_second(url: str, rows: int) -> float:
    """Return the rate of `rows` one-row predictions, from the first request to the last answer."""
    address = urlsplit(url)
    connections = threading.local()

    def predict(_: int) -> int:
        if not hasattr(connections, "kept"):
            connections.kept = HTTPConnection(str(address.hostname), address.port, timeout=60)
        connections.kept.request("POST", "/v1/models/heavy:predict", b'{"instances":[[0.5]]}')
        answer = connections.kept.getresponse()
        answer.read()
        return int(answer.status)

    with ThreadPoolExecutor(HEAVY_CONNECTIONS) as pool:
        begun = time.perf_counter()
        statuses = set(pool.map(predict, range(rows)))
        seconds = time.perf_counter() - begun
    if statuses != {200}:
        raise RuntimeError(f"answers of {sorted(statuses)}")
    return rows / seconds
