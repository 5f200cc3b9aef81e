"""The store.

What processes record is in every later view, whatever becomes of them and of the files.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter import CATALOGUE, Label, StoreError, counter, gauge, histogram, open_recorder
from exporter.block.layout import COMMIT_WORD, HEADER_BYTES
from exporter.block.reader import BlockReader
from exporter.directory import OwnedDirectory, block_paths, open_directory
from exporter.store_reader import StoreReader
from exporter.view import View
from tests.unit.exporter.programs import wait_until_recorded

EVENTS = counter("events_total", "Events.", Label("kind"), by=("worker",))
SECONDS = histogram("work_seconds", "Work.", buckets=(0.1, 1.0, 10.0), by=("worker",))
FAMILIES = (
    EVENTS,
    SECONDS,
    gauge("depth", "Depth.", by=("worker",)),
    gauge("highest", "Highest.", by=("worker",), merge="max"),
    gauge("lowest", "Lowest.", by=("worker",), merge="min"),
    gauge("newest", "Newest.", by=("worker",), merge="latest"),
    gauge("fact", "Fact.", by=("worker",), merge="max", absent=True),
)

# A process that records as told on its command line, says so, and waits to be killed.
WRITER = """
import sys
from pathlib import Path
from exporter import CATALOGUE, Label, counter, gauge, histogram, open_recorder
families = (
    counter("events_total", "Events.", Label("kind"), by=("worker",)),
    histogram("work_seconds", "Work.", buckets=(0.1, 1.0, 10.0), by=("worker",)),
    gauge("depth", "Depth.", by=("worker",)),
    *(family for family in CATALOGUE if family.name.startswith("inferometer_process_")),
)
recorder = open_recorder(Path(sys.argv[1]), sys.argv[2], families=families)
recorder.child("events_total", kind="a").inc(float(sys.argv[3]))
recorder.child("work_seconds").observe(0.5)
recorder.child("depth").set(7)
print("recorded", flush=True)
sys.stdin.read()
"""


def start_writer(path: Path, amount: float, role: str = "frontend") -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), role, str(amount)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    wait_until_recorded(process)
    return process


def end(process: subprocess.Popen[str], number: int) -> None:
    process.send_signal(number)
    process.wait()
    for stream in (process.stdin, process.stdout):
        assert stream is not None
        stream.close()


def value(view: View, name: str, *labels: str) -> float:
    return view.families[name].series[labels].cells[0]


def test_increments_of_all_threads_are_counted(store_path: Path) -> None:
    recorder = open_recorder(store_path, "worker", families=FAMILIES)
    child = recorder.child("events_total", kind="a")

    def work() -> None:
        for _ in range(5_000):
            child.inc()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert value(StoreReader(store_path).view(), "events_total", "a") == 40_000


def test_a_killed_process_counts_on_and_its_gauges_end(store_path: Path) -> None:
    survivor = start_writer(store_path, 1)
    victim = start_writer(store_path, 41)
    reader = StoreReader(store_path)
    assert value(reader.view(), "depth") == 14

    end(victim, signal.SIGKILL)

    view = reader.view()
    assert value(view, "events_total", "a") == 42
    assert value(view, "depth") == 7
    end(survivor, signal.SIGKILL)


def test_folding_changes_no_total_and_leaves_no_block(store_path: Path) -> None:
    for amount in range(1, 6):
        end(start_writer(store_path, amount), signal.SIGKILL)
    reader = StoreReader(store_path)
    before = reader.view()

    reader.fold()

    after = reader.view()
    assert block_paths(store_path) == []
    assert value(after, "events_total", "a") == value(before, "events_total", "a") == 15
    assert after.families["work_seconds"].series[()].cells == [2.5, 0, 5, 0, 0]
    assert value(after, "inferometer_process_exits_total", "frontend", "signal") == 5
    assert value(after, "inferometer_process_starts_total", "frontend") == 5


def test_cpu_seconds_never_fall_when_a_process_is_folded(store_path: Path) -> None:
    process = start_writer(store_path, 1)
    reader = StoreReader(store_path)
    before = value(reader.view(), "inferometer_process_cpu_seconds_total", "frontend")

    end(process, signal.SIGKILL)
    reader.fold()

    after = value(reader.view(), "inferometer_process_cpu_seconds_total", "frontend")
    assert 0 < before <= after


def test_a_clean_exit_is_counted_as_one(store_path: Path) -> None:
    process = start_writer(store_path, 1, "runner")
    assert process.stdin is not None
    process.stdin.close()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()

    view = StoreReader(store_path).view()

    assert value(view, "inferometer_process_exits_total", "runner", "exit") == 1


def test_a_block_folded_but_not_deleted_is_not_counted_again(store_path: Path) -> None:
    end(start_writer(store_path, 5), signal.SIGKILL)
    (block,) = block_paths(store_path)
    content = block.read_bytes()
    StoreReader(store_path).fold()

    # As if the fold had been killed between the rename of `retired` and the deletion of the block.
    block.write_bytes(content)

    reader = StoreReader(store_path)
    assert value(reader.view(), "events_total", "a") == 5
    reader.fold()
    assert block_paths(store_path) == []
    assert value(reader.view(), "events_total", "a") == 5


def test_an_interrupted_fold_loses_nothing(store_path: Path) -> None:
    end(start_writer(store_path, 5), signal.SIGKILL)
    (store_path / "retired.new").write_bytes(b"half of something")

    reader = StoreReader(store_path)
    reader.fold()

    assert value(reader.view(), "events_total", "a") == 5


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("depth", [3, 4], 7),
        ("highest", [3, 4], 4),
        ("lowest", [3, 4], 3),
        ("newest", [3, 4], 3),
    ],
)
def test_gauges_merge_by_their_rule(
    store_path: Path, name: str, values: list[float], expected: float
) -> None:
    recorders = [open_recorder(store_path, "worker", families=FAMILIES) for _ in values]
    for stamp, (recorder, number) in enumerate(zip(recorders, values, strict=True)):
        recorder.child(name).set(number, stamp=10.0 - stamp)

    assert value(StoreReader(store_path).view(), name) == expected


def test_an_unset_gauge_shows_0_or_is_absent_as_declared(store_path: Path) -> None:
    recorder = open_recorder(store_path, "worker", families=FAMILIES)
    recorder.child("fact")

    view = StoreReader(store_path).view()

    assert value(view, "highest") == 0
    assert view.families.get("fact") is None


@given(
    observations=st.lists(st.floats(0, 100), max_size=50),
    workers=st.integers(1, 3),
    data=st.data(),
)
@settings(max_examples=25, deadline=None)
def test_any_split_over_processes_merges_to_the_histogram_of_all(
    observations: list[float],
    workers: int,
    data: st.DataObject,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = tmp_path_factory.mktemp("store")
    recorders = [open_recorder(path, "worker", families=FAMILIES) for _ in range(workers)]
    for observation in observations:
        index = data.draw(st.integers(0, workers - 1))
        recorders[index].child("work_seconds").observe(observation)

    total, *counts = StoreReader(path).view().families["work_seconds"].series[()].cells

    edges = [0.1, 1.0, 10.0]
    expected = [sum(1 for o in observations if o <= edge) for edge in edges]
    assert [sum(counts[: n + 1]) for n in range(3)] == expected
    assert sum(counts) == len(observations)
    assert total == pytest.approx(sum(observations))
    for recorder in recorders:
        recorder.close()


def make_block(path: Path) -> bytes:
    process = start_writer(path, 3)
    (block,) = block_paths(path)
    # The interesting part: header, table, the first values. The rest is a hole of 15 MiB.
    content = block.read_bytes()
    end(process, signal.SIGKILL)
    block.unlink()
    return content


def test_a_block_cut_at_any_length_never_breaks_a_view(store_path: Path) -> None:
    content = make_block(store_path)
    keeper = open_recorder(store_path, "worker", families=FAMILIES)
    keeper.child("events_total", kind="b").inc()
    target = store_path / "worker-1-0000000000000001.block"

    for length in [*range(256), *range(256, len(content), 16_383)]:
        target.write_bytes(content[:length])
        reader = StoreReader(store_path)
        assert value(reader.view(), "events_total", "b") == 1
        assert sum(reader.skipped.values()) == 1, length


@given(position=st.integers(0, HEADER_BYTES + 4096), noise=st.binary(min_size=1, max_size=64))
@settings(max_examples=100, deadline=None)
def test_random_bytes_in_a_block_never_break_a_view(
    position: int, noise: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("store")
    recorder = open_recorder(path, "worker", families=FAMILIES)
    recorder.child("events_total", kind="b").inc()
    (block,) = block_paths(path)
    recorder.close()
    content = bytearray(block.read_bytes()[: HEADER_BYTES + 8192])
    content[position : position + len(noise)] = noise
    with block.open("r+b") as file:
        file.write(content)

    StoreReader(path).view()


@pytest.mark.parametrize(
    ("reason", "make"),
    [
        ("empty", lambda path: path.write_bytes(b"")),
        ("truncated", lambda path: path.write_bytes(b"INFEROM\0")),
        ("magic", lambda path: path.write_bytes(b"x" * 5000)),
        ("not_regular", lambda path: path.symlink_to("/etc/passwd")),
        ("not_regular", os.mkfifo),
        ("not_regular", lambda path: path.mkdir()),
    ],
    ids=["empty", "cut", "foreign", "link", "fifo", "folder"],
)
def test_what_is_no_block_is_skipped_and_counted(
    store_path: Path, reason: str, make: Callable[[Path], object]
) -> None:
    make(store_path / "worker-1-0000000000000001.block")
    reader = StoreReader(store_path)

    reader.view()

    assert reader.skipped[reason] == 1


def test_every_earlier_commit_word_yields_a_prefix(store_path: Path) -> None:
    recorder = open_recorder(store_path, "worker", families=FAMILIES)
    for kind in "abcdef":
        recorder.child("events_total", kind=kind).inc()
    (block,) = block_paths(store_path)
    content = bytearray(block.read_bytes())
    full = BlockReader(block)
    full.refresh()
    committed = int.from_bytes(content[COMMIT_WORD * 8 : COMMIT_WORD * 8 + 8], "little")
    copy = store_path / "copy.block"

    for earlier in range(0, committed, 8):
        content[COMMIT_WORD * 8 : COMMIT_WORD * 8 + 8] = earlier.to_bytes(8, "little")
        copy.write_bytes(content)
        prefix = BlockReader(copy)
        prefix.refresh()
        for number, series in prefix.table.series.items():
            assert series == full.table.series[number][: len(series)]


def test_a_second_server_on_a_store_is_refused(store_path: Path) -> None:
    first = OwnedDirectory(store_path / "own")

    with pytest.raises(StoreError, match="in use by another server"):
        OwnedDirectory(store_path / "own")

    first.remove()
    assert not (store_path / "own").exists()


def test_a_store_that_others_can_write_is_refused(store_path: Path) -> None:
    store_path.chmod(0o777)

    with pytest.raises(StoreError, match="writable by others"):
        open_directory(store_path)


def test_a_symbolic_link_is_no_store(store_path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(store_path)

    with pytest.raises(StoreError, match="symbolic links are refused"):
        open_directory(link)


def test_every_catalogue_row_is_recorded_from_0(store_path: Path) -> None:
    recorder = open_recorder(store_path, "frontend", families=CATALOGUE)

    recorder.declare(model="digits", version="1")

    view = StoreReader(store_path).view()
    assert value(view, "inferometer_requests_total", "digits", "1", "tf_serving", "200") == 0
    assert len(view.families["inferometer_request_phase_seconds"].series) == 6
