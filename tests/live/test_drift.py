"""Profiles made by the command, and inputs counted against them by a real server."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.live.labels import CATS, declared
from tests.live.servers import Server, clean_environment, start_server, total, wait_for

ROWS = 1_000
NAMES = ["age", "pay"]


def make_profile(model: Path, data: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "serving", "profile", str(model), f"--data={data}", *arguments],
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def training_rows(seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    return np.stack([random.normal(4, 1, ROWS), random.normal(5, 2, ROWS)], axis=1)


def write_csv(file: Path, rows: np.ndarray, labels: list[str]) -> None:
    lines = [f"{a!r},{b!r},{kind},cow" for (a, b), kind in zip(rows.tolist(), labels, strict=True)]
    file.write_text("\n".join(["age,pay,kind,word", *lines]) + "\n")


def feature_total(server: Server, name: str, **labels: str) -> float:
    return server.value(f"inferometer_{name}", model="half", **labels)


def psi(server: Server, before: dict[str, float], feature: str) -> float:
    """Return the index of what was counted since `before`."""
    samples = server.samples()
    shares = {
        dict(labels)["bin"]: value
        for (name, labels), value in samples.items()
        if name == "inferometer_reference_bin_share" and ("feature", feature) in labels
    }
    found = np.array(
        [
            total(samples, "inferometer_feature_bin_total", feature=feature, bin=bin_name)
            - before.get(bin_name, 0.0)
            for bin_name in shares
        ]
    )
    q, p = (found + 0.5) / (found + 0.5).sum(), np.array(list(shares.values()))
    return float(((q - p) * np.log(q / p)).sum())


def test_drift_is_told_from_what_the_profile_holds(models: Path, tmp_path: Path) -> None:
    half = declared(models, "half", tmp_path, CATS | {"features": {"x": NAMES}})
    rows = training_rows(1)
    kinds = ["dog" if b > a else "cat" for a, b in rows]
    write_csv(tmp_path / "train.csv", rows, kinds)
    profile = half / "1" / "reference.json"

    made = make_profile(half, tmp_path / "train.csv", "--label=kind")
    first = profile.read_bytes()
    again = make_profile(half, tmp_path / "train.csv", "--label=kind")
    np.savez(tmp_path / "train.npz", x=rows.astype(np.float32), kind=np.array(kinds))
    arrays = make_profile(half, tmp_path / "train.npz", "--label=kind", f"--out={tmp_path}/a.json")

    assert (0, 0, 0) == (made.returncode, again.returncode, arrays.returncode), made.stderr
    assert first == profile.read_bytes()
    by_file = [json.loads(text) for text in (first, (tmp_path / "a.json").read_bytes())]
    assert by_file[0]["features"] == by_file[1]["features"]
    assert by_file[0]["baseline"]["accuracy"] == 1.0
    with start_server({"half": half}, tmp_path, "--max-batch-rows=16") as server:
        assert ROWS == feature_total(server, "reference_rows")
        assert 1.0 == feature_total(server, "baseline", metric="accuracy")
        assert 0.0 == feature_total(server, "feature_bin_total")
        same = training_rows(2).tolist()
        for start in range(0, ROWS, 100):
            server.predict("half", {"instances": same[start : start + 100]})
        bins = 2 * ROWS + 2 * ROWS  # two columns, the prediction, the score
        wait_for(lambda: feature_total(server, "feature_bin_total") == bins, "all counted")
        before = {
            dict(labels)["bin"]: value
            for (name, labels), value in server.samples().items()
            if name == "inferometer_feature_bin_total" and ("feature", "age") in labels
        }
        assert psi(server, {}, "age") < 0.05
        assert psi(server, {}, "pay") < 0.05
        estimate = feature_total(server, "estimated_correct_sum_total")
        assert estimate == pytest.approx(ROWS, rel=0.02)

        moved = (training_rows(3) + np.array([2.0, 0.0])).tolist()
        moved[0] = [float("nan"), float("inf")]
        for start in range(0, ROWS, 100):
            server.predict("half", {"instances": moved[start : start + 100]})
        wait_for(lambda: feature_total(server, "nonfinite_outputs_total") == 1, "counted")
        wait_for(lambda: feature_total(server, "predictions_total") == 2 * ROWS - 1, "all counted")

        assert psi(server, before, "age") > 1.0
        invalid = "feature_invalid_total"
        assert 1.0 == feature_total(server, invalid, feature="age", reason="missing")
        assert 1.0 == feature_total(server, invalid, feature="pay", reason="non_finite")
        assert feature_total(server, invalid, feature="age", reason="above_max") > 50


def test_profile_that_does_not_fit_is_refused_and_the_model_serves(
    models: Path, tmp_path: Path
) -> None:
    served, reasons = {}, {"hash": "hash", "other": "classes", "wide": "features", "old": ""}
    write_csv(tmp_path / "train.csv", training_rows(1), ["cat", "dog"] * (ROWS // 2))
    half = declared(models, "half", tmp_path / "made", CATS | {"features": {"x": NAMES}})
    assert 0 == make_profile(half, tmp_path / "train.csv", "--label=kind").returncode
    text = (half / "1" / "reference.json").read_text()
    for name in reasons:
        served[name] = tmp_path / name
        shutil.copytree(half, served[name])
        changed = text.replace('"half"', f'"{name}"') if name == "hash" else text
        (served[name] / "1" / "reference.json").write_text(changed)
    rename(served["other"], "other", classes=["a", "b"])
    rename(served["wide"], "wide")
    (served["wide"] / "quality.json").write_text(json.dumps(CATS))
    rename(served["old"], "another")
    with start_server(served, tmp_path) as server:
        for name, reason in reasons.items():
            answer = server.predict(name, {"instances": [[2, 4]]})
            assert {"predictions": [[1.0, 2.0]]} == answer.json()
            if reason:
                refused = server.value("inferometer_reference_refused", model=name, reason=reason)
                assert refused == 1.0, name
                assert f"model {name} version 1: reference.json is not used" in server.log
            assert (not reason) == (server.value("inferometer_reference_rows", model=name) == ROWS)
        # Made of another model: its features apply, and not its baseline.
        assert 0.0 == server.value("inferometer_baseline", model="old")


def rename(model: Path, name: str, **members: object) -> None:
    """Make a profile one of another model, with a checksum that fits."""
    from exporter.quality.profile import checksum_of

    file = model / "1" / "reference.json"
    content = json.loads(file.read_text()) | {"model": name, **members}
    del content["sha256"]
    content["sha256"] = checksum_of(content)
    file.write_text(json.dumps(content))


def test_profile_says_what_is_wrong(models: Path, tmp_path: Path) -> None:
    half = declared(models, "half", tmp_path, CATS | {"features": {"x": NAMES}})
    write_csv(tmp_path / "train.csv", training_rows(1)[:100], ["cat"] * 100)

    ended = make_profile(half, tmp_path / "train.csv", "--label=word")

    assert (1, "") == (ended.returncode, ended.stdout)
    assert 'row 0: label "cow" is not a class; there are: cat, dog' in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (half / "1" / "reference.json").exists()


# One process for all: most of the time is TensorFlow's import.
DESCRIBE = """
import sys
from serving.cli import main

for model in sys.argv[1:]:
    print("code", main(["describe", model]))
"""


def test_description_says_what_is_known_and_what_is_missing(models: Path, tmp_path: Path) -> None:
    half = declared(models, "half", tmp_path, CATS | {"features": {"x": NAMES}})
    wrong = declared(models, "half", tmp_path / "wrong", {"task": "dog"})
    ended = subprocess.run(
        [sys.executable, "-c", DESCRIBE, half, wrong, models / "network.keras"],
        env=clean_environment(), capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    declared_text, told = ended.stdout.split("code 1\n")

    assert ("code 0", "code 0") == (declared_text.splitlines()[-1], told.splitlines()[-1])
    assert "input x: FP32 [n, 2]" in declared_text
    assert f"task: binary of output y, declared in {half}/quality.json" in declared_text
    assert "classes: cat, dog\nfeatures: age, pay\nprofile: none" in declared_text
    assert "task: multiclass of output p, told by the model's last layer" in told
    assert "classes: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9; their names are to be declared" in told
    assert "quality.json: task: 'dog' is none of" in ended.stderr
