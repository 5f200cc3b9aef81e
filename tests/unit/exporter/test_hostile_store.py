"""What an attack on the store has tried; each costs its own file or process and nothing else."""

import ctypes
import json
import logging
import math
import shutil
import threading
import zlib
from pathlib import Path
from typing import Any

import pytest

from exporter import (
    CollectorSettings,
    Label,
    Scraper,
    ScrapeRequest,
    StoreCollector,
    counter,
    histogram,
    open_recorder,
)
from exporter.block.layout import COMMIT_WORD, HEADER_BYTES, MAGIC, SeriesEntry, encode_series
from exporter.directory import block_paths
from exporter.exposition.protobuf import ProtobufRenderer
from exporter.store_reader import StoreReader
from exporter.view import Exemplar, MergedFamily, MergedSeries
from tests.unit.exporter.programs import run

EVENTS = counter("events_total", "Events.", Label("kind"))
PROTOBUF = (
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
)
FORMATS = ("", "application/openmetrics-text", PROTOBUF)
PR_SET_NAME = 15


def value(path: Path, name: str, *labels: str) -> float:
    return StoreReader(path).view().families[name].series[labels].cells[0]


def test_a_reader_without_descriptors_does_not_take_the_living_for_dead(store_path: Path) -> None:
    recorder = open_recorder(store_path, "worker", families=[EVENTS])
    recorder.child("events_total", kind="a").inc(5)

    run(
        """
import os, resource, sys
from pathlib import Path
from exporter.store_reader import StoreReader
reader = StoreReader(Path(sys.argv[1]))
reader.view()
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
held = []
try:
    while True:
        held.append(os.open("/dev/null", os.O_RDONLY))
except OSError:
    pass
for free in (2, 1, 1):
    for _ in range(free):
        os.close(held.pop())
    try:
        StoreReader(Path(sys.argv[1])).fold()
    except Exception:
        pass
""",
        store_path,
    )

    assert len(block_paths(store_path)) == 1
    recorder.child("events_total", kind="a").inc(100)
    assert value(store_path, "events_total", "a") == 105


FORK = """
import os, sys
from pathlib import Path
from exporter import Label, counter, open_recorder
family = counter("events_total", "Events.", Label("kind"), max_series=100_000)
recorder = open_recorder(Path(sys.argv[1]), "worker", families=[family])
"""


def test_forked_processes_of_a_full_block_record_in_the_same_rows(store_path: Path) -> None:
    run(
        FORK
        + """
import logging
logging.disable(logging.CRITICAL)
first = recorder.child("events_total", kind="a")
for number in range(20_000):
    recorder.child("events_total", kind="x" * 100 + str(number))
second = recorder.child("events_total", kind="b")
if os.fork() == 0:
    first.inc(7)
    second.inc(100)
    os._exit(0)
assert os.wait()[1] == 0
""",
        store_path,
    )

    series = StoreReader(store_path).view().families["events_total"].series
    found = {labels[0]: s.cells[0] for labels, s in series.items() if s.cells[0]}
    # A short label set may find room where the long ones did not.
    assert found in ({"a": 7, "b": 100}, {"a": 7, "__other__": 100})


def test_a_label_that_is_no_text_is_replaced(store_path: Path) -> None:
    recorder = open_recorder(store_path, "worker", families=[EVENTS])

    recorder.child("events_total", kind="\ud800").inc()

    assert value(store_path, "events_total", "?") == 1


def test_the_youngest_definition_outlives_the_process_that_had_it(store_path: Path) -> None:
    def family(*bounds: float) -> Any:
        return histogram("work_seconds", "Work.", buckets=bounds)

    old = open_recorder(store_path, "a", families=[family(10)])
    new = open_recorder(store_path, "b", families=[family(1, 2)])
    for _ in range(5):
        new.child("work_seconds").observe(0.5)
    old.child("work_seconds").observe(0.5)
    reader = StoreReader(store_path)
    for recorder in (new, old):
        recorder.close()
        StoreReader(store_path).fold()
        merged = reader.view().families["work_seconds"]
        assert merged.family.buckets == (1, 2)
        assert merged.series[()].cells[1] >= 5


def test_a_registry_that_is_collected_by_many_threads_doubles_nothing(store_path: Path) -> None:
    recorder = open_recorder(store_path, "worker", families=[EVENTS])
    recorder.child("events_total", kind="a").inc()
    collector = StoreCollector(store_path)
    seen: set[float] = set()

    def collect() -> None:
        for _ in range(50):
            for metric in collector.collect():
                seen.update(s.value for s in metric.samples if s.labels == {"kind": "a"})

    threads = [threading.Thread(target=collect) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(200):
        recorder.child("events_total", kind=f"x{number}")
    for thread in threads:
        thread.join()

    assert seen == {1.0}


@pytest.mark.parametrize("trace_id", [b"4bf92f3577b34da6a3ce929d0e0e4736", b"", "text", 5])
def test_what_is_no_trace_id_counts_once(store_path: Path, trace_id: Any) -> None:
    family = counter("events_total", "Events.", exemplars=True)
    recorder = open_recorder(store_path, "worker", families=[family])
    child = recorder.child("events_total")

    child.inc(1, trace_id)
    recorder.bundle((child,), ())((1,), (), trace_id)

    series = StoreReader(store_path).view().families["events_total"].series[()]
    assert (series.cells, series.exemplars) == ([2.0], {})


def test_a_copy_of_a_block_is_not_counted(store_path: Path) -> None:
    recorder = open_recorder(store_path, "worker", families=[EVENTS])
    recorder.child("events_total", kind="a").inc(5)
    (block,) = block_paths(store_path)
    shutil.copy(block, store_path / "backup.block")

    reader = StoreReader(store_path)
    assert reader.view().families["events_total"].series["a",].cells == [5.0]
    assert reader.skipped["foreign"] == 1
    reader.fold()
    recorder.child("events_total", kind="a").inc(1)
    assert value(store_path, "events_total", "a") == 6


def test_what_is_recorded_while_the_interpreter_ends_counts(store_path: Path) -> None:
    run(
        """
import atexit, sys
from pathlib import Path
from exporter import Label, counter, open_recorder
atexit.register(lambda: child.inc(10))
family = counter("events_total", "Events.", Label("kind"))
recorder = open_recorder(Path(sys.argv[1]), "worker", families=[family])
child = recorder.child("events_total", kind="a")
child.inc()
""",
        store_path,
    )

    assert value(store_path, "events_total", "a") == 11


def test_the_first_record_of_a_fork_may_come_from_many_threads(store_path: Path) -> None:
    run(
        FORK
        + """
import threading
child = recorder.child("events_total", kind="a")
sys.setswitchinterval(1e-6)
for _ in range(40):
    pid = os.fork()
    if pid == 0:
        failed = []
        threading.excepthook = failed.append
        threads = [threading.Thread(target=child.inc, daemon=True) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        os._exit(1 if failed or any(thread.is_alive() for thread in threads) else 0)
    assert os.waitpid(pid, 0)[1] == 0
""",
        store_path,
    )

    assert value(store_path, "events_total", "a") == 320


def test_a_log_handler_may_record(store_path: Path) -> None:
    wide = counter("wide_total", "Wide.", Label("kind"), max_series=100_000)
    recorder = open_recorder(store_path, "worker", families=[EVENTS, wide])

    class Recording(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:  # noqa: ARG002
            recorder.child("events_total", kind="log").inc()

    handler = Recording()
    logging.getLogger("exporter.store_recorder").addHandler(handler)
    try:
        for number in range(12_000):
            recorder.child("wide_total", kind="x" * 100 + str(number))
    finally:
        logging.getLogger("exporter.store_recorder").removeHandler(handler)


def test_a_process_whose_name_is_no_text_is_read(store_path: Path) -> None:
    recorder = open_recorder(store_path, "worker", families=[EVENTS])
    recorder.child("events_total", kind="a").inc()
    libc = ctypes.CDLL(None)
    name = Path("/proc/self/comm").read_bytes().strip()
    libc.prctl(PR_SET_NAME, b"caf\xc3", 0, 0, 0)
    try:
        assert value(store_path, "events_total", "a") == 1
        open_recorder(store_path, "worker", families=[EVENTS])
    finally:
        libc.prctl(PR_SET_NAME, name, 0, 0, 0)


def test_a_fold_that_cannot_be_locked_costs_the_fold_only(store_path: Path) -> None:
    recorder = open_recorder(store_path, "worker", families=[EVENTS])
    recorder.child("events_total", kind="a").inc()
    (store_path / "fold.lock").mkdir()
    scraper = Scraper(store_path, CollectorSettings(), folds=True)

    scraper.fold()

    assert b'events_total{kind="a"} 1.0' in scraper.scrape(ScrapeRequest()).body
    assert scraper.is_ready


def entry(kind: int, body: bytes) -> bytes:
    padded = kind.to_bytes(4, "little") + body
    padded += bytes(-len(padded) % 8)
    length = (len(padded) + 8).to_bytes(4, "little")
    return length + zlib.crc32(padded).to_bytes(4, "little") + padded


def definition(number: int = 9, **changes: Any) -> bytes:
    fields: dict[str, Any] = {
        "name": "hostile_total", "kind": "counter", "help": "x", "labels": [], "merge": "sum",
        "buckets": [], "recorded_by": [], "is_absent_until_set": False, "is_native": False,
        "has_exemplars": False, "max_series": 10, "outlives_process": False,
    }  # fmt: skip
    return entry(1, b"%d %s" % (number, json.dumps(fields | changes).encode()))


HOSTILE: dict[str, bytes] = {
    "bucket": definition(name="h", kind="histogram", buckets=[10**400]),
    "buckets of a counter": definition(buckets=[1.0]),
    "many buckets": definition(name="h", kind="histogram", buckets=list(range(5_000))),
    "folded": entry(3, b"[Infinity]"),
    "twice": definition() + definition(name="h", kind="histogram", buckets=[1.0]),
    "help": definition(help="\ud800"),
    "kind": definition(name="h", kind="banana"),
    "rule": definition(name="h", kind="gauge", merge="banana"),
    "name": definition(name="a\nb_total"),
    "label": definition(labels=[{"name": "a{", "values": []}]),
    "labels": definition(labels=[{"name": "a", "values": []}] * 2),
    "no labels": definition(labels=5),
    "series": definition(max_series=10**9),
    "types": definition(max_series="many"),
    "nesting": entry(1, b"9 " + b"[" * 100_000),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_an_entry_with_a_right_checksum_ends_its_own_table(store_path: Path, what: str) -> None:
    for role in ("good", "hostile"):
        recorder = open_recorder(store_path, role, families=[EVENTS])
        recorder.child("events_total", kind=role).inc()
        if role == "hostile":
            recorder.close()
    (path,) = (path for path in block_paths(store_path) if path.name.startswith("hostile"))
    content = bytearray(path.read_bytes())
    committed = int.from_bytes(content[COMMIT_WORD * 8 : COMMIT_WORD * 8 + 8], "little")
    end = int.from_bytes(content[112:120], "little") // 8 + 2  # the one series has two values
    added = HOSTILE[what] + encode_series(SeriesEntry(9, (), end))
    start = HEADER_BYTES + committed
    content[start : start + len(added)] = added
    content[COMMIT_WORD * 8 : COMMIT_WORD * 8 + 8] = (committed + len(added)).to_bytes(8, "little")
    assert content.startswith(MAGIC)
    path.write_bytes(content)
    scraper = Scraper(store_path, CollectorSettings(), folds=True)

    for _ in range(2):  # The second time when it has been folded.
        for accept in FORMATS:
            body = scraper.scrape(ScrapeRequest(accept=accept)).body
            assert b"good" in body
        text = scraper.scrape(ScrapeRequest()).body
        assert b'events_total{kind="good"} 1.0' in text
        assert b'events_total{kind="hostile"} 1.0' in text
        StoreReader(store_path).fold()


@pytest.mark.parametrize("number", [math.nan, math.inf, -1.0, 1e300])
def test_numbers_that_nobody_records_can_be_rendered(number: float) -> None:
    family = histogram("work_seconds", "Work.", buckets=(1.0,), native=True)
    cells = [number] * (len(family.edges) + 2)
    exemplar = Exemplar(number, number, bytes(16))
    merged = MergedFamily(family, {(): MergedSeries(number, cells, exemplars={0: exemplar})})

    assert ProtobufRenderer(with_native=True).render([merged])


def test_a_family_with_other_labels_is_rendered_with_them() -> None:
    renderer = ProtobufRenderer(with_native=True)

    for name in ("old", "new"):
        family = counter("events_total", "Events.", Label(name))
        body = renderer.render([MergedFamily(family, {("v",): MergedSeries(0.0, [1.0])})])
        assert name.encode() in body
