"""What reading GPUs costs: each call, each tier, each scrape, and what a server under load loses.

With the driver of this machine where there is one; else with the tests' stand-in for its library,
which answers at once: then it is the cost of this side alone.
"""

import ctypes
import functools
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.load import SECONDS, Load, run_wrk, server
from bench.report import Cost, Ratio, cost_table, summary

COLLECTIONS = 1000
ROUNDS = 12
DENSE = "/v1/models/dense:predict"
LIBRARY = "libnvidia-ml.so.1"


def measure(models: Path) -> list[Ratio]:
    """Return what a server loses while its exporter reads GPUs each second."""
    load = Load(DENSE, models / "dense.json", 64)
    read, unread = [], []
    with library() as (environment, name):
        each_second = environment | {"INFEROMETER_EXPORTER_GPU_INTERVAL": "1"}
        with server("serve", f"dense={models}/dense", environment=each_second) as running:
            exporter = _exporter_of(running.pid)
            run_wrk(running.url, load, SECONDS)
            for _ in range(ROUNDS):
                read.append(run_wrk(running.url, load, SECONDS))
                os.kill(exporter, signal.SIGSTOP)
                try:
                    unread.append(run_wrk(running.url, load, SECONDS))
                finally:
                    os.kill(exporter, signal.SIGCONT)
    ratio = statistics.median(read) / statistics.median(unread)
    return [
        Ratio(
            f"dense model at 64 connections with GPUs read each second ({name}), against the same "
            "with the exporter stopped",
            summary(read, "requests/s"),
            summary(unread, "requests/s"),
            ratio,
            "at least 0.99",
            ratio >= 0.99,  # noqa: PLR2004
        )
    ]


def costs() -> list[Cost]:
    """Return what each call, tier and scrape takes, in a process of their own."""
    with library() as (environment, name):
        done = subprocess.run(
            [sys.executable, "-m", "bench.gpus", "measure"],
            env=os.environ | environment, stdout=subprocess.PIPE, check=True,
        )  # fmt: skip
    found: dict[str, list[float]] = json.loads(done.stdout)
    return [
        Cost(
            what, name, len(times), statistics.median(times), statistics.quantiles(times, n=100)[-1]
        )
        for what, times in found.items()
    ]


@contextmanager
def library() -> Iterator[tuple[dict[str, str], str]]:
    """Yield the environment in which the library is found, and what it is."""
    try:
        ctypes.CDLL(LIBRARY)
    except OSError:
        from tests.gpu.stand_in import WHOLE, Gpus, build

        with tempfile.TemporaryDirectory() as folder:
            gpus = Gpus(Path(folder), build(Path(folder)))
            gpus.say(WHOLE + " event_types=8", *(f"sample 0 gpu {n} 50" for n in range(1, 100)))
            del gpus.environment["FAKE_NVML_TRACE"]
            yield gpus.environment, "stand-in library"
    else:
        yield {}, "driver of this machine"


def _exporter_of(pid: int) -> int:
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        if b"exporter" in Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0"):
            return int(child)
    raise RuntimeError("the server has no exporter")


def time_collections() -> dict[str, list[float]]:
    """Return the times of calls, tiers and scrapes in microseconds."""
    import pynvml

    times: dict[str, list[float]] = defaultdict(list)

    def timed(name: str, function: Callable[..., object]) -> Callable[..., object]:
        @functools.wraps(function)
        def call(*arguments: object) -> object:
            begun = time.perf_counter_ns()
            try:
                return function(*arguments)
            finally:
                times[name].append((time.perf_counter_ns() - begun) / 1000)

        return call

    for name in dir(pynvml):
        if name.startswith(("nvmlDevice", "nvmlGpm")) and callable(getattr(pynvml, name)):
            setattr(pynvml, name, timed(name, getattr(pynvml, name)))
    from exporter.gpu.nvml import NvmlDriver

    driver = NvmlDriver()
    driver.open()
    devices = driver.devices().devices
    for device in devices:
        driver.read_once(device)
    times.clear()
    tiers = {
        "fast tier": driver.read_fast,
        "slow tier": driver.read_slow,
        "samples": lambda device: (
            driver.samples(device, memory=False, since_us=0),
            driver.samples(device, memory=True, since_us=0),
            driver.process_busy(device, 0),
        ),
    }
    for _ in range(COLLECTIONS):
        for device in devices:
            for name, read in tiers.items():
                timed(f"{name}, one GPU", read)(device)
    driver.close()
    found = dict(times)
    found["scrape with a new collection"] = _scrapes()
    return found


def _scrapes() -> list[float]:
    from exporter import CollectorSettings, Scraper, ScrapeRequest
    from exporter.gpu.settings import GpuSettings

    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        store = Path(folder) / "store"
        store.mkdir(mode=0o700)
        settings = CollectorSettings(gpu=GpuSettings(min_age_seconds=0), store_path=store)
        scraper = Scraper(store, settings, folds=True)
        request = ScrapeRequest(collectors=frozenset({"gpu"}))
        scraper.scrape(request)
        times = []
        for _ in range(COLLECTIONS):
            begun = time.perf_counter_ns()
            scraper.scrape(request)
            times.append((time.perf_counter_ns() - begun) / 1000)
        return times


if __name__ == "__main__":
    if sys.argv[1:] == ["measure"]:
        print(json.dumps(time_collections()))
    else:
        print(cost_table(costs()))
