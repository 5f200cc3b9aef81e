"""What a query uses: metrics with their matchers, labels it groups by, functions over them.

promql-parser is Prometheus's own grammar. Grafana's variables are put in before it reads a query.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import promql_parser as parser

# What Grafana puts in, by the name of the variable; anything else is a text that matches.
VALUES = {
    "__rate_interval": "1m", "__range": "1h", "__range_s": "3600", "window": "1h", "cost": "1",
    "threshold": "0.25",
}  # fmt: skip
_VARIABLE = re.compile(r"\$(?:\{(\w+)(?::\w+)?\}|([a-zA-Z_]\w*))")


class Selector(NamedTuple):
    """A metric and its matchers by label; `function` is what is applied to it, if anything is."""

    metric: str
    matchers: tuple[tuple[str, str, str], ...]
    function: str


class Used(NamedTuple):
    """What a query is made of. `made` are labels that it makes by itself."""

    selectors: tuple[Selector, ...]
    grouped: tuple[tuple[str, tuple[str, ...]], ...]
    made: frozenset[str]


def variables_of(text: str) -> set[str]:
    """Return the names of the variables that a query or a legend has."""
    return {match[1] or match[2] for match in _VARIABLE.finditer(text)}


def filled(expression: str, values: Mapping[str, str] = VALUES) -> str:
    """Return a query as Prometheus gets it, with something put in for each variable."""
    return _VARIABLE.sub(lambda match: values.get(match[1] or match[2], ".+"), expression)


def used(expression: str) -> Used:
    """Return what a query uses. Raises ValueError for what is no PromQL."""
    found = list(_walk(parser.parse(filled(expression)), ""))
    return Used(
        tuple(one for one in found if isinstance(one, Selector)),
        tuple(one for one in found if isinstance(one, tuple) and not isinstance(one, Selector)),
        frozenset(one for one in found if isinstance(one, str)),
    )


def _walk(node: Any, function: str) -> Iterator[Selector | tuple[str, tuple[str, ...]] | str]:
    kind = type(node).__name__
    if kind == "VectorSelector":
        matchers = tuple(
            (m.name, str(m.op).split(".")[-1], m.value) for m in node.matchers.matchers
        )
        name = node.name or next((v for n, o, v in matchers if n == "__name__"), "")
        yield Selector(name, matchers, function)
    elif kind == "MatrixSelector":
        yield from _walk(node.vector_selector, function)
    elif kind == "AggregateExpr":
        labels = tuple(node.modifier.labels) if node.modifier else ()
        yield (str(node.op), labels)
        yield from _walk(node.expr, "aggregation")
    elif kind == "BinaryExpr":
        yield from _walk(node.lhs, "")
        yield from _walk(node.rhs, "")
    elif kind == "Call":
        if node.func.name in {"label_replace", "label_join"}:
            yield node.args[1].val
        for argument in node.args:
            yield from _walk(argument, node.func.name)
    elif kind in {"ParenExpr", "UnaryExpr", "SubqueryExpr"}:
        yield from _walk(node.expr, function)
