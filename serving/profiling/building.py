"""A profile out of a model and rows: features, calibration, and figures as a baseline."""

from collections.abc import Sequence

import numpy as np

from exporter.quality import (
    Calibration,
    Column,
    Estimating,
    Feature,
    LabelError,
    Profile,
    ScoreError,
    Sums,
    Target,
    Task,
    calibrated,
    category_feature,
    columns_of,
    figures_of,
    length_of,
    number_feature,
)
from serving.errors import DataError
from serving.profiling.data import Data
from serving.profiling.models import Subject
from serving.runner.declared import input_specs

BATCH_ROWS = 256
# Texts of which fewer rows than this have a value of their own are told by their lengths.
LEAST_KNOWN = 0.5
LEAST_ROWS = 100
LOWEST, HIGHEST = 0.001, 0.999


def build_profile(subject: Subject, data: Data, *, bins: int, created: str) -> Profile:
    """Return the profile. Raises DataError for labels or outputs that are not as declared."""
    version, measured = subject.version, subject.measured
    columns = columns_of(input_specs(version, measured.signature), measured.declaration.features)
    features = [_feature(column, data, bins) for column in columns]
    rows = len(next(iter(data.inputs.values())))
    if rows < LEAST_ROWS:
        raise DataError(f"{rows} rows; at least {LEAST_ROWS} are needed, or single ones would show")
    target = calibration = None
    baseline: dict[str, float] = {}
    # Of predictions that are structures there are no features, and no baseline.
    if measured.outputs and measured.echoed is None:
        outputs = _outputs(subject, data)
        try:
            features += _output_features(measured.task, outputs, bins)
            if data.labels is not None:
                labels = _labels(measured.task, data.labels)
                baseline = _baseline(measured.task, outputs, labels)
                if isinstance(measured.task, Estimating):
                    calibration = _calibration(measured.task, outputs, np.array(labels))
                if measured.declaration.task == "regression":
                    target = _target(np.array(labels, dtype=np.float64))
        except ScoreError as error:
            raise DataError(f"the model's outputs are not what is declared: {error}") from error
    return Profile(
        version.model,
        version.version,
        created,
        rows,
        measured.declaration.task,
        measured.classes,
        measured.reading,
        tuple(features),
        target,
        calibration,
        baseline,
    )


def _feature(column: Column, data: Data, bins: int) -> Feature:
    if column.dtype:
        found = column.of(data.inputs)
        return number_feature(column.name, found, dtype=column.dtype, bins=bins)
    texts = [text.decode("utf-8", "replace") for text in column.of(data.inputs)]
    feature = category_feature(column.name, texts)
    if 1 - feature.shares[-1] >= LEAST_KNOWN:
        return feature
    length = length_of(column)
    return number_feature(length.name, length.of(data.inputs), dtype=length.dtype, bins=bins)


def _output_features(task: Task, outputs: np.ndarray, bins: int) -> list[Feature]:
    found: list[Feature] = []
    for name, column in task.columns(outputs).items():
        if column.dtype == object:
            found.append(category_feature(name, column.tolist()))
        else:
            found.append(number_feature(name, column, dtype="float64", bins=bins))
    return found


def _outputs(subject: Subject, data: Data) -> np.ndarray:
    _, version, loaded, measured = subject
    names = [spec.name for spec in version.signatures[measured.signature].inputs]
    rows = len(data.inputs[names[0]])
    parts = []
    for start in range(0, rows, BATCH_ROWS):
        inputs = tuple(data.inputs[name][start : start + BATCH_ROWS] for name in names)
        parts.append(measured.read(loaded.call(measured.signature, inputs)))
    return np.concatenate(parts)


def _labels(task: Task, labels: Sequence[object]) -> list[object]:
    parsed = []
    for row, label in enumerate(labels):
        try:
            parsed.append(_label(task, label))
        except LabelError as error:
            raise DataError(f"row {row}: {error}") from error
    return parsed


def _label(task: Task, label: object) -> object:
    """Return a label as it counts; a file of texts may hold a number, or names with `;` between."""
    try:
        return task.parse(label)
    except LabelError:
        if not isinstance(label, str):
            raise
        for read in (int, float, lambda text: [part for part in text.split(";") if part]):
            try:
                return task.parse(read(label))
            except (LabelError, ValueError):
                continue
        raise


def _baseline(task: Task, outputs: np.ndarray, labels: Sequence[object]) -> dict[str, float]:
    sums = Sums()
    for values, label in zip(task.pack(outputs), labels, strict=True):
        if values is not None:
            task.count(values, label, sums)
    return figures_of(sums)


def _calibration(task: Estimating, outputs: np.ndarray, labels: np.ndarray) -> Calibration | None:
    is_finite = np.isfinite(outputs).all(axis=tuple(range(1, outputs.ndim)))
    if not is_finite.any():
        return None
    return calibrated(*task.scored(outputs[is_finite], labels[is_finite]))


def _target(labels: np.ndarray) -> Target:
    low, high = (float(np.quantile(labels, share)) for share in (LOWEST, HIGHEST))
    return Target(float(labels.mean()), low, high)
