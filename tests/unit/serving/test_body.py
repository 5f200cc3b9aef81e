"""Bodies: declared and chunked, compressed, too large, too slow and damaged."""

import contextlib
import gzip
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from io import BytesIO

import gevent
import pytest
from gunicorn.http.body import Body as GunicornBody
from gunicorn.http.body import ChunkedReader
from gunicorn.http.unreader import IterUnreader
from hypothesis import given
from hypothesis import strategies as st

from serving.body import Body, BodyBudget, BodyLimits, HeldBytes, read_body
from serving.errors import (
    BodyTooSlow,
    InvalidInput,
    NotOffered,
    PredictionError,
    QueueFull,
    TooLarge,
    UnsupportedEncoding,
)

LIMITS = BodyLimits(1 << 20, 1 << 20)
BODY = b'{"instances":[[2,4]]}'


def no_time_limit(_seconds: float) -> AbstractContextManager[object]:
    return nullcontext()


def read(environ: dict[str, object], limits: BodyLimits = LIMITS) -> Body:
    return read_body(environ, limits=limits, held=held(), time_limit=no_time_limit, seconds=1)


def held(limit: int = 4 << 20) -> HeldBytes:
    return BodyBudget(limit).hold()


def declared(body: bytes, **environ: object) -> dict[str, object]:
    return {"CONTENT_LENGTH": str(len(body)), "wsgi.input": BytesIO(body), **environ}


def chunked(stream: bytes) -> dict[str, object]:
    """Return the environment that gunicorn makes of a chunked stream."""
    reader = ChunkedReader(None, IterUnreader(iter([stream])))
    return {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input": GunicornBody(reader)}


def in_chunks(body: bytes, size: int) -> bytes:
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def raw_deflate(body: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(body) + compressor.flush()


def refused(environ: dict[str, object]) -> PredictionError:
    with pytest.raises(PredictionError) as caught:
        read(environ)
    return caught.value


class Unreadable:
    """A stream that fails the test when it is read."""

    def read(self, size: int, /) -> bytes:
        raise AssertionError(size)


class Failing:
    """A stream whose connection fails."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def read(self, _size: int, /) -> bytes:
        raise self._error


@pytest.mark.parametrize(
    ("sent", "encoding"),
    [
        pytest.param(BODY, "", id="1-plain"),
        pytest.param(BODY, "identity", id="identity"),
        pytest.param(gzip.compress(BODY), "gzip", id="23-gzip"),
        pytest.param(gzip.compress(BODY), " GZIP ", id="gzip-in-any-case"),
        pytest.param(gzip.compress(BODY), "x-gzip", id="x-gzip"),
        pytest.param(gzip.compress(BODY[:7]) + gzip.compress(BODY[7:]), "gzip", id="23-members"),
        pytest.param(gzip.compress(BODY) + b"\0" * 100, "gzip", id="gzip-and-zeros"),
        pytest.param(zlib.compress(BODY), "deflate", id="23-deflate"),
        pytest.param(raw_deflate(BODY), "deflate", id="deflate-without-header"),
    ],
)
def test_body_is_decompressed(sent: bytes, encoding: str) -> None:
    body = read(declared(sent, HTTP_CONTENT_ENCODING=encoding))

    assert body == Body(BODY, len(sent))


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_chunked_body_is_read_to_its_end(size: int) -> None:
    assert read(chunked(in_chunks(BODY, size))) == Body(BODY, len(BODY))


@pytest.mark.parametrize("environ", [{}, {"CONTENT_LENGTH": ""}, {"CONTENT_LENGTH": "0"}])
def test_no_body_is_an_empty_body(environ: dict[str, object]) -> None:
    assert read({**environ, "wsgi.input": BytesIO(b"")}) == Body(b"", 0)


def test_only_the_declared_bytes_are_read() -> None:
    stream = BytesIO(BODY + b"the next request")

    body = read({"CONTENT_LENGTH": str(len(BODY)), "wsgi.input": stream})

    assert (body.content, stream.read()) == (BODY, b"the next request")


@pytest.mark.parametrize(
    ("environ", "kind", "message"),
    [
        pytest.param(
            declared(gzip.compress(BODY)[:-9], HTTP_CONTENT_ENCODING="gzip"),
            InvalidInput,
            "gzip body is damaged or cut short",
            id="24-cut",
        ),
        pytest.param(
            declared(b"", HTTP_CONTENT_ENCODING="gzip"),
            InvalidInput,
            "gzip body is damaged or cut short",
            id="24-nothing",
        ),
        pytest.param(
            declared(BODY, HTTP_CONTENT_ENCODING="gzip"),
            InvalidInput,
            "gzip body is damaged or cut short",
            id="24-not-gzip",
        ),
        pytest.param(
            declared(gzip.compress(BODY) + b"more", HTTP_CONTENT_ENCODING="gzip"),
            InvalidInput,
            "gzip body is damaged or cut short",
            id="24-more-after",
        ),
        pytest.param(
            declared(zlib.compress(BODY) + b"more", HTTP_CONTENT_ENCODING="deflate"),
            InvalidInput,
            "deflate body is damaged or cut short",
            id="24-deflate",
        ),
        pytest.param(
            declared(gzip.compress(b"") * 4097, HTTP_CONTENT_ENCODING="gzip"),
            InvalidInput,
            "gzip body has more than 4,096 members",
            id="members",
        ),
        pytest.param(
            declared(gzip.compress(bytes(2 << 20)), HTTP_CONTENT_ENCODING="gzip"),
            TooLarge,
            "decompressed body exceeds 1,048,576 bytes",
            id="24-zeros",
        ),
        pytest.param(
            declared(gzip.compress(bytes(1 << 19)) * 3, HTTP_CONTENT_ENCODING="gzip"),
            TooLarge,
            "decompressed body exceeds 1,048,576 bytes",
            id="24-zeros-in-members",
        ),
        pytest.param(
            {"CONTENT_LENGTH": "10", "HTTP_CONTENT_ENCODING": "br", "wsgi.input": Unreadable()},
            UnsupportedEncoding,
            'Content-Encoding "br"; supported: gzip, deflate',
            id="24-br",
        ),
        pytest.param(
            {"CONTENT_LENGTH": "3000000", "wsgi.input": Unreadable()},
            TooLarge,
            "body of 3,000,000 bytes; the limit is 1,048,576",
            id="25-declared",
        ),
        pytest.param(
            chunked(in_chunks(bytes(2 << 20), 1 << 16)),
            TooLarge,
            "chunked body of more than 1,048,576 bytes, the limit",
            id="25-chunked",
        ),
        pytest.param(
            {
                "HTTP_TRANSFER_ENCODING": "gzip, chunked",
                "wsgi.input": Unreadable(),
            },
            NotOffered,
            'Transfer-Encoding "gzip, chunked"; supported: chunked',
            id="26-transfer-encoding",
        ),
        pytest.param(
            {"CONTENT_LENGTH": "10", "wsgi.input": BytesIO(b"abc")},
            InvalidInput,
            "body ended after 3 of 10 bytes",
            id="27-short",
        ),
        pytest.param(
            chunked(b"3\r\nabc\r\nxyz\r\n"),
            InvalidInput,
            "the body could not be read: InvalidChunkSize;"
            " send the announced bytes or well-formed chunks",
            id="27-chunk-size",
        ),
        pytest.param(
            chunked(b"3\r\nabcdef\r\n0\r\n\r\n"),
            InvalidInput,
            "the body could not be read: ChunkMissingTerminator;"
            " send the announced bytes or well-formed chunks",
            id="27-chunk-end",
        ),
        pytest.param(
            chunked(b"a\r\nabc"),
            InvalidInput,
            "the body could not be read: NoMoreData;"
            " send the announced bytes or well-formed chunks",
            id="27-chunk-cut",
        ),
        pytest.param(
            {"CONTENT_LENGTH": "10", "wsgi.input": Failing(ConnectionResetError())},
            InvalidInput,
            "the body could not be read: ConnectionResetError;"
            " send the announced bytes or well-formed chunks",
            id="reset",
        ),
        pytest.param(
            {"CONTENT_LENGTH": "-1", "wsgi.input": Unreadable()},
            InvalidInput,
            'Content-Length "-1" is not a whole number',
            id="length",
        ),
    ],
)
def test_bad_bodies_are_refused(
    environ: dict[str, object], kind: type[PredictionError], message: str
) -> None:
    error = refused(environ)

    assert (type(error), error.message) == (kind, message)


def test_body_may_be_as_large_as_the_limit() -> None:
    limits = BodyLimits(len(BODY), len(BODY))

    assert read(declared(BODY), limits).content == BODY
    assert read(chunked(in_chunks(BODY, 5)), limits).content == BODY


def test_decompression_takes_little_more_memory_than_its_limit() -> None:
    bomb = declared(gzip.compress(bytes(256 << 20)), HTTP_CONTENT_ENCODING="gzip")
    tracemalloc.start()

    try:
        refused(bomb)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 8 << 20


def test_body_that_never_ends_is_too_slow() -> None:
    class Endless:
        def read(self, _size: int, /) -> bytes:
            gevent.get_hub().switch()
            return b""

    def time_limit(seconds: float) -> AbstractContextManager[object]:
        timer: AbstractContextManager[object] = gevent.Timeout(seconds)
        return timer

    environ = {"CONTENT_LENGTH": "10", "wsgi.input": Endless()}
    with pytest.raises(BodyTooSlow) as caught:
        read_body(environ, limits=LIMITS, held=held(), time_limit=time_limit, seconds=0.01)

    assert caught.value.message == (
        "the body had not arrived by the deadline; send it faster or allow more time"
    )


def test_time_limit_may_raise_timeout_error_itself() -> None:
    @contextmanager
    def time_limit(_seconds: float) -> Iterator[None]:
        yield
        raise TimeoutError

    with pytest.raises(BodyTooSlow):
        read_body(declared(BODY), limits=LIMITS, held=held(), time_limit=time_limit, seconds=1)


def test_timeout_of_the_socket_is_too_slow() -> None:
    error = refused({"CONTENT_LENGTH": "10", "wsgi.input": Failing(TimeoutError())})

    assert type(error) is BodyTooSlow


def test_interrupts_pass_through() -> None:
    with pytest.raises(KeyboardInterrupt):
        read({"CONTENT_LENGTH": "10", "wsgi.input": Failing(KeyboardInterrupt())})


@pytest.mark.parametrize(
    "make_environ",
    [
        pytest.param(declared, id="declared"),
        pytest.param(lambda body: chunked(in_chunks(body, 5)), id="chunked"),
    ],
)
def test_bodies_held_at_once_are_bounded(
    make_environ: Callable[[bytes], dict[str, object]],
) -> None:
    budget = BodyBudget(2 * len(BODY) - 1)
    first, second = budget.hold(), budget.hold()

    def read_into(share: HeldBytes) -> Body:
        return read_body(
            make_environ(BODY), limits=LIMITS, held=share, time_limit=no_time_limit, seconds=1
        )

    read_into(first)
    with pytest.raises(QueueFull, match="bodies of 21 bytes are held here, the limit is 41"):
        read_into(second)
    first.release()
    second.release()

    assert read_into(budget.hold()).content == BODY


@given(
    body=st.binary(max_size=300),
    encoding=st.sampled_from(["", "gzip", "deflate", "x-gzip"]),
    is_chunked=st.booleans(),
)
def test_any_bytes_give_a_body_or_a_prediction_error(
    body: bytes,
    encoding: str,
    is_chunked: bool,  # noqa: FBT001
) -> None:
    environ = chunked(body) if is_chunked else declared(body)

    with contextlib.suppress(PredictionError):
        content = read({**environ, "HTTP_CONTENT_ENCODING": encoding}).content
        assert encoding or is_chunked or content == body


@given(pieces=st.lists(st.binary(max_size=200), min_size=1, max_size=4), size=st.integers(1, 50))
def test_compressed_chunks_come_back(pieces: list[bytes], size: int) -> None:
    sent = b"".join(map(gzip.compress, pieces))
    environ = {**chunked(in_chunks(sent, size)), "HTTP_CONTENT_ENCODING": "gzip"}

    assert read(environ) == Body(b"".join(pieces), len(sent))
