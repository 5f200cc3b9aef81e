"""The metric catalogue: every family there is, by section. A metric is a row in one of the files.

`python -m exporter.catalogue` writes METRICS.md from it, `--check` says whether the file is
current.
"""

from dataclasses import dataclass

from exporter.catalogue import batching, drift, gpu, itself, models, processes, quality, requests
from exporter.metric import Family


@dataclass(frozen=True, slots=True)
class Section:
    """One part of the metric reference."""

    title: str
    introduction: str
    families: tuple[Family, ...]


SECTIONS = (
    Section("Requests", requests.__doc__ or "", requests.FAMILIES),
    Section("Batching", batching.__doc__ or "", batching.FAMILIES),
    Section("Models", models.__doc__ or "", models.FAMILIES),
    Section("Predictions and quality", quality.__doc__ or "", quality.FAMILIES),
    Section("Drift and input health", drift.__doc__ or "", drift.FAMILIES),
    Section("Processes", processes.__doc__ or "", processes.FAMILIES),
    Section("GPU", gpu.__doc__ or "", gpu.FAMILIES),
    Section("The exporter itself", itself.__doc__ or "", itself.FAMILIES),
)

CATALOGUE: tuple[Family, ...] = tuple(family for section in SECTIONS for family in section.families)
