"""What quality leaves in a recorder: as many series as the catalogue says, all at 0 at first."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from exporter import CATALOGUE, CollectorSettings, Scraper, ScrapeRequest, open_recorder
from exporter.catalogue.quality import CONFIDENCE
from exporter.quality.arrivals import count_label
from exporter.quality.binary import Binary
from exporter.quality.columns import InputSpec, columns_of
from exporter.quality.errors import LabelError
from exporter.quality.features import number_feature
from exporter.quality.multiclass import Multiclass
from exporter.quality.profile import Profile
from exporter.quality.recording import (
    VersionSeries,
    label_series,
    output_series,
    show_reference,
)
from exporter.quality.reference import Reference
from exporter.quality.sums import Sums
from exporter.quality.task import Task
from exporter.store_recorder import StoreRecorder
from tests.live.servers import Samples, samples_of, total


@pytest.fixture
def recorder(store_path: Path) -> StoreRecorder:
    return open_recorder(store_path, "runner", families=CATALOGUE)


@pytest.fixture
def shown(store_path: Path) -> Callable[[], Samples]:
    def scrape() -> Samples:
        body = Scraper(store_path, CollectorSettings(), folds=False).scrape(ScrapeRequest()).body
        return {
            key: value
            for key, value in samples_of(body.decode()).items()
            if ("model", "m") in key[1]
        }

    return scrape


def series_by_family(samples: Samples) -> Counter[str]:
    return Counter(name.removeprefix("inferometer_") for name, _ in samples)


def many_classes() -> Multiclass:
    return Multiclass([f"class {number}" for number in range(1_000)])


def test_a_thousand_classes_and_two_hundred_columns_stay_within_bounds(
    recorder: StoreRecorder, shown: Callable[[], Samples]
) -> None:
    random = np.random.default_rng(1)
    columns = columns_of([InputSpec("x", "FP32", (200,))])
    rows = {"x": random.normal(size=(500, 200)).astype(np.float32)}
    features = tuple(
        number_feature(column.name, column.of(rows), dtype=column.dtype, bins=12)
        for column in columns
    )
    task = many_classes()
    profile = Profile("m", "1", "", 500, "multiclass", (), "", features, None, None, {})
    reference = Reference(profile, columns, task, is_own=True)
    outputs = random.dirichlet(np.ones(1_000), 500)
    outputs_series = output_series(recorder, "m", "1", task, reference)
    labels_series = label_series(recorder, "m", "1", task)
    show_reference(recorder, "m", "1", reference, "0" * 64)

    before = series_by_family(shown())
    sums = Sums()
    task.observe(outputs, sums)
    reference.observe(rows, outputs, sums)
    outputs_series.record(sums)
    counted = Sums()
    for values, label in zip(task.pack(outputs), range(500, 1_000), strict=True):
        count_label(task, values, label, counted, age=1.0, delay=1.0)
    labels_series.record(counted)
    after = shown()

    assert before == series_by_family(after)
    # Two hundred classes and one for the others; no confusion; a summary of the row in 3 features.
    assert 201 == before["predictions_total"]
    assert 201 * 3 == before["outcomes_total"] == before["outcomes_retracted_total"]
    assert 0 == before["confusion_total"]
    assert before["feature_bin_total"] == before["reference_bin_share"] <= 3 * 12
    assert sum(before.values()) < 1_800
    wrong = total(after, "inferometer_outcomes_total", outcome="fn", **{"class": "__other__"})
    right = total(after, "inferometer_outcomes_total", outcome="tp", **{"class": "__other__"})
    assert 500 == wrong + right == total(after, "inferometer_labels_total")


def test_labels_that_are_none_make_no_series(
    recorder: StoreRecorder, shown: Callable[[], Samples]
) -> None:
    task = many_classes()
    label_series(recorder, "m", "1", task)
    before = series_by_family(shown())
    for number in range(10_000):
        with pytest.raises(LabelError):
            task.parse(f"{number}")

    assert before == series_by_family(shown())


@pytest.mark.parametrize("task", [Binary(("a", "b")), many_classes()])
def test_every_series_stands_at_zero(
    recorder: StoreRecorder, shown: Callable[[], Samples], task: Task
) -> None:
    output_series(recorder, "m", "1", task)
    label_series(recorder, "m", "1", task)

    assert {0.0} == set(shown().values())


def test_many_observations_are_what_single_ones_are(
    recorder: StoreRecorder, shown: Callable[[], Samples]
) -> None:
    values = [*np.random.default_rng(2).random(500).tolist(), *CONFIDENCE, 0.0, 1.5]
    families = [one for one in CATALOGUE if one.name == "inferometer_prediction_confidence"]
    many, single = Sums(), Sums()
    many.observe("prediction_confidence", values)
    VersionSeries(recorder, "m", "many", families).record(many)
    for value in values:
        single = Sums()
        single.observe("prediction_confidence", [value])
        VersionSeries(recorder, "m", "single", families).record(single)
    found = shown()

    def of(version: str) -> dict[tuple[str, str], float]:
        return {
            (name, dict(labels).get("le", "")): pytest.approx(value)
            for (name, labels), value in found.items()
            if ("version", version) in labels
        }

    assert of("single") == of("many")
    assert len(values) == total(found, "inferometer_prediction_confidence_count", version="many")
