"""Versions that lie on disk and are not loaded, of which labels may still come.

A version that was replaced predicted yesterday what is labelled today. What its declaration says is
enough to count: nothing of the model is read.
"""

import logging
from collections.abc import Mapping
from pathlib import Path

from exporter.quality import (
    BOX_COLUMNS,
    Declaration,
    DeclarationError,
    Measured,
    ProfileError,
    read_declaration,
    read_profile,
    widened,
)
from serving.model import ON_DISK, ModelVersion
from serving.runner.declared import content_of
from serving.runner.formats import PROFILE_FILE, QUALITY_FILE
from serving.runner.model_folder import ModelSource

# The newest of each model; every one has hundreds of series.
MOST_VERSIONS = 3

logger = logging.getLogger(__name__)


class DeclaredOnDisk:
    """Reads the declarations of versions, each once for as long as its file looks the same."""

    def __init__(self) -> None:
        """Nothing is read yet."""
        self._read: dict[object, Measured | None] = {}

    def look(self, model: str, sources: Mapping[str, ModelSource]) -> list[ModelVersion]:
        """Return the newest versions of a model that declare a task."""
        found = []
        for version in sorted(sources, key=int, reverse=True)[:MOST_VERSIONS]:
            measured = self._measured(model, sources[version])
            if measured is not None and measured.declaration.task != "none":
                name = sources[version].format.name
                found.append(ModelVersion(model, version, ON_DISK, name, {}, measured=measured))
        return found

    def _measured(self, model: str, source: ModelSource) -> Measured | None:
        try:
            file = source.companion(QUALITY_FILE)
            if file is None:
                return None
            profile = source.companion(PROFILE_FILE)
            key = (_look_of(file), _look_of(profile))
            if key not in self._read:
                measured = _declared(read_declaration(content_of(file)))
                self._read[key] = _profiled(measured, profile, model, source.version)
            return self._read[key]
        except (DeclarationError, ProfileError, OSError) as error:
            # Whoever loads the version says so as an error.
            logger.debug("%s: %s", source.path, error)
            return None


def _look_of(file: Path | None) -> object:
    if file is None:
        return None
    status = file.stat()
    return file, status.st_mtime_ns, status.st_size


def _profiled(
    measured: Measured | None, file: Path | None, model: str, version: str
) -> Measured | None:
    """Return what is measured with what the version's own profile knows of its labels."""
    if measured is None or file is None:
        return measured
    profile, _ = read_profile(content_of(file))
    is_own = (profile.model, profile.version) == (model, version)
    return widened(measured, profile) if is_own else measured


def _declared(declaration: Declaration) -> Measured | None:
    """Return what a declaration alone tells of a task; None where only the model tells the rest."""
    shapes: dict[str, tuple[int, ...]] = {
        "regression": (declaration.target_column + 1,),
        "multiclass": (len(declaration.classes),),
        "multilabel": (len(declaration.classes),),
        "ranking": (1,),
        "detection": (0, BOX_COLUMNS),
        "segmentation": (1, 1),
    }
    outputs = tuple((declaration.outputs or {"": declaration.output}).values())
    measured = Measured(
        declaration, declaration.signature, outputs, shapes.get(declaration.task, ())
    )
    if measured.is_by_class and not declaration.classes:
        return None
    measured.task  # noqa: B018 - whether it can be made
    return measured
