"""Which GPUs there are, and what is known of each for as long as NVML is open."""

from collections.abc import Iterator

import pynvml

from exporter.gpu.calls import LOST, Calls
from exporter.gpu.driver import Device, DeviceLost, Listing

# The binding decodes what it returns, and fails where that is no UTF-8.
_NAME = getattr(pynvml.nvmlDeviceGetName, "__wrapped__", pynvml.nvmlDeviceGetName)


def find_devices(calls: Calls) -> Listing:
    """Return the GPUs that answer, each followed by its instances. Raises DriverBroken."""
    count = calls.must("nvmlDeviceGetCount_v2", pynvml.nvmlDeviceGetCount)
    found: list[Device] = []
    is_complete = True
    for index in range(count):
        failures = calls.failures
        try:
            handle = calls.ask(f"index {index}", pynvml.nvmlDeviceGetHandleByIndex, index)
            if handle is not None:
                found += _with_instances(calls, index, handle)
        except DeviceLost as lost:
            is_complete &= lost.error in LOST.values()
        is_complete &= calls.failures == failures
    return Listing(found, is_complete)


def _with_instances(calls: Calls, index: int, handle: object) -> Iterator[Device]:
    key = f"index {index}"
    pci = calls.ask(key, pynvml.nvmlDeviceGetPciInfo_v3, handle)
    capability = calls.ask(key, pynvml.nvmlDeviceGetCudaComputeCapability, handle)
    mode = calls.ask(key, pynvml.nvmlDeviceGetMigMode, handle)
    uuid = calls.ask(key, pynvml.nvmlDeviceGetUUID, handle)
    if uuid is None:
        return  # Without it nothing can be said of the GPU.
    gpu = Device(
        uuid=text_of(uuid),
        name=text_of(calls.ask(key, _NAME, handle) or ""),
        handle=handle,
        index=index,
        pci_bus_id=text_of(pci.busId) if pci is not None else "",
        minor=calls.ask(key, pynvml.nvmlDeviceGetMinorNumber, handle),
        compute_capability=".".join(map(str, capability or ())),
        has_instances=bool(mode and mode[0]),
    )
    yield gpu
    if gpu.has_instances:
        yield from _instances(calls, gpu)


def _instances(calls: Calls, gpu: Device) -> Iterator[Device]:
    for number in range(
        calls.ask(gpu.uuid, pynvml.nvmlDeviceGetMaxMigDeviceCount, gpu.handle) or 0
    ):
        # A hole where there is no instance of that number.
        handle = calls.ask(gpu.uuid, pynvml.nvmlDeviceGetMigDeviceHandleByIndex, gpu.handle, number)
        if handle is None:
            continue
        key = f"{gpu.uuid} {number}"
        uuid = calls.ask(key, pynvml.nvmlDeviceGetUUID, handle)
        if uuid:
            yield Device(
                text_of(uuid), gpu.name, handle, minor=gpu.minor, parent_uuid=gpu.uuid,
                pci_bus_id=gpu.pci_bus_id, compute_capability=gpu.compute_capability,
                gpu_instance=calls.ask(key, pynvml.nvmlDeviceGetGpuInstanceId, handle),
                compute_instance=calls.ask(key, pynvml.nvmlDeviceGetComputeInstanceId, handle),
            )  # fmt: skip


def text_of(found: str | bytes) -> str:
    """Return what NVML calls something; what is no UTF-8 is replaced."""
    return found.decode("utf-8", "replace") if isinstance(found, bytes) else found
