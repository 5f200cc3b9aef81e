"""Whether inputs and predictions still look like those of the reference profile.

`inferometer profile` makes the profile from training data. Its bins are those of `feature`, which
is a column of an input, a summary of a row (`image:mean`), or `__prediction__` or `__score__`.
"""

from collections.abc import Iterable

from exporter.catalogue.quality import MOST_SERIES
from exporter.catalogue.requests import MODEL, VERSION
from exporter.define import counter, gauge, info
from exporter.metric import Family, Label

REASONS = (
    "missing", "wrong_type", "non_finite", "below_min", "above_max", "unseen_category",
)  # fmt: skip
REFUSALS = ("hash", "format", "features", "classes")
BY = ("runner",)
FEATURE = Label("feature")
BIN = Label("bin")


def _fact(name: str, text: str, *labels: Label, series: int = MOST_SERIES) -> Family:
    return gauge(
        f"inferometer_{name}", text, MODEL, VERSION, *labels,
        by=BY, merge="max", absent=True, max_series=series,
    )  # fmt: skip


def _count(name: str, text: str, labels: Iterable[Label]) -> Family:
    return counter(
        f"inferometer_{name}", text, MODEL, VERSION, *labels,
        by=BY, absent=True, max_series=MOST_SERIES,
    )  # fmt: skip


# What is counted of inputs.
INPUT_FAMILIES = (
    _count(
        "feature_bin_total",
        "Values of each feature by bin of the reference profile; of large inputs a sample of rows.",
        (FEATURE, BIN),
    ),
    _count(
        "feature_invalid_total",
        "Values that are none, or unusual: outside of 99.8 % of the reference, or not in it.",
        (FEATURE, Label("reason", REASONS)),
    ),
)

# What a profile says.
REFERENCE_FAMILIES = (
    _fact(
        "reference_bin_share", "Share of the reference's rows in each bin.", FEATURE, BIN
    ),
    _fact("reference_rows", "Rows of the reference profile."),
    info(
        "inferometer_reference_info",
        "1 for the profile in use, with its checksum and the time of its data.",
        MODEL, VERSION, Label("sha256"), Label("created"), by=BY,
    ),
    _fact(
        "reference_refused",
        "1 while there is a profile that is not used, by reason.",
        Label("reason", REFUSALS),
    ),
    _fact(
        "baseline",
        "Figures of the model on the reference's data, by the name of the figure.",
        Label("metric"),
    ),
)  # fmt: skip

FAMILIES = (*INPUT_FAMILIES, *REFERENCE_FAMILIES)
