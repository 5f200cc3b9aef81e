"""The processes of this server that are alive, with their memory and descriptors."""

from collections.abc import Iterable

from exporter import host
from exporter.catalogue.processes import ROLES
from exporter.collectors.base import family_of
from exporter.view import MergedFamily, View


class ProcessCollector:
    """Reads /proc for the processes that hold a live block."""

    names: tuple[str, ...] = (
        "inferometer_processes",
        "inferometer_process_resident_memory_bytes",
        "inferometer_process_open_fds",
    )

    def collect(self, view: View) -> Iterable[MergedFamily]:
        """Yield how many processes each role has and what they hold together."""
        alive = family_of("inferometer_processes")
        memory = family_of("inferometer_process_resident_memory_bytes")
        descriptors = family_of("inferometer_process_open_fds")
        here = host.pid_namespace()
        for role in ROLES:
            processes = [process for process in view.processes if process.role == role]
            # A pid of another namespace names some other process here.
            pids = [process.pid for process in processes if process.pid_namespace == here]
            alive.add([role], len(processes))
            memory.add([role], sum(map(host.resident_memory_bytes, pids)))
            descriptors.add([role], sum(map(host.open_descriptors, pids)))
        return [alive, memory, descriptors]
