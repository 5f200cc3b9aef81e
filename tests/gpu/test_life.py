"""What the collector does as drivers break, GPUs vanish and return, and libraries are replaced."""

import errno
import shutil
import socket
import subprocess
import sys
import time
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


@pytest.mark.parametrize(
    ("fault", "is_of_use"),
    [
        # Three in a row of the same GPU: four clocks are asked for.
        ("fail nvmlDeviceGetMaxClockInfo code=999 gpu=1", False),
        ("fail nvmlDeviceGetClockInfo code=10 gpu=1", False),
        ("fail nvmlDeviceGetUtilizationRates code=999 gpu=1", True),
        ("fail nvmlDeviceGetMemoryInfo_v2 code=28 gpu=1", True),
        ("fail nvmlDeviceRegisterEvents code=15 gpu=1", True),
        ("fail nvmlDeviceRegisterEvents code=999 gpu=1", True),
        ("fail nvmlDeviceGetUUID code=999 gpu=1", True),
        ("fail nvmlDeviceGetMigMode code=10 gpu=1", True),
    ],
)
def test_gpu_that_answers_in_part_leaves_the_other(
    gpus: Gpus,
    store: Path,
    fault: str,
    is_of_use: bool,  # noqa: FBT001
):
    second = WHOLE.replace("gpu 0", "gpu 1").replace(UUID, OTHER)
    gpus.say(WHOLE + " event_types=8", second + " event_types=8", fault)
    with exporter_of(gpus, store) as running:
        before = wait_for(
            lambda: (
                scrape(running).get("power_watts", gpu_uuid=UUID)
                and gpus.calls()["nvmlDeviceGetUtilizationRates"]
            ),
            "the first is read",
        )
        wait_for(lambda: gpus.calls()["nvmlDeviceGetUtilizationRates"] > before + 30, "some time")
        reading = scrape(running)

    assert 1 == reading.get("up", gpu_uuid=UUID)
    assert 70.5 == reading.get("power_watts", gpu_uuid=UUID)
    assert 0 == reading.get("xid_errors_total", gpu_uuid=UUID, xid="79")
    assert {each["gpu_uuid"] for each in reading.labels("info")} <= {UUID, OTHER}
    assert 1 == gpus.calls()["nvmlInitWithFlags"]
    other = (reading.get("up", gpu_uuid=OTHER), reading.get("power_watts", gpu_uuid=OTHER))
    assert other == ((1, 70.5) if is_of_use else (0, None)) or (is_of_use and other[0] is None)


def test_question_that_fails_once_hides_no_gpu(gpus: Gpus, store: Path):
    gpus.say(WHOLE)
    with exporter_of(gpus, store) as running:
        wait_for(lambda: scrape(running).get("up", gpu_uuid=UUID) == 1, "the GPU is up")
        for call in ("GetUUID", "GetHandleByIndex_v2"):
            gpus.say(WHOLE, f"fail nvmlDevice{call} code=999 times=1")
            before = gpus.calls()["nvmlDeviceGetCount_v2"]
            seen = set()

            def has_looked_again(before: int = before, seen: set[float | None] = seen) -> bool:
                seen.add(scrape(running).get("up", gpu_uuid=UUID))
                return gpus.calls()["nvmlDeviceGetCount_v2"] > before + 2

            wait_for(has_looked_again, "more listings")
            # None: on a busy machine a reading may be too old.
            assert {1, None} >= seen
        reading = scrape(running)

    assert [UUID] == [each["gpu_uuid"] for each in reading.labels("info")]
    assert 2 == reading.get("errors_total", error="unknown")


def test_many_calls_that_take_their_time_are_none_that_hangs(gpus: Gpus, store: Path):
    gpus.say(WHOLE, "delay nvmlDeviceGetClockInfo ms=150")
    with exporter_of(gpus, store, "--gpu.timeout=0.4", "--gpu.interval=0.5") as running:
        wait_for(lambda: scrape(running).get("power_watts", gpu_uuid=UUID) == 70.5, "it is read")
        reading = scrape(running)

    assert (0, 0) == (reading.get("collect_stuck"), reading.get("errors_total", error="stuck"))
    assert (reading.get("collect_duration_seconds") or 0) > 0.4


def test_library_without_a_driver_is_no_failure_and_no_noise(gpus: Gpus, store: Path):
    gpus.say("fail nvmlInitWithFlags code=9")
    with exporter_of(gpus, store) as running:
        wait_for(lambda: gpus.calls()["nvmlInitWithFlags"] >= 3, "it is tried again")
        reading = scrape(running)
        log = running.log.read_text()

    assert (0, 0) == (reading.get("up", gpu_uuid=""), reading.get("devices"))
    assert reading.has_succeeded
    assert 1 == sum("level=warning" in line for line in log.splitlines())
    assert "level=error" not in log


def test_driver_is_not_closed_under_a_call_that_waits_for_events(gpus: Gpus, store: Path):
    watching = WHOLE + " event_types=8"
    gpus.say(watching)
    with exporter_of(gpus, store, "--gpu.timeout=0.2") as running:
        wait_for(lambda: gpus.calls()["nvmlEventSetWait_v2"] > 1, "it waits")
        gpus.say(watching, "hang nvmlEventSetWait_v2", BREAK)
        wait_for(lambda: scrape(running).get("errors_total", error="stuck") == 1, "it hangs")
        hidden = scrape(running)
        assert 0 == gpus.calls()["nvmlShutdown"]
        gpus.say(watching)
        wait_for(lambda: scrape(running).get("power_watts", gpu_uuid=UUID), "all is well")
        log = running.log.read_text()

    assert ({"up", "visible"}, 1) == (
        hidden.names() - {"xid_errors_total"},
        hidden.get("collect_stuck"),
    )
    assert 1 == log.count("does not return from nvmlEventSetWait_v2")
    order = [f"{mark}{name}" for mark, _, name, _ in gpus.trace()]
    assert order.index("-nvmlEventSetWait_v2") < order.index("+nvmlEventSetFree")
    assert order.index("+nvmlEventSetFree") < order.index("+nvmlShutdown")


def test_room_for_samples_is_given_back(gpus: Gpus, store: Path):
    gpus.say(WHOLE)
    with exporter_of(gpus, store) as running:
        for opened in (2, 3):
            wait_for(lambda: scrape(running).get("sm_active_ratio", gpu_uuid=UUID), "GPM is read")
            gpus.say(WHOLE, BREAK)
            wait_for(
                lambda opened=opened: gpus.calls()["nvmlInitWithFlags"] == opened, "opened anew"
            )
        wait_for(lambda: scrape(running).get("sm_active_ratio", gpu_uuid=UUID), "GPM is read")
        calls = gpus.calls()

    assert 6 == calls["nvmlGpmSampleAlloc"]
    assert 4 == calls["nvmlGpmSampleFree"]


def test_two_exporters_of_one_store_count_once(gpus: Gpus, store: Path):
    gpus.say(WHOLE, "sample 0 gpu 1000000 100")
    name = "busy_seconds_total"
    with exporter_of(gpus, store) as first:
        wait_for(lambda: scrape(first).get(name, gpu_uuid=UUID) == 0, "the baseline is taken")
        with exporter_of(gpus, store, "--gpu.simulate=1") as second:
            wait_for(lambda: scrape(second).get("power_watts", gpu_uuid=UUID), "both show it")
            gpus.say(WHOLE, "sample 0 gpu 1000000 100", "sample 0 gpu 1100000 100")
            wait_for(lambda: scrape(first).get(name, gpu_uuid=UUID), "it is counted")
            readings = [scrape(each) for each in (first, second)]

    for reading in readings:
        assert 0.1 == pytest.approx(reading.get(name, gpu_uuid=UUID))
        assert [UUID] == [each["gpu_uuid"] for each in reading.labels("info")]
    assert 1 == gpus.calls()["nvmlInitWithFlags"]


def test_exporter_takes_over_when_the_one_that_read_the_gpus_ends(gpus: Gpus, store: Path):
    gpus.say(WHOLE)
    with exporter_of(gpus, store) as first:
        wait_for(lambda: scrape(first).get("power_watts", gpu_uuid=UUID), "it is read")
        with exporter_of(gpus, store) as second:
            wait_for(lambda: scrape(second).get("power_watts", gpu_uuid=UUID), "both show it")
            before = gpus.calls()["nvmlInitWithFlags"]
            first.process.kill()
            first.process.wait()
            # Nobody has to scrape it for that.
            wait_for(lambda: gpus.calls()["nvmlInitWithFlags"] == 2, "the second one reads")
            wait_for(lambda: scrape(second).has_succeeded, "all is well")

    assert before == 1


def test_numbers_of_cuda_stay_while_a_gpu_does_not_answer(gpus: Gpus, store: Path):
    first = "gpu 0 uuid=GPU-a name=Same pci=00000000:01:00.0 memory_total=9 memory_used=1"
    second = "gpu 1 uuid=GPU-b name=Same pci=00000000:02:00.0 memory_total=9 memory_used=1"
    gpus.say(first, second)
    with exporter_of(gpus, store, CUDA_VISIBLE_DEVICES="0") as running:

        def seen() -> dict[str, float | None]:
            reading = scrape(running)
            return {
                f"{name} {uuid}": reading.get(name, gpu_uuid=f"GPU-{uuid}")
                for name in ("up", "visible")
                for uuid in "ab"
            }

        up = {"up a": 1, "up b": 1, "visible a": 1, "visible b": 0}
        wait_for(lambda: seen() == up, "the first is visible")
        gpus.say(first, second, "order 1", BREAK.replace("UtilizationRates", "MemoryInfo_v2"))
        wait_for(lambda: seen() == up | {"up a": 0}, "it is still the one that is meant")


def test_gpu_that_cannot_be_asked_after_an_opening_is_not_read(gpus: Gpus, store: Path):
    second = WHOLE.replace("gpu 0", "gpu 1").replace(UUID, OTHER)
    gpus.say(WHOLE, second)
    with exporter_of(gpus, store) as running:
        wait_for(lambda: scrape(running).get("power_watts", gpu_uuid=OTHER), "both are read")
        gpus.say(WHOLE, second, BREAK, "fail nvmlDeviceGetUUID code=999 gpu=1")
        wait_for(lambda: gpus.calls()["nvmlInitWithFlags"] == 2, "opened anew")
        wait_for(lambda: scrape(running).get("up", gpu_uuid=OTHER) == 0, "the second is down")
        wait_for(lambda: scrape(running).get("up", gpu_uuid=UUID) == 1, "the first is up")
        gpus.say(WHOLE, second)
        wait_for(lambda: scrape(running).get("power_watts", gpu_uuid=OTHER), "it is back")
        order = [(mark + name, gpu) for mark, _, name, gpu in gpus.trace()]

    # From the shutdown to the first answer of its UUID its old handle is not used.
    begin = order.index(("+nvmlShutdown", -1))
    of_second = [name for name, gpu in order[begin:] if gpu == 1 and name[0] == "+"]
    asked = of_second[: of_second.index("+nvmlDeviceGetMemoryInfo_v2")]
    assert set(asked) <= {
        "+nvmlDeviceGetHandleByIndex_v2", "+nvmlDeviceGetPciInfo_v3", "+nvmlDeviceGetMigMode",
        "+nvmlDeviceGetCudaComputeCapability", "+nvmlDeviceGetUUID", "+nvmlDeviceGetName",
        "+nvmlDeviceGetMinorNumber", "+nvmlDeviceGetMaxClockInfo",
        "+nvmlDeviceGetTemperatureThreshold",
    }  # fmt: skip


def test_exporter_that_is_told_to_end_while_the_driver_hangs_ends_well(gpus: Gpus, store: Path):
    gpus.say("hang nvmlInitWithFlags", WHOLE)
    flags = ("--gpu.timeout=0.1", "--gpu.hang-restart=2", "--web.linger-seconds=4")
    with exporter_of(gpus, store, *flags) as running:
        wait_for(lambda: scrape(running).get("collect_stuck") == 1, "the start is stuck")
        running.process.terminate()
        assert 0 == running.process.wait(20)


def test_bytes_of_links_have_one_source(gpus: Gpus, store: Path):
    whole = WHOLE + " f91=1:1 f202=3:5 f204=3:5"
    name = "nvlink_transmit_bytes_total"
    gpus.say(whole)
    with exporter_of(gpus, store) as running:
        wait_for(lambda: scrape(running).get(name, gpu_uuid=UUID) == 10240, "in KiB")
        gpus.say(whole.replace("f138=3:10 f139=3:20", "f138=19! f139=19!"))
        wait_for(lambda: scrape(running).get(name, gpu_uuid=UUID) is None, "it fails")
        gpus.say(whole)
        wait_for(lambda: scrape(running).get(name, gpu_uuid=UUID) == 10240, "it is back")


def test_storm_of_xid_errors_is_counted_whole_and_logged_in_part(gpus: Gpus, store: Path):
    watching = WHOLE + " event_types=8"
    silent = f"gpu 1 uuid={OTHER} name=Other memory_total=100 memory_used=10"
    gpus.say(watching, silent, *(100 * ["event 0 xid=74"]))
    with exporter_of(gpus, store) as running:
        labels = {"gpu_uuid": UUID, "xid": "74"}
        wait_for(lambda: scrape(running).get("xid_errors_total", **labels) == 100, "all of them")
        log = running.log.read_text()
        reading = scrape(running)

    assert 20 == log.count("reports XID 74")
    # Of one that reports nothing it is not said that there was nothing.
    assert reading.get("xid_errors_total", gpu_uuid=OTHER, xid="74") is None


def test_lost_gpu_is_looked_for_ever_more_seldom_and_hides_no_other(gpus: Gpus, store: Path):
    lost = "fail nvmlDeviceGetMemoryInfo_v2 code=15 gpu=1"
    gpus.say(WHOLE, SECOND, lost)
    with exporter_of(gpus, store) as running:
        wait_for(lambda: scrape(running).get("up", gpu_uuid=OTHER) == 0, "it is lost")
        gpus.say(WHOLE, SECOND, "order 0")
        others: set[float | None] = set()

        def is_looked_for() -> bool:
            others.add(scrape(running).get("up", gpu_uuid=UUID))
            return gpus.calls()["nvmlInitWithFlags"] == 2

        wait_for(is_looked_for, "a second look")
        second = time.monotonic()
        wait_for(lambda: gpus.calls()["nvmlInitWithFlags"] == 3, "a third look")
        third = time.monotonic()
        wait_for(lambda: gpus.calls()["nvmlInitWithFlags"] == 4, "a fourth look")

    # The other one is shown all the while.
    assert {1, None} >= others
    assert time.monotonic() - third > 1.3 * (third - second)


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
        f"fail nvmlDeviceGetUtilizationRates code={code} after=1 times=1",
        f"fail nvmlDeviceGetFieldValues code={code} after=1 times=1",
    )
    with exporter_of(gpus, store) as running:
        wait_for(lambda: gpus.calls()["nvmlInitWithFlags"] == 2, "it is opened anew")
        wait_for(lambda: scrape(running).get("power_watts", gpu_uuid=UUID), "it is back")
        reading = scrape(running)

    assert 3 == reading.get("errors_total", error=error)


def test_version_mismatch_ends_the_exporter_if_the_library_was_replaced(
    libraries: Path, tmp_path: Path, store: Path
):
    # As drivers are installed: a file with the version in its name, and a link to it.
    installed = tmp_path / "lib" / LIBRARY
    old, new = (installed.with_name(f"libnvidia-ml.so.{version}") for version in ("590.1", "591.2"))
    installed.parent.mkdir()
    shutil.copy(build(libraries), old)
    installed.symlink_to(old.name)
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

        shutil.copy(build(libraries), new)
        installed.unlink()
        old.unlink()
        installed.symlink_to(new.name)
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
device = driver.devices().devices[0]
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

        def has_no_more() -> bool:
            # A last scrape's connection and a file that is being replaced will be closed.
            return all(now <= then for now, then in zip(resources()[:2], before, strict=False))

        wait_for(has_no_more, "no more files and threads than before")
        after = resources()
        reading = scrape(running)

    assert {None, 0.0} >= {reading.get("errors_total", error="unknown")}
    assert after[2] <= before[2] + 2048
