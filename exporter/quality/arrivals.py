"""When labels come, whatever their task: how long after the prediction, and from whom."""

from bisect import bisect_left

from exporter.catalogue.quality import AGES
from exporter.quality.errors import LabelError
from exporter.quality.sums import Sums
from exporter.quality.task import Label, Task, Values

HOUR, DAY = 3_600.0, 86_400.0
# The upper bounds of all ages but the last.
AGE_SECONDS = (HOUR, DAY, 7 * DAY, 30 * DAY)


def declare_labels(sums: Sums) -> None:
    """Make known what `count_label` counts of any task."""
    for age in AGES:
        sums.add("labels_total", 0.0, age=age)
    sums.observe("label_delay_seconds", ())
    for agree in ("true", "false"):
        sums.add("teacher_agreement_total", 0.0, agree=agree)


def count_label(
    task: Task, values: Values, label: Label, sums: Sums, *, age: float, delay: float
) -> None:
    """Count a labelled row.

    `age` is the time in seconds from the prediction to the label's arrival, `delay` that to when
    the truth was known.
    """
    sums.add("labels_total", age=AGES[bisect_left(AGE_SECONDS, age)])
    sums.observe("label_delay_seconds", [delay])
    task.count(values, label, sums)


def count_teacher(task: Task, values: Values, label: Label, sums: Sums) -> None:
    """Count whether another model's prediction is the same, and nothing else.

    Raises LabelError for a task that has no classes to agree on.
    """
    if not task.is_correctable:
        raise LabelError("a teacher's label needs a task with classes")
    counted = Sums()
    task.count(values, label, counted)
    wrong = (counted.total("outcomes_total", outcome=outcome) for outcome in ("fp", "fn"))
    is_same = not any(wrong)
    sums.add("teacher_agreement_total", agree=str(is_same).lower())
