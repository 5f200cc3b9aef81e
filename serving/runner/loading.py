"""Loading one version: read, build, warm up, each step measured and told of."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from exporter import Recorder
from serving.model import ModelVersion
from serving.runner.declared import measured_version
from serving.runner.device_time import DeviceTime
from serving.runner.formats import PROFILE_FILE, QUALITY_FILE
from serving.runner.measuring import Measurement
from serving.runner.model_folder import ModelSource
from serving.runner.profiled import profiled
from serving.runner.queue import BatchQueue
from serving.runner.served import BatchMetrics, ServedVersion
from serving.runner.warm_up import read_recorded, warm_up


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """What loading needs beside the model: where it records, the device, `batching`.

    `refuse_task` gets model and version when outputs turn out not to be what was declared.
    """

    recorder: Recorder
    device_time: DeviceTime
    batching: str
    refuse_task: Callable[[str, str], None]


def load_version(
    version: ModelVersion,
    source: ModelSource,
    *,
    queue: BatchQueue,
    options: LoadOptions,
    note: Callable[[ModelVersion], None],
) -> tuple[ModelVersion, ServedVersion]:
    """Return a version that is loaded and warm, with what is needed to serve it.

    `note` gets the version at the beginning of each step. Raises ModelLoadError, or whatever the
    libraries raise for a model that they cannot load.
    """
    known = version
    steps = _StepClock(version, options.recorder)

    def begin(step: str) -> None:
        nonlocal known
        steps.begin(step)
        known = replace(known, state="warming" if step == "warm_up" else "loading", step=step)
        note(known)

    begin("read")
    loaded = source.format.load(source.path, begin)
    known = replace(known, signatures=dict(loaded.signatures))
    measured = measured_version(source.companion(QUALITY_FILE), known, loaded.inferred)
    profile = profiled(source.companion(PROFILE_FILE), known, measured)
    known = replace(known, measured=profile.measured)
    begin("warm_up")
    recorded = read_recorded(source.warm_up_file, known)
    results = {
        name: warm_up(
            loaded,
            signature,
            queue.sizes,
            recorded=recorded.get(name),
            batching=options.batching,
        )
        for name, signature in loaded.signatures.items()
    }
    steps.end()
    for name, result in results.items():
        result.teach(queue.durations.of(version.version, name))
    rows = {name: result.row for name, result in results.items() if result.row is not None}
    first = known.default_signature if known.default_signature in rows else next(iter(rows), None)
    served = ServedVersion(
        model=version.model,
        version=version.version,
        loaded=loaded,
        metrics=BatchMetrics(
            options.recorder,
            model=version.model,
            version=version.version,
            device_time=options.device_time,
        ),
        batchable={name: result.is_batchable for name, result in results.items()},
        measurement=Measurement(
            options.recorder,
            known,
            profile,
            partial(options.refuse_task, version.model, version.version),
        ),
        canary=None if first is None else (first, rows[first]),
        traces_seen=loaded.trace_count(),
    )
    return replace(known, state="ready", step=""), served


class _StepClock:
    """Measures steps that follow each other."""

    def __init__(self, version: ModelVersion, recorder: Recorder) -> None:
        self._labels = {"model": version.model, "version": version.version}
        self._recorder = recorder
        self._step = ""
        self._begun = 0.0

    def begin(self, step: str) -> None:
        self.end()
        self._step, self._begun = step, time.monotonic()

    def end(self) -> None:
        if self._step:
            child = self._recorder.child(
                "inferometer_model_load_seconds", **self._labels, step=self._step
            )
            child.set(time.monotonic() - self._begun)
            self._step = ""
