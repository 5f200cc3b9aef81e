"""Reads a settings file in YAML, and nothing that could mean two things."""

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

from exporter.errors import SettingsError


def load(path: Path) -> Mapping[str, object]:
    """Return the file's mapping. Raises SettingsError naming what is wrong."""
    try:
        import yaml  # noqa: PLC0415 - only who names such a file needs the extra
    except ImportError as error:
        raise SettingsError(
            "--web.config.file needs the extra `web`: pip install 'inferometer[web]'"
        ) from error

    class Loader(yaml.SafeLoader):
        """Refuses a mapping that names a key twice: the last one would win without a word."""

        def construct_mapping(
            self,
            node: yaml.MappingNode,
            deep: bool = False,  # noqa: FBT001, FBT002 - as PyYAML calls it
        ) -> dict[Hashable, Any]:
            keys = [key.value for key, _ in node.value]
            if len(keys) != len(set(map(str, keys))):
                raise yaml.YAMLError(f"a key is there twice among {keys}")
            return super().construct_mapping(node, deep)

    try:
        document = yaml.load(path.read_text(), Loader)  # noqa: S506 - it is a SafeLoader
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise SettingsError(f"{path} is no YAML: {error}") from error
    if document is None:
        # As a file is for a moment while it is written anew; to take it for "no users" would open
        # the door.
        raise SettingsError(f"{path} is empty; write {{}} to ask for nothing")
    return mapping(document, "the file", path)


def texts(value: object, path: Path) -> list[str]:
    """Return a list of names; the value may be missing."""
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise SettingsError(f"{path}: client_allowed_sans must be a list of names")
    return value


def section(document: Mapping[str, object], name: str, path: Path) -> Mapping[str, object]:
    """Return a section of the file, a mapping whose keys are text; empty when it is not there."""
    if name not in document:
        return {}
    # A section without anything in it is what a file is for a moment while it is written anew.
    return mapping(document[name], name, path)


def mapping(value: object, name: str, path: Path) -> Mapping[str, object]:
    """Return a mapping whose keys are text."""
    if not isinstance(value, dict):
        raise SettingsError(f"{path}: {name} must be a mapping")
    for key in value:
        if not isinstance(key, str):
            raise SettingsError(f"{path}: {key!r} in {name} must be text; put it in quotes")
    return value


def only(section: Mapping[str, object], known: set[str], name: str, path: Path) -> None:
    """Raise SettingsError naming a key that is not known."""
    unknown = sorted(section.keys() - known)
    if unknown:
        raise SettingsError(
            f"{path}: {unknown[0]!r} in {name} is not supported; there are "
            f"{', '.join(sorted(known))}"
        )
