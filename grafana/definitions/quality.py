"""The dashboard that asks: are the answers right; labels count when they arrive."""

from grafana.definitions.quality_tasks import GROUPS, OTHER_TASKS, REGRESSION
from grafana.model import Dashboard, Panel, Row, Target

_TRUTH = Row(
    "Truth",
    (
        Panel(
            "Accuracy",
            "stat",
            "percentunit",
            "Not for multi-label models.",
            (Target("fig(accuracy) or on () MARK", "{{model}} {{version}}", "vxvv!"),),
        ),
        Panel(
            "Labels in the window",
            "stat",
            "short",
            "Below 200 no figure here is worth much.",
            (
                Target(
                    "round(sum by (model, version) (increase(inferometer_labels_total{S}[W]))) or on () MARK",
                    "{{model}} {{version}}",
                    "v0vv!",
                ),
            ),
        ),
        Panel(
            "Coverage",
            "stat",
            "percentunit",
            "Labels over predicted rows.",
            (Target("fig(coverage) or on () MARK", "{{model}} {{version}}", "vnvv!"),),
        ),
        Panel(
            "Accuracy by version, bounds, baseline",
            "timeseries",
            "percentunit",
            "One day, Wilson's 95 % band; a fall counts when the band is below the line.",
            (
                Target(
                    "job_model_version:inferometer_accuracy:1d{RV}",
                    "{{model}} {{version}}",
                    "v-vvv",
                ),
                Target(
                    "job_model_version:inferometer_accuracy_low:1d{RV}",
                    "{{model}} {{version}} at least",
                    "v-vvv",
                ),
                Target(
                    "job_model_version:inferometer_accuracy_high:1d{RV}",
                    "{{model}} {{version}} at most",
                    "v-vvv",
                ),
                Target(
                    'max by (model, version) (inferometer_baseline{S, metric="accuracy"})',
                    "{{model}} {{version}} baseline",
                    "vvvv-",
                ),
            ),
        ),
        Panel(
            "Macro F1",
            "timeseries",
            "percentunit",
            "Every class weighs the same.",
            (
                Target(
                    "job_model_version:inferometer_f1_macro:1d{RV}",
                    "{{model}} {{version}}",
                    "v-vvv",
                ),
            ),
        ),
        Panel(
            "Precision, recall, F1 by class",
            "table",
            "percentunit",
            "By class. One class alone: look at its rows in the confusion matrix.",
            (
                Target("fig(precision)", "precision", "v-vv-"),
                Target("fig(recall)", "recall", "v-vv-"),
                Target("fig(f1)", "F1", "v-vv-"),
            ),
            link="drift",
            linked=("model", "version"),
        ),
        Panel(
            "Confusion matrix",
            "table",
            "percentunit",
            "Rows add to 1; the largest confusions first. Absent above 32 classes.",
            (
                Target(
                    "sum by (model, version, actual, predicted) (increase(inferometer_confusion_total{S}[W])) / on (model, version, actual) group_left () (sum by (model, version, actual) (increase(inferometer_confusion_total{S}[W])) > 0)",
                    "share",
                    "v-vv-",
                ),
                Target(
                    'sum by (model, version, actual, predicted) (increase(inferometer_confusion_total{S}[W])) / on (model, version, actual) group_left () (sum by (model, version, actual) (increase(inferometer_confusion_total{S}[W])) > 0) unless on (model, version, actual, predicted) label_replace(sum by (model, version, actual) (increase(inferometer_confusion_total{S}[W])), "predicted", "$1", "actual", "(.*)")',
                    "confused",
                    "v-vv-",
                ),
            ),
            sorted_by="confused",
        ),
        Panel(
            "Accuracy, reweighted",
            "stat",
            "percentunit",
            "Corrects for labels that come for some predictions only; not for bias within a class.",
            (
                Target(
                    "fig(accuracy_poststratified) or on () MARK", "{{model}} {{version}}", "vxvv!"
                ),
            ),
        ),
        Panel(
            "Labels by age",
            "timeseries",
            "cps",
            "How old predictions are when their label comes; labels per second.",
            (Target("sum by (age) (rate(inferometer_labels_total{S}[RI]))", "{{age}}", "v0vv-"),),
            is_stacked=True,
        ),
        Panel(
            "Label delay",
            "timeseries",
            "s",
            "p50 and p90 of the time until the truth was known.",
            (
                Target(
                    "histogram_quantile(0.5, sum by (le) (increase(inferometer_label_delay_seconds_bucket{S}[W])))",
                    "p50",
                    "vnvv-",
                ),
                Target(
                    "histogram_quantile(0.9, sum by (le) (increase(inferometer_label_delay_seconds_bucket{S}[W])))",
                    "p90",
                    "vnvv-",
                ),
            ),
        ),
        Panel(
            "Feedback by result",
            "timeseries",
            "cps",
            "Labels per second. Bad_token: keys differ between replicas.",
            (
                Target(
                    "sum by (result) (rate(inferometer_feedback_total{SI}[RI]))",
                    "{{result}}",
                    "v0vv-",
                ),
            ),
            is_stacked=True,
        ),
    ),
)

_SCORES = Row(
    "Scores",
    (
        Panel(
            "Reliability",
            "bar chart",
            "percentunit",
            "Observed and promised per score bin; equal is calibrated. Choose one model and version: of several each bin is there as often.",
            (
                Target(
                    'sum by (model, version, class, bin) (increase(inferometer_score_bin_total{S, outcome="positive"}[W])) / (sum by (model, version, class, bin) (increase(inferometer_score_bin_total{S}[W])) > 0)',
                    "observed",
                    "v-vv-",
                ),
                Target(
                    "sum by (model, version, class, bin) (increase(inferometer_score_bin_predicted_sum_total{S}[W])) / (sum by (model, version, class, bin) (increase(inferometer_score_bin_total{S}[W])) > 0)",
                    "promised",
                    "v-vv-",
                ),
                Target(
                    "max by (bin) (inferometer_score_bin_upper_edge{SI})", "upper edge", "vvvv-"
                ),
            ),
        ),
        Panel(
            "Calibration error",
            "timeseries",
            "percentunit",
            "Mean gap between promise and outcome.",
            (
                Target(
                    "job_model_version_class:inferometer_ece:1d{RV} and topk(20, max_over_time(job_model_version_class:inferometer_ece:1d{RV}[$__range] @ end()))",
                    "{{model}} {{version}} {{class}}",
                    "vnvvv",
                ),
                Target(
                    'max by (model, version) (inferometer_baseline{S, metric="ece"})',
                    "{{model}} {{version}} baseline",
                    "vvvv-",
                ),
            ),
        ),
        Panel(
            "AUC and its error bound",
            "table",
            "short",
            "From 20 bins; the bound is exact.",
            (
                Target("fig(auc)", "AUC", "vnvv-"),
                Target("fig(auc_error_bound)", "±", "vnvv-"),
            ),
        ),
        Panel(
            "Log loss, Brier score",
            "timeseries",
            "short",
            "Log loss in nats and Brier score. Lower is better; both see overconfidence.",
            (
                Target("fig(log_loss)", "{{model}} {{version}} log loss", "vnvv-"),
                Target("fig(brier)", "{{model}} {{version}} Brier", "vnvv-"),
            ),
        ),
    ),
)

_NO_LABELS = Row(
    "No labels",
    (
        Panel(
            "Estimated and measured accuracy",
            "timeseries",
            "percentunit",
            "A gap beyond the band: concept drift or stale calibration.",
            (
                Target(
                    "job_model_version:inferometer_accuracy_estimated:1d{RV}",
                    "{{model}} {{version}} estimated",
                    "vnvvv",
                ),
                Target(
                    "job_model_version:inferometer_accuracy:1d{RV}",
                    "{{model}} {{version}} measured",
                    "v-vvv",
                ),
            ),
            absent="the estimate needs a profile with a calibration",
        ),
        Panel(
            "Estimated precision",
            "table",
            "percentunit",
            "By predicted class, from calibrated scores.",
            (Target("fig(precision_estimated)", "precision", "vnvv-"),),
            absent="the estimate needs a profile with a calibration",
        ),
        Panel(
            "Confidence",
            "heatmap",
            "short",
            "The highest score of each row. A band that moves is a change of model or input.",
            (
                Target(
                    "sum by (le) (rate(inferometer_prediction_confidence_bucket{S}[RI]))",
                    "",
                    "v0vv-",
                ),
            ),
        ),
        Panel(
            "Mean confidence",
            "timeseries",
            "percentunit",
            "A step is a change in model or input.",
            (
                Target(
                    "sum by (model, version) (rate(inferometer_prediction_confidence_sum{S}[RI])) / (sum by (model, version) (rate(inferometer_prediction_confidence_count{S}[RI])) > 0)",
                    "{{model}} {{version}}",
                    "v-vv-",
                ),
            ),
        ),
        Panel(
            "Predictions by class",
            "timeseries",
            "percentunit",
            "Shares of the 20 classes that are predicted most.",
            (
                Target(
                    "sum by (model, predicted) (rate(inferometer_predictions_total{S}[RI])) / on (model) group_left () (sum by (model) (rate(inferometer_predictions_total{S}[RI])) > 0) and on (model, predicted) topk(20, sum by (model, predicted) (increase(inferometer_predictions_total{S}[$__range] @ end())))",
                    "{{model}} {{predicted}}",
                    "v-vv-",
                ),
            ),
        ),
        Panel(
            "Rows with NaN or infinity",
            "timeseries",
            "short",
            "Rows with an output that is no number. Always 0 in health; go back to the version before.",
            (
                Target(
                    "sum by (model, version) (increase(inferometer_nonfinite_outputs_total{S}[RI]))",
                    "{{model}} {{version}}",
                    "v0vv-",
                ),
            ),
        ),
    ),
)

QUALITY = Dashboard(
    "quality",
    "Inferometer: prediction quality",
    "Are the answers right; labels count when they arrive?",
    (_TRUTH, _SCORES, _NO_LABELS, REGRESSION, OTHER_TASKS, GROUPS),
    variables=("job", "instance", "model", "version", "window", "filters"),
)
