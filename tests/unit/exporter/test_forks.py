"""Forks, exemplars and the cardinality guard.

A forked process records on with the children it inherited, into a block of its own.
"""

import subprocess
import sys
from pathlib import Path

from exporter import (
    CATALOGUE,
    Label,
    counter,
    gauge,
    histogram,
)
from exporter.directory import block_paths
from exporter.store_reader import StoreReader

FAMILIES = (
    counter("events_total", "Events.", Label("kind"), by=("frontend",)),
    histogram("work_seconds", "Work.", buckets=(0.1, 1.0), by=("frontend",), native=True),
    gauge("depth", "Depth.", by=("frontend",)),
    *(family for family in CATALOGUE if family.name.startswith("inferometer_process_")),
)

PROGRAM = """
import os, sys, threading
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from test_forks import FAMILIES
from exporter import open_recorder
recorder = open_recorder(Path(sys.argv[1]), "frontend", families=FAMILIES, tick_seconds=0.05)
events = recorder.child("events_total", kind="a")
depth = recorder.child("depth")
record = recorder.bundle((events,), (recorder.child("work_seconds"),))
events.inc()
depth.inc()
"""


def run(store_path: Path, body: str) -> None:
    # From 3.12 Python warns of what is tested here.
    expected = "ignore:This process:DeprecationWarning"
    arguments = [sys.executable, "-W", "error", "-W", expected]
    arguments += ["-c", PROGRAM + body, str(store_path)]
    program = subprocess.run(
        [*arguments, sys.executable, str(Path(__file__).parent)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (program.returncode, program.stderr) == (0, "")


def values(path: Path) -> dict[str, float]:
    view = StoreReader(path).view()
    return {
        "/".join((name, *labels)): series.cells[0]
        for name, merged in view.families.items()
        for labels, series in merged.series.items()
    }


def test_a_forked_child_records_into_a_block_of_its_own(store_path: Path) -> None:
    run(
        store_path,
        """
children = []
for _ in range(3):
    pid = os.fork()
    if pid == 0:
        for _ in range(10):
            events.inc()
            record((1,), (0.5,))
        depth.set(1)
        os._exit(0)
    children.append(pid)
assert [os.waitpid(pid, 0)[1] for pid in children] == [0, 0, 0]
events.inc()
""",
    )

    assert len(block_paths(store_path)) == 4
    found = values(store_path)
    assert found["events_total/a"] == 2 + 3 * 20
    assert found["work_seconds"] == 15
    assert found["inferometer_process_starts_total/frontend"] == 4
    assert found["inferometer_process_exits_total/frontend/signal"] == 3
    assert found["inferometer_process_exits_total/frontend/exit"] == 1


def test_a_forked_child_that_never_records_leaves_no_file(store_path: Path) -> None:
    run(
        store_path,
        """
import time
pid = os.fork()
if pid == 0:
    recorder.tick()
    recorder.close()
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
""",
    )

    assert len(block_paths(store_path)) == 1
    assert values(store_path)["inferometer_process_starts_total/frontend"] == 1


def test_forking_while_other_threads_record_does_not_deadlock(store_path: Path) -> None:
    run(
        store_path,
        """
stop = threading.Event()
def work():
    while not stop.is_set():
        events.inc(0)
        record((0,), (0.5,))
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads:
    thread.start()
for _ in range(30):
    pid = os.fork()
    if pid == 0:
        events.inc()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
stop.set()
for thread in threads:
    thread.join()
""",
    )

    assert values(store_path)["events_total/a"] == 31


def test_a_grandchild_records_too_and_the_parents_block_ends_with_the_parent(
    store_path: Path,
) -> None:
    run(
        store_path,
        """
pid = os.fork()
if pid == 0:
    if os.fork() == 0:
        events.inc(100)
        os._exit(0)
    os.wait()
    events.inc(10)
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
""",
    )

    assert values(store_path)["events_total/a"] == 111


def test_new_series_can_be_made_after_a_fork(store_path: Path) -> None:
    run(
        store_path,
        """
pid = os.fork()
if pid == 0:
    recorder.child("events_total", kind="b").inc(5)
    events.inc()
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
""",
    )

    found = values(store_path)
    assert (found["events_total/a"], found["events_total/b"]) == (2, 5)
