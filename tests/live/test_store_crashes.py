"""The store while its writers and folders are killed at random moments, hundreds of times."""

import contextlib
import signal
import subprocess
import sys
import tempfile
import threading
from array import array
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter import CollectorSettings, Label, Scraper, ScrapeRequest, counter, histogram
from exporter.directory import block_paths
from exporter.store_reader import StoreReader

pytestmark = pytest.mark.live

WRITERS = 400
FAMILIES = (
    counter("events_total", "Events.", Label("writer"), by=("frontend",)),
    histogram(
        "work_seconds", "Work.", Label("kind"), buckets=(0.1, 1.0), native=True, exemplars=True
    ),
)

# Forks writers one after the other, lets each record for a random time and kills it. A writer notes
# in the file of acknowledgements how many increments have returned.
KILL_WRITERS = """
import mmap, os, random, signal, sys, time
from pathlib import Path
from tests.live.test_store_crashes import FAMILIES, WRITERS
from exporter import open_recorder
recorder = open_recorder(Path(sys.argv[1]), "frontend", families=FAMILIES)
acknowledged = memoryview(mmap.mmap(os.open(sys.argv[2], os.O_RDWR), 8 * WRITERS)).cast("Q")
generator = random.Random(int(sys.argv[3]))
def record(number):
    events = recorder.child("events_total", writer=str(number))
    returned = 0
    while True:
        events.inc()
        returned += 1
        acknowledged[number] = returned
        # New series all the time, so that the table grows and pages are reserved.
        kind = recorder.child("work_seconds", kind=f"{number % 7}-{returned % 120}")
        kind.observe(0.01 * (returned % 300), bytes(16))
for number in range(WRITERS):
    pid = os.fork()
    if pid == 0:
        record(number)
    time.sleep(generator.uniform(0, 0.03))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
"""

FOLD_FOREVER = """
import sys
from pathlib import Path
from exporter.store_reader import StoreReader
while True:
    StoreReader(Path(sys.argv[1])).fold()
"""


@contextlib.contextmanager
def folders_being_killed(store_path: Path) -> Iterator[None]:
    """Fold without pause, in a process that is killed and replaced all the time."""
    stop = threading.Event()

    def run() -> None:
        while not stop.is_set():
            folder = subprocess.Popen([sys.executable, "-c", FOLD_FOREVER, str(store_path)])
            stop.wait(0.35)
            folder.send_signal(signal.SIGKILL)
            folder.wait()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def counts(reader: StoreReader) -> dict[str, float]:
    merged = reader.view().families.get("events_total")
    if merged is None:
        return {}
    return {labels[0]: series.cells[0] for labels, series in merged.series.items()}


def test_no_increment_that_returned_is_lost_or_counted_twice(store_path: Path) -> None:
    with tempfile.NamedTemporaryFile(dir="/dev/shm") as file:
        file.write(bytes(8 * WRITERS))
        file.flush()
        killer = subprocess.Popen(
            [sys.executable, "-c", KILL_WRITERS, str(store_path), file.name, "1"]
        )
        reader = StoreReader(store_path)
        before: dict[str, float] = {}
        scrapes = 0
        with folders_being_killed(store_path):
            while killer.poll() is None:
                now = counts(reader) if store_path.exists() else {}
                assert all(now.get(writer, 0) >= count for writer, count in before.items())
                before = now
                scrapes += 1
        assert killer.returncode == 0
        acknowledged = array("Q", Path(file.name).read_bytes())

    assert scrapes > 50
    assert sum(returned > 0 for returned in acknowledged) > WRITERS / 2
    for _ in range(2):
        found = counts(StoreReader(store_path))
        for number, returned in enumerate(acknowledged):
            assert 0 <= found.get(str(number), 0) - returned <= 1
        StoreReader(store_path).fold()
    assert block_paths(store_path) == []
    scraper = Scraper(store_path, CollectorSettings(), folds=False)
    assert b"work_seconds_bucket" in scraper.scrape(ScrapeRequest()).body
