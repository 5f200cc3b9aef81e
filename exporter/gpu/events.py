"""NVML's events, which the XID watcher waits for beside the thread that makes all other calls."""

import contextlib
import ctypes
import time
from collections.abc import Sequence
from typing import Any

import pynvml

from exporter.gpu.calls import UNSUPPORTED, Calls
from exporter.gpu.driver import Device, DeviceLost, DriverBroken, NotOffered, Opened

XID_CRITICAL = 0x8
TIMED_OUT = 10


class Events:
    """The event set of one opening of the library, with the devices that report to it."""

    def __init__(self, event_set: object, devices: Sequence[Device]) -> None:
        """Take a set in which the devices are registered."""
        self._set = event_set
        self._uuids = {_address(device.handle): device.uuid for device in devices}
        self.watched = frozenset(self._uuids.values())
        # Not noted with the other thread's calls.
        self.in_flight: tuple[str, float] | None = None

    def next(self, milliseconds: int) -> tuple[str, int] | None:
        """Wait for an event; return its GPU and XID, None without any.

        Raises DriverBroken or NotOffered.
        """
        self.in_flight = ("nvmlEventSetWait_v2", time.monotonic())
        try:
            data = pynvml.nvmlEventSetWait_v2(self._set, milliseconds)
        except pynvml.NVMLError as error:
            if error.value == TIMED_OUT:
                return None
            if error.value in UNSUPPORTED:
                raise NotOffered(str(error)) from None
            raise DriverBroken("other", f"nvmlEventSetWait_v2: {error}") from None
        finally:
            self.in_flight = None
        return self._uuids.get(_address(data.device), ""), data.eventData

    def close(self) -> None:
        """Give the set up."""
        self.in_flight = ("nvmlEventSetFree", time.monotonic())
        with contextlib.suppress(Exception):
            pynvml.nvmlEventSetFree(self._set)
        self.in_flight = None


def open_events(calls: Calls, devices: Sequence[Device]) -> Opened:
    """Return the events of those devices that report XIDs. Raises DriverBroken."""
    failures = calls.failures
    events = _open(calls, devices)
    return Opened(events, calls.failures == failures)


def _open(calls: Calls, devices: Sequence[Device]) -> Events | None:
    able = [device for device in devices if _reports(calls, device)]
    while able:
        event_set = calls.ask("", pynvml.nvmlEventSetCreate)
        if event_set is None:
            return None
        refused = [device for device in able if not _register(calls, device, event_set)]
        events = Events(event_set, able)
        if not refused:
            return events
        # After a refusal a set may be of no use: another is made, without whom it was about.
        events.close()
        able = [device for device in able if device not in refused]
    return None


def _reports(calls: Calls, device: Device) -> bool:
    """Return whether a device can report XIDs; one that is lost cannot."""
    try:
        kinds = calls.ask(device.uuid, pynvml.nvmlDeviceGetSupportedEventTypes, device.handle)
    except DeviceLost:
        return False
    return bool((kinds or 0) & XID_CRITICAL)


def _register(calls: Calls, device: Device, event_set: object) -> bool:
    """Return whether a device reports to the set from now on."""

    def nvmlDeviceRegisterEvents(handle: object) -> bool:  # noqa: N802 - it stands for that call
        pynvml.nvmlDeviceRegisterEvents(handle, XID_CRITICAL, event_set)
        return True

    try:
        return bool(calls.ask(device.uuid, nvmlDeviceRegisterEvents, device.handle))
    except DeviceLost:
        return False


def _address(handle: Any) -> int | None:
    return ctypes.cast(handle, ctypes.c_void_p).value
