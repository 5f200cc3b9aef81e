"""Who is alive and who is dead, and a fold that is killed at any of its lines."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from exporter import CATALOGUE, gauge
from exporter.block.layout import HEADER_BYTES, BlockHeader
from exporter.directory import block_paths
from exporter.store_reader import StoreReader
from exporter.view import View
from tests.unit.exporter.programs import wait_until_recorded

FAMILIES = (
    gauge("waiting_seconds", "Age of what waits longest.", merge="age"),
    gauge("stalled", "1 when a sign of life is overdue.", merge="overdue"),
    *(family for family in CATALOGUE if family.name.startswith("inferometer_process_")),
)

# Records, says so, and waits to be killed. The second argument is run first.
WRITER = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from test_liveness import FAMILIES
from exporter import counter, open_recorder
events = counter("events_total", "Events.")
recorder = open_recorder(Path(sys.argv[1]), "frontend", families=[*FAMILIES, events])
recorder.child("events_total").inc(5)
recorder.child("waiting_seconds").set(time.monotonic())
recorder.child("stalled").set(time.monotonic() + 0.3)
exec(sys.argv[2])
print("recorded", flush=True)
sys.stdin.read()
"""


def start_writer(path: Path, more: str = "") -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), more, str(Path(__file__).parent)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    wait_until_recorded(process)
    return process


def value(view: View, name: str, *labels: str) -> float:
    return view.families[name].series[labels].cells[0]


def is_dead(path: Path) -> bool:
    view = StoreReader(path).view()
    assert value(view, "events_total") == 5
    exits = value(view, "inferometer_process_exits_total", "frontend", "signal")
    assert (exits == 1) == (not view.processes)
    return not view.processes


@pytest.mark.parametrize("other", [{"start_time": 1}, {"boot_id": b"another boot id!"}])
def test_a_pid_that_another_process_has_now_is_a_dead_process(
    store_path: Path, other: dict[str, Any]
) -> None:
    """The lock is still held, as a stray child of the dead process would hold it."""
    with start_writer(store_path) as process:
        assert not is_dead(store_path)
        (block,) = block_paths(store_path)
        with block.open("r+b") as file:
            header = BlockHeader.decode(file.read(HEADER_BYTES), block.stat().st_size)
            file.seek(0)
            # Only what does not change: the rest of the header is the process's to write.
            file.write(dataclasses.replace(header, **other).encode()[:128])

        assert is_dead(store_path)
        process.kill()


def test_a_child_forked_past_python_does_not_keep_its_parent_alive(store_path: Path) -> None:
    fork = """
import ctypes
libc = ctypes.CDLL(None)
child = libc.fork()
child or libc.pause()
Path(sys.argv[1], "child").write_text(str(child))
"""
    with start_writer(store_path, fork) as process:
        child = int((store_path / "child").read_text())
        process.kill()
        process.wait()
        try:
            assert is_dead(store_path)
        finally:
            os.kill(child, signal.SIGKILL)


def test_gauges_of_time_move_on_while_their_writer_is_stopped(store_path: Path) -> None:
    with start_writer(store_path) as process:
        process.send_signal(signal.SIGSTOP)
        reader = StoreReader(store_path)
        first = value(reader.view(), "waiting_seconds")
        deadline = time.monotonic() + 10
        while value(reader.view(), "stalled") == 0:
            assert time.monotonic() < deadline
        assert value(reader.view(), "waiting_seconds") > first
        process.kill()


PARTS = 4

# Folds, and kills itself when so many lines of the fold have been run.
FOLDER = """
import os, signal, sys
from pathlib import Path
from exporter.store_reader import StoreReader
lines_left = int(sys.argv[2])
def each_line(frame, event, argument):
    global lines_left
    if event == "line":
        lines_left -= 1
        if not lines_left:
            os.kill(os.getpid(), signal.SIGKILL)
    return each_line
def each_call(frame, event, argument):
    if frame.f_code.co_name in ("fold", "_delete", "_still_there", "delete_stale_new_files"):
        return each_line
sys.settrace(each_call)
StoreReader(Path(sys.argv[1])).fold()
print(-lines_left)
"""


def fold_until(path: Path, lines: int) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", FOLDER, str(path), str(lines)],
        capture_output=True,
        text=True,
        check=False,
    )


# It starts many processes: in parts they are shared out between the cores.
@pytest.mark.parametrize("part", range(PARTS))
def test_a_fold_killed_at_any_of_its_lines_loses_and_doubles_nothing(
    part: int, store_path: Path
) -> None:
    def leave_dead(path: Path) -> None:
        for _ in range(2):
            with start_writer(path) as process:
                process.kill()

    leave_dead(store_path / "all")
    lines = int(fold_until(store_path / "all", 0).stdout)
    assert lines > 30

    path = store_path / "store"
    dead = 0
    for stop in range(1, lines, max(1, lines // 15))[part::PARTS]:
        leave_dead(path)
        dead += 2
        assert fold_until(path, stop).returncode == -signal.SIGKILL
        view = StoreReader(path).view()
        assert value(view, "events_total") == 5 * dead
        assert value(view, "inferometer_process_exits_total", "frontend", "signal") == dead
        assert value(view, "inferometer_process_starts_total", "frontend") == dead
        if stop % 2:  # Else the next one finds what two have left.
            assert fold_until(path, 0).returncode == 0
            assert block_paths(path) == []
