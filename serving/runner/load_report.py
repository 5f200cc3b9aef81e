"""What is told of versions that are not loaded: in the catalog, in the log and on /metrics."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from exporter import Recorder
from serving.errors import ModelLoadError
from serving.model import NO_VERSION, ModelVersion
from serving.runner.catalog import ModelCatalog
from serving.runner.model_folder import ModelSource

NOTHING_THERE = "no version is there: expected saved_model.pb, a .keras file, or folders with one"

logger = logging.getLogger(__name__)


class LoadReport:
    """Tells of what was not loaded, each thing once."""

    def __init__(
        self, catalog: ModelCatalog, recorder: Recorder, announce: Callable[[], None]
    ) -> None:
        """`announce` tells every front-end of the catalog."""
        self._catalog = catalog
        self._recorder = recorder
        self._announce = announce

    def unloaded(self, model: str) -> None:
        """Say that a model stays unloaded, in a process that has not unloaded it itself."""
        known = self._catalog.version(model, NO_VERSION)
        if known is not None and known.state != "unloaded":
            self._catalog.note(replace(known, state="unloaded", step="", error=""))
            self._announce()

    def nothing_there(self, model: str, folder: Path, reason: str = NOTHING_THERE) -> None:
        """Say that a model has nothing to load, unless something of it is known already."""
        known = self._catalog.version(model, NO_VERSION)
        if known is None or known.state == "failed":
            return
        logger.error("model %s: %s in %s", model, reason, folder)
        self._count(model)
        self._catalog.note(replace(known, state="failed", step="", error=reason))
        self._announce()

    def failed(
        self, model: str, source: ModelSource, error: Exception, *, count: int, then: str
    ) -> None:
        """Say that an attempt to load has failed, the `count`-th in a row, and what comes then."""
        # Callers are told that it failed, not where it lies: other errors may say that.
        is_expected = isinstance(error, ModelLoadError)
        reason = str(error).replace(str(source.path), "the model") if is_expected else ""
        logger.log(
            logging.ERROR,
            "model %s version %s: %s (attempt %d; %s)",
            model,
            source.version,
            error,
            count,
            then,
            exc_info=not is_expected and count == 1,
        )
        self._count(model)
        known = self._catalog.version(model, source.version) or ModelVersion(
            model, source.version, "failed", source.format.name, {}
        )
        reason = reason or told_of(error)
        self._catalog.note(
            replace(known, state="failed", step="", error=reason, signatures={}, is_first=False)
        )
        self._announce()

    def _count(self, model: str) -> None:
        self._recorder.child("inferometer_model_load_failures_total", model=model).inc()


def told_of(error: Exception) -> str:
    """Return what callers are told of an error that nobody expected."""
    return f"{type(error).__name__}; the server's log says why"
