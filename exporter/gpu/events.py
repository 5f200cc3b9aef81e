"""NVML's events, which the XID watcher waits for beside the thread that makes all other calls."""

import contextlib
import ctypes
from collections.abc import Sequence
from typing import Any

import pynvml

from exporter.gpu.calls import Calls
from exporter.gpu.driver import Device, DriverBroken

XID_CRITICAL = 0x8
TIMED_OUT = 10


class Events:
    """The event set of one opening of the library, with the devices that report to it."""

    def __init__(self, event_set: object, devices: Sequence[Device]) -> None:
        """Take a set in which the devices are registered."""
        self._set = event_set
        self._uuids = {_address(device.handle): device.uuid for device in devices}

    def next(self, milliseconds: int) -> tuple[str, int] | None:
        """Wait for an event; return its GPU and XID, None without any. Raises DriverBroken."""
        try:
            data = pynvml.nvmlEventSetWait_v2(self._set, milliseconds)
        except pynvml.NVMLError as error:
            if error.value == TIMED_OUT:
                return None
            raise DriverBroken("other", f"nvmlEventSetWait_v2: {error}") from None
        return self._uuids.get(_address(data.device), ""), data.eventData

    def close(self) -> None:
        """Give the set up."""
        # Not noted as a call under way: that is the other thread's.
        with contextlib.suppress(Exception):
            pynvml.nvmlEventSetFree(self._set)


def open_events(calls: Calls, devices: Sequence[Device]) -> Events | None:
    """Return the events of those devices that report XIDs; None where none does."""
    able = [
        device
        for device in devices
        if (calls.ask(device.uuid, pynvml.nvmlDeviceGetSupportedEventTypes, device.handle) or 0)
        & XID_CRITICAL
    ]
    event_set = calls.ask("", pynvml.nvmlEventSetCreate) if able else None
    if event_set is None:
        return None
    registered = [device for device in able if _register(calls, device, event_set)]
    events = Events(event_set, registered)
    if not registered:
        events.close()
        return None
    return events


def _register(calls: Calls, device: Device, event_set: object) -> bool:
    """Return whether a device reports to the set from now on."""

    def nvmlDeviceRegisterEvents(handle: object) -> bool:  # noqa: N802 - it stands for that call
        pynvml.nvmlDeviceRegisterEvents(handle, XID_CRITICAL, event_set)
        return True

    return bool(calls.ask(device.uuid, nvmlDeviceRegisterEvents, device.handle))


def _address(handle: Any) -> int | None:
    return ctypes.cast(handle, ctypes.c_void_p).value
