"""The command line of `inferometer feedback import`."""

import argparse
import csv
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

from serving.errors import DataError
from serving.importing.sender import Item, Sender, plain
from serving.row_files import Row, rows_of

PROGRESS_SECONDS = 1.0
# A text may be a class's name or index, a number, a truth, or classes with `;` between. They are
# tried in this order on the first labels.
FORMS: dict[str, Callable[[str], object]] = {
    "text": str,
    "number": lambda text: int(text) if text.lstrip("-").isdecimal() else float(text),
    "truth": lambda text: {"true": True, "false": False}[text.lower()],
    "list": lambda text: [part for part in text.split(";") if part],
    "numbers": lambda text: [int(part) for part in text.split(";") if part],
    # Boxes and pixels; as one that is asked for alone, for a text may well be JSON.
    "json": json.loads,
}
TRIED = 20
USAGE = "usage: inferometer feedback import FILE --url URL …"


def main(arguments: Sequence[str]) -> int:
    """Send labels; return 0 when all counted, 1 when one was refused or sending ended early."""
    if not arguments or arguments[0] != "import":
        print(USAGE, file=sys.stderr)
        return 2
    options = _parser().parse_args(arguments[1:])
    try:
        return _import(options)
    except DataError as error:
        print(f"inferometer feedback import: {error}", file=sys.stderr)
        return 1


def _import(options: argparse.Namespace) -> int:
    file = Path(options.file)
    token = None
    if options.auth_token_file:
        try:
            token = Path(options.auth_token_file).read_text().strip()
        except OSError as error:
            raise DataError(f"{options.auth_token_file}: {error.strerror}") from error
    with ExitStack() as stack:
        sender = Sender(
            options.url,
            auth_token=token,
            rate=options.rate,
            patience_seconds=options.patience,
            progress=_Progress().show,
        )
        stack.callback(sender.close)
        read = FORMS[options.label_form or _form(file, options, sender)]
        rejected = None
        if options.errors:
            try:
                output = stack.enter_context(Path(options.errors).open("w", newline=""))
            except OSError as error:
                raise DataError(f"{options.errors}: {error.strerror}") from error
            rejected = csv.writer(output)
            rejected.writerow(["row", "result", "error"])
        has_rejected = False
        for one in sender.send(_items(file, options, read)):
            has_rejected = True
            if rejected is not None:
                rejected.writerow(one)
        print(_summary(sender.counts))
    return int(has_rejected)


def _form(file: Path, options: argparse.Namespace, sender: Sender) -> str:
    """Return how labels are written that are texts, by what the server takes."""
    for row in islice(rows_of(file), TRIED):
        if not isinstance(_value(row, options.label_column, file), str):
            return "text"
        for name, read in FORMS.items():
            if name == "json":
                continue
            try:
                item = _item(row, options, read, file)
            except (KeyError, ValueError):
                continue
            is_taken = sender.is_taken(item)
            if is_taken:
                return name
            if is_taken is None:
                break  # The next row may tell.
    return "text"


def _items(
    file: Path, options: argparse.Namespace, read: Callable[[str], object]
) -> Iterator[Item]:
    for row in rows_of(file):
        try:
            yield _item(row, options, read, file)
        except (KeyError, ValueError):
            yield _item(row, options, str, file)


def _item(row: Row, options: argparse.Namespace, read: Callable[[str], object], file: Path) -> Item:
    label = _value(row, options.label_column, file)
    item: Item = {
        "token": _value(row, options.token_column, file),
        "label": read(label) if isinstance(label, str) else plain(label),
    }
    if options.prediction_column is not None:
        prediction = _value(row, options.prediction_column, file)
        is_json = isinstance(prediction, str) and options.label_form == "json"
        item["prediction"] = read(str(prediction)) if is_json else plain(prediction)
    if options.labelled_at_column is not None:
        item["labelled_at"] = plain(_value(row, options.labelled_at_column, file))
    if options.source != "truth":
        item["source"] = options.source
    return item


def _value(row: Row, column: str, file: Path) -> object:
    if column not in row:
        raise DataError(f'{file}: there is no column "{column}"; there are {", ".join(row)[:200]}')
    return row[column]


class _Progress:
    """Says now and then how far it has come."""

    def __init__(self) -> None:
        self._shown_at = time.monotonic()

    def show(self, counts: Counter[str]) -> None:
        if time.monotonic() - self._shown_at >= PROGRESS_SECONDS:
            self._shown_at = time.monotonic()
            print(_summary(counts), file=sys.stderr)


def _summary(counts: Counter[str]) -> str:
    found = ", ".join(f"{number:,} {name}" for name, number in counts.items() if number)
    return f"{counts.total():,} labels: {found or 'none'}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="inferometer feedback import",
        description="Send the labels of a file to a server. What counted before is not counted"
        " again, so that a run which ended early can be repeated.",
        allow_abbrev=False,
    )
    parser.add_argument("file", metavar="FILE", help="a .csv, .ndjson, .jsonl or .parquet")
    parser.add_argument("--url", required=True, help="the server, such as http://127.0.0.1:8501")
    parser.add_argument("--token-column", default="token", metavar="NAME", help="default: token")
    parser.add_argument("--label-column", default="label", metavar="NAME", help="default: label")
    parser.add_argument(
        "--prediction-column",
        metavar="NAME",
        help="what was predicted, for rankings, boxes, pixels and texts",
    )
    parser.add_argument("--labelled-at-column", metavar="NAME", help="when the truth was known")
    parser.add_argument(
        "--label-form", choices=FORMS, help="of labels that are texts; default: what is taken"
    )
    parser.add_argument("--source", choices=("truth", "teacher"), default="truth")
    parser.add_argument("--auth-token-file", metavar="FILE", help="holds feedback_auth_token")
    parser.add_argument("--errors", metavar="FILE", help="a CSV of what was refused, and why")
    parser.add_argument(
        "--rate", type=_positive, default=2_000.0, metavar="NUMBER", help="labels a second"
    )
    parser.add_argument(
        "--patience",
        type=_positive,
        default=300.0,
        metavar="SECONDS",
        help="how long a server may be away (default: 300)",
    )
    return parser


def _positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError("a number above 0 is expected")
    return number
