"""What the collector does as drivers break, GPUs vanish and return, and libraries are replaced."""

import errno
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.gpu.stand_in import LIBRARY, UUID, WHOLE, Gpus, build, exporter_of, scrape
from tests.live.servers import wait_for

OTHER = "GPU-99999999-1111-2222-3333-444444444444"
SECOND = f"gpu 1 uuid={OTHER} name=Other memory_total=100 memory_used=10"
# One failure after which the driver is opened anew.
BREAK = "fail nvmlDeviceGetUtilizationRates code=1 times=1"
EX_TEMPFAIL = 75


def test_rows_follow_the_uuid_when_the_order_changes(gpus: Gpus, store: Path):
    gpus.say(WHOLE, SECOND)
    with exporter_of(gpus, store) as running:
        wait_for(lambda: scrape(running).get("up", gpu_uuid=OTHER) == 1, "both are up")
        gpus.say(WHOLE, SECOND, "order 1 0", BREAK)
        wait_for(lambda: gpus.calls()["nvmlInitWithFlags"] == 2, "the driver is opened anew")
        wait_for(lambda: scrape(running).get("power_watts", gpu_uuid=UUID), "it is back")
        reading = scrape(running)

    places = {labels["gpu_uuid"]: labels["index"] for labels in reading.labels("info")}
    assert {UUID: "1", OTHER: "0"} == places
    assert 1e9 == reading.get("memory_used_bytes", gpu_uuid=UUID)
    assert 10 == reading.get("memory_used_bytes", gpu_uuid=OTHER)


def test_gpu_that_vanishes_stays_down_until_it_is_back(gpus: Gpus, store: Path):
    gpus.say(WHOLE, SECOND)
    with exporter_of(gpus, store) as running:
        wait_for(lambda: scrape(running).get("devices") == 2, "both are up")
        gpus.say(WHOLE, SECOND, "order 0", BREAK)
        wait_for(lambda: scrape(running).get("devices") == 1, "one is gone")
        gone = scrape(running)
        gpus.say(WHOLE, SECOND, "order 1 0", BREAK)
        wait_for(lambda: scrape(running).get("devices") == 2, "both are back")
        back = scrape(running)

    assert {"info", "up", "visible"} == gone.names(OTHER)
    assert (1, 0) == (gone.get("up", gpu_uuid=UUID), gone.get("up", gpu_uuid=OTHER))
    assert (1, 1) == (back.get("up", gpu_uuid=UUID), back.get("up", gpu_uuid=OTHER))
    assert back.has_succeeded


def test_gpu_that_is_lost_from_the_start_keeps_no_other_from_being_shown(gpus: Gpus, store: Path):
    gpus.say(WHOLE, SECOND, "fail nvmlDeviceGetHandleByIndex_v2 code=15 gpu=1")
    with exporter_of(gpus, store) as running:
        wait_for(lambda: scrape(running).get("up", gpu_uuid=UUID) == 1, "the other is up")
        reading = scrape(running)

    assert (1, 1) == (reading.get("devices"), gpus.calls()["nvmlInitWithFlags"])


@pytest.mark.slow
def test_lost_gpu_is_looked_for_once_a_minute(gpus: Gpus, store: Path):
    lost = "fail nvmlDeviceGetMemoryInfo_v2 code=15 gpu=1"
    gpus.say(WHOLE, SECOND, lost)
    with exporter_of(gpus, store) as running:
        wait_for(lambda: scrape(running).get("up", gpu_uuid=OTHER) == 0, "it is lost")
        gpus.say(WHOLE, SECOND, "order 0")
        wait_for(lambda: gpus.calls()["nvmlInitWithFlags"] == 2, "a second look")
        wait_for(lambda: scrape(running).get("power_watts", gpu_uuid=UUID), "the other is read")
        before = gpus.calls()["nvmlDeviceGetUtilizationRates"]
        wait_for(
            lambda: gpus.calls()["nvmlDeviceGetUtilizationRates"] > before + 20, "some collections"
        )

    assert 2 == gpus.calls()["nvmlInitWithFlags"]


def test_call_that_alone_fails_leaves_the_driver_open(gpus: Gpus, store: Path):
    gpus.say(WHOLE, "fail nvmlDeviceGetUtilizationRates code=999 after=1")
    with exporter_of(gpus, store) as running:
        wait_for(lambda: scrape(running).get("errors_total", error="unknown") == 3, "three")
        reading = scrape(running)

    # Between them other calls succeeded.
    assert 1 == reading.get("up", gpu_uuid=UUID)
    assert 0 == gpus.calls()["nvmlShutdown"]


@pytest.mark.parametrize(("code", "error"), [(999, "unknown"), (10, "timeout")])
def test_driver_of_which_nothing_answers_is_opened_anew(
    gpus: Gpus, store: Path, code: int, error: str
):
    gpus.say(
        WHOLE.replace(" gpm=1", ""),
        f"fail nvmlDeviceGetMemoryInfo_v2 code={code} after=1 times=1",
        # This one stands in when the one before fails.
        f"fail nvmlDeviceGetMemoryInfo code={code} times=1",
        f"fail nvmlDeviceGetUtilizationRates code={code} after=1 times=1",
    )
    with exporter_of(gpus, store) as running:
        wait_for(lambda: gpus.calls()["nvmlInitWithFlags"] == 2, "it is opened anew")
        wait_for(lambda: scrape(running).get("power_watts", gpu_uuid=UUID), "it is back")
        reading = scrape(running)

    assert 3 == reading.get("errors_total", error=error)


def test_version_mismatch_ends_the_exporter_if_the_library_was_replaced(
    libraries: Path, tmp_path: Path, store: Path
):
    installed = tmp_path / "lib" / LIBRARY
    installed.parent.mkdir()
    shutil.copy(build(libraries), installed)
    gpus = Gpus(tmp_path, installed)
    gpus.say(WHOLE)
    mismatch = "fail nvmlDeviceGetUtilizationRates code=18"
    with exporter_of(gpus, store) as running:
        wait_for(lambda: scrape(running).get("up", gpu_uuid=UUID) == 1, "the GPU is up")
        # The same library still: another process would be no better.
        gpus.say(WHOLE, mismatch + " times=1")
        wait_for(lambda: gpus.calls()["nvmlInitWithFlags"] == 2, "opened anew")
        wait_for(lambda: scrape(running).get("up", gpu_uuid=UUID) == 1, "the GPU is up")
        assert running.process.poll() is None

        new = installed.with_suffix(".new")
        shutil.copy(build(libraries), new)
        new.rename(installed)
        gpus.say(WHOLE, mismatch)
        code = running.process.wait(10)
    gpus.say(WHOLE)
    with exporter_of(gpus, store) as running:
        wait_for(lambda: scrape(running).get("up", gpu_uuid=UUID) == 1, "the next one is well")
        reading = scrape(running)

    assert code == EX_TEMPFAIL
    assert 2 == reading.get("errors_total", error="lib_rm_version_mismatch")


def test_driver_that_hangs_for_ever_ends_the_exporter_and_frees_its_port(gpus: Gpus, store: Path):
    gpus.say("hang nvmlInitWithFlags", WHOLE)
    flags = ("--gpu.timeout=0.2", "--gpu.hang-restart=1")
    with exporter_of(gpus, store, *flags) as running:
        wait_for(lambda: scrape(running).get("collect_stuck") == 1, "the start is stuck")
        code = running.process.wait(10)
        with socket.create_server(("127.0.0.1", running.ports[0])):
            log = running.log.read_text()

    assert code == EX_TEMPFAIL
    assert 1 == log.count("does not return from nvmlInitWithFlags")


def test_driver_that_hangs_for_ever_is_waited_for_unless_told_otherwise(gpus: Gpus, store: Path):
    gpus.say("hang nvmlInitWithFlags", WHOLE)
    with exporter_of(gpus, store, "--gpu.timeout=0.1") as running:
        wait_for(lambda: scrape(running).get("collect_stuck") == 1, "the start is stuck")
        seen = running.get("/")[2].decode()
        with pytest.raises(OSError, match="in use") as refused:
            socket.create_server(("127.0.0.1", running.ports[0]))

    assert refused.value.errno == errno.EADDRINUSE
    assert "simulated" not in seen


def test_slow_driver_is_waited_for_and_its_last_reading_serves_meanwhile(gpus: Gpus, store: Path):
    gpus.say(WHOLE)
    with exporter_of(gpus, store, "--gpu.interval=300", "--gpu.min-age=0") as running:
        wait_for(lambda: scrape(running).get("power_watts", gpu_uuid=UUID) == 70.5, "first")
        changed = WHOLE.replace("f185=1:70500", "f185=1:80500")
        gpus.say(changed, "delay nvmlDeviceGetUtilizationRates ms=150")
        waited = scrape(running)
        gpus.say(
            changed.replace("f185=1:80500", "f185=1:90500"),
            "delay nvmlDeviceGetUtilizationRates ms=2500",
        )
        meanwhile = scrape(running)
        wait_for(lambda: scrape(running).get("power_watts", gpu_uuid=UUID) == 90.5, "third")

    assert 80.5 == waited.get("power_watts", gpu_uuid=UUID)
    assert 80.5 == meanwhile.get("power_watts", gpu_uuid=UUID)
    assert meanwhile.has_succeeded


def test_reading_that_is_too_old_is_not_shown(gpus: Gpus, store: Path):
    gpus.say(WHOLE)
    with exporter_of(gpus, store, "--gpu.timeout=60") as running:
        wait_for(lambda: scrape(running).get("up", gpu_uuid=UUID) == 1, "the GPU is up")
        # Longer than three intervals, yet not called stuck.
        gpus.say(WHOLE, "hang nvmlDeviceGetUtilizationRates")
        wait_for(lambda: scrape(running).names() == set(), "nothing is shown")
        reading = scrape(running)
        gpus.say(WHOLE)

    assert 0 == reading.get("collect_stuck")
    assert not reading.has_succeeded


def test_library_without_devices_is_no_failure(gpus: Gpus, store: Path):
    gpus.say("driver 590.48.01")
    with exporter_of(gpus, store) as running:
        wait_for(lambda: scrape(running).get("devices") == 0, "there are none")
        reading = scrape(running)

    assert reading.names() == set()
    assert reading.has_succeeded


FORKED = """
import os, sys
from exporter.gpu.driver import DriverBroken
from exporter.gpu.nvml import NvmlDriver
driver = NvmlDriver()
driver.open()
device = driver.devices()[0]
child = os.fork()
if child == 0:
    try:
        found = driver.read_fast(device)
        os._exit(1)
    except DriverBroken:
        os._exit(0)
status = os.waitpid(child, 0)[1]
driver.read_fast(device)
driver.close()
print(child)
sys.exit(status)
"""


def test_forked_process_never_calls_the_library(gpus: Gpus):
    gpus.say(WHOLE)
    done = subprocess.run(
        [sys.executable, "-c", FORKED],
        env={"PATH": "", **gpus.environment}, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) not in {thread for _, thread, *_ in gpus.trace()}


@pytest.mark.slow
def test_ten_thousand_collections_hold_on_to_nothing(libraries: Path, tmp_path: Path, store: Path):
    gpus = Gpus(tmp_path, build(libraries))
    del gpus.environment["FAKE_NVML_TRACE"]
    count = "fail nvmlDeviceGetPerformanceState code=2 times=1"
    gpus.say(WHOLE + " event_types=8", f"{count} after=1000", f"{count} after=11000")
    with exporter_of(gpus, store, "--gpu.interval=0.0001", "--gpu.slow-interval=0.01") as running:

        def resources() -> tuple[int, int, int]:
            process = Path("/proc") / str(running.process.pid)
            status = (process / "status").read_text()
            kilobytes, threads = (
                int(status.partition(f"{key}:")[2].split()[0]) for key in ("VmRSS", "Threads")
            )
            return len(list((process / "fd").iterdir())), threads, kilobytes

        wait_for(lambda: scrape(running).get("errors_total", error="other") == 1, "the first 1000")
        before = resources()
        wait_for(lambda: scrape(running).get("errors_total", error="other") == 2, "10000 more")
        after = resources()
        reading = scrape(running)

    assert 1 == reading.get("up", gpu_uuid=UUID)
    assert after[0] <= before[0] + 1
    assert after[1] <= before[1] + 1
    assert after[2] <= before[2] + 2048
