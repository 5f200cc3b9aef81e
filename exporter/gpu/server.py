"""What the store tells of the server whose GPUs are read: its processes, its time on the device."""

import hashlib
import socket
from collections.abc import Sequence
from pathlib import Path

from exporter.errors import StoreError
from exporter.store_reader import StoreReader
from exporter.totals import totals_of
from exporter.view import LiveProcess

BUSY = "inferometer_device_busy_seconds_total"
OWN_ROLES = frozenset({"runner", "frontend"})


class Server:
    """A server as its store shows it, looked at anew by `look`. For one thread."""

    def __init__(self, store_path: Path) -> None:
        """Look at nothing yet."""
        self._reader = StoreReader(store_path)
        # Four digits that differ from another server's, most of the time.
        name = f"{socket.gethostname()} {store_path.absolute()}"
        self.mark = hashlib.sha256(name.encode()).hexdigest()[:4]
        self.processes: Sequence[LiveProcess] | None = None
        self.busy_seconds = 0.0

    def look(self) -> None:
        """Read the store; where it cannot be read, `processes` is None and the rest stays."""
        try:
            view = self._reader.view(lambda family: family.name == BUSY)
        except StoreError:
            self.processes = None
            return
        self.processes = [one for one in view.processes if one.role in OWN_ROLES]
        busy = view.families.get(BUSY)
        if busy is not None:
            self.busy_seconds = sum(total.value for total in totals_of(busy))
