"""The file by which other processes show the GPUs; whether a library was replaced."""

import json
import os
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter.catalogue.gpu import FAMILIES
from exporter.gpu.library import is_replaced
from exporter.gpu.relay import NAME, Silence, read_relayed, remove_relayed, write_relayed
from exporter.gpu.thread import Report

ROWS = (
    ("up", ("GPU-1",), 1.0),
    ("clock_hertz", ("GPU-1", "sm"), 1.98e9),
    ("collect_stuck", (), 0.0),
)


def test_what_is_passed_on_arrives(store_path: Path):
    assert read_relayed(store_path, FAMILIES) is None

    write_relayed(store_path, Report(ROWS, "a reason"), 10.0)

    assert read_relayed(store_path, FAMILIES) == Report(ROWS, "a reason")
    assert (store_path / NAME).stat().st_mode & 0o777 == 0o600
    remove_relayed(store_path)
    assert read_relayed(store_path, FAMILIES) is None


def test_what_is_too_old_is_not_shown(store_path: Path):
    write_relayed(store_path, Report(ROWS), 0.0)

    with pytest.raises(Silence):
        read_relayed(store_path, FAMILIES)


def good() -> dict[str, object]:
    return {"at": time.monotonic(), "good_for_seconds": 9.0, "failure": "", "rows": [*ROWS]}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("at", None), ("at", "x"), ("at", float("nan")), ("good_for_seconds", []), ("rows", 1),
        ("rows", [["up"]]), ("rows", [["up", [], 1.0]]), ("rows", [["up", ["a", "b"], 1.0]]),
        ("rows", [["not_there", ["a"], 1.0]]), ("rows", [["up", ["a"], "1"]]),
        ("rows", [["up", ["a"], float("inf")]]), ("rows", [["up", 1, 1.0]]),
        ("rows", [[["up"], ["a"], 1.0]]), ("rows", [["up", ["a"], True, 1]]),
    ],
)  # fmt: skip
def test_file_that_is_wrong_is_refused(store_path: Path, key: str, value: object):
    (store_path / NAME).write_text(json.dumps(good() | {key: value}))

    with pytest.raises((ValueError, Silence)):
        read_relayed(store_path, FAMILIES)


@given(text=st.one_of(st.binary(max_size=200), st.text(max_size=50).map(str.encode)))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_bytes_are_refused(store_path: Path, text: bytes):
    (store_path / NAME).write_bytes(text)

    with pytest.raises(ValueError, match=NAME):
        read_relayed(store_path, FAMILIES)


def test_file_that_is_too_large_a_link_or_deep_is_refused(store_path: Path):
    path = store_path / NAME
    path.write_bytes(b" " * (2 << 20))
    with pytest.raises(ValueError, match="bytes"):
        read_relayed(store_path, FAMILIES)
    path.write_bytes(b"[" * 200_000)
    with pytest.raises(ValueError, match="JSON"):
        read_relayed(store_path, FAMILIES)
    path.unlink()
    path.symlink_to("/dev/zero")
    with pytest.raises(ValueError, match=NAME):
        read_relayed(store_path, FAMILIES)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(ValueError, match=NAME):
        read_relayed(store_path, FAMILIES)


@pytest.mark.parametrize(
    ("change", "expected"), [("none", False), ("replaced", True), ("removed", False)]
)
def test_library_that_lies_elsewhere_is_replaced(tmp_path: Path, change: str, expected: bool):  # noqa: FBT001
    library = tmp_path / "libnvidia-ml.so.590"
    library.write_text("old")
    inode = library.stat().st_ino
    if change != "none":
        library.rename(tmp_path / "kept")
    if change == "replaced":
        library.write_text("new")
    maps = tmp_path / "maps"
    deleted = "" if change == "none" else " (deleted)"
    maps.write_text(
        f"7f00-7f10 r-xp 00000000 08:01 1 /usr/lib/libc.so.6\n7f10-7f20 rw-p 00000000 00:00 0 \n"
        f"7f20-7f30 r-xp 00000000 08:01 {inode} {library}{deleted}\n"
    )

    assert is_replaced(maps) is expected
