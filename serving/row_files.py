"""Rows out of files: CSV, JSON lines, and Parquet where its library is installed."""

import csv
import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from serving.errors import DataError

SUFFIXES = (".csv", ".ndjson", ".jsonl", ".parquet")
Row = Mapping[str, Any]


def rows_of(file: Path) -> Iterator[Row]:
    """Yield the rows of a file by column, in CSV all of them texts.

    Raises DataError saying where the file is wrong.
    """
    if file.suffix == ".parquet":
        yield from _parquet_rows(file)
    elif file.suffix in {".ndjson", ".jsonl"}:
        yield from _json_rows(file)
    elif file.suffix == ".csv":
        yield from _csv_rows(file)
    else:
        raise DataError(f"{file}: expected a name with one of {', '.join(SUFFIXES)}")


def _csv_rows(file: Path) -> Iterator[Row]:
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, strict=True)
            _require_different(file, reader.fieldnames or [])
            for row in reader:
                if None in row or None in row.values():
                    raise DataError(f"{file}, line {reader.line_num}: not as many values as names")
                yield row
    except OSError as error:
        raise DataError(f"{file}: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file}: {error}") from error


def _json_rows(file: Path) -> Iterator[Row]:
    try:
        with file.open("rb") as stream:
            for number, line in enumerate(stream, start=1):
                if not line.strip():
                    continue
                try:
                    row = orjson.loads(line)
                except orjson.JSONDecodeError as error:
                    raise DataError(f"{file}, line {number}: {error.msg}") from error
                if not isinstance(row, dict):
                    raise DataError(f"{file}, line {number}: an object is expected")
                yield row
    except OSError as error:
        raise DataError(f"{file}: {error.strerror}") from error


def _parquet_rows(file: Path) -> Iterator[Row]:
    if importlib.util.find_spec("pyarrow") is None:
        raise DataError("pyarrow is not installed; run: pip install 'inferometer[parquet]'")
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    try:
        parquet = ParquetFile(file)
        _require_different(file, parquet.schema_arrow.names)
        for batch in parquet.iter_batches():
            yield from batch.to_pylist()
    except (OSError, ArrowException, ValueError) as error:
        raise DataError(f"{file}: {error}") from error


def _require_different(file: Path, names: Sequence[str]) -> None:
    if len(set(names)) < len(names):
        raise DataError(f"{file}: a column's name stands there twice")
