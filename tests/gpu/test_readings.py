"""The GPU collector against a library of NVML's binary interface that is scripted by the test."""

import ctypes
import os
import shutil
import time
from ctypes.util import find_library
from pathlib import Path

import pynvml
import pytest

from tests.gpu.stand_in import UUID, WHOLE, Gpus, build, exporter_of, scrape
from tests.live.servers import wait_for

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler (cc)")
OTHER = "GPU-99999999-1111-2222-3333-444444444444"

# Every row of a GPU that has everything: name, labels beside the UUID, value.
ROWS = [
    ("up", {}, 1), ("visible", {}, 1),
    ("memory_total_bytes", {}, 150e9), ("memory_reserved_bytes", {}, 600e6),
    ("memory_used_bytes", {}, 1e9), ("memory_free_bytes", {}, 148.4e9),
    ("utilization_ratio", {}, 0.37), ("memory_utilization_ratio", {}, 0.12),
    ("energy_joules_total", {}, 123.456), ("power_watts", {}, 70.5),
    ("power_limit_watts", {}, 700),
    ("temperature_celsius", {"sensor": "gpu"}, 41),
    ("temperature_celsius", {"sensor": "memory"}, 44),
    ("temperature_threshold_celsius", {"threshold": "shutdown"}, 95),
    ("temperature_threshold_celsius", {"threshold": "slowdown"}, 90),
    ("temperature_threshold_celsius", {"threshold": "memory_max"}, 105),
    ("temperature_threshold_celsius", {"threshold": "gpu_max"}, 88),
    ("clock_hertz", {"clock": "graphics"}, 1.98e9), ("clock_hertz", {"clock": "sm"}, 1.97e9),
    ("clock_hertz", {"clock": "memory"}, 3.201e9), ("clock_hertz", {"clock": "video"}, 1.5e9),
    ("clock_max_hertz", {"clock": "graphics"}, 1.981e9),
    ("clock_max_hertz", {"clock": "sm"}, 1.971e9),
    ("clock_max_hertz", {"clock": "memory"}, 3.202e9),
    ("clock_max_hertz", {"clock": "video"}, 1.501e9),
    ("performance_state", {}, 2), ("fan_ratio", {}, 0.45),
    ("clock_event_active", {"reason": "sw_power_cap"}, 1),
    ("clock_event_active", {"reason": "hw_thermal"}, 1),
    ("clock_event_active", {"reason": "idle"}, 0),
    ("clock_event_active", {"reason": "application_clocks"}, 0),
    ("clock_event_active", {"reason": "hw_slowdown"}, 0),
    ("clock_event_active", {"reason": "sync_boost"}, 0),
    ("clock_event_active", {"reason": "sw_thermal"}, 0),
    ("clock_event_active", {"reason": "hw_power_brake"}, 0),
    ("clock_event_active", {"reason": "display_clocks"}, 0),
    ("clock_event_seconds_total", {"reason": "sw_power_cap"}, 5),
    ("clock_event_seconds_total", {"reason": "sync_boost"}, 0.001),
    ("clock_event_seconds_total", {"reason": "sw_thermal"}, 2.5),
    ("clock_event_seconds_total", {"reason": "hw_thermal"}, 0),
    ("clock_event_seconds_total", {"reason": "hw_power_brake"}, 7),
    ("pcie_transmit_bytes_total", {}, 1000), ("pcie_receive_bytes_total", {}, 2000),
    ("pcie_replays_total", {}, 7),
    ("nvlink_transmit_bytes_total", {}, 10240), ("nvlink_receive_bytes_total", {}, 20480),
    ("ecc_errors_total", {"severity": "corrected"}, 3),
    ("ecc_errors_total", {"severity": "uncorrected"}, 1),
    ("remapped_rows", {"cause": "correctable"}, 1),
    ("remapped_rows", {"cause": "uncorrectable"}, 2),
    ("row_remap_pending", {}, 1), ("row_remap_failed", {}, 0),
    ("sm_active_ratio", {}, 0.5), ("sm_occupancy_ratio", {}, 0.25),
    ("tensor_active_ratio", {}, 0.125), ("dram_active_ratio", {}, 0.4),
    ("processes", {}, 0), ("serving_memory_used_bytes", {}, 0),
    ("other_memory_used_bytes", {}, 1e9),
]  # fmt: skip


def test_structures_are_those_of_the_binding():
    sizes = {
        pynvml.c_nvmlMemory_t: 24, pynvml.c_nvmlMemory_v2_t: 40, pynvml.c_nvmlFieldValue_t: 40,
        pynvml.c_nvmlSample_t: 16, pynvml.c_nvmlProcessInfo_v3_t: 24, pynvml.nvmlPciInfo_t: 68,
        pynvml.c_nvmlProcessUtilizationSample_t: 32, pynvml.c_nvmlEventData_t: 32,
        pynvml.c_nvmlGpmMetric_t: 40, pynvml.c_nvmlGpmMetricsGet_t: 19104,
    }  # fmt: skip

    assert list(sizes.values()) == [ctypes.sizeof(kind) for kind in sizes]


def test_every_row_has_the_value_of_the_driver_in_base_units(gpus: Gpus, store: Path):
    gpus.say("driver 590.48.01", "cuda 13010", WHOLE)
    with exporter_of(gpus, store) as running:
        wait_for(lambda: scrape(running).get("sm_active_ratio", gpu_uuid=UUID), "GPM has a window")
        reading = scrape(running)

    for name, labels, value in ROWS:
        found = reading.get(name, gpu_uuid=UUID, **labels)
        assert found == pytest.approx(value, rel=1e-12), (name, labels)
    assert reading.names() == {name for name, _, _ in ROWS} | {"info"}
    assert reading.labels("info") == [
        {
            "gpu_uuid": UUID, "index": "0", "name": "NVIDIA H200",
            "pci_bus_id": "00000000:0F:00.0", "driver_version": "590.48.01", "cuda_version": "13.1",
            "compute_capability": "9.0", "cuda_visible_index": "0", "kind": "gpu",
            "parent_gpu_uuid": "", "simulated": "false",
        }
    ]  # fmt: skip
    assert (1, 0) == (reading.get("devices"), reading.get("collect_stuck"))
    assert reading.has_succeeded


def test_nothing_is_wrong_where_there_is_no_library(store: Path, tmp_path: Path):
    if find_library("nvidia-ml"):
        pytest.skip("this machine has the real library")
    gpus = Gpus(tmp_path, tmp_path / "nowhere" / "libnvidia-ml.so.1")
    with exporter_of(gpus, store) as running:
        wait_for(lambda: scrape(running).get("devices") == 0, "there are no GPUs")
        reading = scrape(running)
        log = running.log.read_text()

    assert reading.has_succeeded
    assert reading.names() == set()
    assert 1 == log.count("libnvidia-ml.so.1 was not found")
    assert "level=error" not in log


def test_what_is_not_supported_is_asked_for_once(gpus: Gpus, store: Path):
    gpus.say(f"gpu 0 uuid={UUID} name=Small memory_total=100 memory_used=10")
    with exporter_of(gpus, store) as running:
        wait_for(lambda: gpus.calls()["nvmlDeviceGetMemoryInfo_v2"] > 5, "several collections")
        reading = scrape(running)
        calls = gpus.calls()

    assert reading.names() == {
        "info", "up", "visible", "memory_total_bytes", "memory_reserved_bytes",
        "memory_used_bytes", "memory_free_bytes", "processes", "serving_memory_used_bytes",
        "other_memory_used_bytes",
    }  # fmt: skip
    assert reading.has_succeeded
    for name in ("PowerUsage", "UtilizationRates", "PerformanceState", "NumFans"):
        assert calls[f"nvmlDeviceGet{name}"] == 1, name
    # The batch, and whether there are links to be asked one by one.
    assert calls["nvmlDeviceGetFieldValues"] == 2
    assert calls["nvmlDeviceGetClockInfo"] == 4
    assert 0 == sum(reading.get("errors_total", error=error) or 0 for error in ("other", "unknown"))


@pytest.mark.parametrize(
    ("hidden", "row", "labels", "value"),
    [
        ("nvmlDeviceGetMemoryInfo_v2", "memory_used_bytes", {}, 1.6e9),
        ("nvmlDeviceGetTemperatureV", "temperature_celsius", {"sensor": "gpu"}, 41),
        (
            "nvmlDeviceGetCurrentClocksEventReasons", "clock_event_active",
            {"reason": "hw_thermal"}, 1,
        ),
        ("nvmlDeviceGetComputeRunningProcesses_v3", "processes", {}, None),
        ("nvmlGpmQueryDeviceSupport", "sm_active_ratio", {}, None),
    ],
)  # fmt: skip
def test_old_driver_gives_what_it_has(  # noqa: PLR0917 - a table's columns
    libraries: Path,
    tmp_path: Path,
    store: Path,
    hidden: str,
    row: str,
    labels: dict[str, str],
    value: float | None,
):
    gpus = Gpus(tmp_path, build(libraries, hidden))
    gpus.say(WHOLE)
    with exporter_of(gpus, store) as running:
        wait_for(lambda: gpus.calls()["nvmlDeviceGetUtilizationRates"] > 2, "several collections")
        reading = scrape(running)

    assert reading.get(row, gpu_uuid=UUID, **labels) == value
    assert reading.get("memory_total_bytes", gpu_uuid=UUID) == 150e9
    assert reading.has_succeeded


def test_a_hanging_driver_hides_its_rows_and_delays_no_scrape(gpus: Gpus, store: Path):
    gpus.say(WHOLE)
    with exporter_of(gpus, store, "--gpu.timeout=0.5") as running:
        wait_for(lambda: scrape(running).get("up", gpu_uuid=UUID) == 1, "the GPU is up")

        gpus.say(WHOLE, "hang nvmlDeviceGetUtilizationRates")
        wait_for(lambda: scrape(running).get("errors_total", error="stuck") == 1, "it is stuck")
        begun = time.monotonic()
        stuck = scrape(running)
        took = time.monotonic() - begun
        threads = {
            thread
            for mark, thread, name, _ in gpus.trace()
            if mark == "+" and name != "nvmlEventSetWait_v2"
        }
        gpus.say(WHOLE)
        wait_for(lambda: scrape(running).get("power_watts", gpu_uuid=UUID), "the rows are back")
        after = scrape(running)
        log = running.log.read_text()

    assert took < 5
    assert stuck.names() == {"up", "visible"}
    assert (0, 1) == (stuck.get("up", gpu_uuid=UUID), stuck.get("errors_total", error="stuck"))
    assert not stuck.has_succeeded
    assert 1 == len(threads)
    assert 1 == log.count("does not return from nvmlDeviceGetUtilizationRates")
    assert (1, 0, 1) == (
        after.get("up", gpu_uuid=UUID),
        after.get("collect_stuck"),
        after.get("errors_total", error="stuck"),
    )
    assert after.has_succeeded


def test_scrapes_are_answered_while_the_driver_hangs_at_its_start(gpus: Gpus, store: Path):
    gpus.say("hang nvmlInitWithFlags", WHOLE)
    with exporter_of(gpus, store, "--gpu.timeout=0.3") as running:
        wait_for(lambda: scrape(running).get("collect_stuck") == 1, "the start is stuck")
        gpus.say(WHOLE)
        wait_for(lambda: scrape(running).get("up", gpu_uuid=UUID) == 1, "the GPU is up")


@pytest.mark.parametrize(("code", "error"), [(15, "gpu_is_lost"), (16, "reset_required")])
def test_one_lost_gpu_leaves_the_other(gpus: Gpus, store: Path, code: int, error: str):
    second = f"gpu 1 uuid={OTHER} name=Other memory_total=100 memory_used=10"
    gpus.say(WHOLE, second)
    with exporter_of(gpus, store) as running:
        wait_for(lambda: scrape(running).get("up", gpu_uuid=OTHER) == 1, "both are up")
        gpus.say(WHOLE, second, f"fail nvmlDeviceGetMemoryInfo_v2 code={code} gpu=1")
        wait_for(lambda: scrape(running).get("up", gpu_uuid=OTHER) == 0, "the second is lost")
        reading = scrape(running)

    assert 1 == reading.get("up", gpu_uuid=UUID)
    assert 70.5 == reading.get("power_watts", gpu_uuid=UUID)
    assert reading.names(OTHER) == {"info", "up", "visible"}
    assert (1, 1) == (reading.get("devices"), reading.get("errors_total", error=error))
    assert not reading.has_succeeded


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (2, "other"), (4, "no_permission"), (10, "timeout"), (11, "other"), (14, "other"),
        (17, "no_permission"), (19, "other"), (20, "other"), (28, "gpu_not_found"),
        (999, "unknown"),
    ],
)  # fmt: skip
def test_failing_call_costs_its_row_and_is_counted(gpus: Gpus, store: Path, code: int, error: str):
    gpus.say(WHOLE, f"fail nvmlDeviceGetPerformanceState code={code} times=1")
    with exporter_of(gpus, store, "--gpu.interval=300", "--gpu.min-age=200") as running:
        wait_for(lambda: scrape(running).get("up", gpu_uuid=UUID) == 1, "one collection")
        reading = scrape(running)

    assert reading.get("performance_state", gpu_uuid=UUID) is None
    assert 37e-2 == pytest.approx(reading.get("utilization_ratio", gpu_uuid=UUID))
    assert 1 == reading.get("errors_total", error=error)


@pytest.mark.parametrize(("code", "error"), [(1, "uninitialized"), (9, "driver_not_loaded")])
def test_broken_driver_is_opened_anew(gpus: Gpus, store: Path, code: int, error: str):
    gpus.say(WHOLE, f"fail nvmlDeviceGetUtilizationRates code={code} after=1 times=1")
    with exporter_of(gpus, store) as running:
        wait_for(lambda: scrape(running).get("up", gpu_uuid=UUID) == 0, "the driver is broken")
        wait_for(lambda: scrape(running).get("power_watts", gpu_uuid=UUID), "it is back")
        reading = scrape(running)

    assert 1 == reading.get("errors_total", error=error)
    assert (2, 1) == (gpus.calls()["nvmlInitWithFlags"], gpus.calls()["nvmlShutdown"])


def test_driver_that_is_loaded_later_is_found(gpus: Gpus, store: Path):
    gpus.say(WHOLE, "fail nvmlInitWithFlags code=9")
    with exporter_of(gpus, store) as running:
        wait_for(lambda: scrape(running).get("up", gpu_uuid="") == 0, "there is no driver yet")
        gpus.say(WHOLE)
        wait_for(lambda: scrape(running).get("up", gpu_uuid=UUID) == 1, "the GPU is up")
        reading = scrape(running)

    assert reading.get("up", gpu_uuid="") is None


def test_values_that_are_none_are_left_out(gpus: Gpus, store: Path):
    gpus.say(
        WHOLE.replace("f185=1:70500", "f185=1:4294967295")
        .replace("utilization=37", "utilization=137")
        .replace("temperature0=41", "temperature0=9999")
        .replace("name=NVIDIA_H200", "name=%ff%fe")
        .replace("f82=1:44", "f82=19!")
    )
    with exporter_of(gpus, store) as running:
        wait_for(lambda: scrape(running).get("up", gpu_uuid=UUID) == 1, "the GPU is up")
        reading = scrape(running)

    names = reading.names()
    assert {"power_watts", "utilization_ratio", "temperature_celsius"}.isdisjoint(names)
    assert {"memory_utilization_ratio", "energy_joules_total"} <= names
    assert "\ufffd\ufffd" == reading.labels("info")[0]["name"]
    assert (reading.get("errors_total", error="bad_value") or 0) >= 3


def test_busy_seconds_are_the_integral_of_the_samples_and_survive_the_exporter(
    gpus: Gpus, store: Path
):
    before = [f"sample 0 gpu {100_000 * n} 100" for n in range(1, 11)]
    samples = [*before, *(f"sample 0 gpu {1_000_000 + 100_000 * n} {10 * n}" for n in range(1, 11))]
    later = [*samples, "sample 0 gpu 5000000 100", "sample 0 gpu 5100000 50"]
    gpus.say(WHOLE, *before)
    name = "busy_seconds_total"

    def counted() -> float | None:
        return scrape(running).get(name, gpu_uuid=UUID)

    with exporter_of(gpus, store) as running:
        wait_for(lambda: counted() == 0, "the baseline is taken")
        gpus.say(WHOLE, *samples)
        wait_for(counted, "samples are counted")
        first = counted()
        # Three seconds of which nobody knows anything, then a tenth more.
        gpus.say(WHOLE, *later)
        wait_for(lambda: counted() != first, "more came")
        second = scrape(running)
    with exporter_of(gpus, store) as running:
        wait_for(lambda: gpus.calls()["nvmlInitWithFlags"] == 2, "another exporter")
        wait_for(lambda: scrape(running).get("up", gpu_uuid=UUID) == 1, "it has read")
        third = counted()
        gpus.say(WHOLE, *later, "sample 0 gpu 5200000 100")
        wait_for(lambda: counted() != third, "it goes on")
        fourth = counted()

    assert first == pytest.approx(0.1 * sum(n / 10 for n in range(1, 11)))
    assert second.get(name, gpu_uuid=UUID) == pytest.approx(first + 0.05)
    assert 1 == second.get("errors_total", error="sample_gap")
    # What lies in the driver's buffer has been counted by the one before.
    assert third == second.get(name, gpu_uuid=UUID)
    assert fourth == pytest.approx(third + 0.1)


def test_register_that_starts_anew_is_shown_to_do_so(gpus: Gpus, store: Path):
    gpus.say(WHOLE.replace("f83=3:123456", "f83=3:5000"))
    with exporter_of(gpus, store) as running:
        energy = "energy_joules_total"
        wait_for(lambda: scrape(running).get(energy, gpu_uuid=UUID) == 5, "five joules")
        gpus.say(WHOLE.replace("f83=3:123456", "f83=3:2000"))
        wait_for(lambda: scrape(running).get(energy, gpu_uuid=UUID) == 2, "as it is")


def test_scrapes_at_once_share_a_collection_and_one_thread_asks(gpus: Gpus, store: Path):
    gpus.say(WHOLE)
    with exporter_of(gpus, store, "--gpu.min-age=30", "--gpu.interval=300") as running:
        wait_for(lambda: scrape(running).get("up", gpu_uuid=UUID) == 1, "the GPU is up")
        before = gpus.calls()["nvmlDeviceGetUtilizationRates"]
        for _ in range(20):
            scrape(running)

    assert (1, 1) == (before, gpus.calls()["nvmlDeviceGetUtilizationRates"])
    assert 1 == gpus.calls()["nvmlInitWithFlags"]
    inside = 0
    for mark, *_ in gpus.trace():
        inside += 1 if mark == "+" else -1
        assert inside in {0, 1}


def test_collector_that_is_off_never_loads_the_library(gpus: Gpus, store: Path):
    gpus.say(WHOLE)
    with exporter_of(gpus, store, "--no-collector.gpu") as running:
        _, _, body = running.get()

    assert b'collector="gpu"' not in body
    assert gpus.trace() == []


def test_xid_errors_are_counted_as_they_happen_and_stand_at_zero_before(gpus: Gpus, store: Path):
    watching = WHOLE + " event_types=8"
    gpus.say(watching)
    with exporter_of(gpus, store) as running:
        labels = {"gpu_uuid": UUID, "xid": "79"}
        wait_for(lambda: scrape(running).get("xid_errors_total", **labels) == 0, "declared")
        before = time.time()
        gpus.say(watching, "event 0 xid=79", "event 0 xid=79", "event 0 xid=13")
        wait_for(lambda: scrape(running).get("xid_errors_total", **labels) == 2, "two events")
        reading = scrape(running)
        log = running.log.read_text()

    assert 1 == reading.get("xid_errors_total", gpu_uuid=UUID, xid="13")
    assert 0 == reading.get("xid_errors_total", gpu_uuid=UUID, xid="48")
    assert before <= (reading.get("xid_last_timestamp_seconds", **labels) or 0) <= time.time()
    assert reading.get("xid_last_timestamp_seconds", gpu_uuid=UUID, xid="48") is None
    assert 2 == log.count(f"GPU {UUID} reports XID 79")


def test_xid_errors_of_many_kinds_are_bounded(gpus: Gpus, store: Path):
    watching = WHOLE + " event_types=8"
    events = [f"event 0 xid={200 + kind}" for kind in range(40)]
    gpus.say(watching, *events)
    with exporter_of(gpus, store) as running:
        wait_for(
            lambda: scrape(running).get("xid_errors_total", gpu_uuid=UUID, xid="__other__") == 20,
            "the last twenty are one series",
        )
        assert 33 == len(scrape(running).labels("xid_errors_total"))


def test_watcher_begins_anew_with_the_driver(gpus: Gpus, store: Path):
    watching = WHOLE + " event_types=8"
    broken = "fail nvmlDeviceGetUtilizationRates code=1 after=1 times=1"
    gpus.say(watching, broken)
    with exporter_of(gpus, store) as running:
        wait_for(lambda: gpus.calls()["nvmlEventSetCreate"] == 2, "a second set of events")
        gpus.say(watching, broken, "event 0 xid=94")
        wait_for(
            lambda: scrape(running).get("xid_errors_total", gpu_uuid=UUID, xid="94") == 1, "seen"
        )

    assert 1 == gpus.calls()["nvmlEventSetFree"]


def test_instances_have_memory_and_ratios_and_their_gpu_the_rest(gpus: Gpus, store: Path):
    first, third = "MIG-aaaa0000", "MIG-cccc2222"
    instance = (
        "memory_total=70000 memory_reserved=0 memory_used=7000 gpm2=60 gpm3=30 gpm5=1 gpm10=2"
    )
    gpus.say(
        f"{WHOLE} mig=1",
        f"mig 0 0 uuid={first} gi=3 {instance}",
        # Instance 1 is not there.
        f"mig 0 2 uuid={third} gi=5 {instance}",
    )
    with exporter_of(gpus, store) as running:
        wait_for(lambda: scrape(running).get("sm_active_ratio", gpu_uuid=third), "GPM has a window")
        reading = scrape(running)

    parts = {
        "info", "up", "visible", "memory_total_bytes", "memory_reserved_bytes",
        "memory_used_bytes", "memory_free_bytes", "sm_active_ratio", "sm_occupancy_ratio",
        "tensor_active_ratio", "dram_active_ratio", "processes", "serving_memory_used_bytes",
        "other_memory_used_bytes",
    }  # fmt: skip
    for uuid in (first, third):
        assert reading.names(uuid) == parts
        assert reading.get("sm_active_ratio", gpu_uuid=uuid) == pytest.approx(0.6)
    whole = reading.names()
    assert whole.isdisjoint(parts - {"info", "up", "visible"})
    assert {"power_watts", "energy_joules_total", "temperature_celsius", "clock_hertz"} <= whole
    kinds = {labels["gpu_uuid"]: labels for labels in reading.labels("info")}
    assert ("mig", UUID) == (kinds[third]["kind"], kinds[third]["parent_gpu_uuid"])
    assert ("gpu", "") == (kinds[UUID]["kind"], kinds[UUID]["parent_gpu_uuid"])
    assert 1 == reading.get("devices")
    assert reading.has_succeeded


def test_processes_of_others_are_not_ours(gpus: Gpus, store: Path):
    gpus.say(WHOLE, "process 0 pid=1 memory=500", f"process 0 pid={os.getpid()} memory=7")
    with exporter_of(gpus, store) as running:
        wait_for(lambda: scrape(running).get("processes", gpu_uuid=UUID) == 2, "two processes")
        reading = scrape(running)

    assert 0 == reading.get("serving_memory_used_bytes", gpu_uuid=UUID)
    assert 1e9 == reading.get("other_memory_used_bytes", gpu_uuid=UUID)


def test_processes_that_cannot_be_told_apart_leave_no_row(gpus: Gpus, store: Path):
    gpus.say(WHOLE, "process 0 pid=0 memory=500")
    with exporter_of(gpus, store) as running:
        wait_for(lambda: scrape(running).get("processes", gpu_uuid=UUID) == 1, "one process")
        names = scrape(running).names()

    assert {"serving_memory_used_bytes", "other_memory_used_bytes"}.isdisjoint(names)
