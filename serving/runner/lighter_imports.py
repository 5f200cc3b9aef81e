"""Imports without what nobody needs.

Keras imports scikit-learn where that is installed, for wrappers that a server has no use for: a
third of the time in which a runner starts.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without(package: str) -> Iterator[None]:
    """Let a package not be found meanwhile, unless it is imported already."""
    if package in sys.modules:
        yield
        return
    sys.modules[package] = None  # type: ignore[assignment] # as the import system has it
    try:
        yield
    finally:
        del sys.modules[package]
