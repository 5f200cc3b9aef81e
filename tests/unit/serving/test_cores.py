"""The cores that cgroups leave."""

import os
from pathlib import Path

import pytest

from serving.cores import usable_cores

HOST = len(os.sched_getaffinity(0))


def cgroups(root: Path, memberships: str, files: dict[str, str]) -> Path:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(memberships)
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("memberships", "files", "cores"),
    [
        ("0::/\n", {"cpu.max": "100000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "50000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "max 100000\n"}, HOST),
        ("0::/\n", {"cpu.max": "6400000 100000\n"}, HOST),
        ("0::/pod/c\n", {"cpu.max": "max 100000\n", "pod/cpu.max": "100000 100000\n"}, 1),
        # The host's path, of which the container sees nothing but its own root.
        ("0::/kubepods/x/y\n", {"cpu.max": "100000 100000\n"}, 1),
        (
            "4:memory:/\n3:cpu,cpuacct:/docker/a\n0::/\n",
            {
                "cpu/docker/a/cpu.cfs_quota_us": "80000\n",
                "cpu/docker/a/cpu.cfs_period_us": "100000",
            },
            1,
        ),
        (
            "1:cpu:/\n",
            {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"},
            HOST,
        ),
        ("0::/\n", {"cpu.max": "nonsense"}, HOST),
        ("0::/\n", {"cpu.max": "0 0"}, HOST),
        ("0::/\n", {}, HOST),
    ],
)
def test_the_smallest_quota_limits(
    memberships: str, files: dict[str, str], cores: int, tmp_path: Path
) -> None:
    assert cores == usable_cores(cgroups(tmp_path, memberships, files))


def test_nothing_to_read_limits_nothing(tmp_path: Path) -> None:
    assert HOST == usable_cores(tmp_path)
