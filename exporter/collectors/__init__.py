"""The collectors, by the name they carry on /metrics and on the command line."""

from collections.abc import Callable

from exporter.collectors.backlog import BacklogCollector
from exporter.collectors.base import Collector, CollectorSettings, GuardedCollectors
from exporter.collectors.build import BuildCollector
from exporter.collectors.process import ProcessCollector

COLLECTORS: dict[str, Callable[[CollectorSettings], Collector]] = {
    "backlog": lambda settings: BacklogCollector(settings.backlog_addresses),
    "build": lambda _settings: BuildCollector(),
    "process": lambda _settings: ProcessCollector(),
}


def make_collectors(settings: CollectorSettings) -> GuardedCollectors:
    """Build every collector that is not switched off."""
    return GuardedCollectors(
        {name: make(settings) for name, make in COLLECTORS.items() if name not in settings.disabled}
    )
