"""Parts of the collector over the stand-in: fields, links, GPM, instances, permissions."""

from pathlib import Path

import pytest

from tests.gpu.stand_in import UUID, WHOLE, Gpus, exporter_of, scrape
from tests.live.servers import wait_for

FIRST, SECOND, THIRD = "MIG-aaaa0000", "MIG-bbbb1111", "MIG-cccc2222"
INSTANCE = "memory_total=70000 memory_reserved=0 memory_used=7000 gpm2=60 gpm3=30 gpm5=1 gpm10=2"


@pytest.mark.parametrize(
    ("typed", "watts"),
    [
        ("0:70500.5", 70.5005), ("1:70500", 70.5), ("2:70500", 70.5), ("3:70500", 70.5),
        ("4:70500", 70.5), ("5:70500", 70.5), ("6:7050", 7.05), ("7:70500", 80.0),
    ],
)  # fmt: skip
def test_field_is_read_by_its_type(gpus: Gpus, store: Path, typed: str, watts: float):
    # Of a type that is not known the value is taken from the call that stands in for the field.
    gpus.say(WHOLE.replace("f185=1:70500", f"f185={typed} power_mw=80000"))
    with exporter_of(gpus, store) as running:
        wait_for(lambda: scrape(running).get("up", gpu_uuid=UUID) == 1, "the GPU is up")
        found = scrape(running).get("power_watts", gpu_uuid=UUID)

    assert watts == pytest.approx(found)


def test_bytes_of_links_that_are_counted_one_by_one_are_added_up(gpus: Gpus, store: Path):
    links = "f91=1:4 f202=3:100 f204=3:7 f202s1=3:20 f204s1=3:1 f202s3=3:3 f204s3=3:2"
    gpus.say(WHOLE.replace("f138=3:10 f139=3:20", links))
    with exporter_of(gpus, store) as running:
        wait_for(lambda: scrape(running).get("up", gpu_uuid=UUID) == 1, "the GPU is up")
        reading = scrape(running)
        # A link that fails for a moment makes no register of the sum that begins anew.
        gpus.say(WHOLE.replace("f138=3:10 f139=3:20", links.replace("f202s1=3:20", "f202s1=19!")))
        name = "nvlink_transmit_bytes_total"
        wait_for(lambda: scrape(running).get(name, gpu_uuid=UUID) is None, "no sum")
        gpus.say(WHOLE.replace("f138=3:10 f139=3:20", links))
        wait_for(lambda: scrape(running).get(name, gpu_uuid=UUID) == 123, "the sum again")

    # Link 2 is not there.
    assert 123 == reading.get("nvlink_transmit_bytes_total", gpu_uuid=UUID)
    assert 10 == reading.get("nvlink_receive_bytes_total", gpu_uuid=UUID)


def test_link_that_never_answers_is_left_out_in_the_end(gpus: Gpus, store: Path):
    links = "f91=1:2 f202=3:100 f204=3:7 f202s1=2! f204s1=2!"
    gpus.say(WHOLE.replace("f138=3:10 f139=3:20", links))
    with exporter_of(gpus, store) as running:
        name = "nvlink_transmit_bytes_total"
        wait_for(lambda: scrape(running).get(name, gpu_uuid=UUID) == 100, "the other's bytes")
        reading = scrape(running)

    # Two fields, three times.
    assert 6 == reading.get("errors_total", error="other")


@pytest.mark.parametrize("code", [3, 13, 25, 26])
def test_call_that_is_not_to_be_had_is_made_once(gpus: Gpus, store: Path, code: int):
    gpus.say(WHOLE, f"fail nvmlDeviceGetPerformanceState code={code} times=1")
    with exporter_of(gpus, store) as running:
        wait_for(lambda: gpus.calls()["nvmlDeviceGetUtilizationRates"] > 5, "several collections")
        reading = scrape(running)
        calls = gpus.calls()

    assert reading.get("performance_state", gpu_uuid=UUID) is None
    assert 1 == calls["nvmlDeviceGetPerformanceState"]
    assert reading.get("errors_total", error="other") in {None, 0}


@pytest.mark.parametrize(("code", "counted"), [(6, 0), (19, 1), (21, 1), (27, 1)])
def test_nothing_this_time_is_asked_for_again(gpus: Gpus, store: Path, code: int, counted: int):
    gpus.say(WHOLE, f"fail nvmlDeviceGetPerformanceState code={code} times=1")
    with exporter_of(gpus, store) as running:
        wait_for(lambda: scrape(running).get("performance_state", gpu_uuid=UUID) == 2, "it is back")
        reading = scrape(running)

    assert counted == (reading.get("errors_total", error="other") or 0)


def test_what_is_not_permitted_is_logged_once_and_leaves_the_rest(gpus: Gpus, store: Path):
    gpus.say(WHOLE, "fail nvmlGpmQueryDeviceSupport code=4")
    with exporter_of(gpus, store) as running:
        wait_for(lambda: gpus.calls()["nvmlDeviceGetUtilizationRates"] > 5, "several collections")
        reading = scrape(running)
        log = running.log.read_text()

    assert "sm_active_ratio" not in reading.names()
    assert 70.5 == reading.get("power_watts", gpu_uuid=UUID)
    assert (1, 1) == (
        reading.get("errors_total", error="no_permission"),
        log.count("for want of permission"),
    )
    assert reading.has_succeeded


def test_profiling_metric_that_fails_leaves_the_others(gpus: Gpus, store: Path):
    gpus.say(WHOLE.replace(" gpm5=12.5", ""))
    with exporter_of(gpus, store) as running:
        wait_for(lambda: scrape(running).get("sm_active_ratio", gpu_uuid=UUID), "GPM has a window")
        names = scrape(running).names()

    assert "tensor_active_ratio" not in names
    assert {"sm_active_ratio", "sm_occupancy_ratio", "dram_active_ratio"} <= names


def test_profiling_window_that_is_too_short_keeps_the_last_ratios(gpus: Gpus, store: Path):
    gpus.say(WHOLE)
    # The library refuses windows below 0.1 s, and an interval is a hundredth.
    with exporter_of(gpus, store, "--gpu.interval=0.01") as running:
        wait_for(lambda: scrape(running).get("sm_active_ratio", gpu_uuid=UUID), "GPM has a window")
        readings = [scrape(running) for _ in range(20)]

    assert {0.5} == {reading.get("sm_active_ratio", gpu_uuid=UUID) for reading in readings}
    assert {None, 0.0} >= {readings[-1].get("errors_total", error="other")}


def test_gpu_without_profiling_has_the_rest(gpus: Gpus, store: Path):
    gpus.say(WHOLE.replace(" gpm=1", " gpm=0"))
    with exporter_of(gpus, store) as running:
        wait_for(lambda: gpus.calls()["nvmlDeviceGetUtilizationRates"] > 3, "several collections")
        names = scrape(running).names()

    assert "sm_active_ratio" not in names
    assert "power_watts" in names
    assert 0 == gpus.calls()["nvmlGpmSampleGet"]


def test_instances_that_are_made_and_taken_away_are_followed(gpus: Gpus, store: Path):
    first = f"mig 0 0 uuid={FIRST} gi=3 ci=0 {INSTANCE}"
    second = f"mig 0 1 uuid={SECOND} gi=4 ci=0 {INSTANCE}"
    third = f"mig 0 2 uuid={THIRD} gi=5 ci=0 {INSTANCE}"
    gpus.say(f"{WHOLE} mig=1", first, second)
    with exporter_of(gpus, store) as running:

        def instances() -> set[str]:
            labels = scrape(running).labels("memory_used_bytes")
            return {each["gpu_uuid"] for each in labels}

        wait_for(lambda: instances() == {FIRST, SECOND}, "two instances")
        gpus.say(f"{WHOLE} mig=1", first, third)
        wait_for(lambda: instances() == {FIRST, THIRD}, "one was replaced")
        gpus.say(WHOLE)
        wait_for(lambda: instances() == {UUID}, "the GPU is whole again")
        wait_for(lambda: scrape(running).get("sm_active_ratio", gpu_uuid=UUID), "GPM has a window")
        whole = scrape(running)

    assert 1 == len(whole.labels("info"))
    assert 1 == gpus.calls()["nvmlInitWithFlags"]
    assert whole.has_succeeded


def test_instances_that_may_not_be_seen_leave_their_gpu(gpus: Gpus, store: Path):
    gpus.say(
        f"{WHOLE} mig=1",
        f"mig 0 0 uuid={FIRST} gi=3 ci=0 {INSTANCE}",
        "fail nvmlDeviceGetMigDeviceHandleByIndex code=4",
    )
    with exporter_of(gpus, store) as running:
        wait_for(lambda: scrape(running).get("power_watts", gpu_uuid=UUID), "the GPU is up")
        reading = scrape(running)

    assert set() == reading.names(FIRST)
    assert (reading.get("errors_total", error="no_permission") or 0) >= 1


def test_wrong_answers_of_one_gpu_are_counted_and_left_out(gpus: Gpus, store: Path):
    wrong = (
        WHOLE.replace("f83=3:123456", f"f83=3:{2**64 - 1}")
        .replace("clock1=1970", "clock1=4294967295")
        .replace("memory_used=1000000000", "memory_used=160000000000")
        .replace("performance_state=2", "performance_state=32")
    )
    gpus.say(wrong)
    with exporter_of(gpus, store) as running:
        wait_for(lambda: scrape(running).get("up", gpu_uuid=UUID) == 1, "the GPU is up")
        reading = scrape(running)

    names = reading.names()
    assert {"energy_joules_total", "performance_state", "memory_used_bytes"}.isdisjoint(names)
    assert reading.get("clock_hertz", gpu_uuid=UUID, clock="sm") is None
    assert 1.98e9 == reading.get("clock_hertz", gpu_uuid=UUID, clock="graphics")
    assert (reading.get("errors_total", error="bad_value") or 0) >= 2


def test_two_gpus_stay_within_the_row_budget_and_pass_promtool(gpus: Gpus, store: Path):
    second = WHOLE.replace("gpu 0", "gpu 1").replace(UUID, "GPU-2").replace("0F", "1F")
    gpus.say(WHOLE + " event_types=8", second + " event_types=8")
    with exporter_of(gpus, store) as running:
        wait_for(lambda: scrape(running).get("sm_active_ratio", gpu_uuid="GPU-2"), "both are read")
        _, _, body = running.get("/metrics?collect[]=gpu")
        lines = [line for line in body.decode().splitlines() if not line.startswith("#")]

    rows = [line for line in lines if line.startswith("inferometer_gpu_")]
    assert len(rows) == len(set(rows))
    of_one = [line for line in rows if 'gpu_uuid="GPU-2"' in line]
    assert len(of_one) <= 75
    assert len(rows) - 2 * len(of_one) <= 17


def test_watcher_goes_on_after_waiting_fails(gpus: Gpus, store: Path):
    watching = WHOLE + " event_types=8"
    gpus.say(watching, "fail nvmlEventSetWait_v2 code=999 times=1")
    with exporter_of(gpus, store) as running:
        wait_for(lambda: gpus.calls()["nvmlEventSetWait_v2"] >= 2, "it waits again")
        gpus.say(watching, "event 0 xid=48")
        labels = {"gpu_uuid": UUID, "xid": "48"}
        wait_for(lambda: scrape(running).get("xid_errors_total", **labels) == 1, "it is counted")

    assert 1 == gpus.calls()["nvmlInitWithFlags"]


@pytest.mark.parametrize(
    ("device", "fault"),
    [(WHOLE, ""), (WHOLE + " event_types=8", "fail nvmlDeviceRegisterEvents code=999")],
    ids=["no-such-events", "not-to-be-registered"],
)
def test_gpu_that_reports_no_events_is_no_failure(gpus: Gpus, store: Path, device: str, fault: str):
    gpus.say(device, fault)
    with exporter_of(gpus, store) as running:
        wait_for(lambda: scrape(running).get("up", gpu_uuid=UUID) == 1, "the GPU is up")
        reading = scrape(running)
        calls = gpus.calls()

    assert reading.has_succeeded
    assert "xid_errors_total" not in reading.names()
    assert calls["nvmlEventSetCreate"] == calls["nvmlEventSetFree"] == (1 if fault else 0)
    assert 0 == calls["nvmlEventSetWait_v2"]
