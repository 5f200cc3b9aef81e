"""Predictions, and how right they were.

What needs no labels is counted where the model computes; labels are counted where `/v1/feedback`
takes them, by the model and version of their token. Which families a version has depends on its
task; they stand at 0 from when it is loaded. Class names are the values of `predicted`, `actual`
and `class`; beside them there are `__value__` (the task has no classes), `__none__` (no class was
predicted), `__set__` (whole sets of classes), `__top__` (whichever class was predicted) and
`__other__` (classes beyond the first 200).
"""

from exporter.catalogue.requests import MODEL, VERSION
from exporter.define import counter, gauge, histogram, info
from exporter.metric import Family, Label

RESULTS = (
    "counted", "duplicate", "corrected", "conflict", "unknown_id", "bad_token", "expired",
    "bad_label", "store_error",
)  # fmt: skip
AGES = ("1h", "1d", "7d", "30d", "inf")
DELAY_SECONDS = (
    1.0, 10.0, 60.0, 600.0, 3600.0, 21_600.0, 86_400.0, 259_200.0, 604_800.0, 2_592_000.0,
)  # fmt: skip
CONFIDENCE = tuple(step / 20 for step in range(1, 21))
ABSOLUTE_ERROR = tuple(float(f"{digit}e{power}") for power in range(-6, 7) for digit in (1, 2, 5))[
    :-2
]
OUTCOMES = ("tp", "fp", "fn")
SIGNS = ("over", "under")
# A model with many classes or features has thousands of series; several versions have them at once.
MOST_SERIES = 20_000

RUNNER = ("runner",)
FRONT_END = ("frontend",)
CLASS = Label("class")
BIN = Label("bin")
SEGMENT = (Label("key"), Label("segment"))
OVERLAP = Label("iou", ("0.5", "0.75"))
CHARACTERS = Label("n", ("1", "2", "3", "4", "5", "6"))


def _output(name: str, text: str, *labels: Label) -> Family:
    """Describe a counter of what the model puts out."""
    return counter(
        f"inferometer_{name}", text, MODEL, VERSION, *labels,
        by=RUNNER, absent=True, max_series=MOST_SERIES,
    )  # fmt: skip


def _labelled(name: str, text: str, *labels: Label) -> Family:
    """Describe a counter of what labels show."""
    return counter(
        f"inferometer_{name}", text, MODEL, VERSION, *labels,
        by=FRONT_END, absent=True, max_series=MOST_SERIES,
    )  # fmt: skip


# What the model puts out; no labels are needed.
OUTPUT_FAMILIES = (
    _output(
        "predictions_total",
        "Predicted rows by class; with several classes a row, predicted classes.",
        Label("predicted"),
    ),
    histogram(
        "inferometer_prediction_confidence",
        "The highest score of each row.",
        MODEL, VERSION, buckets=CONFIDENCE, by=RUNNER, absent=True,
    ),
    _output(
        "nonfinite_outputs_total",
        "Rows with NaN or infinity in the measured output; they count nowhere else here.",
    ),
    _output(
        "estimated_correct_sum_total",
        "Sum over predicted rows of the calibrated probability that they are right.",
    ),
    _output("estimated_rows_total", "Predicted rows of which there is an estimate."),
    _output(
        "estimated_confusion_total",
        "Predicted class against actual class as the calibrated scores have it.",
        Label("predicted"), Label("actual"),
    ),
)  # fmt: skip

# What labels show.
LABEL_FAMILIES = (
    _labelled(
        "labels_total",
        "Labels counted, by how long after the prediction they came: the first bound not below it.",
        Label("age", AGES),
    ),
    histogram(
        "inferometer_label_delay_seconds",
        "Time from a prediction to its label: to `labelled_at` where that was sent, else to its"
        " arrival.",
        MODEL, VERSION, buckets=DELAY_SECONDS, by=FRONT_END, absent=True,
    ),
    _labelled(
        "outcomes_total",
        "True positives, false positives and false negatives of each class.",
        CLASS, Label("outcome", OUTCOMES),
    ),
    _labelled(
        "outcomes_retracted_total",
        "Outcomes of labels that were corrected afterwards; take them from `outcomes_total`.",
        CLASS, Label("outcome", OUTCOMES),
    ),
    _labelled(
        "confusion_total",
        "Predicted class against actual class, for up to 32 classes.",
        Label("predicted"), Label("actual"), Label("correct", ("true", "false")),
    ),
    _labelled("scored_labels_total", "Labels that count in log loss and Brier score."),
    _labelled(
        "log_loss_sum_total",
        "Sum of -ln p of the actual class, in nats, p being at least 1e-7.",
    ),
    _labelled(
        "brier_sum_total",
        "Sum of squared differences of scores and truth: 0 to 1 a row, over all classes 0 to 2.",
    ),
    _labelled(
        "score_bin_total",
        "Labelled scores by bin and outcome, the bins equally wide in logit space.",
        CLASS, BIN, Label("outcome", ("positive", "negative")),
    ),
    _labelled(
        "score_bin_predicted_sum_total",
        "Sum of the labelled scores in each bin, for calibration.",
        CLASS, BIN,
    ),
    _labelled(
        "score_rank_below_total",
        "Negatives in lower bins, and half of those in this one, for the area under the ROC curve.",
        CLASS, BIN,
    ),
    histogram(
        "inferometer_absolute_error",
        "Absolute error of each labelled number, in the unit of the label.",
        MODEL, VERSION, buckets=ABSOLUTE_ERROR, by=FRONT_END, absent=True,
    ),
    _labelled("squared_error_sum_total", "Sum of squared errors."),
    _labelled(
        "error_sum_total",
        "Sum of errors, prediction minus label, apart for too much and too little.",
        Label("sign", SIGNS),
    ),
    _labelled(
        "relative_error_sum_total", "Sum of absolute errors divided by the label's absolute value."
    ),
    _labelled(
        "relative_error_skipped_total",
        "Labels too near to 0 for a relative error.",
    ),
    _labelled(
        "target_deviation_sum_total",
        "Sum of labels' distances from the reference's mean, or from 0, apart for above and below.",
        Label("sign", SIGNS),
    ),
    _labelled(
        "target_squared_deviation_sum_total",
        "Sum of labels' squared distances from the reference's mean, or from 0.",
    ),
    _labelled(
        "ranking_queries_total",
        "Labelled rankings, by whether the label has a relevant item; only such count further.",
        Label("relevant", ("some", "none")),
    ),
    _labelled(
        "ranking_ndcg_sum_total",
        "Sum of normalised discounted cumulative gains of the first k items.",
        Label("k", ("1", "5", "10")),
    ),
    _labelled(
        "ranking_hits_total",
        "Rankings with a relevant item among the first k.",
        Label("k", ("1", "5", "10")),
    ),
    _labelled(
        "ranking_reciprocal_rank_sum_total", "Sum of 1 / rank of the first relevant item."
    ),
    _labelled(
        "ranking_average_precision_sum_total",
        "Sum of average precisions: over the relevant items, those not ranked counting 0.",
    ),
    _labelled(
        "detection_matches_total",
        "Boxes above the score threshold that match a true box (tp) or none (fp), and true boxes"
        " without one (fn), by the overlap that makes a match.",
        CLASS, OVERLAP, Label("result", OUTCOMES),
    ),
    _labelled(
        "detection_iou_sum_total",
        "Sum of the overlaps of the boxes that match at 0.5.",
        CLASS,
    ),
    _labelled(
        "detection_score_bin_total",
        "Boxes of any score by bin, matched (tp) or not (fp), if `average_precision` is declared.",
        OVERLAP, BIN, Label("result", ("tp", "fp")),
    ),
    _labelled(
        "detection_score_at_least_total",
        "Boxes in higher bins, and half of those in this one, for the average precision.",
        OVERLAP, BIN, Label("result", ("tp", "fp")),
    ),
    _labelled(
        "segmentation_intersection_pixels_total",
        "Labelled pixels that are of a class and were predicted so.",
        CLASS,
    ),
    _labelled(
        "segmentation_union_pixels_total",
        "Labelled pixels that are of a class or were predicted so.",
        CLASS,
    ),
    _labelled(
        "bleu_ngram_matches_total",
        "N-grams of words of predicted texts that are in a reference.",
        Label("n", ("1", "2", "3", "4")),
    ),
    _labelled(
        "bleu_ngrams_total",
        "N-grams of words of predicted texts that were labelled.",
        Label("n", ("1", "2", "3", "4")),
    ),
    _labelled("bleu_hypothesis_tokens_total", "Words of predicted texts that were labelled."),
    _labelled(
        "bleu_reference_tokens_total",
        "Words of references; of several the one whose length is nearest to the prediction's.",
    ),
    _labelled("bleu_sentences_total", "Predicted texts that were labelled."),
    _labelled(
        "chrf_matches_total",
        "N-grams of characters that a predicted text has in common with its best reference.",
        CHARACTERS,
    ),
    _labelled(
        "chrf_hypothesis_ngrams_total",
        "N-grams of characters of predicted texts that were labelled.",
        CHARACTERS,
    ),
    _labelled(
        "chrf_reference_ngrams_total",
        "N-grams of characters of the references.",
        CHARACTERS,
    ),
    _labelled(
        "word_edits_total",
        "Fewest edits from the words of the best reference to those of a predicted text.",
        Label("edit", ("substitution", "deletion", "insertion")),
    ),
    _labelled("reference_words_total", "Words of the references that edits were counted from."),
    _labelled(
        "segment_predictions_total",
        "Predicted rows of each declared part of the traffic.",
        *SEGMENT,
    ),
    _labelled(
        "segment_labels_total",
        "Labels of each declared part of the traffic, by whether the prediction was right.",
        *SEGMENT, Label("correct", ("true", "false", "none")),
    ),
    _labelled(
        "segment_absolute_error_sum_total",
        "Sum of absolute errors of each declared part of the traffic.",
        *SEGMENT,
    ),
    _labelled(
        "teacher_agreement_total",
        "Predictions compared with those of another model, whose labels came as `teacher`.",
        Label("agree", ("true", "false")),
    ),
)  # fmt: skip

FAMILIES = (
    *OUTPUT_FAMILIES,
    counter(
        "inferometer_feedback_total",
        "Labels sent, by what came of each.",
        Label("result", RESULTS), by=FRONT_END,
    ),
    *LABEL_FAMILIES,
    info(
        "inferometer_bleu_info",
        "1 for how texts are split into words for BLEU.",
        MODEL, VERSION, Label("tokenizer"), Label("lowercase", ("true", "false")), by=FRONT_END,
    ),
    gauge(
        "inferometer_score_bin_upper_edge",
        "Upper edge of each bin of scores.",
        BIN, by=FRONT_END, merge="max", absent=True,
    ),
)  # fmt: skip
