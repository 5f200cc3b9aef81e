"""How metrics are declared, in one line each."""

from collections.abc import Iterable

from exporter.metric import DEFAULT_MAX_SERIES, Family, GaugeRule, Label


def counter(
    name: str,
    text: str,
    *labels: Label,
    by: Iterable[str] = (),
    exemplars: bool = False,
    max_series: int = DEFAULT_MAX_SERIES,
    absent: bool = False,
) -> Family:
    """Describe a counter; `by` are the roles that record it.

    `absent` means no row until whoever records it says that there is one.
    """
    return Family(
        name,
        "counter",
        text,
        labels,
        recorded_by=tuple(by),
        has_exemplars=exemplars,
        max_series=max_series,
        is_absent_until_set=absent,
    )


def gauge(
    name: str,
    text: str,
    *labels: Label,
    by: Iterable[str] = (),
    merge: GaugeRule = "sum",
    absent: bool = False,
    max_series: int = DEFAULT_MAX_SERIES,
) -> Family:
    """Describe a gauge.

    `merge` is its rule over processes, `absent` means no row until it is set.
    """
    return Family(
        name,
        "gauge",
        text,
        labels,
        merge,
        recorded_by=tuple(by),
        is_absent_until_set=absent,
        max_series=max_series,
    )


def histogram(
    name: str,
    text: str,
    *labels: Label,
    buckets: Iterable[float],
    by: Iterable[str] = (),
    native: bool = False,
    exemplars: bool = False,
    absent: bool = False,
) -> Family:
    """Describe a histogram with the given finite upper bounds; +Inf is implied.

    `native` keeps it at the resolution of native histograms too, which suits times in seconds from
    a microsecond to two minutes.
    """
    return Family(
        name,
        "histogram",
        text,
        labels,
        buckets=tuple(buckets),
        recorded_by=tuple(by),
        is_native=native,
        has_exemplars=exemplars,
        is_absent_until_set=absent,
    )


def info(name: str, text: str, *labels: Label, by: Iterable[str] = ()) -> Family:
    """Describe facts that are labels of a row that is 1; the name ends with `_info`."""
    return Family(
        name,
        "gauge",
        text,
        labels,
        "max",
        recorded_by=tuple(by),
        is_absent_until_set=True,
        openmetrics_form="info",
    )


def state_set(
    name: str, text: str, states: Iterable[str], *labels: Label, by: Iterable[str] = ()
) -> Family:
    """Describe states that hold (1) or not (0), told apart by a label of the family's name."""
    return Family(
        name,
        "gauge",
        text,
        (*labels, Label(name, tuple(states))),
        "max",
        recorded_by=tuple(by),
        openmetrics_form="stateset",
    )
