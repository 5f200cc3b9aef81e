"""The figures of quality in PromQL: each is made of counters, so the reader chooses the window.

In the expressions below `S[x; a, b]` stands for `sum by (job, model, version, a, b)
(increase(inferometer_x[w]))`, where x may have a selector and w is the window; MV stands for the
three labels, and a word in capitals for the line of DEFINITIONS of that name. `increase` comes
first, or a restart of one process would count as a fall of the sum.
"""

from typing import NamedTuple


class Figure(NamedTuple):
    """A figure: the labels it has beside model and version, what it is, and how it is made."""

    labels: tuple[str, ...]
    meaning: str
    expression: str


DEFINITIONS = {
    "TP": 'S[outcomes_total{outcome="tp"}; class]'
    ' - S[outcomes_retracted_total{outcome="tp"}; class]',
    "FP": 'S[outcomes_total{outcome="fp"}; class]'
    ' - S[outcomes_retracted_total{outcome="fp"}; class]',
    "FN": 'S[outcomes_total{outcome="fn"}; class]'
    ' - S[outcomes_retracted_total{outcome="fn"}; class]',
    "N": "S[labels_total]",
    # Rows with several classes have no such figures: subset_accuracy is theirs.
    "SETS": 'S[confusion_total{predicted="__set__"}]',
    # A correction can take back more than a short window has counted.
    "ACC": "sum by (MV) (TP) / (sum by (MV) (TP + FN) > 0) unless on (MV) SETS",
    "POS": 'S[score_bin_total{outcome="positive"}; class, bin]',
    "NEG": 'S[score_bin_total{outcome="negative"}; class, bin]',
    "PRED": 'label_replace(S[predictions_total; predicted], "class", "$1", "predicted", "(.*)")',
    "ERRORS": "S[absolute_error_count]",
    "QUERIES": 'S[ranking_queries_total{relevant="some"}]',
    "FOUND": 'S[detection_matches_total{result="tp"}; class, iou]',
    "TRUTHS": 'S[detection_matches_total{result=~"tp|fn"}; iou]',
    "RIGHTS": 'S[detection_score_bin_total{result="tp"}; iou, bin]',
    "ATLEAST": "S[detection_score_at_least_total; iou, bin]",
    "SURE": 'S[detection_score_at_least_total{result="tp"}; iou, bin]',
    "SHARED": "S[segmentation_intersection_pixels_total; class]",
    "EITHER": "S[segmentation_union_pixels_total; class]",
    "SAME": "S[segmentation_intersection_pixels_total]",
    "BREVITY": "exp(clamp_max(1 - S[bleu_reference_tokens_total]"
    " / S[bleu_hypothesis_tokens_total], 0))",
    "NGRAMS": "S[chrf_hypothesis_ngrams_total; n] > 0",
    "CHRFP": "avg by (MV) (S[chrf_matches_total; n] / (NGRAMS))",
    # An order for which every text is too short says nothing of their recall either.
    "CHRFR": "avg by (MV) (S[chrf_matches_total; n] / S[chrf_reference_ngrams_total; n]"
    " and (NGRAMS))",
    "CELL": "S[feature_bin_total; feature, bin]",
    "ROWS": "S[feature_bin_total; feature]",
    # Half a row more in each bin, as in the reference.
    "Q": "(CELL + 0.5) / on (MV, feature) group_left () sum by (MV, feature) (CELL + 0.5)",
    "P": "max by (MV, feature, bin) (inferometer_reference_bin_share)",
    "VAR": "1 / ROWS + on (MV) group_left () (1 / max by (MV) (inferometer_reference_rows))",
    "ESTIMATE": "S[estimated_confusion_total; predicted, actual]",
    "DIAGONAL": 'label_replace(S[estimated_confusion_total; predicted], "actual", "$1",'
    ' "predicted", "(.*)")',
}

FIGURES = {
    "accuracy": Figure((), "share of labelled rows that were predicted right", "ACC"),
    "accuracy_low": Figure(
        (),
        "lower end of Wilson's interval of the accuracy, 95 %",
        "(ACC + 1.9208 / N - 1.96 * sqrt(ACC * (1 - ACC) / N + 0.9604 / N ^ 2)) / (1 + 3.8416 / N)",
    ),
    "accuracy_high": Figure(
        (),
        "upper end of Wilson's interval of the accuracy, 95 %",
        "(ACC + 1.9208 / N + 1.96 * sqrt(ACC * (1 - ACC) / N + 0.9604 / N ^ 2)) / (1 + 3.8416 / N)",
    ),
    "precision": Figure(
        ("class",), "share of a class's predictions that were right", "TP / (TP + FP > 0)"
    ),
    "recall": Figure(("class",), "share of a class's rows that were found", "TP / (TP + FN > 0)"),
    "f1": Figure(
        ("class",), "harmonic mean of precision and recall", "2 * TP / (2 * TP + FP + FN > 0)"
    ),
    "precision_macro": Figure(
        (),
        "mean precision of the classes that were predicted or labelled",
        "avg by (MV) (TP / clamp_min(TP + FP, 1e-9) and (TP + FP + FN > 0))",
    ),
    "recall_macro": Figure(
        (),
        "mean recall of the classes that were predicted or labelled",
        "avg by (MV) (TP / clamp_min(TP + FN, 1e-9) and (TP + FP + FN > 0))",
    ),
    "f1_macro": Figure(
        (),
        "mean F1 of the classes that were predicted or labelled",
        "avg by (MV) (2 * TP / (2 * TP + FP + FN) >= 0)",
    ),
    "f1_micro": Figure(
        (),
        "F1 over the sums of all classes",
        "2 * sum by (MV) (TP) / sum by (MV) (2 * TP + FP + FN)",
    ),
    "f1_weighted": Figure(
        (),
        "mean F1, each class weighted by its labels",
        "sum by (MV) ((2 * TP / (2 * TP + FP + FN) >= 0) * (TP + FN)) / sum by (MV) (TP + FN)",
    ),
    "balanced_accuracy": Figure(
        (), "mean recall of the classes that were labelled", "avg by (MV) (TP / (TP + FN) >= 0)"
    ),
    "specificity": Figure(
        ("class",),
        "share of the other classes' rows that were not taken for this one",
        "(N - on (MV) group_right () (TP + FP + FN)) / (N - on (MV) group_right () (TP + FN))",
    ),
    "mcc": Figure(
        (),
        "Matthews correlation, of several classes Gorodkin's R_K; NaN for a constant prediction",
        "(sum by (MV) (TP) * N - sum by (MV) ((TP + FP) * (TP + FN)))"
        " / sqrt((N ^ 2 - sum by (MV) ((TP + FP) ^ 2)) * (N ^ 2 - sum by (MV) ((TP + FN) ^ 2)))"
        " unless on (MV) SETS",
    ),
    "subset_accuracy": Figure(
        (),
        "share of rows whose whole set of classes was right",
        'S[confusion_total{correct="true"}] / S[confusion_total]',
    ),
    "hamming_loss": Figure(
        (),
        "share of wrong decisions, of all classes of all rows",
        "sum by (MV) (FP + FN) / (N * count by (MV) (TP))",
    ),
    "log_loss": Figure(
        (), "mean -ln p of the truth, in nats", "S[log_loss_sum_total] / S[scored_labels_total]"
    ),
    "brier": Figure(
        (), "mean squared error of the scores", "S[brier_sum_total] / S[scored_labels_total]"
    ),
    "ece": Figure(
        ("class",),
        "expected calibration error over 20 bins",
        "sum by (MV, class) (abs(POS - S[score_bin_predicted_sum_total; class, bin]))"
        " / sum by (MV, class) (POS + NEG)",
    ),
    "auc": Figure(
        ("class",),
        "area under the ROC curve, from bins",
        "sum by (MV, class) (POS * S[score_rank_below_total; class, bin])"
        " / (sum by (MV, class) (POS) * sum by (MV, class) (NEG))",
    ),
    "auc_error_bound": Figure(
        ("class",),
        "by how much the bins may have changed the area",
        "0.5 * sum by (MV, class) (POS * NEG)"
        " / (sum by (MV, class) (POS) * sum by (MV, class) (NEG))",
    ),
    "mae": Figure((), "mean absolute error", "S[absolute_error_sum] / ERRORS"),
    "rmse": Figure(
        (), "root of the mean squared error", "sqrt(S[squared_error_sum_total] / ERRORS)"
    ),
    "bias": Figure(
        (),
        "mean error, prediction minus label",
        '(S[error_sum_total{sign="over"}] - S[error_sum_total{sign="under"}]) / ERRORS',
    ),
    "mape": Figure(
        (),
        "mean error as a share of the label, labels of 0 left out",
        "S[relative_error_sum_total] / (ERRORS - S[relative_error_skipped_total])",
    ),
    "r2": Figure(
        (),
        "share of the labels' variance that is predicted",
        "1 - S[squared_error_sum_total] / (S[target_squared_deviation_sum_total]"
        ' - (S[target_deviation_sum_total{sign="over"}]'
        ' - S[target_deviation_sum_total{sign="under"}]) ^ 2 / ERRORS)',
    ),
    "median_error": Figure(
        (),
        "median absolute error, to the width of a bucket",
        "histogram_quantile(0.5, S[absolute_error_bucket; le])",
    ),
    "ndcg": Figure(
        ("k",),
        "normalised discounted cumulative gain of the first k items",
        "S[ranking_ndcg_sum_total; k] / on (MV) group_left () QUERIES",
    ),
    "hit_rate": Figure(
        ("k",),
        "share of rankings with a relevant item among the first k",
        "S[ranking_hits_total; k] / on (MV) group_left () QUERIES",
    ),
    "mrr": Figure(
        (),
        "mean of 1 / rank of the first relevant item",
        "S[ranking_reciprocal_rank_sum_total] / QUERIES",
    ),
    "mean_ap": Figure(
        (), "mean average precision of rankings", "S[ranking_average_precision_sum_total] / QUERIES"
    ),
    "detection_precision": Figure(
        ("class", "iou"),
        "share of a class's boxes that match a true one",
        'FOUND / (S[detection_matches_total{result=~"tp|fp"}; class, iou] > 0)',
    ),
    "detection_recall": Figure(
        ("class", "iou"),
        "share of a class's true boxes that were found",
        'FOUND / (S[detection_matches_total{result=~"tp|fn"}; class, iou] > 0)',
    ),
    "detection_iou": Figure(
        ("class",),
        "mean overlap of the boxes that match at 0.5",
        "S[detection_iou_sum_total; class]"
        ' / (S[detection_matches_total{result="tp", iou="0.5"}; class] > 0)',
    ),
    "detection_ap": Figure(
        ("iou",),
        "average precision of boxes of all classes together, from bins",
        "sum by (MV, iou) (RIGHTS * (SURE / ATLEAST >= 0)) / (TRUTHS > 0)",
    ),
    "iou": Figure(
        ("class",), "intersection over union of a class's pixels", "SHARED / (EITHER > 0)"
    ),
    "mean_iou": Figure(
        (),
        "mean intersection over union of the classes that were predicted or labelled",
        "avg by (MV) (SHARED / (EITHER > 0))",
    ),
    "pixel_accuracy": Figure(
        (),
        "share of labelled pixels that were predicted right",
        "2 * SAME / (SAME + S[segmentation_union_pixels_total] > 0)",
    ),
    "bleu": Figure(
        (),
        "BLEU of all texts as one corpus, without smoothing, 0 to 100",
        "100 * BREVITY"
        " * exp(avg by (MV) (ln(S[bleu_ngram_matches_total; n] / S[bleu_ngrams_total; n])))",
    ),
    "chrf": Figure(
        (),
        "chrF of all texts as one corpus, 0 to 100",
        "100 * 5 * CHRFP * CHRFR / (4 * CHRFP + CHRFR > 0)",
    ),
    "chrf_precision": Figure((), "mean precision of n-grams of characters", "CHRFP"),
    "chrf_recall": Figure((), "mean recall of n-grams of characters", "CHRFR"),
    "wer": Figure(
        (),
        "edits of words for each word of the references",
        "S[word_edits_total] / (S[reference_words_total] > 0)",
    ),
    "labels": Figure((), "labels counted", "N"),
    "feature_rows": Figure(("feature",), "values that have a bin", "ROWS"),
    "coverage": Figure((), "labels for each predicted row", "N / S[rows_total]"),
    "accuracy_poststratified": Figure(
        (),
        "accuracy as if every predicted class had been labelled equally often",
        "sum by (MV) (sum by (MV, class) (PRED) * (TP / (TP + FP) >= 0))"
        " / sum by (MV) (sum by (MV, class) (PRED) and (TP / (TP + FP) >= 0))"
        " unless on (MV) SETS",
    ),
    "accuracy_estimated": Figure(
        (),
        "accuracy by calibrated scores, without labels",
        "S[estimated_correct_sum_total] / S[estimated_rows_total]",
    ),
    "precision_estimated": Figure(
        ("predicted",),
        "precision by calibrated scores, without labels",
        "sum by (MV, predicted) (ESTIMATE and on (MV, predicted, actual) DIAGONAL)"
        " / S[estimated_confusion_total; predicted]",
    ),
    "psi": Figure(
        ("feature",),
        "population stability index against the reference",
        "sum by (MV, feature) ((Q - P) * ln(Q / P)) and ROWS > 0",
    ),
    "psi_noise": Figure(
        ("feature",),
        "mean of the index where nothing has changed, by the numbers of rows",
        "(count by (MV, feature) (P) - 1) * (VAR) and ROWS > 0",
    ),
    "js": Figure(
        ("feature",),
        "Jensen-Shannon divergence from the reference, 0 to 1",
        "0.5 * sum by (MV, feature) (P * log2(2 * P / (P + Q)) + Q * log2(2 * Q / (P + Q)))"
        " and ROWS > 0",
    ),
    "chi2": Figure(
        ("feature",),
        "chi-square statistic against the reference",
        "sum by (MV, feature) ((Q - P) ^ 2 / P) / (VAR) and ROWS > 0",
    ),
    "total_variation": Figure(
        ("feature",),
        "largest difference of the shares of any set of bins",
        "0.5 * sum by (MV, feature) (abs(Q - P)) and ROWS > 0",
    ),
}
