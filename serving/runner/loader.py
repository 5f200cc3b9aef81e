"""The loader: one thread that keeps what is loaded equal to what lies in the model folders.

It loads one version at a time, beside those that serve, and lets an old one go only when all that
are wanted are ready: a version that cannot be loaded leaves the others as they are.
"""

import logging
import os
import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from serving.model import ModelVersion
from serving.prediction import Control, ControlOutcome
from serving.runner.catalog import ModelCatalog
from serving.runner.load_failures import LoadFailures, again
from serving.runner.load_report import NOTHING_THERE, LoadReport, told_of
from serving.runner.loader_memory import LoaderMemory
from serving.runner.loading import LoadOptions, load_version
from serving.runner.model_folder import ModelFolder, ModelSource
from serving.runner.on_disk import DeclaredOnDisk
from serving.runner.queue import BatchQueue
from serving.runner.retirement import Retirement
from serving.version_policy import VersionPolicy

NICENESS = 10
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LoaderOptions:
    """How the folders are watched and what happens to versions that fail or go."""

    poll_seconds: float
    load_retries: int
    load_retry_seconds: float
    swap: str
    drain_version_seconds: float


@dataclass(slots=True)
class _Model:
    """What the loader remembers of one model."""

    folder: ModelFolder
    policy: VersionPolicy
    failures: LoadFailures
    has_begun: bool = False
    has_looked: bool = False
    problem: str = ""


class Loader:
    """Loads, swaps and unloads the versions of all models."""

    def __init__(
        self,
        catalog: ModelCatalog,
        models: Mapping[str, tuple[ModelFolder, VersionPolicy]],
        *,
        queues: Mapping[str, BatchQueue],
        options: LoaderOptions,
        loading: LoadOptions,
        announce: Callable[[], None],
        memory: LoaderMemory,
    ) -> None:
        """`announce` tells every front-end of the catalog and returns when all of them know."""
        self._memory = memory
        self._catalog = catalog
        self._models = {
            name: _Model(*parts, LoadFailures(options.load_retries, options.load_retry_seconds))
            for name, parts in models.items()
        }
        self._queues = queues
        self._options = options
        self._loading = loading
        self._announce = announce
        self._report = LoadReport(catalog, loading.recorder, announce)
        self._retirement = Retirement(
            catalog, queues, announce, drain_seconds=options.drain_version_seconds
        )
        self._on_disk = DeclaredOnDisk()
        self._wishes: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="loader", daemon=True)

    def start(self) -> None:
        """Begin to load."""
        self._thread.start()

    def stop(self) -> None:
        """Load nothing more after what is being loaded."""
        self._wishes.put(None)

    def control(self, wish: Control) -> None:
        """Have a wish fulfilled when its turn comes."""
        self._wishes.put(lambda: wish.done(self._outcome(wish)))

    def later(self, call: Callable[[], None]) -> None:
        """Have the thread that changes the catalog do something."""
        self._wishes.put(call)

    def _run(self) -> None:
        # Loading must not take the processor from those who compute for callers.
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        self._note_fatal_versions()
        while True:
            for name in self._models:
                self._look_after(name)
            try:
                wish = self._wishes.get(timeout=self._options.poll_seconds)
            except queue.Empty:
                continue
            if wish is None:
                return
            wish()

    def _note_fatal_versions(self) -> None:
        """Keep away for a while from versions during whose loading the process has died.

        It may have been their fault, and an older version is better than the next death.
        """
        for (name, version), deaths in self._memory.deaths.items():
            if name in self._models:
                failures = self._models[name].failures
                wait = failures.note_fatal(version, deaths.fingerprint, deaths.count)
                logger.warning(
                    "the runner died while it loaded model %s version %s (%d times); %s",
                    name, version, deaths.count, again(wait),
                )  # fmt: skip

    def _outcome(self, wish: Control) -> ControlOutcome:
        try:
            return self._fulfil(wish)
        except Exception as error:
            logger.exception("%s of model %s", wish.action, wish.model)
            return ControlOutcome(f"model {wish.model}: {told_of(error)}")

    def _fulfil(self, wish: Control) -> ControlOutcome:
        model = self._models[wish.model]
        if wish.action == "unload":
            sources = model.folder.look(at_once=True)
            looks = {version: source.fingerprint for version, source in sources.items()}
            self._memory.note_unloaded(wish.model, looks)
            self._retirement.let_all_go(wish.model)
            return ControlOutcome()
        if not model.folder.look(at_once=True):
            return ControlOutcome(f"model {wish.model}: {NOTHING_THERE}", is_missing=True)
        self._memory.note_unloaded(wish.model, None)
        model.failures.clear()
        self._reconcile(wish.model, at_once=True)
        for version in model.failures:
            known = self._catalog.version(wish.model, version)
            if known is not None:
                return ControlOutcome(f"model {wish.model} version {version}: {known.error}")
        return ControlOutcome()

    def _look_after(self, name: str) -> None:
        """Reconcile a model; whatever is wrong with its folder is no matter of the others."""
        model = self._models[name]
        try:
            self._reconcile(name)
            model.problem = ""
        except Exception as error:
            if model.problem != (problem := repr(error)):
                logger.exception("model %s cannot be looked after; that is tried again", name)
                model.problem = problem
                self._report.nothing_there(name, model.folder.path, told_of(error))

    def _reconcile(self, name: str, *, at_once: bool = False) -> None:
        """Load what is wanted and not loaded, then let go of what is loaded and not wanted."""
        model = self._models[name]
        found = model.folder.look(at_once=at_once)
        if self._catalog.note_on_disk(name, self._on_disk.look(name, found)):
            self._announce()
        sources = self._beside_unloaded(name, model, found)
        if sources is None:
            self._report.unloaded(name)
            return
        # What is loaded stays while its files change; a new version is one with another number.
        loaded = {one.version for one in self._catalog.loaded(name)}
        wanted = model.policy.choose(sources.keys() | (loaded & model.folder.present))
        if not wanted:
            self._report.nothing_there(name, model.folder.path)
            return
        if not model.has_begun:
            model.has_begun = True
            self._note_wanted(name, model, [sources[version] for version in wanted])
        for version in wanted:
            if self._catalog.find_loaded(name, version) is None:
                self._try(name, model, sources[version], wanted)
        if all(self._catalog.find(name, version) for version in wanted):
            self._memory.note_unloaded(name, None)
            self._retirement.let_go(name, keep=wanted)
            if self._catalog.end_failed(name, wanted=wanted):
                self._announce()
        elif not self._catalog.loaded(name):
            self._fall_back(name, model, sources, wanted)

    def _beside_unloaded(
        self, name: str, model: _Model, sources: Mapping[str, ModelSource]
    ) -> Mapping[str, ModelSource] | None:
        """Return the versions that nobody has unloaded; None while a model stays unloaded."""
        unloaded_as = self._memory.unloaded.get(name)
        if unloaded_as is None:
            return sources
        # A process's first look takes what is being copied for whole.
        is_whole = model.has_looked and model.folder.present == sources.keys()
        model.has_looked = True
        new = {
            version: source
            for version, source in sources.items()
            if is_whole and source.fingerprint != unloaded_as.get(version)
        }
        return new or None

    def _note_wanted(self, name: str, model: _Model, sources: list[ModelSource]) -> None:
        """Say what is going to be loaded first, which readiness waits for."""
        for source in sources:
            first = ModelVersion(name, source.version, "loading", source.format.name, {})
            if model.failures.may_try(source):
                self._catalog.note(replace(first, is_first=True))
            else:
                error = "the runner died while it was being loaded"
                self._catalog.note(replace(first, state="failed", error=error))

    def _fall_back(
        self, name: str, model: _Model, sources: Mapping[str, ModelSource], wanted: list[str]
    ) -> None:
        """Serve the newest version that can be loaded where those that are wanted cannot.

        It goes when all of them can. Where there is none, nothing is lost by a fatal one.
        """
        older = [] if model.policy.named else sorted(sources.keys() - set(wanted), key=int)
        for version in reversed(older):
            self._try(name, model, sources[version], [version])
            if self._catalog.loaded(name):
                logger.warning("model %s: version %s is served instead", name, version)
                if self._options.swap == "stop_first":
                    model.failures.give_up()  # Each attempt would take this one away.
                return
        if model.failures.allow_fatal():
            for version in wanted:
                self._try(name, model, sources[version], wanted)

    def _try(self, name: str, model: _Model, source: ModelSource, wanted: list[str]) -> None:
        """Load a version unless it has failed and its time has not come again."""
        if not model.failures.may_try(source):
            return
        if self._options.swap == "stop_first":
            self._retirement.let_go(name, keep=wanted)
        self._memory.note_loading(name, source.version, source.fingerprint)
        try:
            self._load(name, source)
        except Exception as error:
            # A version that cannot be loaded must not keep others from being served.
            count, wait = model.failures.note(source)
            self._report.failed(name, source, error, count=count, then=again(wait))
        else:
            model.failures.forget(source.version)
        finally:
            self._memory.note_survived(name, source.version)

    def _load(self, name: str, source: ModelSource) -> None:
        known = self._catalog.version(name, source.version)
        is_first = known is not None and known.is_first
        version = ModelVersion(name, source.version, "loading", source.format.name, {})
        version = replace(version, is_first=is_first)

        def note(known: ModelVersion) -> None:
            self._catalog.note(known)
            self._announce()

        version, served = load_version(
            version, source, queue=self._queues[name], options=self._loading, note=note
        )
        self._catalog.add(version, served)
        logger.info("model %s version %s is ready", name, source.version)
        self._announce()
