"""What a recorder refuses, survives and does without: wrong names, no room, forks, damage."""

from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from exporter import (
    CATALOGUE,
    CollectorSettings,
    ExporterError,
    Family,
    Label,
    Scraper,
    ScrapeRequest,
    counter,
    gauge,
    histogram,
    info,
    open_recorder,
)
from exporter.block.layout import HEADER_BYTES
from exporter.directory import block_paths
from exporter.store_reader import StoreReader
from tests.unit.exporter.programs import run

EVENTS = counter("events_total", "Events.", Label("kind"))


def test_a_scraper_goes_on_in_a_forked_process(store_path: Path) -> None:
    run(
        """
import os, sys, threading
from pathlib import Path
from exporter import CATALOGUE, CollectorSettings, Scraper, ScrapeRequest, open_recorder
recorder = open_recorder(Path(sys.argv[1]), "frontend", families=CATALOGUE)
scraper = Scraper(Path(sys.argv[1]), CollectorSettings(), folds=False)
stop = threading.Event()
def scrape():
    while not stop.is_set():
        scraper.scrape(ScrapeRequest())
thread = threading.Thread(target=scrape)
thread.start()
for _ in range(20):
    pid = os.fork()
    if pid == 0:
        body = scraper.scrape(ScrapeRequest()).body
        assert b'inferometer_collector_success{collector="process"} 1.0' in body
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
stop.set()
thread.join()
""",
        store_path,
    )


def test_without_room_a_process_records_in_memory_and_is_shown_when_there_is(
    store_path: Path,
) -> None:
    """A limit on the size of files stands in for a full file system: both fail to reserve."""
    run(
        """
import logging, resource, sys
from pathlib import Path
from exporter import CATALOGUE, Label, counter, gauge, open_recorder
logging.disable(logging.CRITICAL)
_, most = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, most))
store = Path(sys.argv[1])
families = [counter("events_total", "Events.", Label("kind")), gauge("depth", "Depth.")]
recorder = open_recorder(store, "frontend", families=families)
events, depth = recorder.child("events_total", kind="a"), recorder.child("depth")
record = recorder.bundle((events,), ())
record((3,), ())
depth.set(7)
recorder.tick()
assert not list(store.iterdir())
resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
recorder.tick()
assert not list(store.iterdir())
recorder.retry_after(0.0)
recorder.tick()
record((1,), ())
events.inc()
depth.inc()
""",
        store_path,
    )
    view = StoreReader(store_path).view()
    assert view.families["events_total"].series["a",].cells == [5.0]


def test_without_room_a_forked_process_records_on(store_path: Path) -> None:
    run(
        """
import logging, os, resource, sys
from pathlib import Path
from exporter import Label, counter, open_recorder
logging.disable(logging.CRITICAL)
store = Path(sys.argv[1])
recorder = open_recorder(store, "frontend", families=[counter("events_total", "Events.")])
events = recorder.child("events_total")
events.inc()
_, most = resource.getrlimit(resource.RLIMIT_FSIZE)
if os.fork() == 0:
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, most))
    events.inc(10)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    recorder.retry_after(0.0)
    recorder.tick()
    events.inc(100)
    os._exit(0)
assert os.wait()[1] == 0
""",
        store_path,
    )
    view = StoreReader(store_path).view()
    assert view.families["events_total"].series[()].cells == [111.0]


@pytest.mark.parametrize(
    ("family", "message"),
    [
        (Family("shop-orders_total", "counter", ""), "no valid name of a metric"),
        (Family("_total", "counter", ""), "no valid name of a metric"),
        (counter("a_total", "", Label("b-c")), "cannot have a label 'b-c'"),
        (counter("a_total", "", Label("__name__")), "cannot have a label '__name__'"),
        (counter("a_total", "", Label("b"), Label("b")), "has a label twice"),
        (histogram("a", "", Label("le"), buckets=(1,)), "cannot have a label 'le'"),
        (histogram("a", "", buckets=range(1_001)), "has 1001 buckets"),
        (counter("a_total", "\udc80"), "is no Unicode text"),
        (counter("a_total", "", max_series=200_000), "may have 200000 series"),
        (gauge("events", ""), "events is there already"),
        (gauge("events_created", ""), "events_created is there already"),
        (info("events_info", ""), "events is there already"),
        (info("facts", ""), "end with _info"),
        (Family("state", "gauge", "", openmetrics_form="stateset"), "a label of its own name"),
    ],
)
def test_what_cannot_be_shown_is_refused_when_it_is_declared(
    store_path: Path, family: Family, message: str
) -> None:
    with pytest.raises(ExporterError, match=message):
        open_recorder(store_path, "frontend", families=[counter("events_total", ""), family])


@pytest.mark.parametrize("role", ["", "a/b", "größe", "background-worker"])
def test_a_role_that_no_file_can_be_named_by_is_refused(store_path: Path, role: str) -> None:
    with pytest.raises(ExporterError, match="is no role"):
        open_recorder(store_path, role, families=[])


def test_after_the_end_nothing_else_of_the_program_is_touched(
    store_path: Path, tmp_path: Path
) -> None:
    recorder = open_recorder(store_path, "frontend", families=[EVENTS])
    recorder.close()
    with (tmp_path / "other").open("w") as other:
        other.write("hello")
        other.flush()
        for number in range(1_500):
            recorder.child("events_total", kind=str(number)).inc()
    assert (tmp_path / "other").read_text() == "hello"


def test_a_bundle_takes_no_child_of_another_recorder(store_path: Path) -> None:
    first, second = (open_recorder(store_path, "frontend", families=[EVENTS]) for _ in range(2))
    children = [recorder.child("events_total", kind="a") for recorder in (first, second)]
    with pytest.raises(ExporterError, match="the children of one recorder"):
        first.bundle(children, ())


def test_a_label_may_have_any_name(store_path: Path) -> None:
    family = counter("events_total", "Events.", Label("name"), Label("self"))
    recorder = open_recorder(store_path, "frontend", families=[family])

    recorder.child("events_total", name="a", self="b").inc()

    assert StoreReader(store_path).view().families["events_total"].series["a", "b"].cells == [1.0]


def test_numbers_larger_than_any_float_are_left_out(store_path: Path) -> None:
    families = [EVENTS, histogram("work", "Work.", buckets=(1,))]
    recorder = open_recorder(store_path, "frontend", families=families)
    events, work = recorder.child("events_total", kind="a"), recorder.child("work")

    events.inc(10**400)
    work.observe(10**400)
    recorder.bundle((events,), (work,))((10**400,), (10**400,))
    events.inc(2)

    view = StoreReader(store_path).view()
    assert view.families["events_total"].series["a",].cells == [2.0]
    assert sum(view.families["work"].series[()].cells) == 0


def test_a_damaged_block_counts_as_far_as_it_goes_and_is_kept_to_look_at(
    store_path: Path,
) -> None:
    recorder = open_recorder(store_path, "frontend", families=[EVENTS])
    for number in range(3):
        recorder.child("events_total", kind=str(number)).inc()
    recorder.close()
    (block,) = block_paths(store_path)
    content = bytearray(block.read_bytes())
    last = content.rindex(b"events_total", 0, HEADER_BYTES + 4_096)
    end = content.index(b"\x01\x002", last)  # the label value of the last series
    content[end + 2] ^= 1
    block.write_bytes(content)

    for _ in range(2):
        reader = StoreReader(store_path)
        rows = reader.view().families["events_total"].series
        assert {labels: series.cells[0] for labels, series in rows.items()} == {
            ("0",): 1,
            ("1",): 1,
        }
        reader.fold()

    assert [path.suffix for path in store_path.iterdir() if path.stem == block.stem] == [".bad"]


def test_a_family_that_two_processes_define_differently_is_logged_once(
    store_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    open_recorder(store_path, "a", families=[EVENTS]).child("events_total", kind="a").inc()
    other = counter("events_total", "Events.", Label("sort"))
    open_recorder(store_path, "b", families=[other]).child("events_total", sort="b").inc(2)
    reader = StoreReader(store_path)

    for _ in range(3):
        rows = reader.view().families["events_total"].series

    assert {labels: series.cells[0] for labels, series in rows.items()} == {("b",): 2}
    shown = Scraper(store_path, CollectorSettings(), folds=False).scrape(ScrapeRequest()).body
    assert b"inferometer_exporter_conflicting_families 1.0" in shown
    assert caplog.text.count("events_total is defined differently") == 2  # by two readers


def test_families_of_two_processes_that_no_format_can_show_together_are_not(
    store_path: Path,
) -> None:
    work = histogram("work", "Work.", buckets=(1,))
    open_recorder(store_path, "a", families=[work]).child("work").observe(1)
    open_recorder(store_path, "b", families=[gauge("work_count", "")]).child("work_count").set(7)

    scraper = Scraper(store_path, CollectorSettings(), folds=False)
    body = scraper.scrape(ScrapeRequest(accept="application/openmetrics-text")).body.decode()

    list(text_string_to_metric_families(body))
    assert "work_count 7.0" in body
    assert "inferometer_exporter_conflicting_families 1.0" in body


def test_what_the_exporter_computes_is_shown_once(store_path: Path) -> None:
    blocks = next(family for family in CATALOGUE if family.name == "inferometer_exporter_blocks")
    open_recorder(store_path, "a", families=[blocks]).child(blocks.name).set(7)

    body = Scraper(store_path, CollectorSettings(), folds=False).scrape(ScrapeRequest()).body

    assert body.count(b"\ninferometer_exporter_blocks ") == 1


def test_two_recorders_of_a_process_are_one_process(store_path: Path) -> None:
    run(
        """
import os, signal, sys, time
from pathlib import Path
from exporter import CATALOGUE, open_recorder
recorders = [open_recorder(Path(sys.argv[1]), "frontend", families=CATALOGUE) for _ in range(2)]
while time.process_time() < 0.5:
    pass
for recorder in recorders:
    recorder.tick()
if os.fork() == 0:
    recorders[1].tick()
    recorders[1].child("inferometer_rows_total", model="a", version="1").inc()
    os._exit(0)
os.wait()
""",
        store_path,
    )
    families = StoreReader(store_path).view().families

    def by_cause(name: str) -> dict[tuple[str, ...], float]:
        rows = families[name].series
        return {labels: s.cells[0] for labels, s in rows.items() if s.cells[0]}

    assert by_cause("inferometer_process_starts_total") == {("frontend",): 2}
    assert by_cause("inferometer_process_exits_total") == {
        ("frontend", "exit"): 1,
        ("frontend", "signal"): 1,
    }
    assert 0.5 < by_cause("inferometer_process_cpu_seconds_total")["frontend",] < 1.0


def test_a_registry_collects_on_in_a_forked_process(store_path: Path) -> None:
    run(
        """
import os, sys, threading
from pathlib import Path
from exporter import StoreCollector, counter, open_recorder
recorder = open_recorder(Path(sys.argv[1]), "a", families=[counter("events_total", "Events.")])
collector = StoreCollector(Path(sys.argv[1]))
stop = threading.Event()
def collect():
    while not stop.is_set():
        list(collector.collect())
thread = threading.Thread(target=collect)
thread.start()
for _ in range(20):
    pid = os.fork()
    if pid == 0:
        os._exit(0 if list(collector.collect()) is not None else 1)
    assert os.waitpid(pid, 0)[1] == 0
stop.set()
thread.join()
""",
        store_path,
    )


def test_one_recorder_speaks_for_a_process_also_when_there_was_no_room(store_path: Path) -> None:
    run(
        """
import logging, resource, sys
from pathlib import Path
from exporter import CATALOGUE, open_recorder
logging.disable(logging.CRITICAL)
_, most = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, most))
first = open_recorder(Path(sys.argv[1]), "frontend", families=CATALOGUE)
first.retry_after(0.0)
first.tick()
resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
second = open_recorder(Path(sys.argv[1]), "frontend", families=CATALOGUE)
first.tick()
""",
        store_path,
    )
    families = StoreReader(store_path).view().families
    starts = families["inferometer_process_starts_total"].series["frontend",].cells
    exits = families["inferometer_process_exits_total"].series["frontend", "exit"].cells
    assert (starts, exits) == ([1.0], [1.0])
