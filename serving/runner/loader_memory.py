"""What the loader must still know when its process has died and another runs in its place.

Which models were unloaded, and what was being loaded at the moment of the end.
"""

import contextlib
import json
from pathlib import Path

from serving.runner.model_folder import Fingerprint

Looks = dict[str, Fingerprint]


class LoaderMemory:
    """A file in the store directory, which lives as long as the server."""

    def __init__(self, path: Path) -> None:
        """Read what an earlier process of this place has left."""
        self._path = path
        unloaded, loading = self._read()
        # How each model's versions looked when it was unloaded.
        self.unloaded: dict[str, Looks] = unloaded
        # Model, version and looks of what the process before was loading when it died.
        self.died_loading: tuple[str, str, Fingerprint] | None = loading
        self._loading: tuple[str, str, Fingerprint] | None = None

    def note_unloaded(self, model: str, looks: Looks | None) -> None:
        """Keep that a model is unloaded, or with None that it is not."""
        if looks is None:
            self.unloaded.pop(model, None)
        else:
            self.unloaded[model] = looks
        self._write()

    def note_loading(self, loading: tuple[str, str, Fingerprint] | None) -> None:
        """Keep what is being loaded from now on."""
        self._loading = loading
        self._write()

    def _read(self) -> tuple[dict[str, Looks], tuple[str, str, Fingerprint] | None]:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            found = json.loads(self._path.read_text())
            unloaded = {
                model: {version: _fingerprint(look) for version, look in looks.items()}
                for model, looks in found["unloaded"].items()
            }
            if found["loading"] is None:
                return unloaded, None
            model, version, look = found["loading"]
            return unloaded, (model, version, _fingerprint(look))
        return {}, None

    def _write(self) -> None:
        new = self._path.with_suffix(".new")
        # Without room the memory is this process's own.
        with contextlib.suppress(OSError):
            new.write_text(json.dumps({"unloaded": self.unloaded, "loading": self._loading}))
            new.replace(self._path)


def _fingerprint(found: list[list[object]]) -> Fingerprint:
    return tuple((str(name), int(size), int(time)) for name, size, time in found)  # type: ignore[call-overload]
