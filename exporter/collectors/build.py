"""Which versions are running: Inferometer, Python, TensorFlow. Nothing is imported to find out."""

import platform
from collections.abc import Iterable
from importlib import metadata

from exporter.collectors.base import family_of
from exporter.view import MergedFamily, View

TENSORFLOW_DISTRIBUTIONS = ("tensorflow", "tensorflow-cpu")


class BuildCollector:
    """Reads the installed distributions' metadata, once."""

    names: tuple[str, ...] = ("inferometer_build_info",)

    def __init__(self) -> None:
        """Look the versions up; they cannot change while the process lives."""
        tensorflow = next(filter(None, map(_version, TENSORFLOW_DISTRIBUTIONS)), "")
        self._labels = [inferometer_version(), platform.python_version(), tensorflow]

    def collect(self, view: View) -> Iterable[MergedFamily]:  # noqa: ARG002
        """Yield the one info row."""
        info = family_of("inferometer_build_info")
        info.add(self._labels, 1.0)
        return [info]


def inferometer_version() -> str:
    """Return the installed version."""
    return _version("inferometer")


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""
