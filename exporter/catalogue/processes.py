"""The processes of this server.

Counts and CPU time of dead processes are kept, so they never fall.
"""

from exporter.define import counter, gauge
from exporter.metric import Label

ROLES = ("frontend", "runner", "exporter")
ROLE = Label("role", ROLES)

FAMILIES = (
    gauge("inferometer_processes", "Processes alive now.", ROLE),
    counter("inferometer_process_starts_total", "Processes started.", ROLE, by=ROLES),
    counter(
        "inferometer_process_exits_total",
        "Processes ended: by themselves, by a signal, or killed because they did not answer.",
        ROLE, Label("cause", ("exit", "signal", "timeout")), by=ROLES,
    ),
    counter(
        "inferometer_process_cpu_seconds_total",
        "CPU time used, user and system, dead processes included.",
        ROLE, by=ROLES,
    ),
    gauge("inferometer_process_resident_memory_bytes", "Resident memory of processes alive.", ROLE),
    gauge("inferometer_process_open_fds", "File descriptors held by the processes alive.", ROLE),
    gauge(
        "inferometer_listen_backlog_connections",
        "Connections to the serving port that the kernel holds and no process has accepted.",
        absent=True,
    ),
)  # fmt: skip
