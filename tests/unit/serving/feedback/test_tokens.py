"""Feedback tokens: what was signed is read, and nothing else is."""

import time
import zlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from itsdangerous import URLSafeTimedSerializer
from itsdangerous.encoding import base64_encode

from serving.feedback import tokens
from serving.feedback.tokens import (
    BadToken,
    ExpiredToken,
    KeyProblem,
    RowOfPrediction,
    TokenSigner,
)

OLD, NEW, OTHER = ("k" * 31 + each for each in "123")
ROW = RowOfPrediction("Zk3_-abcdefghijklmnopq", 0, "half", "1", "a1b2c3", [0.5, 0.25])
DAY = 86_400.0


def signer(*keys: str, max_age_seconds: float = DAY) -> TokenSigner:
    return TokenSigner(keys, max_age_seconds=max_age_seconds)


@given(
    row=st.integers(0, 2**31 - 1),
    model=st.text(max_size=20),
    values=st.one_of(st.none(), st.floats(0, 1, width=32), st.lists(st.floats(0, 1), max_size=40)),
)
def test_what_is_signed_is_read(row: int, model: str, values: object):
    said = ROW._replace(row=row, model=model, values=values)
    read, age = signer(NEW).read(signer(NEW).sign(said))

    assert read == said
    assert 0 <= age < 5


def test_keys_are_changed_in_two_steps():
    # The new key is known everywhere before it signs, the old one for as long as its tokens live.
    steps = [signer(OLD), signer(NEW, OLD), signer(OLD, NEW)]
    for one, other in pairwise(steps):
        assert other.read(one.sign(ROW))[0] == ROW
        assert one.read(other.sign(ROW))[0] == ROW

    assert signer(NEW).read(steps[-1].sign(ROW))[0] == ROW


def test_key_that_is_not_there_is_named_as_such():
    with pytest.raises(BadToken, match="does not have"):
        signer(OTHER).read(signer(NEW).sign(ROW))


def test_no_character_can_be_changed():
    token = signer(NEW).sign(ROW)
    for place, character in enumerate(token):
        altered = token[:place] + ("A" if character != "A" else "B") + token[place + 1 :]
        # The last character of base64 has bits that mean nothing.
        if place == len(token) - 1:
            continue
        with pytest.raises(BadToken):
            signer(NEW).read(altered)


def with_payload(payload: bytes) -> str:
    """Return a token whose signature is that of another payload."""
    prefix, _, stamp = signer(NEW).sign(ROW).partition(".")[2].partition(".")
    return f"i1.{prefix}.{payload.decode()}.{stamp.partition('.')[2]}"


@pytest.mark.parametrize(
    "token",
    [
        "", "i1", "i1.", "i1..", "i0.abcdef.x", None, 7, [], "x" * (1 << 20), "i1." + "." * 1000,
        with_payload(b"." + base64_encode(zlib.compress(b"0" * (64 << 20)))),
    ],
    ids=lambda value: repr(value)[:20],
)  # fmt: skip
def test_anything_else_is_no_token(token: object):
    with pytest.raises(BadToken):
        signer(NEW).read(token)


@pytest.mark.parametrize(
    "content",
    [
        [], {}, "x", None, [*ROW][:5], [*ROW, 1],
        *(list(ROW._replace(row=row)) for row in (-1, 2**63, "0", True, 1.0)),
        list(ROW._replace(prediction_id="short")), list(ROW._replace(model=1)),
    ],
    ids=repr,
)  # fmt: skip
def test_signed_content_of_another_form_is_refused(content: object):
    serializer = URLSafeTimedSerializer(NEW, salt=tokens.SALT, signer_kwargs=tokens.SIGNER)
    prefix = ".".join(signer(NEW).sign(ROW).split(".")[:2])
    with pytest.raises(BadToken):
        signer(NEW).read(f"{prefix}.{serializer.dumps(content)}")


def test_token_with_another_salt_is_refused():
    serializer = URLSafeTimedSerializer(NEW, salt=b"another", signer_kwargs=tokens.SIGNER)
    prefix = ".".join(signer(NEW).sign(ROW).split(".")[:2])
    with pytest.raises(BadToken, match="altered"):
        signer(NEW).read(f"{prefix}.{serializer.dumps(list(ROW))}")


@pytest.mark.parametrize(
    ("seconds_ago", "expected"),
    [(-200, None), (-400, BadToken), (3_500, None), (3_700, ExpiredToken)],
)
def test_age_is_judged_by_this_clock(
    monkeypatch: pytest.MonkeyPatch, seconds_ago: float, expected: type[Exception] | None
):
    now = time.time()
    with monkeypatch.context() as patched:
        patched.setattr(time, "time", lambda: now - seconds_ago)
        token = signer(NEW).sign(ROW)
    reader = signer(NEW, max_age_seconds=3_600)
    if expected is None:
        assert reader.read(token)[1] == pytest.approx(max(0, seconds_ago), abs=5)
    else:
        with pytest.raises(expected):
            reader.read(token)


@pytest.mark.parametrize("keys", [[], ["tiny"], 9 * [NEW]])
def test_keys_that_cannot_be_used_are_refused_and_not_shown(keys: list[str]):
    with pytest.raises(KeyProblem) as refused:
        TokenSigner(keys, max_age_seconds=DAY)

    assert not any(key in str(refused.value) for key in keys)
    assert NEW not in repr(signer(NEW))
