"""Whether a family's definition is one that can be kept in a store and shown in every format.

Checked when a family is declared, and again when it is read from a block. A role's name, too.
"""

import re
from typing import get_args

from exporter.errors import CatalogueError
from exporter.metric import Family, GaugeRule, Kind, OpenMetricsForm

MOST_SERIES = 100_000
MOST_BUCKETS = 1_000
METRIC_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
ROLE = re.compile(r"[a-z][a-z0-9_-]{0,15}")
# Those that the exposition itself adds.
OWN_LABELS = {"histogram": ("le",), "summary": ("quantile",)}


def check_role(role: str) -> None:
    """Raise CatalogueError when no block can carry the name of a role."""
    if not ROLE.fullmatch(role):
        raise CatalogueError(f"{role!r} is no role of 1 to 16 of the characters a-z 0-9 _ -")


def check_family(family: Family) -> None:
    """Raise CatalogueError saying what is wrong with a definition."""
    texts = (family.name, family.kind, family.help, family.merge, *family.label_names)
    if not all(isinstance(text, str) for text in texts):
        raise CatalogueError(f"the definition of {family.name!r} is of wrong types")
    if not METRIC_NAME.fullmatch(family.name) or family.name == "_total":
        raise CatalogueError(f"{family.name!r} is no valid name of a metric")
    if not _is_encodable(family.help):
        raise CatalogueError(f"the help text of {family.name} is no Unicode text")
    if family.kind not in get_args(Kind) or family.merge not in get_args(GaugeRule):
        raise CatalogueError(
            f"{family.name} has the kind {family.kind!r} and rule {family.merge!r}"
        )
    _check_labels(family)
    _check_form(family)
    _check_sizes(family)


def _check_labels(family: Family) -> None:
    own = OWN_LABELS.get(family.kind, ())
    for name in family.label_names:
        if not LABEL_NAME.fullmatch(name) or name.startswith("__") or name in own:
            raise CatalogueError(f"{family.name} cannot have a label {name!r}")
    if len(set(family.label_names)) != len(family.label_names):
        raise CatalogueError(f"{family.name} has a label twice: {list(family.label_names)}")


def _check_form(family: Family) -> None:
    form = family.openmetrics_form
    if form not in get_args(OpenMetricsForm) or (form and family.kind != "gauge"):
        raise CatalogueError(f"{family.name}, a {family.kind}, cannot be of the form {form!r}")
    if form == "info" and not family.name.endswith("_info"):
        raise CatalogueError(f"{family.name}: the names of info rows end with _info")
    if form == "stateset" and family.name not in family.label_names:
        raise CatalogueError(f"{family.name}: a state set has a label of its own name")


def _check_sizes(family: Family) -> None:
    if (family.buckets and family.kind != "histogram") or len(family.buckets) > MOST_BUCKETS:
        raise CatalogueError(
            f"{family.name}, a {family.kind}, has {len(family.buckets)} buckets; "
            f"a histogram may have {MOST_BUCKETS}"
        )
    if type(family.max_series) is not int or not 0 < family.max_series <= MOST_SERIES:
        raise CatalogueError(
            f"{family.name} may have {family.max_series!r} series; 1 to {MOST_SERIES} are possible"
        )


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
