"""Against a real GPU, where there is one: no setting of the device is changed.

INFEROMETER_REQUIRE_GPU=1 makes it a failure that there is none.
"""

import json
import os
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from tests.gpu.stand_in import Reading
from tests.live.exporters import exporter
from tests.live.servers import start_server, wait_for

REQUIRED = "INFEROMETER_REQUIRE_GPU"
OPENING_SECONDS = 20
WATCHED_SECONDS = 10.0
# What the binding says itself, in a process of its own: it is never opened in this one.
ORACLE = """
import json, pynvml
pynvml.nvmlInit()
def of(number):
    handle = pynvml.nvmlDeviceGetHandleByIndex(number)
    return {
        "uuid": pynvml.nvmlDeviceGetUUID(handle), "name": pynvml.nvmlDeviceGetName(handle),
        "memory": pynvml.nvmlDeviceGetMemoryInfo(handle).total,
        "sm_megahertz": pynvml.nvmlDeviceGetMaxClockInfo(handle, pynvml.NVML_CLOCK_SM),
    }
print(json.dumps([of(number) for number in range(pynvml.nvmlDeviceGetCount())]))
"""


@pytest.fixture(scope="module")
def gpus() -> list[dict[str, Any]]:
    """Return what the binding says of the GPUs."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", ORACLE],
            capture_output=True, text=True, timeout=OPENING_SECONDS, check=False,
        )  # fmt: skip
        problem = "" if done.returncode == 0 else done.stderr.strip().splitlines()[-1]
        found = [] if problem else json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        problem, found = f"the driver did not open within {OPENING_SECONDS} s", []
    if not found:
        reason = f"no NVIDIA GPU: {problem or 'the driver has none'}"
        if os.environ.get(REQUIRED) == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def reading_of(url_text: bytes) -> Reading:
    return Reading(url_text.decode())


@pytest.mark.gpu
def test_each_gpu_is_what_the_driver_says(gpus: list[dict[str, Any]], store_path: Path):
    with exporter(store_path) as running:

        def reading() -> Reading:
            return reading_of(running.get()[2])

        uuids = {gpu["uuid"] for gpu in gpus}
        wait_for(
            lambda: uuids <= {each["gpu_uuid"] for each in reading().labels("info")}, "all are read"
        )
        found = reading()

    names = {each["gpu_uuid"]: each["name"] for each in found.labels("info")}
    for gpu in gpus:
        uuid = gpu["uuid"]
        assert names[uuid] == gpu["name"]
        assert 1 == found.get("up", gpu_uuid=uuid)
        assert gpu["sm_megahertz"] * 1e6 == found.get("clock_max_hertz", gpu_uuid=uuid, clock="sm")
    assert len(gpus) == found.get("devices")
    assert found.has_succeeded


@pytest.mark.gpu
def test_energy_is_the_integral_of_power(gpus: list[dict[str, Any]], store_path: Path):
    uuid = gpus[0]["uuid"]
    with exporter(store_path, "--gpu.min-age=0", "--gpu.interval=0.2") as running:

        def read(name: str) -> float | None:
            return reading_of(running.get()[2]).get(name, gpu_uuid=uuid)

        wait_for(lambda: read("power_watts"), "it is read")
        first = read("energy_joules_total")
        if first is None:
            pytest.skip("this GPU has no energy counter")
        begun, powers = time.monotonic(), []
        while time.monotonic() - begun < WATCHED_SECONDS:
            powers.append(read("power_watts") or 0.0)
        took, last = time.monotonic() - begun, read("energy_joules_total")

    assert last is not None
    assert last - first == pytest.approx(took * sum(powers) / len(powers), rel=0.05)


@pytest.mark.gpu
def test_server_computes_on_the_gpu_and_has_its_share(
    gpus: list[dict[str, Any]], models: Path, tmp_path: Path
):
    try:
        metadata.version("tensorflow")
    except metadata.PackageNotFoundError:
        pytest.skip("tensorflow-cpu has no CUDA; the extra serve-gpu brings tensorflow")
    with start_server({"half": models / "half"}, tmp_path) as server:
        for _ in range(100):
            assert server.predict("half", {"instances": [[2, 4]]}).status_code == 200
        devices = {
            dict(labels)["device"]
            for name, labels in server.samples()
            if name == "inferometer_device_busy_seconds_total"
        }
        wait_for(
            lambda: any(
                server.value("inferometer_gpu_serving_memory_used_bytes", gpu_uuid=gpu["uuid"]) > 0
                for gpu in gpus
            ),
            "the driver tells the runner's memory",
        )

    assert devices
    assert devices <= {gpu["uuid"] for gpu in gpus}


@pytest.mark.parametrize(("required", "outcome"), [("0", "3 skipped"), ("1", "3 errors")])
def test_tests_are_skipped_without_a_gpu_and_fail_where_one_is_required(
    required: str, outcome: str
):
    command = [sys.executable, "-m", "pytest", "-q", "-rs", "-m", "gpu", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, __file__],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False,
        env={**os.environ, REQUIRED: required},
    )  # fmt: skip
    if "passed" in done.stdout:
        pytest.skip("there is a GPU")

    assert outcome in done.stdout, done.stdout
    assert "no NVIDIA GPU: " in done.stdout
