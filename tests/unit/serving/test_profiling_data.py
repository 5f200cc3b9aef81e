"""Rows out of files: what is taken, and what is said of what is not."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from serving.errors import DataError
from serving.model import Signature, TensorSpec
from serving.profiling.data import Data, read_data
from serving.row_files import rows_of

TABLE = Signature("s", (TensorSpec("x", "FP32", (-1, 2)),), ())
MIXED = Signature(
    "s",
    (
        TensorSpec("age", "INT64", (-1,)),
        TensorSpec("pay", "FP64", (-1, 1)),
        TensorSpec("plan", "BYTES", (-1,)),
    ),
    (),
)
ROWS: list[dict[str, Any]] = [
    {"age": 3, "pay": 1.5, "plan": "a", "kind": "yes"},
    {"age": 4, "pay": 2.5, "plan": "é", "kind": "no"},
]


def read(file: Path, signature: Signature, **options: Any) -> Data:
    options = {"names": {}, "label": None, "most_rows": 1_000} | options
    return read_data(file, signature, **options)


def write(file: Path, rows: list[dict[str, Any]]) -> Path:
    if file.suffix == ".csv":
        lines = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
        file.write_text("\ufeff" + "\n".join(lines))
    elif file.suffix == ".parquet":
        parquet.write_table(pa.Table.from_pylist(rows), file)
    else:
        file.write_text("\n\n".join(map(json.dumps, rows)))
    return file


@pytest.mark.parametrize("suffix", [".csv", ".ndjson", ".jsonl", ".parquet"])
def test_inputs_are_columns_of_their_names(tmp_path: Path, suffix: str) -> None:
    found = read(write(tmp_path / f"rows{suffix}", ROWS), MIXED, label="kind")

    assert [3, 4] == found.inputs["age"].tolist()
    assert [[1.5], [2.5]] == found.inputs["pay"].tolist()
    assert [b"a", "é".encode()] == found.inputs["plan"].tolist()
    assert ["yes", "no"] == found.labels
    assert ("int64", "float64") == (found.inputs["age"].dtype, found.inputs["pay"].dtype)


def test_one_input_takes_all_columns_or_those_that_are_named(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text('b,a,kind\n1,2,"x,y"\n3,,z\n')

    in_order = read(file, TABLE, label="kind")
    named = read(file, TABLE, names={"x": ["a", "b"]})

    assert np.array_equal([[1, 2], [3, np.nan]], in_order.inputs["x"], equal_nan=True)
    assert np.array_equal([[2, 1], [np.nan, 3]], named.inputs["x"], equal_nan=True)
    assert ["x,y", "z"] == in_order.labels
    assert named.labels is None


def test_as_many_rows_as_asked_for_and_the_same_each_time(tmp_path: Path) -> None:
    rows = [{"a": float(number), "b": 0.0} for number in range(500)]
    file = write(tmp_path / "rows.csv", rows)
    chosen = [read(file, TABLE, most_rows=50).inputs["x"][:, 0] for _ in range(2)]

    assert 50 == len(set(chosen[0].tolist()))
    assert chosen[0].tolist() == chosen[1].tolist()
    assert 150 < chosen[0].mean() < 350


def test_arrays_of_numpy(tmp_path: Path) -> None:
    file = tmp_path / "rows.npz"
    np.savez(file, x=np.ones((4, 2)), y=np.array([[0, 1], [1, 1], [0, 0], [1, 0]]), z=np.ones(3))

    found = read(file, TABLE, label="y")
    assert "float32" == found.inputs["x"].dtype
    assert [[1], [0, 1], [], [0]] == found.labels
    with pytest.raises(DataError, match="not as many as each other"):
        read(file, TABLE, label="z")
    with pytest.raises(DataError, match='no array "q"; there are x, y, z'):
        read(file, TABLE, label="q")
    with pytest.raises(DataError, match='no array "age"'):
        read(file, MIXED)


WRONG = [
    pytest.param("rows.csv", "a,b\n1,2\n3\n", "line 3: not as many values", id="short"),
    pytest.param("rows.csv", "a,b\n1,2,3\n", "line 2: not as many values", id="long"),
    pytest.param("rows.csv", "a,b\n1,x\n", '"x" is no FP32', id="text"),
    pytest.param("rows.csv", "a,b\n", "there are no rows", id="empty"),
    pytest.param("rows.csv", "a\n1\n", '1 columns for input "x"', id="narrow"),
    pytest.param("rows.ndjson", '{"a":1,"b":2}\n{', "line 2", id="json"),
    pytest.param("rows.ndjson", "[1,2]", "an object is expected", id="list"),
    pytest.param("rows.txt", "a,b\n1,2\n", "expected a name with one of .csv", id="suffix"),
    pytest.param("rows.parquet", "nonsense", "rows.parquet", id="parquet"),
    pytest.param("rows.npz", "nonsense", "rows.npz", id="npz"),
    pytest.param("rows.csv", "a,a\n1,2\n", "stands there twice", id="twice"),
    pytest.param("rows.ndjson", '{"a":1,"b":2}\n{"a":1}', 'no "b"', id="member"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "text", "message"), WRONG)
def test_what_is_wrong_is_said(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)

    with pytest.raises(DataError) as wrong:
        read(tmp_path / name, TABLE)

    assert message in str(wrong.value)


def test_missing_file_and_column_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        read(tmp_path / "none.csv", TABLE)
    file = write(tmp_path / "rows.csv", ROWS)
    with pytest.raises(DataError, match='no column "sort"; there are age, pay, plan, kind'):
        read(file, MIXED, label="sort")
    with pytest.raises(DataError, match='no column "z"'):
        read(file, TABLE, names={"x": ["age", "z"]})


def test_rows_are_read_one_by_one(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("a\n1\n2\n3,3\n")
    rows = rows_of(file)

    assert [{"a": "1"}, {"a": "2"}] == [next(rows), next(rows)]
    with pytest.raises(DataError):
        next(rows)


WHOLE = Signature("s", (TensorSpec("x", "INT8", (-1,)),), ())
TRUTH = Signature("s", (TensorSpec("x", "BOOL", (-1,)),), ())


@pytest.mark.parametrize("value", ["300", "1.5", "nan", "1e30", "-129", "x", ""])
def test_numbers_that_do_not_fit_are_refused(tmp_path: Path, value: str) -> None:
    (tmp_path / "rows.csv").write_text(f"x,y\n{value},0\n")

    with pytest.raises(DataError):
        read(tmp_path / "rows.csv", WHOLE, label="y")


def test_whole_numbers_and_truths_may_be_written_in_several_ways(tmp_path: Path) -> None:
    (tmp_path / "whole.csv").write_text("x,y\n3,0\n3.0,0\n-128,0\n")
    (tmp_path / "truth.csv").write_text("x,y\ntrue,0\nFalse,0\n1,0\n")

    assert [3, 3, -128] == read(tmp_path / "whole.csv", WHOLE, label="y").inputs["x"].tolist()
    truths = read(tmp_path / "truth.csv", TRUTH, label="y").inputs["x"].tolist()
    assert [True, False, True] == truths


@pytest.mark.parametrize("array", [np.array([1.5]), np.array([np.nan]), np.array([300])])
def test_arrays_that_do_not_fit_are_refused(tmp_path: Path, array: np.ndarray) -> None:
    np.savez(tmp_path / "rows.npz", x=array)

    with pytest.raises(DataError):
        read(tmp_path / "rows.npz", WHOLE)
