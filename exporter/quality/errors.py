"""What can be wrong with a declaration, a model's scores or a label."""


class DeclarationError(Exception):
    """A declaration that is wrong, or contradicts the model; the message names the place."""


class ScoreError(Exception):
    """Scores that are not what was declared: the task cannot be measured."""


class LabelError(Exception):
    """A label that is not what the task expects; the message says what was expected."""
