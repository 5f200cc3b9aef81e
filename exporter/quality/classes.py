"""The classes of a classifier: their names, and which one a label means."""

import json
from collections.abc import Sequence

from exporter.metric import OTHER
from exporter.quality.errors import LabelError

# Beyond these, classes share a series, and the table of predicted against actual is left out.
MOST_SHOWN, MOST_CONFUSED = 200, 32
MOST_QUOTED = 10


class Classes:
    """Class names in the order of the outputs."""

    def __init__(self, names: Sequence[str]) -> None:
        """Take the names, which are unique."""
        self.names = tuple(names)
        self._numbers = {name: number for number, name in enumerate(names)}
        self._shown = (*self.names[:MOST_SHOWN], *[OTHER] * (len(names) - MOST_SHOWN))

    def __len__(self) -> int:
        return len(self.names)

    @property
    def has_confusion(self) -> bool:
        """Whether predicted against actual is counted: its series grow with the square."""
        return len(self.names) <= MOST_CONFUSED

    @property
    def shown(self) -> tuple[str, ...]:
        """The label values of all classes, each once."""
        return tuple(dict.fromkeys(self._shown))

    def shown_as(self, number: int) -> str:
        """Return a class's label value; rare ones of many share one."""
        return self._shown[number]

    def known(self, number: object) -> int:
        """Return the number of a class. Raises ValueError for what is none."""
        if type(number) is not int or not 0 <= number < len(self.names):
            raise ValueError(f"{number!r:.80} is no class")
        return number

    def number_of(self, label: object) -> int:
        """Return the number of the class that a label means: its name or its index.

        Raises LabelError saying which classes there are.
        """
        if isinstance(label, str):
            number = self._numbers.get(label, -1)
        elif isinstance(label, int) and not isinstance(label, bool):
            number = label
        else:
            raise LabelError(f"label {_quoted(label)} is neither a class's name nor its index")
        if not 0 <= number < len(self.names):
            raise LabelError(f"label {_quoted(label)} is not a class; there are: {self._listed()}")
        return number

    def _listed(self) -> str:
        more = len(self.names) - MOST_QUOTED
        return ", ".join(self.names[:MOST_QUOTED]) + (f" and {more} more" if more > 0 else "")


def _quoted(label: object) -> str:
    """Return a label as JSON has it; of what may be large, only what it is."""
    if isinstance(label, str):
        return f'"{label[:64]}"'
    if isinstance(label, list | dict):
        return "a list" if isinstance(label, list) else "an object"
    return json.dumps(label)[:64]
