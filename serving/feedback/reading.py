"""Many labels out of one body: a JSON array, or a JSON object a line.

Taken one by one, and others run in between: a body of millions of brackets must not keep the
front-end from answering.
"""

import json
import re
from collections.abc import Callable, Iterator

import orjson

from serving.errors import InvalidInput, TooLarge
from serving.feedback.items import Item, MalformedItem, item_of

PAUSE_ITEMS = 256
# Of a body: boxes and runs of pixels are lists each.
MOST_BRACKETS = 400_000
# An image's pixels, predicted and true.
LONGEST_ITEM = 2 << 20
LINE = re.compile(rb"[^\r\n]+")
BLANK = re.compile(r"[ \t\r\n]*")
SPACE = b" \t\r\n"

Labels = list[Item | MalformedItem]


def items_of(content: bytes, most: int, pause: Callable[[], None]) -> Labels:
    """Return the labels of a body; `pause` lets others run.

    Raises InvalidInput for what is neither an array nor lines, TooLarge for too many.
    """
    start = content.lstrip(SPACE)[:1]
    if not start:
        raise InvalidInput("the body is empty")
    if start not in {b"[", b"{"}:
        raise InvalidInput("the body must be a JSON array, or a JSON object a line")
    # One element is parsed in one step, so it must not be millions of others.
    if content.count(b"[") + content.count(b"{") > MOST_BRACKETS:
        raise InvalidInput(
            f"there are more than {MOST_BRACKETS:,} lists and objects; send fewer labels at once"
        )
    found: Labels = []
    for item in _of_array(content) if start == b"[" else _of_lines(content):
        if len(found) == most:
            raise TooLarge(f"more than {most:,} labels in one request: split it")
        found.append(item)
        if len(found) % PAUSE_ITEMS == 0:
            pause()
    return found


def _of_lines(content: bytes) -> Iterator[Item | MalformedItem]:
    for match in LINE.finditer(content):
        line = match[0]
        if not line.strip():
            continue
        if len(line) > LONGEST_ITEM:
            yield MalformedItem(f"a label of more than {LONGEST_ITEM:,} bytes")
            continue
        try:
            yield _item(orjson.loads(line))
        except orjson.JSONDecodeError as error:
            yield MalformedItem(f"the line is not JSON: {error.msg}")


def _of_array(content: bytes) -> Iterator[Item | MalformedItem]:
    """Yield the elements of an array, of which none is parsed before it is its turn."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise InvalidInput("the body is not JSON: it is not UTF-8") from None
    decode = json.JSONDecoder().raw_decode
    place = _after_blank(text, text.index("[") + 1)
    if text[place : place + 1] == "]":
        _require_end(text, place + 1)
        return
    while True:
        try:
            document, place = decode(text, place)
        except (json.JSONDecodeError, RecursionError, ValueError) as error:
            raise InvalidInput(f"the body is not JSON: {error!s:.200}") from None
        yield _item(document)
        place = _after_blank(text, place)
        if text[place : place + 1] == "]":
            _require_end(text, place + 1)
            return
        if text[place : place + 1] != ",":
            raise InvalidInput(f"the body is not JSON: a comma is missing at character {place}")
        place = _after_blank(text, place + 1)


def _after_blank(text: str, place: int) -> int:
    match = BLANK.match(text, place)
    assert match is not None
    return match.end()


def _require_end(text: str, place: int) -> None:
    if _after_blank(text, place) != len(text):
        raise InvalidInput(f"the body is not JSON: more follows the array at character {place}")


def _item(document: object) -> Item | MalformedItem:
    try:
        return item_of(document)
    except MalformedItem as error:
        return error
