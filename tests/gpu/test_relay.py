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

    write_relayed(store_path, Report(ROWS, "a reason"))

    assert read_relayed(store_path, FAMILIES) == Report(ROWS, "a reason")
    assert (store_path / NAME).stat().st_mode & 0o777 == 0o600
    remove_relayed(store_path)
    assert read_relayed(store_path, FAMILIES) is None


def test_what_is_too_old_is_not_shown(store_path: Path):
    (store_path / NAME).write_text(json.dumps(good() | {"at": time.monotonic() - 6}))

    with pytest.raises(Silence):
        read_relayed(store_path, FAMILIES)


def good() -> dict[str, object]:
    return {"at": time.monotonic(), "failure": "", "rows": [*ROWS]}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("at", None), ("at", "x"), ("at", float("nan")), ("at", float("inf")), ("rows", 1),
        ("rows", [["up"]]), ("rows", [["up", [], 1.0]]), ("rows", [["up", ["a", "b"], 1.0]]),
        ("rows", [["not_there", ["a"], 1.0]]), ("rows", [["up", ["a"], "1"]]),
        ("rows", [["up", ["a"], float("inf")]]), ("rows", [["up", 1, 1.0]]),
        ("rows", [[["up"], ["a"], 1.0]]), ("rows", [["up", ["a"], True, 1]]),
        ("rows", [["up", ["\ud800"], 1.0]]), ("rows", [["up", ["a" * 200], 1.0]]),
        ("rows", [["up", [1], 1.0]]), ("rows", [["up", "a", 1.0, 2.0]]),
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


def test_what_lies_in_the_way_is_no_obstacle(store_path: Path):
    # A named pipe that nobody reads would hold up who opens it.
    os.mkfifo(store_path / f"{NAME}.{os.getpid()}.new")
    write_relayed(store_path, Report(ROWS))
    assert read_relayed(store_path, FAMILIES) == Report(ROWS)

    remove_relayed(store_path)
    (store_path / NAME).mkdir()
    with pytest.raises(OSError, match="directory"):
        write_relayed(store_path, Report(ROWS))
    assert [NAME] == [path.name for path in store_path.iterdir()]
    remove_relayed(store_path)


@pytest.mark.parametrize(
    ("change", "expected"),
    [("none", False), ("updated", True), ("both-are-there", True), ("removed", False)],
)
def test_library_is_replaced_when_its_link_leads_to_another(
    tmp_path: Path,
    change: str,
    expected: bool,  # noqa: FBT001
):
    old, new = tmp_path / "libnvidia-ml.so.590.48", tmp_path / "libnvidia-ml.so.591.2"
    link = tmp_path / "libnvidia-ml.so.1"
    old.write_text("old")
    link.symlink_to(old.name)
    inode = old.stat().st_ino
    if change != "none":
        new.write_text("new")
        link.unlink()
        # Kept under another name, so that no new file gets its inode.
        old.rename(tmp_path / "kept")
    if change in {"updated", "both-are-there"}:
        link.symlink_to(new.name)
    if change == "both-are-there":
        (tmp_path / "kept").rename(old)
    if change == "removed":
        new.unlink()
    maps = tmp_path / "maps"
    deleted = "" if change in {"none", "both-are-there"} else " (deleted)"
    maps.write_text(
        f"7f00-7f10 r-xp 00000000 08:01 1 /usr/lib/libc.so.6\n7f10-7f20 rw-p 00000000 00:00 0 \n"
        f"7f20-7f30 r-xp 00000000 08:01 {inode} {old}{deleted}\n"
    )

    assert is_replaced(maps) is expected
