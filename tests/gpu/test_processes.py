"""Which of a GPU's processes are the server's: real processes with real device files."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from exporter.gpu.attribution import HOST_NAMESPACE
from tests.gpu.stand_in import UUID, WHOLE, Gpus, exporter_of, scrape
from tests.live.servers import wait_for

# In a container's own namespace of pids it cannot be told whether a process has ended.
in_hosts_namespace = pytest.mark.skipif(
    Path("/proc/self/ns/pid").stat().st_ino != HOST_NAMESPACE,
    reason="pids are a container's own",
)

# A process of a server: a block of its role in the store, and perhaps the GPU's device file open.
PROCESS = """
import sys
from pathlib import Path
from exporter import CATALOGUE, open_recorder
store, role, device = sys.argv[1:]
recorder = open_recorder(Path(store), role, families=CATALOGUE)
file = open(device) if device else None
print("open", flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def minor() -> Iterator[int]:
    """Make a device file that no driver has; its content does not matter, its name does."""
    number = 4000 + os.getpid() % 1000
    path = Path(f"/dev/nvidia{number}")
    try:
        path.touch(exist_ok=False)
    except OSError as error:
        pytest.skip(f"{path} cannot be made: {error.strerror}")
    yield number
    path.unlink()


@contextmanager
def process(store: Path, role: str, device: str = "") -> Iterator[int]:
    command = [sys.executable, "-c", PROCESS, str(store), role, device]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"open\n"
        yield running.pid
        running.kill()


def with_minor(number: int) -> str:
    return WHOLE.replace("minor=0", f"minor={number}")


def test_own_processes_are_told_from_others(gpus: Gpus, store: Path, minor: int):
    device = f"/dev/nvidia{minor}"
    with (
        exporter_of(gpus, store) as running,
        process(store, "runner", device) as ours,
        process(store, "runner") as without_device,
        process(store, "other-role", device) as of_another_role,
    ):
        gpus.say(
            with_minor(minor),
            f"process 0 pid={ours} memory=100000000",
            f"process 0 pid={without_device} memory=20000000",
            f"process 0 pid={of_another_role} memory=3000000",
            f"process 0 pid={os.getpid()} memory=400000",
        )
        wait_for(lambda: scrape(running).get("processes", gpu_uuid=UUID) == 4, "four processes")
        # They are asked for in the slow tier, the store in each collection.
        wait_for(
            lambda: scrape(running).get("serving_memory_used_bytes", gpu_uuid=UUID) == 1e8,
            "the runner's memory alone",
        )
        reading = scrape(running)

    assert 9e8 == reading.get("other_memory_used_bytes", gpu_uuid=UUID)


@in_hosts_namespace
def test_rows_of_a_process_that_has_ended_go(gpus: Gpus, store: Path, minor: int):
    with exporter_of(gpus, store) as running:
        with process(store, "runner", f"/dev/nvidia{minor}") as ours:
            gpus.say(with_minor(minor), f"process 0 pid={ours} memory=100")
            wait_for(
                lambda: scrape(running).get("serving_memory_used_bytes", gpu_uuid=UUID) == 100,
                "the runner is there",
            )
        # The driver still names it.
        wait_for(
            lambda: scrape(running).get("serving_memory_used_bytes", gpu_uuid=UUID) == 0,
            "it has ended",
        )


def test_memory_that_the_driver_does_not_tell_leaves_no_row(gpus: Gpus, store: Path, minor: int):
    with (
        exporter_of(gpus, store) as running,
        process(store, "runner", f"/dev/nvidia{minor}") as ours,
    ):
        gpus.say(with_minor(minor), f"process 0 pid={ours}")
        wait_for(lambda: scrape(running).get("processes", gpu_uuid=UUID) == 1, "it is there")
        names = scrape(running).names()

    assert "serving_memory_used_bytes" not in names


def test_process_that_appears_between_two_calls_is_asked_for_again(gpus: Gpus, store: Path):
    busy = [f"process 0 pid={os.getpid()} sm=50 time=1000000"]
    # The first call of each pair asks for the size; the second finds that it does not suffice.
    too_small = "code=7 after=1 times=1"
    gpus.say(
        WHOLE,
        *busy,
        f"process 0 pid={os.getpid()} memory=7",
        f"fail nvmlDeviceGetProcessUtilization {too_small}",
        f"fail nvmlDeviceGetComputeRunningProcesses_v3 {too_small}",
    )
    with exporter_of(gpus, store) as running:
        wait_for(lambda: scrape(running).get("processes", gpu_uuid=UUID) == 1, "it is there")
        reading = scrape(running)

    assert {None, 0.0} >= {reading.get("errors_total", error="other")}
    assert reading.has_succeeded


@in_hosts_namespace
def test_own_share_of_the_multiprocessors_is_integrated(gpus: Gpus, store: Path, minor: int):
    name = "serving_sm_busy_seconds_total"
    with (
        exporter_of(gpus, store) as running,
        process(store, "runner", f"/dev/nvidia{minor}") as ours,
    ):
        first = [f"process 0 pid={ours} sm=90 time=1000000"]
        gpus.say(with_minor(minor), *first)
        wait_for(lambda: scrape(running).get(name, gpu_uuid=UUID) == 0, "the baseline")
        # Beside another's, one that has ended, and places of the buffer that were never filled.
        gpus.say(
            with_minor(minor),
            f"process 0 pid={ours} sm=25 time=1000100",
            f"process 0 pid={os.getpid()} sm=50 time=1000100",
            f"process 0 pid={2**22 + 1} sm=1 time=1000050",
            f"process 0 pid={0xDEADBEEF} sm=99 time={2**62}",
            "process 0 pid=0 sm=99 time=1020000",
        )
        wait_for(lambda: scrape(running).get(name, gpu_uuid=UUID), "it is counted")
        first_share = scrape(running).get(name, gpu_uuid=UUID)
        # An hour later by the driver's clock, which may be set: no more than has really passed.
        begun = time.monotonic()
        gpus.say(with_minor(minor), f"process 0 pid={ours} sm=100 time=3601000000")
        wait_for(lambda: scrape(running).get(name, gpu_uuid=UUID) != first_share, "it goes on")
        second_share = scrape(running).get(name, gpu_uuid=UUID) or 0.0

    assert 0.0001 * 0.25 == pytest.approx(first_share)
    assert second_share <= time.monotonic() - begun + 0.5
