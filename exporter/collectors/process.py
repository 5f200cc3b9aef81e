"""The processes of this server that are alive, with their memory and descriptors."""

from collections.abc import Iterable

from prometheus_client.core import Metric

from exporter import host
from exporter.catalogue.processes import ROLES
from exporter.collectors.base import gauge_family
from exporter.merge import View


class ProcessCollector:
    """Reads /proc for the processes that hold a live block."""

    def collect(self, view: View) -> Iterable[Metric]:
        """Yield how many processes each role has and what they hold together."""
        alive = gauge_family("inferometer_processes")
        memory = gauge_family("inferometer_process_resident_memory_bytes")
        descriptors = gauge_family("inferometer_process_open_fds")
        here = host.pid_namespace()
        for role in ROLES:
            processes = [process for process in view.processes if process.role == role]
            # A pid of another namespace names some other process here.
            pids = [process.pid for process in processes if process.pid_namespace == here]
            alive.add_metric([role], len(processes))
            memory.add_metric([role], sum(map(host.resident_memory_bytes, pids)))
            descriptors.add_metric([role], sum(map(host.open_descriptors, pids)))
        return [alive, memory, descriptors]
