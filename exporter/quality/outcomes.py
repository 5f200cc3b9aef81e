"""Right and wrong by class: what accuracy, precision, recall and F1 are made of."""

from exporter.quality.classes import Classes
from exporter.quality.sums import Sums

OUTCOMES = ("tp", "fp", "fn")


def count_outcome(sums: Sums, classes: Classes, predicted: int, actual: int) -> None:
    """Count one labelled row of a classifier that chooses one class."""
    is_right = predicted == actual
    if is_right:
        sums.add("outcomes_total", **{"class": classes.shown_as(actual)}, outcome="tp")
    else:
        sums.add("outcomes_total", **{"class": classes.shown_as(predicted)}, outcome="fp")
        sums.add("outcomes_total", **{"class": classes.shown_as(actual)}, outcome="fn")
    if classes.has_confusion:
        names = {"predicted": classes.names[predicted], "actual": classes.names[actual]}
        sums.add("confusion_total", **names, correct=str(is_right).lower())


def retract_outcome(sums: Sums, classes: Classes, predicted: int, actual: int) -> None:
    """Take back what a label that was corrected had counted as outcomes."""
    counted = Sums()
    count_outcome(counted, classes, predicted, actual)
    for name, labels, amount in counted.amounts():
        if name == "outcomes_total":
            sums.add("outcomes_retracted_total", amount, **labels)


def declare_outcomes(sums: Sums, classes: Classes) -> None:
    """Make the outcomes of every class known, so that they stand at 0 before the first label."""
    for name in classes.shown:
        for outcome in OUTCOMES:
            for family in ("outcomes_total", "outcomes_retracted_total"):
                sums.add(family, 0.0, **{"class": name}, outcome=outcome)


def declare(sums: Sums, classes: Classes) -> None:
    """Make known what `count_outcome` counts."""
    declare_outcomes(sums, classes)
    if classes.has_confusion:
        for predicted in classes.names:
            for actual in classes.names:
                is_right = str(predicted == actual).lower()
                names = {"predicted": predicted, "actual": actual}
                sums.add("confusion_total", 0.0, **names, correct=is_right)


def declare_estimate(sums: Sums, classes: Classes) -> None:
    """Make known what an estimate counts."""
    sums.add("estimated_rows_total", 0.0)
    sums.add("estimated_correct_sum_total", 0.0)
    if classes.has_confusion:
        for predicted in classes.names:
            for actual in classes.names:
                sums.add("estimated_confusion_total", 0.0, predicted=predicted, actual=actual)


def declare_losses(sums: Sums) -> None:
    """Make the series of the losses known."""
    for name in ("scored_labels_total", "log_loss_sum_total", "brier_sum_total"):
        sums.add(name, 0.0)
