"""The runner's models: every version known, the state it is in, and those that are loaded.

One thread changes it, the loader's; any may read.
"""

import time
from collections.abc import Collection
from dataclasses import replace

from exporter import Child, Recorder
from serving.model import NO_VERSION, STATES, ModelVersion
from serving.runner.declared import unmeasured
from serving.runner.loaded_model import LoadedModel
from serving.runner.served import ServedVersion

# Versions that have ended are kept to be told of, but not for ever.
MOST_ENDED = 8
ENDED = frozenset({"failed", "unloaded"})

# What is true of a version only as long as it is loaded.
LOADED_FACTS = (
    "inferometer_model_loaded_timestamp_seconds",
    "inferometer_model_parameters",
    "inferometer_model_size_bytes",
)


class ModelCatalog:
    """The versions of this runner's models.

    What it holds is replaced, never changed, so that other threads read without a lock.
    """

    def __init__(self, models: list[str], recorder: Recorder) -> None:
        """Know the models to serve, but no version yet."""
        self._recorder = recorder
        self._versions = {
            (model, NO_VERSION): ModelVersion(model, NO_VERSION, "loading", "", {}, step="read")
            for model in models
        }
        self._loaded: dict[tuple[str, str], ServedVersion] = {}
        self._on_disk: dict[str, list[ModelVersion]] = {}
        self._closed: frozenset[tuple[str, str]] = frozenset()
        for model in models:
            recorder.declare(model=model)
        for nothing_yet in self._versions.values():
            self._show_state(nothing_yet)

    def versions(self) -> list[ModelVersion]:
        """Return every version known, in whatever state."""
        return list(self._versions.values())

    def announced(self) -> list[ModelVersion]:
        """Return every version known, and those on disk of which labels may come."""
        known = self._versions
        others = (one for found in self._on_disk.values() for one in found)
        return [
            *known.values(),
            *(
                one
                for one in others
                if (one.model, one.version) not in known
                or known[one.model, one.version].measured is None
            ),
        ]

    def note_on_disk(self, model: str, versions: list[ModelVersion]) -> bool:
        """Take the versions on disk of which labels may come; return whether that is news."""
        is_news = self._on_disk.get(model, []) != versions
        self._on_disk = {**self._on_disk, model: versions}
        return is_news

    def version(self, model: str, version: str) -> ModelVersion | None:
        """Return what is known of a version."""
        return self._versions.get((model, version))

    def find(self, model: str, version: str) -> ServedVersion | None:
        """Return a version that takes requests."""
        key = (model, version)
        return None if key in self._closed else self._loaded.get(key)

    def find_loaded(self, model: str, version: str) -> ServedVersion | None:
        """Return a version that is in memory, though it may be on its way out."""
        return self._loaded.get((model, version))

    def loaded(self, model: str) -> list[ServedVersion]:
        """Return the versions of a model that are in memory."""
        return [served for (name, _), served in self._loaded.items() if name == model]

    def note(self, version: ModelVersion) -> None:
        """Take what is now known of a version in place of what was known before."""
        versions = dict(self._versions)
        nothing_yet = versions.pop((version.model, NO_VERSION), None)
        versions[version.model, version.version] = version
        for ended in _surplus(versions, version.model):
            del versions[version.model, ended]
            self._recorder.forget(model=version.model, version=ended)
        self._versions = versions
        if nothing_yet is not None and version.version != NO_VERSION:
            for child in self._states(nothing_yet).values():
                self._recorder.remove(child)
        # Not of one that was itself too many.
        if (version.model, version.version) in versions:
            self._show_state(version)

    def end_failed(self, model: str, *, wanted: Collection[str]) -> bool:
        """Take a model's failed versions that nobody wants any more for ended.

        Return whether there were any.
        """
        ended = [
            replace(known, state="unloaded")
            for known in self.versions()
            if known.model == model and known.state == "failed" and known.version not in wanted
        ]
        for version in ended:
            self.note(version)
        return bool(ended)

    def add(self, version: ModelVersion, served: ServedVersion) -> None:
        """Take a version that was loaded; `version` says its state."""
        self._loaded = {**self._loaded, (version.model, version.version): served}
        self._show_loaded(version, served.loaded)
        self.note(version)

    def close(self, model: str, version: str) -> None:
        """Let a loaded version take no more requests."""
        self._closed |= {(model, version)}

    def drop(self, version: ModelVersion) -> None:
        """Let go of a version that was loaded; `version` says its state."""
        loaded = dict(self._loaded)
        served = loaded.pop((version.model, version.version), None)
        self._loaded = loaded
        if served is not None:
            served.measurement.close()
        self._closed -= {(version.model, version.version)}
        labels = {"model": version.model, "version": version.version}
        for name in LOADED_FACTS:
            self._recorder.remove(self._recorder.child(name, **labels))
        self._recorder.remove(self._info(version))
        self.note(version)

    def refuse_task(self, model: str, version: str) -> None:
        """Note that a version's outputs are not what was declared: it has no task any more."""
        known = self._versions.get((model, version))
        if known is not None and (model, version) in self._loaded:
            self._recorder.remove(self._info(known))
            known = replace(known, measured=unmeasured(known))
            self._info(known).set(1.0)
            self.note(known)

    def _show_state(self, version: ModelVersion) -> None:
        for state, child in self._states(version).items():
            child.set(float(state == version.state))

    def _states(self, version: ModelVersion) -> dict[str, Child]:
        labels = {"model": version.model, "version": version.version}
        return {
            state: self._recorder.child("inferometer_model_state", **labels, state=state)
            for state in STATES
        }

    def _show_loaded(self, version: ModelVersion, loaded: LoadedModel) -> None:
        labels = {"model": version.model, "version": version.version}
        self._info(version).set(1.0)
        values = (time.time(), loaded.parameters, loaded.size_bytes)
        for name, value in zip(LOADED_FACTS, values, strict=True):
            self._recorder.child(name, **labels).set(value)

    def _info(self, version: ModelVersion) -> Child:
        return self._recorder.child(
            "inferometer_model_info",
            model=version.model,
            version=version.version,
            format=version.format,
            signature=version.default_signature,
            task=version.task,
        )


def _surplus(versions: dict[tuple[str, str], ModelVersion], model: str) -> list[str]:
    """Return the ended versions of a model that are too many, the oldest."""
    ended = [
        version
        for (name, version), known in versions.items()
        if name == model and version != NO_VERSION and known.state in ENDED
    ]
    return sorted(ended, key=int, reverse=True)[MOST_ENDED:]
