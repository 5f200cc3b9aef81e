"""No task at all: rows are counted, and those whose output is not finite."""

from typing import Any, NoReturn

from numpy.typing import NDArray

from exporter.quality.errors import LabelError
from exporter.quality.sums import Sums
from exporter.quality.task import VALUE, Label, Values, usable_rows


class Rows:
    """Counts what can be counted of any numbers; takes no labels."""

    is_correctable = False

    def observe(self, outputs: NDArray[Any], sums: Sums) -> None:
        """Count rows, and those without a usable output."""
        sums.add("predictions_total", float(len(usable_rows(outputs, sums))), predicted=VALUE)

    def columns(self, outputs: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Return no features."""
        del outputs
        return {}

    def pack(self, outputs: NDArray[Any]) -> list[Values | None]:
        """Return that no row can have a label."""
        return [None] * len(outputs)

    def parse(self, label: object) -> NoReturn:
        """Raise LabelError."""
        del label
        raise LabelError("the model has no task: labels cannot be counted")

    def count(self, values: Values, label: Label, sums: Sums) -> None:
        """Count nothing: no label is parsed."""

    def retract(self, values: Values, label: Label, sums: Sums) -> None:
        """Take back nothing."""

    def declare(self, sums: Sums) -> None:
        """Make known every series."""
        sums.add("nonfinite_outputs_total", 0.0)
        sums.add("predictions_total", 0.0, predicted=VALUE)
