"""Compressed request bodies, inflated piece by piece so that no ratio is dangerous."""

import re
import zlib
from collections.abc import Mapping
from io import BytesIO

from serving.errors import InvalidInput, TooLarge, UnsupportedEncoding
from serving.quoting import quoted

IDENTITY = "identity"
GZIP = "gzip"
DEFLATE = "deflate"

Body = bytes | memoryview

_ENCODINGS = {"": IDENTITY, IDENTITY: IDENTITY, GZIP: GZIP, "x-gzip": GZIP, DEFLATE: DEFLATE}

# zlib's window bits: 16 more is the gzip format, negative is no header at all.
_GZIP_WINDOW = zlib.MAX_WBITS + 16
_ZLIB_WINDOW = zlib.MAX_WBITS
_RAW_WINDOW = -zlib.MAX_WBITS
_DEFLATE_METHOD = 8

# The format allows zeros after a member, as tape drives leave them.
_ZEROS = re.compile(rb"\0*")

# zlib copies what follows a member, so members are read from slices, and their number is bounded:
# millions of empty ones would cost quadratic time.
INPUT_BYTES = 64 << 10
OUTPUT_BYTES = 1 << 20
MAX_MEMBERS = 4096


def encoding_of(environ: Mapping[str, object]) -> str:
    """Return `identity`, `gzip` or `deflate`; raise UnsupportedEncoding for another."""
    sent = str(environ.get("HTTP_CONTENT_ENCODING", "")).strip()
    encoding = _ENCODINGS.get(sent.lower())
    if encoding is None:
        raise UnsupportedEncoding(f"Content-Encoding {quoted(sent)}; supported: gzip, deflate")
    return encoding


def decompress(body: Body, encoding: str, *, limit: int) -> Body:
    """Return the body without its encoding.

    Raises InvalidInput if it is damaged, TooLarge once more than `limit` bytes have come out.
    """
    if encoding == IDENTITY:
        return body
    output = BytesIO()
    try:
        end = _inflate_members(body, output, encoding=encoding, limit=limit)
    except zlib.error:
        raise _damaged(encoding) from None
    if end < len(body):
        raise _damaged(encoding)
    return output.getvalue()


def _inflate_members(body: Body, output: BytesIO, *, encoding: str, limit: int) -> int:
    """Inflate all members into `output`; return the position after the last."""
    if encoding == DEFLATE:
        return _inflate(body, 0, output, window=_deflate_window(body), limit=limit)
    position = 0
    for _ in range(MAX_MEMBERS):
        position = _inflate(body, position, output, window=_GZIP_WINDOW, limit=limit)
        if padding := _ZEROS.match(body, position):
            position = padding.end()
        if position == len(body):
            return position
    raise InvalidInput(f"gzip body has more than {MAX_MEMBERS:,} members")


def _inflate(body: Body, position: int, output: BytesIO, *, window: int, limit: int) -> int:
    """Inflate the member at `position`; return the position after it."""
    inflater = zlib.decompressobj(window)
    pending = b""
    while not inflater.eof:
        if not pending:
            pending = bytes(body[position : position + INPUT_BYTES])
            position += len(pending)
        piece = inflater.decompress(pending, OUTPUT_BYTES)
        if not piece and not pending:
            raise zlib.error("the body ends inside a member")
        pending = inflater.unconsumed_tail
        output.write(piece)
        if output.tell() > limit:
            raise TooLarge(f"decompressed body exceeds {limit:,} bytes")
    return position - len(inflater.unused_data)


def _deflate_window(body: Body) -> int:
    """Return the window bits of a zlib stream, which HTTP means, or of a bare one."""
    # Some send the bare stream. RFC 1950: zlib's header has method 8 and is a multiple of 31.
    header = int.from_bytes(body[:2])
    is_zlib = len(body) > 1 and (header >> 8) & 0x0F == _DEFLATE_METHOD and header % 31 == 0
    return _ZLIB_WINDOW if is_zlib else _RAW_WINDOW


def _damaged(encoding: str) -> InvalidInput:
    return InvalidInput(f"{encoding} body is damaged or cut short")
