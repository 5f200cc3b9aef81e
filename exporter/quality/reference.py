"""A reference profile in use for one version: which features it counts, and what it estimates."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from exporter.quality.columns import LENGTH, Column, Inputs
from exporter.quality.feature_counts import FeatureCounts, sample_of
from exporter.quality.features import CategoryFeature, Feature
from exporter.quality.measured import Measured
from exporter.quality.profile import Profile, ProfileError
from exporter.quality.sums import Sums
from exporter.quality.task import PREDICTION, SCORE, Estimating, Task

OF_OUTPUTS = (PREDICTION, SCORE)
# How far labels may lie outside of the reference's before they are refused, in its ranges.
WIDENED = 10
# Numbers of which summaries are made in one count: of an image of 224 x 224 x 3 one at a time.
MOST_SUMMARISED = 300_000


class Reference:
    """Counts a version's rows against a profile."""

    def __init__(
        self, profile: Profile, columns: Sequence[Column], task: Task, *, is_own: bool
    ) -> None:
        """Take a profile; `is_own` is whether it was made of this very version.

        What another version has put out says nothing of this one. Raises ProfileError for features
        that the model does not have.
        """
        self.profile = profile
        self._task = task
        known = {column.name: column for column in (*columns, *map(length_of, columns))}
        inputs = [one for one in profile.features if one.name not in OF_OUTPUTS]
        self._columns = [_column(feature, known) for feature in inputs]
        self._of_inputs = FeatureCounts(inputs)
        of_outputs = [one for one in profile.features if one.name in OF_OUTPUTS] if is_own else []
        self._of_outputs = FeatureCounts(of_outputs)
        self.features: tuple[Feature, ...] = (*inputs, *of_outputs)
        self._output_names = {one.name for one in of_outputs}
        self._calibration = profile.calibration if is_own else None
        self.baseline: Mapping[str, float] = profile.baseline if is_own else {}

    def observe(self, inputs: Inputs, outputs: NDArray[Any] | None, sums: Sums) -> None:
        """Count rows of inputs, and of outputs where there are any that are usable."""
        if self._columns:
            seen = self._seen(inputs)
            columns = {column.name: column.of(seen) for column in self._columns}
            self._of_inputs.observe(columns, sums)
        if outputs is None:
            return
        if self._output_names:
            found = self._task.columns(outputs)
            if self._output_names <= found.keys():
                self._of_outputs.observe(found, sums)
        if self._calibration is not None and isinstance(self._task, Estimating):
            self._task.estimate(outputs, self._calibration, sums)

    def _seen(self, inputs: Inputs) -> Inputs:
        """Return the rows of inputs that are looked at: of many or large ones some."""
        rows = len(inputs[self._columns[0].input])
        cells = len(self._columns)
        chosen = sample_of(rows, cells)
        wide = {column.input for column in self._columns if column.summary}
        if wide:
            cells = sum(inputs[name][:1].size for name in wide)
            fewer = sample_of(rows, cells, MOST_SUMMARISED)
            chosen = chosen if fewer is None else fewer
        return inputs if chosen is None else {name: rows[chosen] for name, rows in inputs.items()}

    def declare(self, sums: Sums) -> None:
        """Make known every series."""
        for feature in self.features:
            feature.declare(sums)
        if self._calibration is not None and isinstance(self._task, Estimating):
            self._task.declare_estimate(sums)


def length_of(column: Column) -> Column:
    """Return the feature that is the length of a column of texts."""
    return replace(column, name=f"{column.name}:{LENGTH}", summary=LENGTH, dtype="float64")


def widened(measured: Measured, profile: Profile) -> Measured:
    """Return what is measured with what a profile knows of a regression's labels."""
    target, declaration = profile.target, measured.declaration
    if target is None or declaration.task != "regression":
        return measured
    reach = WIDENED * (target.high - target.low)
    low = target.low - reach if declaration.label_min is None else declaration.label_min
    high = target.high + reach if declaration.label_max is None else declaration.label_max
    if not low < high:
        return measured
    known = replace(declaration, label_min=low, label_max=high)
    return replace(measured, declaration=known, target_mean=target.mean)


def check_task(profile: Profile, measured: Measured, classes: Sequence[str]) -> None:
    """Raise ProfileError when a profile is of another task, or of other classes."""
    is_same = profile.declaration == measured.reading and profile.classes == classes
    if profile.task != measured.declaration.task or not is_same:
        raise ProfileError(
            "classes", f"it is of a {profile.task} task, other classes or another reading of scores"
        )


def _column(feature: Feature, known: Mapping[str, Column]) -> Column:
    column = known.get(feature.name)
    if column is None:
        raise ProfileError("features", f'the model has no feature "{feature.name}"')
    dtype = "" if isinstance(feature, CategoryFeature) else feature.dtype
    if column.dtype != dtype:
        raise ProfileError("features", f'feature "{feature.name}" is of another type')
    return column
