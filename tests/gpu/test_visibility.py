"""Which GPUs CUDA_VISIBLE_DEVICES shows."""

import pytest

from exporter.gpu.driver import Device
from exporter.gpu.visibility import Visibility

A, B, C = "GPU-aaaa1111", "GPU-aaaa2222", "GPU-cccc3333"
M = "MIG-eeee5555"
ALL = {A: 0, B: 1, C: 2}


def gpu(uuid: str, bus: str, name: str = "H200") -> Device:
    return Device(uuid, name, None, pci_bus_id=bus)


def instance(uuid: str, parent: str, numbers: tuple[int, int] = (1, 0)) -> Device:
    of_gpu, of_compute = numbers
    return Device(
        uuid, "H200", None, pci_bus_id="00:01", parent_uuid=parent,
        gpu_instance=of_gpu, compute_instance=of_compute,
    )  # fmt: skip


# Not in the order of their bus.
EQUAL = [gpu(C, "00:03"), gpu(A, "00:01"), gpu(B, "00:02")]
MIXED = [gpu(A, "00:01", "L4"), gpu(B, "00:02", "H200"), gpu(C, "00:03", "H200")]


def seen(value: str | None, devices: list[Device], order: str = "") -> dict[str, int] | None:
    """Return CUDA's number of each visible device; None where it is not known."""
    visibility = Visibility(value, order)
    visibility.decide(devices)
    if any(visibility.is_visible(device) is None for device in devices):
        return None
    return {
        device.uuid: int(visibility.cuda_index(device) or -1)
        for device in devices
        if visibility.is_visible(device)
    }


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(None, ALL, id="unset"),
        pytest.param("", {}, id="empty"),
        pytest.param("-1", {}, id="minus-one"),
        pytest.param("0", {A: 0}, id="first"),
        pytest.param("2,0", {C: 0, A: 1}, id="order"),
        pytest.param(" 1 , 2 ", {B: 0, C: 1}, id="spaces"),
        pytest.param("0,7,1", {A: 0}, id="ends-at-an-invalid-one"),
        pytest.param("0,-1,1", {A: 0}, id="ends-at-minus-one"),
        pytest.param("1,1", {B: 0}, id="ends-at-a-repetition"),
        pytest.param("x", {}, id="nonsense"),
        pytest.param(B, {B: 0}, id="uuid"),
        pytest.param("GPU-cccc", {C: 0}, id="prefix"),
        pytest.param("GPU-aaaa", {}, id="ambiguous-prefix"),
        pytest.param(f"{C},0", {C: 0, A: 1}, id="mixed-forms"),
    ],
)
def test_list_of_equal_gpus(value: str | None, expected: dict[str, int]):
    assert seen(value, EQUAL) == expected


@pytest.mark.parametrize(
    ("value", "order", "expected"),
    [
        pytest.param("0", "", None, id="fastest-first-is-not-known"),
        pytest.param("0", "PCI_BUS_ID", {A: 0}, id="by-bus"),
        pytest.param(B, "", {B: 0}, id="uuid"),
        pytest.param(None, "", {A: -1, B: -1, C: -1}, id="unset"),
        pytest.param("", "", {}, id="empty"),
    ],
)
def test_list_of_different_gpus(value: str | None, order: str, expected: dict[str, int] | None):
    assert seen(value, MIXED, order) == expected


N = "MIG-eeee6666"
WITH_INSTANCES = [gpu(A, "00:01"), instance(M, A, (1, 0)), instance(N, A, (2, 1)), gpu(B, "00:02")]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(None, {A: 0, M: -1, N: -1, B: 1}, id="all"),
        pytest.param(M, {A: -1, M: 0}, id="uuid"),
        pytest.param(f"{N},{M}", {A: -1, N: 0, M: 1}, id="order"),
        pytest.param("MIG-eeee6", {A: -1, N: 0}, id="prefix"),
        pytest.param("MIG-eeee", {}, id="ambiguous-prefix"),
        pytest.param(f"MIG-{A}/1/0", {A: -1, M: 0}, id="old-name"),
        pytest.param(f"MIG-{A}/2/1,{B}", {A: -1, N: 0, B: 1}, id="old-name-and-uuid"),
        pytest.param(f"MIG-{A}/3/0,{B}", {}, id="old-name-of-none"),
        pytest.param(f"MIG-{B}/1/0", {}, id="old-name-of-another-gpu"),
    ],
)
def test_list_with_instances(value: str | None, expected: dict[str, int]):
    assert seen(value, WITH_INSTANCES) == expected
