"""What is to be added to a version's series: amounts by family and labels, and observations.

Sums of any rows, in any order and grouping, added up, are the sums of all of them.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator

Labels = tuple[tuple[str, str], ...]
Cell = tuple[str, Labels]


class Sums:
    """Amounts for counters and observations for histograms, of one model's version.

    Family names are without `inferometer_`, labels without model and version.
    """

    def __init__(self) -> None:
        """Begin with nothing."""
        self._amounts: defaultdict[tuple[str, Labels], float] = defaultdict(float)
        self._observations: defaultdict[str, list[float]] = defaultdict(list)

    def add(self, name: str, amount: float = 1.0, /, **labels: str) -> None:
        """Add to a counter. Raises ValueError for what would make a counter fall or be no number.

        An amount of 0 makes the series known.
        """
        if not 0 <= amount < math.inf:
            raise ValueError(f"{amount!r} cannot be added to {name}")
        self._amounts[name, tuple(labels.items())] += amount

    def add_cell(self, cell: Cell, amount: float) -> None:
        """Add to a counter whose name and labels are put together already; as `add`, unchecked."""
        self._amounts[cell] += amount

    def observe(self, name: str, values: Iterable[float]) -> None:
        """Add observations to a histogram."""
        self._observations[name] += values

    def update(self, other: "Sums") -> None:
        """Add another's amounts and observations."""
        for name, labels, amount in other.items():
            self._amounts[name, labels] += amount
        for name, values in other.observations():
            self._observations[name] += values

    def items(self) -> Iterator[tuple[str, Labels, float]]:
        """Yield family, labels as pairs, and amount of each counter."""
        for (name, labels), amount in self._amounts.items():
            yield name, labels, amount

    def amounts(self) -> Iterator[tuple[str, dict[str, str], float]]:
        """Yield family, labels and amount of each counter."""
        for (name, labels), amount in self._amounts.items():
            yield name, dict(labels), amount

    def observations(self) -> Iterator[tuple[str, list[float]]]:
        """Yield family and observations of each histogram."""
        yield from self._observations.items()

    def total(self, name: str, **labels: str) -> float:
        """Return the sum of a counter's amounts that have these labels."""
        wanted = labels.items()
        return sum(
            amount
            for found, has, amount in self.amounts()
            if found == name and wanted <= has.items()
        )
