"""Bytes over NVLink where the driver counts them link by link, as of NVLink 5."""

from exporter.gpu.calls import Calls
from exporter.gpu.driver import Accumulator, Device
from exporter.gpu.fields import MOST_NVLINK_BYTES

LINK_COUNT, TRANSMIT, RECEIVE = 91, 202, 204
FAMILIES = {TRANSMIT: "nvlink_transmit_bytes_total", RECEIVE: "nvlink_receive_bytes_total"}
# More than any GPU has; the count is the driver's word.
MOST_LINKS = 64
MOST_TRIES = 3
BITS = 64


class NvLinks:
    """The links of one device: those that answer when they are looked for.

    A sum over some of them would look like a register that began anew, so that it is all or none.
    """

    def __init__(self, calls: Calls, device: Device) -> None:
        """Ask nothing yet."""
        self._calls = calls
        self._device = device
        self._links: list[int] | None = None
        self._tries = 0

    def read(self) -> list[Accumulator]:
        """Return the sums over all links; nothing where there are none."""
        if self._links is None:
            self._links = self._find()
        registers = []
        for field, family in FAMILIES.items() if self._links else ():
            found = self._values(field, self._links or [])
            if len(found) == len(self._links or []):
                total = sum(found.values())
                registers.append(Accumulator(family, "", total, 1, BITS, MOST_NVLINK_BYTES))
        return registers

    def _find(self) -> list[int] | None:
        """Return the links that answer; None when some could not be asked, but for the last try."""
        self._tries += 1
        failures = self._calls.failures
        found = self._calls.fields(self._device, [(LINK_COUNT, 0)])
        count = min(int(found[0].value), MOST_LINKS) if found else 0
        links = list(range(count))
        both = [self._values(field, links) for field in FAMILIES] if links else [{}]
        if self._calls.failures != failures and self._tries < MOST_TRIES:
            return None
        return [link for link in links if all(link in values for values in both)]

    def _values(self, field: int, links: list[int]) -> dict[int, int]:
        found = self._calls.fields(self._device, [(field, link) for link in links])
        return {one.scope: int(one.value) for one in found}
