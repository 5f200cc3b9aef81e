"""The collectors, by the name they carry on /metrics and on the command line."""

from collections.abc import Callable

from exporter.collectors.backlog import BacklogCollector
from exporter.collectors.base import Collector, CollectorSettings, GuardedCollectors
from exporter.collectors.build import BuildCollector
from exporter.collectors.gpu import make_gpu_collector
from exporter.collectors.process import ProcessCollector

COLLECTORS: dict[str, Callable[[CollectorSettings], Collector | None]] = {
    "backlog": lambda settings: BacklogCollector(settings.backlog_addresses),
    "build": lambda _settings: BuildCollector(),
    "gpu": make_gpu_collector,
    "process": lambda _settings: ProcessCollector(),
}


def make_collectors(settings: CollectorSettings) -> GuardedCollectors:
    """Build every collector that is not switched off and has a place in this process."""
    made = {
        name: make(settings) for name, make in COLLECTORS.items() if name not in settings.disabled
    }
    return GuardedCollectors({name: one for name, one in made.items() if one is not None})
