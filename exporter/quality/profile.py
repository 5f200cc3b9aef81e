"""The reference profile: what a model's training data looked like, in a file beside the model.

JSON in a canonical form, with a checksum of it, so that the same data give the same bytes. It holds
no rows, no extremes, and no value that fewer than ten rows had.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from exporter.metric import OTHER
from exporter.quality.estimate import Calibration
from exporter.quality.features import CategoryFeature, Feature, NumberFeature

FORMAT = 1
LARGEST_BYTES = 8 << 20
# Fifty columns of inputs, and the prediction and its score; and figures of a baseline.
MOST_FEATURES, MOST_BINS, MOST_FIGURES = 52, 12, 50
LONGEST_TEXT = 128
MEMBERS = frozenset(
    (
        "format", "model", "version", "created", "rows", "task", "classes", "declaration",
        "features", "target", "calibration", "baseline",
    )
)  # fmt: skip


class ProfileError(Exception):
    """A profile that is refused; `reason` is the label's value."""

    def __init__(self, reason: str, message: str) -> None:
        """Say why."""
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Target:
    """A regression's labels: their mean, and between which they usually lie."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Profile:
    """What was profiled: for which model and task, of how many rows, and each feature.

    `created` is in RFC 3339, `declaration` tells how outputs were read. `baseline` are figures of
    the model on the same data, by name; `calibration` makes probabilities of its scores. Without
    labels there are none of the last three.
    """

    model: str
    version: str
    created: str
    rows: int
    task: str
    classes: tuple[str, ...]
    declaration: str
    features: tuple[Feature, ...]
    target: Target | None
    calibration: Calibration | None
    baseline: Mapping[str, float]


def write_profile(profile: Profile) -> bytes:
    """Return the file's content."""
    content: dict[str, Any] = {
        "format": FORMAT,
        "model": profile.model,
        "version": profile.version,
        "created": profile.created,
        "rows": profile.rows,
        "task": profile.task,
        "classes": list(profile.classes),
        "declaration": profile.declaration,
        "features": [_described(feature) for feature in profile.features],
        "target": None if profile.target is None else asdict(profile.target),
        "calibration": _described_map(profile.calibration),
        "baseline": dict(profile.baseline),
    }
    content["sha256"] = checksum_of(content)
    return json.dumps(content, indent=1, sort_keys=True, allow_nan=False).encode() + b"\n"


def read_profile(text: bytes) -> tuple[Profile, str]:
    """Return a profile and its checksum. Raises ProfileError."""
    if len(text) > LARGEST_BYTES:
        raise ProfileError("format", f"more than {LARGEST_BYTES} bytes")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ProfileError("format", f"no JSON: {error}") from None
    if not isinstance(content, dict):
        raise ProfileError("format", "a JSON object is expected")
    checksum = content.pop("sha256", None)
    try:
        is_whole = checksum == checksum_of(content)
    except ValueError as error:
        raise ProfileError("format", str(error)) from None
    if not is_whole:
        raise ProfileError("hash", "its checksum is not that of its content")
    if content.get("format") != FORMAT or content.keys() != MEMBERS:
        raise ProfileError("format", f"it is not of format {FORMAT}")
    try:
        return _profile(content), str(checksum)
    except (AttributeError, LookupError, TypeError, ValueError, OverflowError) as error:
        raise ProfileError("format", f"it is not as it should be: {error!r:.200}") from None


def _described(feature: Feature) -> dict[str, Any]:
    kind = "number" if isinstance(feature, NumberFeature) else "category"
    return {"kind": kind, **asdict(feature)}


def _described_map(calibration: Calibration | None) -> dict[str, Any] | None:
    if calibration is None:
        return None
    return {"score": calibration.scores, "probability": calibration.probabilities}


def checksum_of(content: Mapping[str, Any]) -> str:
    """Return the SHA-256 of the canonical form. Raises ValueError for what has none."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _profile(content: dict[str, Any]) -> Profile:
    features = content["features"]
    if not isinstance(features, list) or len(features) > MOST_FEATURES:
        raise ValueError(f"features: a list of at most {MOST_FEATURES} is expected")
    rows = content["rows"]
    if type(rows) is not int or rows < 1:
        raise ValueError(f"rows: {rows!r}")
    texts = (content[name] for name in ("model", "version", "created", "task", "declaration"))
    model, version, created, task, declaration = (_text(each) for each in texts)
    baseline = {_text(name): _number(value) for name, value in content["baseline"].items()}
    if len(baseline) > MOST_FIGURES:
        raise ValueError(f"baseline: at most {MOST_FIGURES} figures are expected")
    if not isinstance(content["classes"], list):
        raise TypeError("classes: a list is expected")
    classes = tuple(_text(each) for each in content["classes"])
    found = tuple(map(_feature, features))
    if len({feature.name for feature in found}) < len(found):
        raise ValueError("features: a name stands there twice")
    target = content["target"]
    if target is not None:
        target = Target(**{name: _number(target[name]) for name in ("mean", "low", "high")})
        if not target.low <= target.mean <= target.high:
            raise ValueError("target: low, mean and high are to rise")
    calibration = _calibration(content["calibration"])
    return Profile(
        model, version, created, rows, task, classes, declaration, found, target, calibration,
        baseline,
    )  # fmt: skip


def _calibration(content: object) -> Calibration | None:
    if content is None:
        return None
    if not isinstance(content, dict):
        raise TypeError("calibration: an object is expected")
    scores, probabilities = (
        tuple(map(_number, content[name])) for name in ("score", "probability")
    )
    if not 1 <= len(scores) == len(probabilities) or list(scores) != sorted(set(scores)):
        raise ValueError("calibration: as many probabilities as rising scores are expected")
    if list(probabilities) != sorted(probabilities) or not probabilities[0] >= 0:
        raise ValueError("calibration: probabilities are not to fall")
    if probabilities[-1] > 1:
        raise ValueError("calibration: probabilities are at most 1")
    return Calibration(scores, probabilities)


def _feature(content: dict[str, Any]) -> Feature:
    name, missing = _text(content["name"]), _number(content["missing"])
    if not 0 <= missing <= 1:
        raise ValueError(f"{name}: missing is a share")
    shares = tuple(map(_number, content["shares"]))
    if content["kind"] == "category":
        values = tuple(map(_text, content["values"]))
        if len({*values, OTHER, ""}) != len(values) + 2:
            raise ValueError(f"{name}: a value stands there twice, or is none")
        category = CategoryFeature(name, values, shares, missing)
        _check_shares(category.bins, shares)
        return category
    edges = tuple(map(_number, content["edges"]))
    if list(edges) != sorted(set(edges)):
        raise ValueError(f"{name}: edges are to rise")
    low, high = _number(content["low"]), _number(content["high"])
    if low > high:
        raise ValueError(f"{name}: low is above high")
    if content["kind"] != "number" or content["dtype"] not in {"float16", "float32", "float64"}:
        raise ValueError(f"{name}: kind or dtype is not known")
    number = NumberFeature(name, content["dtype"], edges, shares, low, high, missing)
    _check_shares(number.bins, shares)
    return number


def _check_shares(bins: Sequence[str], shares: Sequence[float]) -> None:
    if not 1 <= len(bins) <= MOST_BINS or len(bins) != len(shares):
        raise ValueError(f"{len(shares)} shares of {len(bins)} bins")
    if any(share <= 0 for share in shares) or not math.isclose(sum(shares), 1, abs_tol=1e-6):
        raise ValueError("shares are to be above 0 and to add up to 1")


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > LONGEST_TEXT:
        raise ValueError(f"{value!r:.80} is no short text")
    value.encode()  # Raises ValueError for what no exposition can hold.
    return value


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r:.80} is no number")
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{value!r:.80} is not finite")
    return number
