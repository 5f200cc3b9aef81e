"""A process whose block is full goes on in another, and no scrape can tell.

Series that were removed stay behind in the full one; all else goes on with the children it has.
"""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from exporter import (
    CATALOGUE,
    CollectorSettings,
    Family,
    Label,
    Scraper,
    ScrapeRequest,
    counter,
    gauge,
    histogram,
    open_recorder,
)
from exporter.directory import block_paths
from exporter.metric import OTHER
from exporter.store_reader import StoreReader
from exporter.store_recorder import StoreRecorder
from exporter.view import View

FAMILIES = (
    counter("events_total", "Events.", Label("kind"), max_series=100_000),
    counter("noise_total", "Noise.", Label("kind"), max_series=100_000),
    histogram("work_seconds", "Work.", buckets=(0.1, 1.0), native=True, exemplars=True),
    gauge("depth", "Depth."),
    gauge("fact", "Fact.", merge="latest", absent=True),
    *(family for family in CATALOGUE if family.name.startswith("inferometer_process_")),
    *(family for family in CATALOGUE if family.name == "inferometer_dropped_series_total"),
)
# More label sets of this length than a block's table holds.
LONG = "x" * 100
MANY = 9_000
# Of a test that starts many processes, so that they are shared out between the cores.
PARTS = 4


def open_here(path: Path) -> StoreRecorder:
    return open_recorder(path, "frontend", families=FAMILIES)


def churn(recorder: StoreRecorder, times: int = MANY, *, first: int = 0) -> None:
    """Let that many series come and go, numbered from `first`."""
    for number in range(first, first + times):
        child = recorder.child("noise_total", kind=f"{LONG}{number}")
        child.inc()
        recorder.remove(child)


def value(view: View, name: str, *labels: str) -> float:
    return view.families[name].series[labels].cells[0]


def test_counts_gauges_and_bundles_go_on_in_another_block(store_path: Path) -> None:
    recorder = open_here(store_path)
    events, depth, fact = (
        recorder.child("events_total", kind="a"),
        recorder.child("depth"),
        recorder.child("fact"),
    )
    record = recorder.bundle((events,), (recorder.child("work_seconds"),))
    record((2,), (0.5,), bytes(range(16)))
    depth.inc(3)
    fact.set(42, stamp=1.0)

    churn(recorder)
    record((1,), (0.05,))
    depth.dec()

    assert len(block_paths(store_path)) > 1
    reader = StoreReader(store_path)
    for _ in range(2):
        view = reader.view()
        assert value(view, "events_total", "a") == 3
        assert value(view, "depth") == 2
        assert value(view, "fact") == 42
        work = view.families["work_seconds"].series[()]
        assert sum(work.cells[1:]) == 2
        assert work.exemplars[1].trace_id == bytes(range(16))
        reader.fold()


def test_a_series_that_comes_back_goes_on_from_what_it_had(store_path: Path) -> None:
    recorder = open_here(store_path)
    recorder.child("events_total", kind="a").inc(5)
    recorder.remove(recorder.child("events_total", kind="a"))

    churn(recorder)
    recorder.child("events_total", kind="a").inc()

    assert value(StoreReader(store_path).view(), "events_total", "a") == 6


def test_nothing_recorded_by_threads_is_lost_while_blocks_follow_each_other(
    store_path: Path,
) -> None:
    recorder = open_here(store_path)
    events = recorder.child("events_total", kind="a")
    record = recorder.bundle((events,), (recorder.child("work_seconds"),))
    depth = recorder.child("depth")
    stop = threading.Event()
    recorded = [0] * 4

    def hammer(number: int) -> None:
        while not stop.is_set():
            record((1,), (0.01 * (recorded[number] % 300),))
            events.inc()
            depth.inc()
            depth.dec()
            recorded[number] += 1

    threads = [threading.Thread(target=hammer, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    churn(recorder, 4 * MANY)
    stop.set()
    for thread in threads:
        thread.join()

    view = StoreReader(store_path).view()
    assert view.blocks > 3
    assert value(view, "events_total", "a") == 2 * sum(recorded)
    assert sum(view.families["work_seconds"].series[()].cells[1:]) == sum(recorded)
    assert value(view, "depth") == 0


def test_a_forked_process_of_a_moved_one_records_in_its_own_block(store_path: Path) -> None:
    recorder = open_here(store_path)
    stale = recorder.child("events_total", kind="gone")
    recorder.remove(stale)
    events = recorder.child("events_total", kind="a")
    churn(recorder)

    pid = os.fork()
    if pid == 0:
        stale.inc()  # Not to be used any more; it is recorded nowhere.
        events.inc(7)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0

    assert value(StoreReader(store_path).view(), "events_total", "a") == 7


def test_a_full_block_of_series_in_use_counts_what_it_cannot_take_as_other(
    store_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = open_here(store_path)

    for number in range(MANY):
        recorder.child("events_total", kind=f"{LONG}{number}").inc()
    late = recorder.child("depth")
    late.set(1)

    view = StoreReader(store_path).view()
    rows = view.families["events_total"].series
    assert len(block_paths(store_path)) == 1
    assert sum(series.cells[0] for series in rows.values()) == MANY
    dropped = value(view, "inferometer_dropped_series_total", "events_total")
    assert rows[OTHER,].cells[0] == dropped == MANY - len(rows) + 1
    assert caplog.text.count("recorded as __other__") == 1


def test_more_label_sets_than_a_family_may_have_can_come_one_after_the_other(
    store_path: Path,
) -> None:
    few = (counter("events_total", "Events.", Label("kind"), max_series=3), *FAMILIES[2:])
    recorder = open_recorder(store_path, "frontend", families=few)
    scraper = Scraper(store_path, CollectorSettings(), folds=False)

    for number in range(10):
        child = recorder.child("events_total", kind=str(number))
        child.inc()
        body = scraper.scrape(ScrapeRequest()).body.decode()
        assert f'events_total{{kind="{number}"}} 1.0' in body
        assert body.count("\nevents_total{") == 1
        recorder.remove(child)


def test_the_dead_keep_no_more_removed_series_than_a_family_may_have(store_path: Path) -> None:
    few = (counter("events_total", "Events.", Label("kind"), max_series=3), *FAMILIES[2:])
    for process in range(5):
        recorder = open_recorder(store_path, "frontend", families=few)
        recorder.child("events_total", kind="kept").inc()
        for number in range(3):
            child = recorder.child("events_total", kind=f"{process}-{number}")
            child.inc()
            recorder.remove(child)
        recorder.close()
        reader = StoreReader(store_path)
        reader.fold()
        rows = reader.view().families["events_total"].series
        assert {labels: series.cells[0] for labels, series in rows.items()} == {
            ("kept",): process + 1
        }
    assert (store_path / "retired").stat().st_size < 100_000


# Fills its block, and stops itself in the course of the move when so many lines have been run.
STOPPING = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from test_rotation import churn, open_here
recorder = open_here(Path(sys.argv[1]))
recorder.child("events_total", kind="a").inc(2)
recorder.child("depth").inc(3)
lines_left = int(sys.argv[2])
def each_line(frame, event, argument):
    global lines_left
    if event == "line":
        lines_left -= 1
        if not lines_left:
            os.kill(os.getpid(), signal.SIGSTOP)
    return each_line
def each_call(frame, event, argument):
    if frame.f_code.co_name == "_rotate" or (frame.f_back and frame.f_back.f_trace):
        return each_line
# Being watched is slow, and the block not full before this.
churn(recorder, 6_000)
sys.settrace(each_call)
churn(recorder, 3_000, first=6_000)
sys.settrace(None)
recorder.child("events_total", kind="a").inc(2)
print(-lines_left, flush=True)
sys.stdin.read()
"""


def start_stopping(path: Path, lines: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", STOPPING, str(path), str(lines), str(Path(__file__).parent)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("part", range(PARTS))
def test_stopped_and_killed_anywhere_in_a_move_nothing_is_lost_or_doubled(
    part: int, store_path: Path
) -> None:
    with start_stopping(store_path / "all", 0) as process:
        assert process.stdout is not None
        lines = int(process.stdout.readline())
        process.kill()
    assert lines > 100

    # In between the removed series are left behind, one after the other.
    stops = (*range(1, 400, 17), *range(lines - 100, lines, 25))
    for stop in stops[part::PARTS]:
        path = store_path / str(stop)
        process = start_stopping(path, stop)
        with process:
            _, status = os.waitpid(process.pid, os.WUNTRACED)
            assert os.WIFSTOPPED(status)
            reader = StoreReader(path)
            view = reader.view()
            assert value(view, "events_total", "a") == 2
            assert value(view, "depth") == 3
            assert len(view.processes) == 1
            process.send_signal(signal.SIGKILL)
        for _ in range(2):
            view = reader.view()
            assert value(view, "events_total", "a") == 2
            assert value(view, "inferometer_process_starts_total", "frontend") == 1
            assert value(view, "inferometer_process_exits_total", "frontend", "signal") == 1
            assert not view.processes
            reader.fold()
        assert block_paths(path) == []


# What it recorded last stands, whenever a signal came.
HANDLING = """
import signal, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_rotation import churn, open_here
recorder = open_here(Path(sys.argv[1]))
depth, events = recorder.child("depth"), recorder.child("events_total", kind="a")
handled = 0
def handle(*_):
    global handled
    handled += 1
    depth.set(handled)
    events.inc()
signal.signal(signal.SIGALRM, handle)
signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
churn(recorder, 40_000)
signal.setitimer(signal.ITIMER_REAL, 0)
assert depth.get(0) == handled, (depth.get(0), handled)
print(handled)
"""


def test_a_signal_handler_records_in_the_middle_of_a_move(store_path: Path) -> None:
    arguments = [str(store_path), str(Path(__file__).parent)]
    output = subprocess.check_output([sys.executable, "-c", HANDLING, *arguments], timeout=60)

    view = StoreReader(store_path).view()
    assert value(view, "events_total", "a") == int(output) > 100


def test_a_gauge_that_outlives_its_process_is_not_multiplied_by_moves(store_path: Path) -> None:
    kept = Family("kept", "gauge", "Kept.", merge="sum", outlives_process=True)
    recorder = open_recorder(store_path, "frontend", families=[kept, *FAMILIES])
    recorder.child("kept").set(5)

    for _ in range(2):
        churn(recorder)
        reader = StoreReader(store_path)
        assert value(reader.view(), "kept") == 5
        reader.fold()
        assert value(reader.view(), "kept") == 5
    recorder.close()
    reader = StoreReader(store_path)
    reader.fold()
    assert value(reader.view(), "kept") == 5


def test_a_series_that_was_removed_and_is_used_again_outlives_its_process(
    store_path: Path,
) -> None:
    for number in range(3):
        recorder = open_here(store_path)
        events = recorder.child("events_total", kind="a")
        events.inc(5)
        if number == 0:
            recorder.remove(events)
        recorder.close()
        reader = StoreReader(store_path)
        for _ in range(2):
            rows = reader.view().families.get("events_total")
            shown = (
                {labels: series.cells[0] for labels, series in rows.series.items()} if rows else {}
            )
            assert shown == ({("a",): 5 * (number + 1)} if number else {})
            reader.fold()


def test_what_was_recorded_without_a_place_is_not_taken_along(store_path: Path) -> None:
    recorder = open_here(store_path)
    kept = [recorder.child("events_total", kind=f"{LONG}{number}") for number in range(MANY)]
    depth, fact = recorder.child("depth"), recorder.child("fact")
    depth.set(5)
    fact.set(6)
    for child in kept[: MANY // 2]:
        recorder.remove(child)

    churn(recorder, 10)
    fact.set(7, stamp=1.0)

    view = StoreReader(store_path).view()
    assert len(block_paths(store_path)) == 2
    assert value(view, "fact") == 7
    assert value(view, "depth") in {0, 5}


def test_a_label_set_keeps_its_row_or_its_place_in_other(store_path: Path) -> None:
    few = (counter("events_total", "Events.", Label("kind"), max_series=3), *FAMILIES[2:])
    first, second = (open_recorder(store_path, "frontend", families=few) for _ in range(2))
    reader = StoreReader(store_path)

    def rows() -> dict[str, float]:
        return {
            labels[0]: series.cells[0]
            for labels, series in reader.view().families["events_total"].series.items()
        }

    for kind in "de":
        second.child("events_total", kind=kind).inc(100)
    assert rows() == {"d": 100, "e": 100}
    for kind in "abc":
        first.child("events_total", kind=kind).inc()
    assert rows() == {"d": 100, "e": 100, "a": 1, OTHER: 2}
    first.remove(first.child("events_total", kind="a"))
    assert rows() == {"d": 100, "e": 100, OTHER: 2}
    second.child("events_total", kind="f").inc(7)
    assert rows() == {"d": 100, "e": 100, "f": 7, OTHER: 2}
    second.close()
    reader.fold()
    assert rows() == {"d": 100, "e": 100, "f": 7, OTHER: 2}
