"""The model formats: how each is recognised, and what loads it.

A new format is a line in the table.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from serving.errors import ModelLoadError
from serving.runner.loaded_model import LoadedModel
from serving.runner.tensorflow_model import load_keras_file, load_saved_model

# A loader names each step it begins after reading: one of the steps of the load-time metric.
Step = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Format:
    """One model format."""

    name: str
    matches: Callable[[Path], bool]
    load: Callable[[Path, Step], LoadedModel]


FORMATS = (
    Format("saved_model", lambda path: (path / "saved_model.pb").is_file(), load_saved_model),
    Format("keras", lambda path: path.suffix == ".keras" and path.is_file(), load_keras_file),
)

UNVERSIONED = "1"  # the version of a model that lies there without a version folder


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where a version of a model lies and which format it has."""

    version: str
    path: Path
    format: Format


def find_source(path: Path) -> ModelSource:
    """Return the model at a path, or the newest of its numeric version folders.

    Raises ModelLoadError saying what was looked for.
    """
    plain = _format_of(path)
    if plain is not None:
        return ModelSource(UNVERSIONED, path, plain)
    for folder in sorted(_version_folders(path), key=lambda folder: int(folder.name), reverse=True):
        for candidate in (folder, *sorted(folder.glob("*.keras"))):
            found = _format_of(candidate)
            if found is not None:
                return ModelSource(str(int(folder.name)), candidate, found)
    raise ModelLoadError(
        f"{path} is no model: expected saved_model.pb or a .keras file in it, "
        "or numeric version folders that hold one"
    )


def _format_of(path: Path) -> Format | None:
    return next((candidate for candidate in FORMATS if candidate.matches(path)), None)


def _version_folders(path: Path) -> list[Path]:
    if not path.is_dir():
        return []
    return [
        entry
        for entry in path.iterdir()
        if entry.is_dir() and entry.name.isascii() and entry.name.isdecimal()
    ]
