"""Figures written out in PromQL: their definitions, and each count as whoever asks renders it."""

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from grafana.figures import DEFINITIONS, FIGURES

MV = "job, model, version"
_COUNT = re.compile(r"S\[(\w+)(\{[^}]*\})?(?:; ([\w, ]+))?\]")
_DEFINED = re.compile(r"\b([A-Z]{1,8})\b(?!\[)")


class Count(NamedTuple):
    """One `S[…]`: a metric without its prefix, its selector, and the labels that are kept."""

    metric: str
    selector: str
    labels: tuple[str, ...]


def promql(name: str, window: str) -> str:
    """Return a figure's expression over a window such as `1h`."""
    return expanded(FIGURES[name].expression, lambda count: _increase(count, window))


def expanded(expression: str, render: Callable[[Count], str]) -> str:
    """Return PromQL in which every count is what `render` makes of it."""

    def define(match: re.Match[str]) -> str:
        definition = DEFINITIONS.get(match[1])
        return match[1] if definition is None else f"({expanded(definition, render)})"

    def count(match: re.Match[str]) -> str:
        return render(_count(match))

    # Counts last: a definition brings its own.
    return _COUNT.sub(count, _DEFINED.sub(define, expression).replace("(MV", f"({MV}"))


def counts(expression: str) -> Iterator[Count]:
    """Yield every count of an expression."""
    found: list[Count] = []

    def note(count: Count) -> str:
        found.append(count)
        return ""

    expanded(expression, note)
    yield from found


def _count(match: re.Match[str]) -> Count:
    labels = tuple(label.strip() for label in match[3].split(",")) if match[3] else ()
    return Count(match[1], match[2] or "", labels)


def _increase(count: Count, window: str) -> str:
    names = ", ".join((MV, *count.labels))
    return f"sum by ({names}) (increase(inferometer_{count.metric}{count.selector}[{window}]))"
