"""Prediction quality, counted: every figure is made of counters that add over rows and processes.

Knows NumPy; no HTTP, no store, no TensorFlow. A task (`task.py`) observes batches of outputs, packs
what a row's label will need, parses labels and counts labelled rows, all into `Sums`, which
`recording.py` adds to a process's series.
"""

from exporter.quality.arrivals import count_label, count_teacher
from exporter.quality.declaration import Declaration, read_declaration
from exporter.quality.errors import DeclarationError, LabelError, ScoreError
from exporter.quality.measured import Measured, measured_of
from exporter.quality.recording import VersionSeries, label_series, output_series
from exporter.quality.rows import is_countable
from exporter.quality.score_bins import UPPER_EDGES
from exporter.quality.sums import Sums
from exporter.quality.task import Task

__all__ = [
    "UPPER_EDGES",
    "Declaration",
    "DeclarationError",
    "LabelError",
    "Measured",
    "ScoreError",
    "Sums",
    "Task",
    "VersionSeries",
    "count_label",
    "count_teacher",
    "is_countable",
    "label_series",
    "measured_of",
    "output_series",
    "read_declaration",
]
