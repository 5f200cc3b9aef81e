"""The model formats: how each is recognised, and what loads it.

A new format is a line in the table.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from serving.runner.loaded_model import LoadedModel
from serving.runner.tensorflow_model import load_keras_file, load_saved_model

# A loader names each step it begins after reading: one of the steps of the load-time metric.
Step = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Format:
    """One model format."""

    name: str
    matches: Callable[[Path], bool]
    load: Callable[[Path, Step], LoadedModel]


FORMATS = (
    Format("saved_model", lambda path: (path / "saved_model.pb").is_file(), load_saved_model),
    Format("keras", lambda path: path.suffix == ".keras" and path.is_file(), load_keras_file),
)

# Beside a model: a TensorFlow Serving body of rows that it can compute.
WARM_UP_FILE = "warm_up.json"

# In a version's folder, or beside the version folders: what the predictions are.
QUALITY_FILE = "quality.json"
# There too: what the training data looked like.
PROFILE_FILE = "reference.json"


def format_of(path: Path) -> Format | None:
    """Return the format of what lies at a path; None where that is no model, or cannot be seen."""
    try:
        return next((candidate for candidate in FORMATS if candidate.matches(path)), None)
    except OSError:
        return None
