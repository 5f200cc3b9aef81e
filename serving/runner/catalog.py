"""The runner's models: loads each, moves it through its states, tells who wants to know."""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from exporter import Recorder
from serving.errors import ModelLoadError
from serving.model import STATES, ModelVersion
from serving.runner.formats import ModelSource, find_source
from serving.runner.loaded_model import LoadedModel
from serving.runner.queue import BatchQueue
from serving.runner.served import BatchMetrics, ServedVersion
from serving.runner.warm_up import WarmUpResult, warm_up

NO_VERSION = "__unknown__"

logger = logging.getLogger(__name__)


class ModelCatalog:
    """The models of this runner and the state of each.

    One thread loads them, one after the other.
    """

    def __init__(
        self,
        paths: Mapping[str, Path],
        *,
        recorder: Recorder,
        queues: Mapping[str, BatchQueue],
        device: str,
        changed: Callable[[], None],
    ) -> None:
        """Know the models to serve; `changed` is called after each change of a state."""
        self._paths = paths
        self._recorder = recorder
        self._queues = queues
        self._device = device
        self._changed = changed
        self._versions: dict[str, ModelVersion] = {
            name: ModelVersion(name, NO_VERSION, "loading", "", {}, step="read") for name in paths
        }
        self._served: dict[tuple[str, str], ServedVersion] = {}
        for name in paths:
            recorder.declare(model=name)

    def start_loading(self) -> None:
        """Load every model in a thread of its own."""
        threading.Thread(target=self._load_all, name="loader", daemon=True).start()

    def versions(self) -> list[ModelVersion]:
        """Return every version known, in whatever state."""
        return list(self._versions.values())

    def find(self, model: str, version: str) -> ServedVersion | None:
        """Return a ready version."""
        return self._served.get((model, version))

    def _load_all(self) -> None:
        for name, path in self._paths.items():
            try:
                self._load(name, path)
            except Exception as error:
                # A model that cannot be loaded must not keep the others from being served.
                is_expected = isinstance(error, ModelLoadError)
                logger.log(logging.ERROR, "model %s: %s", name, error, exc_info=not is_expected)
                self._recorder.child("inferometer_model_load_failures_total", model=name).inc()
                # Callers are told that it failed, not where it lies: other errors may say that.
                reason = str(error).replace(str(path), "the model") if is_expected else ""
                reason = reason or f"{type(error).__name__}; the server's log says why"
                self._move(name, "failed", error=reason)

    def _load(self, name: str, path: Path) -> None:
        source = find_source(path)
        self._versions[name] = replace(
            self._versions[name], version=source.version, format=source.format.name
        )
        steps = _StepClock(lambda step, seconds: self._note_step(name, step, seconds))

        def begin(step: str) -> None:
            steps.begin(step)
            self._move(name, "warming" if step == "warm_up" else "loading", step=step)

        begin("read")
        loaded = source.format.load(source.path, begin)
        self._versions[name] = replace(self._versions[name], signatures=dict(loaded.signatures))
        begin("warm_up")
        results = {
            signature.name: warm_up(loaded, signature, self._queues[name].sizes)
            for signature in loaded.signatures.values()
        }
        steps.end()
        self._serve(name, source, loaded, results)

    def _serve(
        self,
        name: str,
        source: ModelSource,
        loaded: LoadedModel,
        results: Mapping[str, WarmUpResult],
    ) -> None:
        version = self._versions[name]
        results[version.default_signature].teach(self._queues[name].durations)
        self._served[name, source.version] = ServedVersion(
            model=name,
            version=source.version,
            loaded=loaded,
            metrics=BatchMetrics(
                self._recorder, model=name, version=source.version, device=self._device
            ),
            batchable={signature: result.is_batchable for signature, result in results.items()},
            traces_seen=loaded.trace_count(),
        )
        self._note_loaded(version, loaded)
        self._move(name, "ready")
        logger.info("model %s version %s is ready", name, source.version)

    def _move(self, name: str, state: str, *, step: str = "", error: str = "") -> None:
        version = self._versions[name] = replace(
            self._versions[name], state=state, step=step, error=error
        )
        if version.version != NO_VERSION:
            for other in STATES:
                self._recorder.child(
                    "inferometer_model_state", model=name, version=version.version, state=other
                ).set(float(other == state))
        self._changed()

    def _note_step(self, name: str, step: str, seconds: float) -> None:
        self._recorder.child(
            "inferometer_model_load_seconds",
            model=name,
            version=self._versions[name].version,
            step=step,
        ).set(seconds)

    def _note_loaded(self, version: ModelVersion, loaded: LoadedModel) -> None:
        labels = {"model": version.model, "version": version.version}
        self._recorder.child(
            "inferometer_model_info",
            **labels,
            format=version.format,
            signature=version.default_signature,
            task="",
        ).set(1.0)
        facts = {
            "inferometer_model_loaded_timestamp_seconds": time.time(),
            "inferometer_model_parameters": loaded.parameters,
            "inferometer_model_size_bytes": loaded.size_bytes,
        }
        for name, value in facts.items():
            self._recorder.child(name, **labels).set(value)


class _StepClock:
    """Measures steps that follow each other."""

    def __init__(self, note: Callable[[str, float], None]) -> None:
        self._note = note
        self._step = ""
        self._begun = 0.0

    def begin(self, step: str) -> None:
        self.end()
        self._step, self._begun = step, time.monotonic()

    def end(self) -> None:
        if self._step:
            self._note(self._step, time.monotonic() - self._begun)
            self._step = ""
