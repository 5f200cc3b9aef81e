"""Which versions are running: Inferometer, Python, TensorFlow. Nothing is imported to find out."""

import platform
from collections.abc import Iterable
from importlib import metadata

from prometheus_client.core import Metric

from exporter.collectors.base import gauge_family
from exporter.merge import View

TENSORFLOW_DISTRIBUTIONS = ("tensorflow", "tensorflow-cpu")


class BuildCollector:
    """Reads the installed distributions' metadata, once."""

    def __init__(self) -> None:
        """Look the versions up; they cannot change while the process lives."""
        tensorflow = next(filter(None, map(_version, TENSORFLOW_DISTRIBUTIONS)), "")
        self._labels = [_version("inferometer"), platform.python_version(), tensorflow]

    def collect(self, view: View) -> Iterable[Metric]:  # noqa: ARG002
        """Yield the one info row."""
        info = gauge_family("inferometer_build_info")
        info.add_metric(self._labels, 1.0)
        return [info]


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""
