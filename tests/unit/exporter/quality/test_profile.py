"""Reference profiles: the same data give the same bytes, and a changed byte is noticed."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.quality.estimate import Calibration
from exporter.quality.features import category_feature, number_feature
from exporter.quality.profile import Profile, ProfileError, Target, read_profile, write_profile


def profile() -> Profile:
    random = np.random.default_rng(1)
    return Profile(
        "churn", "7", "2026-05-01T09:00:00Z", 1000, "binary", ("no", "yes"), "abcdef",
        (
            number_feature("age", random.normal(40, 9, 1000), dtype="float32", bins=10),
            category_feature("plan", random.choice(["a", "b"], 1000).tolist()),
        ),
        Target(1.5, 0.0, 3.0),
        Calibration((0.1, 0.9), (0.2, 0.8)),
        {"accuracy": 0.91},
    )  # fmt: skip


def test_what_is_written_is_read_and_is_the_same_each_time():
    text = write_profile(profile())
    found, checksum = read_profile(text)

    assert found == profile()
    assert text == write_profile(found)
    assert json.loads(text)["sha256"] == checksum
    assert len(checksum) == 64


@given(place=st.integers(0, 2000), byte=st.integers(0, 255))
def test_one_byte_that_is_changed_is_noticed(place: int, byte: int):
    text = bytearray(write_profile(profile()))
    place %= len(text)
    before = json.loads(bytes(text))
    text[place] = byte
    try:
        is_same = json.loads(bytes(text)) == before
    except ValueError:
        is_same = False
    if is_same:
        return
    with pytest.raises(ProfileError) as refused:
        read_profile(bytes(text))
    assert refused.value.reason in {"hash", "format"}


def changed(**members: object) -> bytes:
    """Return a profile with other members and a checksum that fits."""
    from exporter.quality.profile import checksum_of

    content = json.loads(write_profile(profile()))
    del content["sha256"]
    content |= members
    content["sha256"] = checksum_of(content)
    return json.dumps(content).encode()


AGE = {
    "kind": "number", "name": "age", "dtype": "float32", "edges": [1.0], "shares": [0.5, 0.5],
    "low": 0.0, "high": 2.0, "missing": 0.0,
}  # fmt: skip


PLAN = {
    "kind": "category", "name": "plan", "values": ["a", "b"], "shares": [0.5, 0.4, 0.1],
    "missing": 0.0,
}  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        b"", b"[]", b"[" * 100_000, changed(format=2), changed(extra=1), changed(rows=0),
        changed(rows=True), changed(model=1), changed(features={}), changed(features=[AGE, AGE]),
        changed(features=[AGE | {"edges": [2.0, 1.0], "shares": [0.3, 0.3, 0.4]}]),
        changed(features=[AGE | {"shares": [1.0]}]), changed(features=[AGE | {"shares": [0, 1]}]),
        changed(features=[AGE | {"shares": [0.5, 0.6]}]), changed(features=[AGE | {"kind": "x"}]),
        changed(features=[AGE | {"dtype": "object"}]), changed(features=[AGE | {"low": True}]),
        changed(features=[AGE | {"edges": [float(n) for n in range(20)], "shares": 21 * [1 / 21]}]),
        changed(target={"mean": 1.0}), changed(calibration=[]),
        changed(calibration={"score": [0.5, 0.4], "probability": [0.1, 0.2]}),
        changed(calibration={"score": [0.1, 0.4], "probability": [0.3, 0.2]}),
        changed(calibration={"score": [0.1], "probability": [1.2]}),
        changed(baseline=[]), changed(baseline=None), changed(classes="abc"),
        changed(baseline={f"x{n}": 1.0 for n in range(51)}),
        changed(target={"mean": 5.0, "low": 1e308, "high": -1e308}),
        changed(features=[AGE | {"missing": 7}]), changed(features=[AGE | {"low": 3.0}]),
        changed(features=[PLAN | {"values": ["a", "a"]}]),
        changed(features=[PLAN | {"values": ["a", "__other__"]}]),
        changed(features=[PLAN | {"values": ["a", ""]}]),
        changed(baseline={"accuracy": "x"}), changed(classes=["\ud800"]),
    ],
    ids=lambda text: repr(text)[:10],
)  # fmt: skip
def test_profile_that_is_wrong_is_refused(text: bytes):
    with pytest.raises(ProfileError):
        read_profile(text)
