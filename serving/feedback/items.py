"""One label as it was sent: which keys it has, and of what types."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from exporter.quality import LabelError
from serving.quoting import kind_of, quoted

KEYS = ("token", "prediction_id", "row", "label", "labelled_at", "prediction", "source")
SOURCES = ("truth", "teacher")
# https://www.rfc-editor.org/rfc/rfc3339#section-5.6
RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)")


class MalformedItem(Exception):
    """What is no label for a prediction at all; the message says what is missing or wrong."""


class Item(NamedTuple):
    """A label for a row, and the token that names the row.

    `source` is the place in SOURCES. `labelled_at` and `prediction` are as they were sent, None
    where they were not.
    """

    token: object
    label: object
    labelled_at: object = None
    source: int = 0
    prediction: object = None


def item_of(document: object) -> Item:
    """Return the label that a JSON value is. Raises MalformedItem."""
    if not isinstance(document, Mapping):
        hint = "; send lists to /v1/feedback/batch" if isinstance(document, list) else ""
        raise MalformedItem(f"a label is an object, got {kind_of(document)}{hint}")
    unknown = [key for key in document if key not in KEYS]
    if unknown:
        raise MalformedItem(f"unknown key {quoted(unknown[0])}; known: {', '.join(KEYS)}")
    if "prediction_id" in document or "row" in document:
        raise MalformedItem("this server keeps no predictions: send the row's token")
    for key in ("token", "label"):
        if key not in document:
            raise MalformedItem(f"missing {quoted(key)}")
    source = document.get("source", "truth")
    if source not in SOURCES:
        raise MalformedItem(f"source must be {' or '.join(SOURCES)}")
    return Item(
        document["token"],
        document["label"],
        document.get("labelled_at"),
        SOURCES.index(source),
        document.get("prediction"),
    )


def seconds_of(labelled_at: object) -> float:
    """Return a time of RFC 3339 in seconds since 1970. Raises LabelError for anything else."""
    if isinstance(labelled_at, str) and RFC_3339.fullmatch(labelled_at):
        try:
            return datetime.fromisoformat(labelled_at.upper()).timestamp()
        except (ValueError, OverflowError):
            pass
    raise LabelError("labelled_at is to be a time such as 2026-11-23T10:00:00Z")
