"""How a setting that holds several values is written in one text: `NAME=VALUE` with commas between.

A TOML file may give the same as lists and tables.
"""

import re
from collections.abc import Mapping
from pathlib import Path

ALL_MODELS = "*"


def split_list(value: object) -> object:
    """Return the parts of a text that commas or spaces separate; anything else as it is."""
    if not isinstance(value, str):
        return value
    return [part for part in re.split(r"[,\s]+", value) if part]


def none_if_empty(value: object) -> object:
    """Take an empty text for nothing: a variable that is set to nothing is none that is set."""
    return None if value == "" else value


def split_models(value: object) -> object:
    """Accept `name=path` items beside a mapping; a missing name is the last part of the path."""
    if isinstance(value, Mapping):
        return value
    items = split_list(value)
    if not isinstance(items, list):
        return items
    models: dict[str, str] = {}
    for item in items:
        name, equals, path = str(item).partition("=")
        if not equals:
            name, path = Path(item).name.removesuffix(".keras"), item
        if name in models:
            raise ValueError(f"model name {name!r} is given twice")
        models[name] = path
    return models


def split_by_model(value: object) -> object:
    """Accept `model=value` items beside a mapping; a value alone is for all models."""
    items = split_list(value)
    if not isinstance(items, list):
        return items
    values: dict[str, str] = {}
    for item in items:
        name, equals, text = str(item).rpartition("=")
        model = name if equals else ALL_MODELS
        if model in values:
            raise ValueError(
                f"there are two values for {'all models' if model == ALL_MODELS else repr(model)}:"
                f" {values[model][:64]!r} and {text[:64]!r}; versions are joined by +, such as 1+3"
            )
        values[model] = text
    return values


def split_labels(value: object) -> object:
    """Accept `model:label=version` items beside a mapping of mappings."""
    items = split_list(value)
    if not isinstance(items, list):
        return items
    labels: dict[str, dict[str, str]] = {}
    for item in items:
        model, colon, label = str(item).partition(":")
        label, equals, version = label.partition("=")
        if not colon or not equals:
            raise ValueError(f"{item[:64]!r}: expected MODEL:LABEL=VERSION")
        labels.setdefault(model, {})[label] = version
    return labels
