"""How the parts of a path are matched."""

from werkzeug.routing import BaseConverter, Map


class AnyCaseWord(BaseConverter):
    """A fixed word in any case, as TensorFlow Serving matches its paths: `<word(models):_>`."""

    def __init__(self, url_map: Map, word: str) -> None:
        """Match `word`."""
        super().__init__(url_map)
        self.regex = f"(?i:{word})"


class ModelName(BaseConverter):
    """A model's name: anything without a slash or a colon."""

    regex = "[^/:]+"
