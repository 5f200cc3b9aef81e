"""A model's folder on disk: which versions lie there, whole.

A version is `<model>/<version>/` with a model in it; a model without version folders is version 1.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from serving.runner.formats import WARM_UP_FILE, Format, format_of

UNVERSIONED = "1"  # the version of a model that lies there without a version folder

# Name, size and time of change of each file.
Fingerprint = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where a version of a model lies, which format it has, and how its files look.

    `model_folder` is the folder of the version's folder; None for a model without those.
    """

    version: str
    path: Path
    format: Format
    fingerprint: Fingerprint
    model_folder: Path | None = None

    @property
    def folder(self) -> Path:
        """Where the version's own files lie."""
        return self.path if self.path.is_dir() else self.path.parent

    @property
    def warm_up_file(self) -> Path:
        """Where a recorded warm-up would lie."""
        return self.folder / WARM_UP_FILE

    def own(self, name: str) -> Path:
        """Return where a file of that name would lie that is this version's alone.

        Several .keras files may lie in one folder: theirs begin with the model's name.
        """
        if self.path.is_file() and self.model_folder is None:
            return self.path.with_name(f"{self.path.stem}.{name}")
        return self.folder / name

    def companion(self, name: str) -> Path | None:
        """Return a file of that name: the version's own, else the model's; None without one."""
        files = [self.own(name)]
        if self.model_folder is not None:
            files.append(self.model_folder / name)
        return next((file for file in files if file.is_file()), None)


class ModelFolder:
    """Looks at a model's folder again and again."""

    def __init__(self, path: Path) -> None:
        """Nothing is read before the first look."""
        self.path = path
        self._seen: dict[str, Fingerprint] = {}
        self._is_first = True
        # Those that lay there at the last look, complete or not.
        self.present: frozenset[str] = frozenset()

    def look(self, *, at_once: bool = False) -> dict[str, ModelSource]:
        """Return the versions that are complete, by version.

        A version is complete when its files' names, sizes and times are the same in two looks, so
        that one that is being copied is left alone; at the first look, and `at_once`, all are.
        """
        found = {source.version: source for source in self._sources()}
        self.present = frozenset(found)
        seen, self._seen = self._seen, {v: source.fingerprint for v, source in found.items()}
        if at_once or self._is_first:
            self._is_first = False
            return found
        return {v: source for v, source in found.items() if seen.get(v) == source.fingerprint}

    def _sources(self) -> Iterator[ModelSource]:
        plain = format_of(self.path)
        if plain is not None:
            yield ModelSource(UNVERSIONED, self.path, plain, _fingerprint(self.path))
            return
        for folder in _version_folders(self.path):
            for candidate in (folder, *sorted(folder.glob("*.keras"))):
                found = format_of(candidate)
                if found is not None:
                    version = str(int(folder.name))
                    yield ModelSource(version, candidate, found, _fingerprint(folder), self.path)
                    break


def _version_folders(path: Path) -> list[Path]:
    try:
        entries = list(path.iterdir()) if path.is_dir() else []
    except OSError:
        return []
    return sorted(entry for entry in entries if entry.name.isascii() and entry.name.isdecimal())


def _fingerprint(path: Path) -> Fingerprint:
    """Describe every file; what vanishes meanwhile makes the next look different."""
    files = [path]
    if path.is_dir():
        files = [Path(folder) / name for folder, _, names in os.walk(path) for name in names]
    described = []
    for file in sorted(files):
        try:
            status = file.stat()
        except OSError:
            continue
        described.append((str(file.relative_to(path)), status.st_size, status.st_mtime_ns))
    return tuple(described)
