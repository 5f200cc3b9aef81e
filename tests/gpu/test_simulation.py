"""GPUs that are simulated for those who have none: every family, marked, and with the load."""

from pathlib import Path

import pytest

from exporter import CATALOGUE, open_recorder
from exporter.catalogue.gpu import FAMILIES
from tests.gpu.stand_in import WHOLE, Gpus, Reading, exporter_of
from tests.live.servers import wait_for

FIRST = "GPU-00000000-0000-0000-0000-000000000000"
SECOND = "GPU-00000000-0000-0000-0000-000000000001"
# Nothing goes wrong with a simulated GPU.
NEVER = {"inferometer_gpu_xid_last_timestamp_seconds"}


def test_simulated_gpus_have_everything_follow_the_load_and_are_marked(gpus: Gpus, store: Path):
    gpus.say(WHOLE)
    store.mkdir(mode=0o700)
    recorder = open_recorder(store, "runner", families=CATALOGUE)
    labels = {"model": "digits", "version": "1", "device": "cpu"}
    busy = recorder.child("inferometer_device_busy_seconds_total", **labels)
    with exporter_of(gpus, store, "--gpu.simulate=2") as running:

        def reading() -> Reading:
            return Reading(running.get()[2].decode())

        def both(name: str) -> list[float]:
            found = reading()
            return [found.get(name, gpu_uuid=uuid) or 0.0 for uuid in (FIRST, SECOND)]

        wait_for(lambda: both("busy_seconds_total") == [0, 0] and both("up") == [1, 1], "idle")
        idle = reading()
        busy.inc(3.0)
        wait_for(lambda: max(both("power_watts")) > 500, "they are busy")
        wait_for(lambda: both("busy_seconds_total") == pytest.approx([1.5, 1.5]), "all is done")
        wait_for(lambda: both("power_watts") == [70, 70], "they rest")
        rested = reading()
        text = running.get()[2].decode()
        page = running.get("/")[2].decode()
        log = running.log.read_text()
    recorder.close()

    assert 70 == idle.get("power_watts", gpu_uuid=FIRST)
    missing = {one.name for one in FAMILIES if f"\n{one.name}" not in text}
    assert missing == NEVER
    assert {"true"} == {each["simulated"] for each in rested.labels("info")}
    assert 1.5 == pytest.approx(rested.get("serving_sm_busy_seconds_total", gpu_uuid=FIRST))
    assert 1.5 * 490 <= (rested.get("energy_joules_total", gpu_uuid=FIRST) or 0)
    assert 0 == rested.get("other_memory_used_bytes", gpu_uuid=FIRST)
    assert "simulated" in page
    assert 1 == log.count("GPUs are simulated: 2")
    assert [] == gpus.trace()


@pytest.mark.parametrize("number", ["-1", "1.5", "many", "65"])
def test_number_of_simulated_gpus_is_checked(store: Path, number: str):
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, "-m", "exporter", f"--store.path={store}", f"--gpu.simulate={number}"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 2
    assert "--gpu.simulate" in done.stderr
