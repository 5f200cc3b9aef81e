"""What a collector is, and how one is run: guarded, timed, its success shown.

A collector reads something at each scrape and yields prometheus_client's `Metric` families. A new
one is a file beside this one and a line in the table of `__init__.py`.
"""

import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from exporter.catalogue import CATALOGUE
from exporter.merge import View

FAMILIES = {family.name: family for family in CATALOGUE}

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CollectorSettings:
    """What collectors are told: the serving addresses whose accept queue is shown."""

    backlog_addresses: tuple[tuple[str, int], ...] = ()


class Collector(Protocol):
    """Reads one subject."""

    def collect(self, view: View) -> Iterable[Metric]:
        """Yield families; `view` is the merged store of the same scrape."""


def gauge_family(name: str) -> GaugeMetricFamily:
    """Return an empty gauge of the catalogue."""
    family = FAMILIES[name]
    return GaugeMetricFamily(name, family.help, labels=family.label_names)


def counter_family(name: str) -> CounterMetricFamily:
    """Return an empty counter of the catalogue."""
    family = FAMILIES[name]
    return CounterMetricFamily(name.removesuffix("_total"), family.help, labels=family.label_names)


class GuardedCollectors:
    """Runs every collector of a scrape; one that raises costs its own rows and nothing else."""

    def __init__(self, collectors: Mapping[str, Collector]) -> None:
        """Take collectors by name; the name is the label value on /metrics."""
        self._collectors = collectors
        self._failing: set[str] = set()

    def collect(self, view: View) -> list[Metric]:
        """Return every collector's families, and how each of them fared."""
        success = gauge_family("inferometer_collector_success")
        duration = gauge_family("inferometer_collector_duration_seconds")
        families: list[Metric] = []
        for name, collector in self._collectors.items():
            begun = time.monotonic()
            try:
                families += collector.collect(view)
            except Exception:
                success.add_metric([name], 0.0)
                # Once per failure, not once per scrape.
                if name not in self._failing:
                    logger.exception("collector %s failed; its metrics are missing", name)
                self._failing.add(name)
            else:
                success.add_metric([name], 1.0)
                self._failing.discard(name)
            duration.add_metric([name], time.monotonic() - begun)
        return [*families, success, duration]
