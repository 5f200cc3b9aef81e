"""How the parts of a path are matched."""

from werkzeug.routing import BaseConverter, Map

from serving.version_policy import canonical_version


class AnyCaseWord(BaseConverter):
    """A fixed word in any case, as TensorFlow Serving matches its paths: `<word(models):_>`."""

    def __init__(self, url_map: Map, word: str) -> None:
        """Match `word`."""
        super().__init__(url_map)
        self.regex = f"(?i:{word})"


class VersionNumber(BaseConverter):
    """A version: digits, of which leading zeros do not count."""

    regex = "[0-9]+"

    def to_python(self, value: str) -> str:
        """Return the number as the models have it."""
        return canonical_version(value)


class ModelName(BaseConverter):
    """A model's name: anything without a slash or a colon."""

    regex = "[^/:]+"
