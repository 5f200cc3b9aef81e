"""Rows of the quality dashboard for tasks without classes, and for parts of the traffic."""

from grafana.model import Panel, Row, Target

REGRESSION = Row(
    "Regression",
    (
        Panel(
            "Absolute error",
            "timeseries",
            "none",
            "Mean, median, baseline, in the target's unit.",
            (
                Target("fig(mae)", "{{model}} {{version}} mean", "vnvv-"),
                Target("fig(median_error)", "{{model}} {{version}} median", "vnvv-"),
                Target(
                    'max by (model, version) (inferometer_baseline{S, metric="mae"})',
                    "{{model}} {{version}} baseline",
                    "vvvv-",
                ),
            ),
            absent="no label of a regression in this window",
        ),
        Panel(
            "RMSE, bias",
            "timeseries",
            "none",
            "Bias above 0: predictions too high.",
            (
                Target("fig(rmse)", "{{model}} {{version}} RMSE", "vnvv-"),
                Target("fig(bias)", "{{model}} {{version}} bias", "vnvv-"),
            ),
        ),
        Panel(
            "R², relative error",
            "timeseries",
            "none",
            "Relative error leaves out targets of 0.",
            (
                Target("fig(r2)", "{{model}} {{version}} R²", "vnvv-"),
                Target("fig(mape)", "{{model}} {{version}} relative error", "vnvv-"),
            ),
        ),
    ),
    is_closed=True,
)

OTHER_TASKS = Row(
    "Other tasks",
    (
        Panel(
            "Ranking",
            "timeseries",
            "none",
            "Queries without a relevant item are left out.",
            (
                Target("fig(ndcg)", "{{model}} {{version}} NDCG@{{k}}", "vnvv-"),
                Target("fig(hit_rate)", "{{model}} {{version}} hits@{{k}}", "vnvv-"),
                Target("fig(mrr)", "{{model}} {{version}} MRR", "vnvv-"),
                Target("fig(mean_ap)", "{{model}} {{version}} MAP", "vnvv-"),
            ),
            absent="no label of a ranking in this window",
        ),
        Panel(
            "Detection",
            "timeseries",
            "percentunit",
            "Precision, recall, mean IoU of hits; 20 worst.",
            (
                Target(
                    'sum by (model, class, iou) (increase(inferometer_detection_matches_total{S, result="tp"}[W])) / (sum by (model, class, iou) (increase(inferometer_detection_matches_total{S, result=~"tp|fp"}[W])) > 0) and on (model, class, iou) bottomk(20, sum by (model, class, iou) (increase(inferometer_detection_matches_total{S, result="tp"}[W] @ end())) / (sum by (model, class, iou) (increase(inferometer_detection_matches_total{S, result=~"tp|fp"}[W] @ end())) > 0))',
                    "{{model}} {{class}} {{iou}} precision",
                    "v-vv-",
                ),
                Target(
                    'sum by (model, class, iou) (increase(inferometer_detection_matches_total{S, result="tp"}[W])) / (sum by (model, class, iou) (increase(inferometer_detection_matches_total{S, result=~"tp|fn"}[W])) > 0) and on (model, class, iou) bottomk(20, sum by (model, class, iou) (increase(inferometer_detection_matches_total{S, result="tp"}[W] @ end())) / (sum by (model, class, iou) (increase(inferometer_detection_matches_total{S, result=~"tp|fn"}[W] @ end())) > 0))',
                    "{{model}} {{class}} {{iou}} recall",
                    "v-vv-",
                ),
                Target(
                    'sum by (model, class) (increase(inferometer_detection_iou_sum_total{S}[W])) / (sum by (model, class) (increase(inferometer_detection_matches_total{S, iou="0.5", result="tp"}[W])) > 0) and on (model, class) bottomk(20, sum by (model, class) (increase(inferometer_detection_iou_sum_total{S}[W] @ end())) / (sum by (model, class) (increase(inferometer_detection_matches_total{S, iou="0.5", result="tp"}[W] @ end())) > 0))',
                    "{{model}} {{class}} overlap",
                    "v-vv-",
                ),
            ),
            absent="no label of a detection in this window",
        ),
        Panel(
            "Segmentation",
            "bar gauge",
            "percentunit",
            "Intersection over union; 20 worst classes, mean.",
            (
                Target("bottomk(20, fig(iou))", "{{model}} {{version}} {{class}}", "v-vv-"),
                Target("fig(mean_iou)", "{{model}} {{version}} mean", "v-vv-"),
            ),
            absent="no label of a segmentation in this window",
        ),
        Panel(
            "Translation: BLEU",
            "timeseries",
            "none",
            "Of the window as one corpus, 0 to 100.",
            (Target("fig(bleu)", "{{model}} {{version}}", "vnvv-"),),
            absent="no label of a translation in this window",
        ),
        Panel(
            "Translation: chrF, words",
            "timeseries",
            "percentunit",
            "Character n-gram precision and recall; word error rate.",
            (
                Target("fig(chrf_precision)", "{{model}} {{version}} precision", "v-vv-"),
                Target(
                    "fig(chrf_recall)",
                    "{{model}} {{version}} recall",
                    "v-vv-",
                ),
                Target("fig(wer)", "{{model}} {{version}} word errors", "v-vv-"),
            ),
            absent="no label of a translation in this window",
        ),
    ),
    is_closed=True,
)

GROUPS = Row(
    "Groups",
    (
        Panel(
            "Segments",
            "table",
            "percentunit",
            "Accuracy or mean error, and coverage, of each declared part of the traffic.",
            (
                Target(
                    'sum by (model, version, key, segment) (increase(inferometer_segment_labels_total{S, correct="true"}[W])) / (sum by (model, version, key, segment) (increase(inferometer_segment_labels_total{S, correct=~"true|false"}[W])) > 0)',
                    "accuracy",
                    "v-vv-",
                    unit="percentunit",
                ),
                Target(
                    "sum by (model, version, key, segment) (increase(inferometer_segment_absolute_error_sum_total{S}[W])) / (sum by (model, version, key, segment) (increase(inferometer_segment_labels_total{S}[W])) > 0)",
                    "mean error",
                    "v-vv-",
                    unit="none",
                ),
                Target(
                    "sum by (model, version, key, segment) (increase(inferometer_segment_labels_total{S}[W])) / (sum by (model, version, key, segment) (increase(inferometer_segment_predictions_total{S}[W])) > 0)",
                    "coverage",
                    "v-vv-",
                    unit="percentunit",
                ),
            ),
            absent="no segments are declared, or no label of one",
        ),
        Panel(
            "Agreement with a teacher",
            "timeseries",
            "percentunit",
            "Shadow or distillation labels, apart from the truth.",
            (
                Target(
                    'sum by (model, version) (increase(inferometer_teacher_agreement_total{S, agree="true"}[W])) / (sum by (model, version) (increase(inferometer_teacher_agreement_total{S}[W])) > 0)',
                    "{{model}} {{version}}",
                    "v-vv-",
                ),
            ),
            absent="no label of a teacher in this window",
        ),
    ),
    is_closed=True,
)
