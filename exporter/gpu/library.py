"""Whether the library that this process has loaded is still the one that is installed.

After an update of the driver the old library stays mapped, and the new kernel module refuses it.
Only a new process can load the new one.
"""

from pathlib import Path

NAME = "libnvidia-ml.so"
LOADED = "libnvidia-ml.so.1"
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
    mapped = Path(path.removesuffix(DELETED))
    # What a new process would load: a link to the newest, beside the file that is mapped.
    for installed in (mapped.with_name(LOADED), mapped):
        try:
            # The device is not compared: a file system of layers has one here, another there.
            return installed.stat().st_ino != int(inode)
        except OSError:
            continue
    return False  # None is installed at the moment; a new process would find none.
