"""Which GPUs the server's processes may use, by CUDA_VISIBLE_DEVICES, which NVML ignores.

The rules are those of the CUDA programming guide: the list ends at its first invalid entry.
"""

import re
from collections.abc import Sequence

from exporter.gpu.driver import Device

BY_BUS = "PCI_BUS_ID"
# How drivers before R470 call an instance.
OLD_INSTANCE = re.compile(
    r"MIG-(?P<parent>GPU-[0-9a-f-]+)/(?P<gpu>[0-9]{1,4})/(?P<compute>[0-9]{1,4})"
)


class Visibility:
    """Judges devices by the variable's value and by CUDA_DEVICE_ORDER."""

    def __init__(self, value: str | None, order: str = "") -> None:
        """None is a variable that is not set: all devices are visible."""
        self._value = value
        self._order = order
        # The place of each visible device in CUDA's numbering; None where it cannot be known.
        self._places: dict[str, int] | None = {}
        self._visible: frozenset[str] = frozenset()

    def decide(self, devices: Sequence[Device]) -> None:
        """Look at the devices that there are."""
        self._place(devices)
        places = self._places or {}
        parents = {one.parent_uuid for one in devices if one.uuid in places}
        self._visible = frozenset(places.keys() | parents - {""})

    def _place(self, devices: Sequence[Device]) -> None:
        gpus = sorted(
            (one for one in devices if not one.parent_uuid), key=lambda one: one.pci_bus_id
        )
        # Fastest first, and then by bus: among equals that is by bus.
        is_order_known = self._order == BY_BUS or len({gpu.name for gpu in gpus}) <= 1
        if self._value is None:
            self._places = dict(_numbered(gpus)) if is_order_known else None
            if self._places is None:
                self._places = dict.fromkeys((gpu.uuid for gpu in gpus), -1)
            return
        places: dict[str, int] = {}
        for place, entry in enumerate(part.strip() for part in self._value.split(",")):
            if entry.isdecimal():
                if not is_order_known:
                    self._places = None
                    return
                found = [gpus[int(entry)]] if int(entry) < len(gpus) else []
            else:
                found = [one for one in devices if _is_meant(entry, one)]
            if len(found) != 1 or found[0].uuid in places:
                break
            places[found[0].uuid] = place
        self._places = places

    def is_visible(self, device: Device) -> bool | None:
        """Return whether the server's processes may use a device; None where it is not known.

        A GPU is visible if one of its instances is: what it uses is used for that one, too.
        """
        if self._places is None:
            return None
        return device.uuid in self._visible or (
            self._value is None and device.parent_uuid in self._visible
        )

    def cuda_index(self, device: Device) -> str:
        """Return CUDA's number of a device; empty where it has none, or where it is not known."""
        place = (self._places or {}).get(device.uuid, -1)
        return str(place) if place >= 0 else ""


def _numbered(gpus: Sequence[Device]) -> list[tuple[str, int]]:
    return [(gpu.uuid, place) for place, gpu in enumerate(gpus)]


def _is_meant(entry: str, device: Device) -> bool:
    """Return whether a UUID, the beginning of one, or an instance's old name means a device."""
    old = OLD_INSTANCE.fullmatch(entry)
    if old is not None:
        meant = (old["parent"], int(old["gpu"]), int(old["compute"]))
        return meant == (device.parent_uuid, device.gpu_instance, device.compute_instance)
    if entry.startswith(("GPU-", "MIG-")) and len(entry) > len("GPU-"):
        return device.uuid.startswith(entry)
    return False
