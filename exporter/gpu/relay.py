"""The file by which other processes show the GPUs that one process reads.

JSON, replaced by a rename each second: when, in monotonic seconds, the rows, and why they are not
all. A reader trusts nothing of it.
"""

import contextlib
import json
import math
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from exporter.gpu.counts import PREFIX
from exporter.gpu.snapshots import Shown
from exporter.gpu.thread import Report
from exporter.metric import MAX_LABEL_CHARACTERS, Family

NAME = "collected"
LARGEST_BYTES = 1 << 20
# Less than what is between two looks at the clock by two processes.
EARLIEST_SECONDS = -1.0
# Some times what is between two of its writings.
GOOD_SECONDS = 5.0


class Silence(Exception):
    """The process that reads the GPUs has passed nothing on for too long."""


def write_relayed(store_path: Path, report: Report) -> None:
    """Replace the file. Raises OSError."""
    content = {"at": time.monotonic(), "failure": report.failure, "rows": report.rows}
    new = _new(store_path)
    new.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(new, flags, 0o600), "w") as file:
            json.dump(content, file)
        new.rename(store_path / NAME)
    except OSError:
        new.unlink(missing_ok=True)
        raise


def remove_relayed(store_path: Path) -> None:
    """Delete what is passed on: whoever reads it is to find nothing, not what is old."""
    for path in (store_path / NAME, _new(store_path)):
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def _new(store_path: Path) -> Path:
    return store_path / f"{NAME}.{os.getpid()}.new"


def read_relayed(store_path: Path, families: Iterable[Family]) -> Report | None:
    """Return what was passed on; None if nothing is.

    Rows may be of `families` alone. Raises ValueError saying what is wrong with the file, Silence
    when it is too old.
    """
    try:
        descriptor = os.open(
            store_path / NAME, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        )
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ValueError(f"{NAME}: {error.strerror}") from error
    with os.fdopen(descriptor, "rb") as file:
        text = file.read(LARGEST_BYTES + 1)
    if len(text) > LARGEST_BYTES:
        raise ValueError(f"{NAME} has more than {LARGEST_BYTES} bytes")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError(f"{NAME} is no JSON") from None
    return _report(content, {family.name: len(family.labels) for family in families})


def _report(content: dict[str, Any], label_counts: dict[str, int]) -> Report:
    try:
        age = time.monotonic() - float(content["at"])
        failure = str(content["failure"])
        rows = tuple(_row(row, label_counts) for row in content["rows"])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{NAME} is not as it should be: {error!r:.200}") from None
    if EARLIEST_SECONDS <= age <= GOOD_SECONDS:
        return Report(rows, failure)
    raise Silence(f"nothing has been heard for {age:.0f} s of the process that reads the GPUs")


def _row(row: list[Any], label_counts: dict[str, int]) -> Shown:
    name, labels, value = row
    if label_counts.get(PREFIX + name) != len(labels) or not math.isfinite(value):
        raise ValueError(f"row of {name!r:.80}")
    for label in labels:
        if not isinstance(label, str) or len(label) > MAX_LABEL_CHARACTERS:
            raise ValueError(f"label of {name}")
        label.encode()  # Raises ValueError for what no exposition can hold.
    return name, tuple(labels), float(value)
