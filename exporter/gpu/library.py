"""Whether the library that this process has loaded is still the one that is installed.

After an update of the driver the old library stays mapped, and the new kernel module refuses it.
Only a new process can load the new one.
"""

from pathlib import Path

NAME = "libnvidia-ml.so"
DELETED = " (deleted)"


def is_replaced(maps: Path = Path("/proc/self/maps")) -> bool:
    """Return whether another file lies where the mapped library was loaded from.

    `maps` has the form of proc_pid_maps(5).
    """
    try:
        lines = maps.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return False
    return any(map(_is_other, {line for line in lines if f"/{NAME}" in line}))


def _is_other(line: str) -> bool:
    *_, inode, path = line.split(maxsplit=5)
    try:
        status = Path(path.removesuffix(DELETED)).stat()
    except OSError:
        return False  # None is installed at the moment; a new process would find none.
    # The device is not compared: a file system of layers shows one here and another there.
    return status.st_ino != int(inode)
