"""Nested JSON lists as one flat list and a shape, and how a place in them is called.

It knows nothing of datatypes: what the leaves are is not its business.
"""

from itertools import chain
from typing import NamedTuple, cast

from serving.errors import InvalidInput
from serving.quoting import kind_of, shown_shape

MAX_DIMENSIONS = 64  # numpy's limit


class Place(NamedTuple):
    """Where a tensor stands in the request; an element of it is `prefix[0]suffix[1][2]`."""

    prefix: str
    suffix: str = ""

    def at(self, indices: tuple[int, ...]) -> str:
        """Return the name of an element, as in `instances[0].a[1]`."""
        if not indices:
            return self.prefix + self.suffix
        first, *rest = indices
        return f"{self.prefix}[{first}]{self.suffix}{''.join(f'[{index}]' for index in rest)}"


def flatten(values: list[object], place: Place) -> tuple[list[object], tuple[int, ...]]:
    """Return the leaves of nested lists in row-major order, and the lists' shape.

    Raises InvalidInput when lists beside each other differ in length or one stands beside a leaf.
    """
    level = values
    shape = [len(values)]
    while level and type(level[0]) is list:
        if len(shape) == MAX_DIMENSIONS:
            raise InvalidInput(f"{place.at(())}: more than {MAX_DIMENSIONS} dimensions")
        # Level by level instead of recursively: no depth is too deep, and C does the work.
        lists = _equal_lists(level, shape, place)
        level = lists[0] if len(lists) == 1 else list(chain.from_iterable(lists))
        shape.append(len(lists[0]))
    return level, tuple(shape)


def indices_of(position: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the indices of an element by its position in row-major order."""
    indices = []
    for size in reversed(shape):
        position, index = divmod(position, size)
        indices.append(index)
    return tuple(reversed(indices))


def list_beside_leaf(
    level: list[object], position: int, shape: tuple[int, ...], place: Place
) -> str:
    """Return what to say of an element that is a list while the first is none, or the reverse."""
    here = place.at(indices_of(position, shape))
    first = place.at(indices_of(0, shape))
    return f"{here} is {kind_of(level[position])}, {first} {kind_of(level[0])}"


def _equal_lists(level: list[object], shape: list[int], place: Place) -> list[list[object]]:
    if not {list}.issuperset(map(type, level)):
        raise _ragged(level, tuple(shape), place)
    lists = cast("list[list[object]]", level)
    if len(lists) > 1 and len(set(map(len, lists))) > 1:
        raise _ragged(level, tuple(shape), place)
    return lists


def _ragged(level: list[object], shape: tuple[int, ...], place: Place) -> InvalidInput:
    first = cast("list[object]", level[0])
    position, element = next(
        (position, element)
        for position, element in enumerate(level)
        if not isinstance(element, list) or len(element) != len(first)
    )
    if not isinstance(element, list):
        return InvalidInput(list_beside_leaf(level, position, shape, place))
    here = place.at(indices_of(position, shape))
    beside = place.at(indices_of(0, shape))
    return InvalidInput(
        f"{here}: shape {shown_shape(_outline(element))},"
        f" but {beside} has {shown_shape(_outline(first))}"
    )


def _outline(value: object) -> tuple[int, ...]:
    """Return the shape a value has if all its parts are like its first."""
    shape: list[int] = []
    while isinstance(value, list) and len(shape) < MAX_DIMENSIONS:
        shape.append(len(value))
        value = value[0] if value else None
    return tuple(shape)
