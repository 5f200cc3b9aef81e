"""Versions that lie on disk and are not loaded, of which labels may still come.

A version that was replaced predicted yesterday what is labelled today. What its declaration says is
enough to count: nothing of the model is read.
"""

import logging
from collections.abc import Mapping

from exporter.quality import Declaration, DeclarationError, Measured, read_declaration
from serving.model import ON_DISK, ModelVersion
from serving.runner.declared import content_of
from serving.runner.formats import QUALITY_FILE
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
            measured = self._measured(sources[version])
            if measured is not None and measured.declaration.task != "none":
                name = sources[version].format.name
                found.append(ModelVersion(model, version, ON_DISK, name, {}, measured=measured))
        return found

    def _measured(self, source: ModelSource) -> Measured | None:
        file = source.companion(QUALITY_FILE)
        if file is None:
            return None
        try:
            status = file.stat()
            key = (file, status.st_mtime_ns, status.st_size)
            if key not in self._read:
                self._read[key] = _declared(read_declaration(content_of(file)))
            return self._read[key]
        except (DeclarationError, OSError) as error:
            # Whoever loads the version says so as an error.
            logger.debug("%s: %s", file, error)
            return None


def _declared(declaration: Declaration) -> Measured | None:
    """Return what a declaration alone tells of a task; None where only the model tells classes."""
    shapes: dict[str, tuple[int, ...]] = {
        "regression": (declaration.target_column + 1,),
        "multiclass": (len(declaration.classes),),
        "multilabel": (len(declaration.classes),),
    }
    measured = Measured(
        declaration, declaration.signature, declaration.output, shapes.get(declaration.task, ())
    )
    if measured.is_by_class and not declaration.classes:
        return None
    measured.task  # noqa: B018 - whether it can be made
    return measured
