"""The store directory: where it is, whom it belongs to, what lies in it."""

import contextlib
import errno
import fcntl
import logging
import os
import re
import stat
import tempfile
import time
from pathlib import Path

from exporter.errors import StoreError, StoreUnreadable

BLOCK_SUFFIX = ".block"
RETIRED_NAME = "retired"
OWNER_LOCK_NAME = "owner.lock"
FOLD_LOCK_NAME = "fold.lock"
GPU_LOCK_NAME = "gpu.lock"

# All that a server ever puts into its store directory. Nothing else in it is ever deleted.
OURS = re.compile(
    r"[a-z][a-z0-9_-]*-[0-9]+-[0-9a-f]{16}\.(block|new|bad)|retired(\.new)?"
    r"|collected(\.[0-9]+\.new)?|gpu\.lock|owner\.lock|fold\.lock"
    r"|settings\.json|server\.state|runner-[0-9]+\.(sock|status|loader|loader\.new)|requests-[0-9]+\.slow"
    r"|feedback\.(keys|db|db-wal|db-shm|db-journal)"
)

# Longer than any process needs between creating a block and naming it.
STALE_NEW_SECONDS = 60

logger = logging.getLogger(__name__)


def default_store_path(name: str) -> Path:
    """Return the directory for a server of that name.

    On tmpfs, since blocks are memory and not files.
    """
    base = Path("/dev/shm")  # noqa: S108 - a directory of this user's own is made inside it
    if not os.access(base, os.W_OK):
        base = Path(tempfile.gettempdir())
        logger.warning("the tmpfs cannot be written; metrics are kept in %s", base)
    return base / f"inferometer-{os.getuid()}" / name


def open_directory(path: Path) -> Path:
    """Create the directory where it is missing and return it.

    Raises StoreError when it cannot be made or must not be trusted: a symbolic link, another
    user's, or writable by others.
    """
    try:
        if not path.exists():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.mkdir(mode=0o700, exist_ok=True)
        status = path.lstat()
    except OSError as error:
        raise StoreError(f"store directory {path}: {error.strerror}") from error
    if not stat.S_ISDIR(status.st_mode):
        raise StoreError(f"store directory {path} is not a directory (symbolic links are refused)")
    if status.st_uid != os.getuid() and os.getuid() != 0:
        raise StoreError(f"store directory {path} belongs to uid {status.st_uid}, not to this user")
    if status.st_mode & 0o022:
        raise StoreError(f"store directory {path} is writable by others; run: chmod 700 {path}")
    return path


class OwnedDirectory:
    """The store directory of one server, held by its supervisor from start to end."""

    def __init__(self, path: Path) -> None:
        """Open and lock the directory and delete what dead processes left in it.

        Raises StoreError when another server holds it.
        """
        self.path = open_directory(path)
        foreign = sorted(entry.name for entry in self.path.iterdir() if not _is_ours(entry))
        if foreign:
            raise StoreError(
                f"store directory {self.path} holds other files, such as {foreign[0]}; "
                "name a directory that is empty or not there yet"
            )
        self._descriptor = _lock_file(self.path / OWNER_LOCK_NAME)
        if self._descriptor is None:
            raise StoreError(
                f"store directory {self.path} is in use by another server; "
                "give this one another port or store path"
            )
        _delete_contents(self.path)

    def remove(self) -> None:
        """Delete the directory, and its parent when nothing else is in it."""
        remove_directory(self.path)
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def remove_directory(path: Path) -> None:
    """Delete what a server has put into its store directory, and the directory if that is all.

    Its parent goes as well when it is ours and empty. Nothing else is ever deleted.
    """
    with contextlib.suppress(OSError):
        _delete_contents(path)
        for name in (GPU_LOCK_NAME, OWNER_LOCK_NAME):
            (path / name).unlink(missing_ok=True)
        path.rmdir()
        if path.parent.name.startswith("inferometer-"):
            path.parent.rmdir()


def remove_when_abandoned(path: Path) -> bool:
    """Delete the directory if its supervisor is gone without having done so.

    Return whether it was.
    """
    if not path.exists():
        return False
    descriptor = _lock_file(path / OWNER_LOCK_NAME)
    if descriptor is None:
        return False
    remove_directory(path)
    os.close(descriptor)
    return True


def block_paths(path: Path) -> list[Path]:
    """Return the files that claim to be blocks, by name.

    Raises StoreError when there is no directory.
    """
    try:
        names = sorted(entry.name for entry in path.iterdir() if entry.suffix == BLOCK_SUFFIX)
    except OSError as error:
        kind = StoreError if error.errno in {errno.ENOENT, errno.ENOTDIR} else StoreUnreadable
        raise kind(f"store directory {path}: {error.strerror}") from error
    return [path / name for name in names]


def try_fold_lock(path: Path) -> int | None:
    """Return a descriptor that holds the fold lock until closed; None when another holds it."""
    return _lock_file(path / FOLD_LOCK_NAME)


def try_gpu_lock(path: Path) -> int | None:
    """Return a descriptor that makes this the process that reads the GPUs; None if another does."""
    return _lock_file(path / GPU_LOCK_NAME)


def delete_stale_new_files(path: Path) -> None:
    """Delete half-made files of processes that died while making them."""
    for new in path.glob("*.new"):
        with contextlib.suppress(OSError):
            if time.time() - new.lstat().st_mtime > STALE_NEW_SECONDS:
                new.unlink()


def _lock_file(path: Path) -> int | None:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, 0o600)
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError as error:
        os.close(descriptor)
        raise StoreError(f"{path}: {error.strerror}") from error
    return descriptor


def _is_ours(entry: Path) -> bool:
    return OURS.fullmatch(entry.name) is not None


def _delete_contents(path: Path) -> None:
    """Delete everything of ours but locks, which may be held."""
    for entry in path.iterdir():
        if entry.name not in {OWNER_LOCK_NAME, GPU_LOCK_NAME} and _is_ours(entry):
            entry.unlink(missing_ok=True)
