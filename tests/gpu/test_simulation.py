"""GPUs that are simulated for those who have none: every family, marked, and with the load."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.catalogue.gpu import FAMILIES
from exporter.gpu import simulation
from exporter.gpu.counters import BusyIntegral
from exporter.gpu.simulation import SimulatedDriver
from exporter.view import LiveProcess
from tests.gpu.stand_in import WHOLE, Gpus, Reading, exporter_of
from tests.live.servers import wait_for

RUNNER = """
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from exporter import CATALOGUE, open_recorder
recorder = open_recorder(Path(sys.argv[1]), "runner", families=CATALOGUE)
labels = {"model": "digits", "version": "1", "device": "cpu"}
busy = recorder.child("inferometer_device_busy_seconds_total", **labels)
print("open", flush=True)
for line in sys.stdin:
    busy.inc(float(line))
"""

# Nothing goes wrong with a simulated GPU.
NEVER = {"inferometer_gpu_xid_last_timestamp_seconds"}


@contextmanager
def runner(store: Path) -> Iterator[Callable[[float], None]]:
    """Run a process that says to have computed for as many seconds as it is told."""
    command = [sys.executable, "-c", RUNNER, str(store)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        to_process = process.stdin

        def compute(seconds: float) -> None:
            to_process.write(f"{seconds}\n")
            to_process.flush()

        yield compute


def test_simulated_gpus_have_everything_follow_the_load_and_are_marked(gpus: Gpus, store: Path):
    gpus.say(WHOLE)
    with runner(store) as compute, exporter_of(gpus, store, "--gpu.simulate=2") as running:

        def reading() -> Reading:
            return Reading(running.get()[2].decode())

        def uuids() -> list[str]:
            return sorted(each["gpu_uuid"] for each in reading().labels("info"))

        wait_for(lambda: len(uuids()) == 2, "there are two")
        first, second = uuids()

        def both(name: str) -> list[float]:
            found = reading()
            return [found.get(name, gpu_uuid=uuid) or 0.0 for uuid in (first, second)]

        wait_for(lambda: both("busy_seconds_total") == [0, 0] and both("up") == [1, 1], "idle")
        idle = reading()
        compute(3.0)
        wait_for(lambda: max(both("power_watts")) > 500, "they are busy")
        wait_for(lambda: both("busy_seconds_total") == pytest.approx([1.5, 1.5]), "all is done")
        wait_for(lambda: both("power_watts") == [70, 70], "they rest")
        rested = reading()
        text = running.get()[2].decode()
        page = running.get("/")[2].decode()
        log = running.log.read_text()

    assert 70 == idle.get("power_watts", gpu_uuid=first)
    missing = {one.name for one in FAMILIES if f"\n{one.name}" not in text}
    assert missing == NEVER
    assert {"true"} == {each["simulated"] for each in rested.labels("info")}
    own = rested.get("serving_sm_busy_seconds_total", gpu_uuid=first)
    assert 1.5 == pytest.approx(own, rel=0.02)
    assert 0 == rested.get("other_memory_used_bytes", gpu_uuid=first)
    assert "simulated" in page
    assert 1 == log.count("GPUs are simulated: 2")
    assert [] == gpus.trace()


class Clock:
    """A clock that is set by hand, and a server whose load is."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.busy_seconds, self.mark = 0.0, "abcd"
        self.processes = [LiveProcess("runner", 1, 1)]

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return 1.7e9 + self.now


@given(steps=st.lists(st.sampled_from([0.05, 0.3, 1.0, 1.2, 5.0, 31.0]), min_size=1, max_size=40))
def test_busy_time_is_that_of_the_load_however_often_it_is_read(steps: list[float]):
    clock, integral = Clock(), BusyIntegral()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(simulation, "time", clock)
        driver = SimulatedDriver(1, clock)  # type: ignore[arg-type]
        device = driver.devices().devices[0]
        joules, busy, gaps = 0.0, 0.0, 0
        for step in (0.0, *steps):
            clock.now += step
            clock.busy_seconds += step / 2
            reading = driver.read_fast(device)
            joules = reading.accumulators[0].raw * reading.accumulators[0].unit
            since = integral.clock.since_us(clock.now)
            more, missing = integral.add(
                driver.samples(device, memory=False, since_us=since) or [], clock.now
            )
            busy, gaps = busy + more, gaps + missing

    total = sum(steps)
    assert gaps == 0
    assert busy == pytest.approx(total / 2, rel=1e-6, abs=1e-4)
    assert joules == pytest.approx(70 * total + 490 * total / 2, rel=1e-3, abs=1)


def test_more_load_than_a_gpu_can_bear_ends_with_the_load():
    clock = Clock()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(simulation, "time", clock)
        driver = SimulatedDriver(1, clock)  # type: ignore[arg-type]
        device = driver.devices().devices[0]
        loads = []
        for second in range(130):
            clock.now += 1
            clock.busy_seconds += 2 if second < 100 else 0
            rows = {row.name: row.value for row in driver.read_fast(device).rows}
            loads.append(rows["utilization_ratio"])

    assert set(loads[1:100]) == {1.0}
    assert set(loads[110:]) == {0.0}


@pytest.mark.parametrize("number", ["-1", "1.5", "many", "65"])
def test_number_of_simulated_gpus_is_checked(store: Path, number: str):
    done = subprocess.run(
        [sys.executable, "-m", "exporter", f"--store.path={store}", f"--gpu.simulate={number}"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 2
    assert "--gpu.simulate" in done.stderr
