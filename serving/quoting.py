"""How an error message shows what a caller sent: short, and always encodable as UTF-8."""

import math

QUOTED_CHARACTERS = 64

# How the kinds of JSON values are called.
_KINDS: dict[type, str] = {
    bool: "a boolean",
    dict: "an object",
    float: "a number",
    int: "a number",
    list: "a list",
    str: "a string",
    type(None): "null",
}


def cut(text: str, *, characters: int = QUOTED_CHARACTERS) -> str:
    """Return `text`, cut to `characters` with an ellipsis for what is left out."""
    return text if len(text) <= characters else text[: characters - 1] + "…"


def quoted(text: str) -> str:
    """Return `text` in quotation marks, cut."""
    return f'"{cut(text)}"'


def quoted_names(names: list[str]) -> str:
    """Return names without quotation marks, separated by commas, cut to a readable number."""
    return cut(", ".join(names), characters=4 * QUOTED_CHARACTERS)


def kind_of(value: object) -> str:
    """Return what a JSON value is, with its article: `a list`, `an object`, `null`."""
    return _KINDS.get(type(value), "something else")


def shown(value: object) -> str:
    """Return a JSON value as it may have been sent; lists and objects only by their kind."""
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _shown_float(value)
    if isinstance(value, int):
        return cut(str(value))
    return kind_of(value)


def shown_shape(shape: tuple[int, ...]) -> str:
    """Return a shape as the JSON list it would be: `[-1,2]`."""
    return cut(f"[{','.join(map(str, shape))}]")


def _shown_float(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    # Python writes 1e+39, people 1e39; JSON has both.
    return repr(value).replace("e+", "e")
