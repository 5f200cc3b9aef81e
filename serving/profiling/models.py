"""A model on disk, loaded by a command and not by a server."""

from pathlib import Path
from typing import NamedTuple

from exporter.quality import Measured
from serving.errors import DataError
from serving.model import ModelVersion
from serving.runner.declared import measured_version
from serving.runner.formats import QUALITY_FILE
from serving.runner.loaded_model import LoadedModel
from serving.runner.model_folder import ModelFolder, ModelSource
from serving.settings_forms import split_models


class Subject(NamedTuple):
    """A version that is loaded, where it lies, and what is measured of it."""

    source: ModelSource
    version: ModelVersion
    loaded: LoadedModel
    measured: Measured


def load_subject(model: str, number: str | None) -> Subject:
    """Load a version of `[NAME=]PATH`, the newest by default.

    Raises DataError, ModelLoadError, or whatever the libraries raise.
    """
    found = split_models(model)
    if not isinstance(found, dict) or len(found) != 1:
        raise DataError("one model is expected, [NAME=]PATH")
    ((name, path),) = found.items()
    source = _source(Path(path), number)
    loaded = source.format.load(source.path, lambda _step: None)
    signatures = dict(loaded.signatures)
    version = ModelVersion(name, source.version, "ready", source.format.name, signatures)
    measured = measured_version(source.companion(QUALITY_FILE), version, loaded.inferred)
    return Subject(source, version, loaded, measured)


def _source(path: Path, number: str | None) -> ModelSource:
    sources = ModelFolder(path).look(at_once=True)
    if not sources:
        raise DataError(f"{path}: no model lies there")
    chosen = number or max(sources, key=int)
    if chosen not in sources:
        there = ", ".join(sorted(sources, key=int))
        raise DataError(f"{path}: there is no version {chosen}; there are {there}")
    return sources[chosen]
