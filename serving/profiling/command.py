"""The command line of `inferometer profile`."""

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from exporter.quality import ProfileError, read_profile, write_profile
from serving.errors import DataError, ModelLoadError
from serving.profiling.building import build_profile
from serving.profiling.data import read_data
from serving.profiling.models import Subject, load_subject
from serving.runner.formats import PROFILE_FILE

MOST_ROWS, MOST_BINS = 200_000, 12


def main(arguments: Sequence[str]) -> int:
    """Write a profile; return 0 when it is written, 1 when it cannot be."""
    options = _parser().parse_args(arguments)
    try:
        subject = load_subject(options.model, options.version)
        out = Path(options.out) if options.out else subject.source.own(PROFILE_FILE)
        rows = _write(subject, options, out)
    except (DataError, ModelLoadError, ProfileError, OSError) as error:
        print(f"inferometer profile: {error}", file=sys.stderr)
        return 1
    version = subject.version
    print(f"{out}: model {version.model} version {version.version}, {rows:,} rows")
    return 0


def _write(subject: Subject, options: argparse.Namespace, out: Path) -> int:
    file, measured = Path(options.data), subject.measured
    data = read_data(
        file,
        subject.version.signatures[measured.signature],
        names=measured.declaration.features or {},
        label=options.label,
        most_rows=options.rows,
    )
    # Not the time of now: the same data give the same bytes.
    created = datetime.fromtimestamp(int(file.stat().st_mtime), UTC)
    profile = build_profile(
        subject, data, bins=options.bins, created=created.isoformat().replace("+00:00", "Z")
    )
    text = write_profile(profile)
    read_profile(text)  # What a server would refuse is not written.
    out.write_bytes(text)
    return profile.rows


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="inferometer profile",
        description="Describe a model's training data in reference.json beside it, for drift.",
        epilog="Use data that the model was not trained on for labels: a model knows its own.",
        allow_abbrev=False,
    )
    parser.add_argument("model", metavar="[NAME=]PATH", help="the model, as it is served")
    parser.add_argument(
        "--data", required=True, metavar="FILE", help="a .csv, .ndjson, .parquet or .npz"
    )
    parser.add_argument("--label", metavar="COLUMN", help="the column or array of labels")
    parser.add_argument("--version", metavar="NUMBER", help="the version (default: the newest)")
    parser.add_argument("--out", metavar="FILE", help="default: reference.json beside the version")
    parser.add_argument(
        "--bins", type=_bins, default=10, metavar="NUMBER", help="bins of a number (default: 10)"
    )
    parser.add_argument(
        "--rows",
        type=_rows,
        default=MOST_ROWS,
        metavar="NUMBER",
        help=f"most rows that are looked at, chosen at random (default: {MOST_ROWS})",
    )
    return parser


def _bins(text: str) -> int:
    return _between(text, 2, MOST_BINS)


def _rows(text: str) -> int:
    return _between(text, 1, 100 * MOST_ROWS)


def _between(text: str, least: int, most: int) -> int:
    if not text.isdecimal() or not least <= int(text) <= most:
        raise argparse.ArgumentTypeError(f"a whole number from {least} to {most} is expected")
    return int(text)
