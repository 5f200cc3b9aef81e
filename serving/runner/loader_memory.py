"""What the loader must still know when its process has died and another runs in its place.

Which models were unloaded, and how often the process died while it loaded which version.
"""

import contextlib
import json
from dataclasses import dataclass, field
from pathlib import Path

from serving.runner.model_folder import Fingerprint

Looks = dict[str, Fingerprint]


@dataclass(slots=True)
class Deaths:
    """How often in a row the process died while it loaded a version that looked so."""

    fingerprint: Fingerprint
    count: int


@dataclass(slots=True)
class LoaderMemory:
    """A file in the store directory, which lives as long as the server.

    `unloaded` is how each model's versions looked when it was unloaded; `deaths` are by model and
    version.
    """

    path: Path
    unloaded: dict[str, Looks] = field(default_factory=dict)
    deaths: dict[tuple[str, str], Deaths] = field(default_factory=dict)
    _loading: tuple[str, str] | None = None

    @classmethod
    def read(cls, path: Path) -> "LoaderMemory":
        """Return what an earlier process of this place has left."""
        memory = cls(path)
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            found = json.loads(path.read_text())
            memory.unloaded = {
                model: {version: _fingerprint(look) for version, look in looks.items()}
                for model, looks in found["unloaded"].items()
            }
            loading = found["loading"]
            for model, version, look, count in found["deaths"]:
                # The one that was being loaded counts; those before it count as they did.
                number = count if [model, version] == loading else count - 1
                if number:
                    memory.deaths[model, version] = Deaths(_fingerprint(look), number)
        return memory

    def note_unloaded(self, model: str, looks: Looks | None) -> None:
        """Keep that a model is unloaded, or with None that it is not."""
        if looks == self.unloaded.get(model):
            return
        if looks is None:
            del self.unloaded[model]
        else:
            self.unloaded[model] = looks
        self._write()

    def note_loading(self, model: str, version: str, fingerprint: Fingerprint) -> None:
        """Keep what is being loaded from now on: should the process die, that counts."""
        known = self.deaths.get((model, version))
        if known is None or known.fingerprint != fingerprint:
            self.deaths[model, version] = Deaths(fingerprint, 0)
        self._loading = (model, version)
        self._write()

    def note_survived(self, model: str, version: str) -> None:
        """Keep that the process has come through."""
        self.deaths.pop((model, version), None)
        self._loading = None
        self._write()

    def _write(self) -> None:
        # One more each: what is being loaded is counted if nothing else is ever written.
        deaths = [
            (model, version, one.fingerprint, one.count + 1)
            for (model, version), one in self.deaths.items()
        ]
        document = {"unloaded": self.unloaded, "deaths": deaths, "loading": self._loading}
        new = self.path.with_name(f"{self.path.name}.new")
        # Without room the memory is this process's own.
        with contextlib.suppress(OSError):
            new.write_text(json.dumps(document))
            new.replace(self.path)


def _fingerprint(found: list[list[object]]) -> Fingerprint:
    return tuple((str(name), int(size), int(time)) for name, size, time in found)  # type: ignore[call-overload]
