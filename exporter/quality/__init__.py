"""Prediction quality, counted: every figure is made of counters that add over rows and processes.

Knows NumPy; no HTTP, no store, no TensorFlow. A task (`task.py`) observes batches of outputs, packs
what a row's label will need, parses labels and counts labelled rows, all into `Sums`, which
`recording.py` adds to a process's series.
"""

from exporter.quality.arrivals import count_label, count_teacher
from exporter.quality.baseline import figures_of
from exporter.quality.boxes import BOX_COLUMNS, BOX_PARTS, BOX_PREFIXES, joined_shape
from exporter.quality.columns import Column, InputSpec, columns_of
from exporter.quality.declaration import Declaration, read_declaration
from exporter.quality.echo import digest_of
from exporter.quality.errors import DeclarationError, LabelError, ScoreError
from exporter.quality.estimate import Calibration, calibrated
from exporter.quality.features import Feature, category_feature, number_feature
from exporter.quality.measured import Measured, measured_of
from exporter.quality.profile import (
    Profile,
    ProfileError,
    Target,
    read_profile,
    write_profile,
)
from exporter.quality.recording import (
    VersionSeries,
    label_series,
    output_series,
    show_reference,
    show_refusal,
)
from exporter.quality.reference import Reference, check_task, length_of, widened
from exporter.quality.score_bins import UPPER_EDGES
from exporter.quality.segments import RowSegments
from exporter.quality.sums import Sums
from exporter.quality.task import Estimating, Task

__all__ = [
    "BOX_COLUMNS",
    "BOX_PARTS",
    "BOX_PREFIXES",
    "UPPER_EDGES",
    "Calibration",
    "Column",
    "Declaration",
    "DeclarationError",
    "Estimating",
    "Feature",
    "InputSpec",
    "LabelError",
    "Measured",
    "Profile",
    "ProfileError",
    "Reference",
    "RowSegments",
    "ScoreError",
    "Sums",
    "Target",
    "Task",
    "VersionSeries",
    "calibrated",
    "category_feature",
    "check_task",
    "columns_of",
    "count_label",
    "count_teacher",
    "digest_of",
    "figures_of",
    "joined_shape",
    "label_series",
    "length_of",
    "measured_of",
    "number_feature",
    "output_series",
    "read_declaration",
    "read_profile",
    "show_reference",
    "show_refusal",
    "widened",
    "write_profile",
]
