"""What of a model's version is measured: plain data that processes can tell each other."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

from numpy.typing import NDArray

from exporter.quality.boxes import joined
from exporter.quality.declaration import Declaration
from exporter.quality.echo import Echoed
from exporter.quality.segments import Places, Segments
from exporter.quality.task import Task
from exporter.quality.tasks import make_task

DIGEST_CHARACTERS = 6


@dataclass(frozen=True)
class Measured:
    """The task in force: its declaration, the signature and outputs that it is about.

    `outputs` is one, or those of a detection's boxes, scores and classes; empty without a task.
    `row_shape` is the shape of one row of what `read` makes of them; None is a dimension that is
    not known.
    `target_mean` is about what a regression's labels are, near which R² is precise. `places` are
    the inputs, and the places in their rows, that keys of segments are read from.
    """

    declaration: Declaration
    signature: str
    outputs: tuple[str, ...]
    row_shape: tuple[int | None, ...]
    target_mean: float = 0.0
    places: Places = field(default_factory=dict)

    @cached_property
    def task(self) -> Task:
        """The task. Raises DeclarationError when the declaration contradicts the shape."""
        return make_task(self.declaration, self.row_shape, self.target_mean)

    def read(self, outputs: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """Return what the task takes of a batch's outputs. Raises ScoreError."""
        found = [outputs[name] for name in self.outputs]
        return found[0] if len(found) == 1 else joined(*found)

    @cached_property
    def segments(self) -> Segments:
        """The segments that rows are told by; false where there are none."""
        declared = self.declaration.segments or {}
        return Segments(declared, self.places, is_judged=self.task.is_correctable)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes; empty for a task without, and where the model tells none."""
        if self.declaration.classes or not self.is_by_class:
            return self.declaration.classes
        return tuple(map(str, range(self.row_shape[-1] or 0)))

    @cached_property
    def digest(self) -> str:
        """A few characters that differ where tokens of one task mean nothing to another."""
        found = self.declaration
        classes = found.classes or (self.row_shape[-1:] if self.is_by_class else ())
        content = [found.task, classes, *(getattr(found, name) for name in _JUDGED_BY)]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:DIGEST_CHARACTERS]

    @property
    def reading(self) -> str:
        """A few characters that differ where scores are of another output, or read otherwise."""
        found = self.declaration
        content = [self.digest, self.signature, *self.outputs, found.scores]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:DIGEST_CHARACTERS]

    @cached_property
    def echoed(self) -> Echoed | None:
        """The task, if its predictions come back with their labels."""
        return self.task if isinstance(self.task, Echoed) else None

    @property
    def is_by_class(self) -> bool:
        """Whether an output has a column for each class."""
        return self.declaration.task in {"multiclass", "multilabel"}

    def as_json(self) -> dict[str, Any]:
        """Return what `measured_of` makes the same of again."""
        declaration = {each.name: getattr(self.declaration, each.name) for each in _FIELDS}
        return {
            "declaration": declaration,
            "signature": self.signature,
            "outputs": self.outputs,
            "row_shape": self.row_shape,
            "target_mean": self.target_mean,
            "places": self.places,
        }


_FIELDS = fields(Declaration)
# What a label is judged by, beside the classes.
_JUDGED_BY = (
    "positive_class", "threshold", "target_column", "score_threshold", "box_format", "ignore_index",
)  # fmt: skip


def measured_of(content: Mapping[str, Any]) -> Measured:
    """Return what `as_json` was made of. Raises KeyError or TypeError for anything else."""
    found: Mapping[str, Any] = content["declaration"]
    declaration: dict[str, Any] = {name: _frozen(value) for name, value in found.items()}
    return Measured(
        Declaration(**declaration),
        content["signature"],
        tuple(content["outputs"]),
        tuple(content["row_shape"]),
        content["target_mean"],
        {key: (name, place) for key, (name, place) in content["places"].items()},
    )


def _frozen(value: object) -> object:
    """Return JSON's lists as the tuples that they were."""
    if isinstance(value, list):
        return tuple(value)
    if isinstance(value, dict):
        return {name: _frozen(each) for name, each in value.items()}
    return value
