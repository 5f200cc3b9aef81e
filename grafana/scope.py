"""The abbreviations in which queries are written, and what they stand for.

`{S}` narrows a selector by the dashboard's variables, `{SM}` by all but the version, `{SI}` by job
and instance, `{SG}` by job, instance and GPU; of recorded series `{R}` by job and model, `{RV}` by
the version too, `{RJ}` by the job alone. Further matchers follow: `{S, outcome="ok"}`. `[RI]` is
the rate interval, `[W]` the window that the reader chooses. MARK is -1 where a target answers and
has nothing to show, -2 where none answers. BUSIEST_GPUS are those that are drawn of many,
LISTED_GPUS those that a table has, and
`WORST_GPUS(selector)` those of which the selected series were the largest, or grew most.
`fig(name)` is a figure of quality over the window.
"""

import re

from grafana.expansion import Count, expanded
from grafana.figures import FIGURES

JOB, INSTANCE, MODEL, VERSION, GPU = (
    f'{name}=~"${variable}"'
    for name, variable in (
        ("job", "job"),
        ("instance", "instance"),
        ("model", "model"),
        ("version", "version"),
        ("gpu_uuid", "gpu"),
    )
)
SCOPES = {
    "S": (JOB, INSTANCE, MODEL, VERSION),
    "SM": (JOB, INSTANCE, MODEL),
    "SI": (JOB, INSTANCE),
    "SG": (JOB, INSTANCE, GPU),
    "R": (JOB, MODEL),
    "RV": (JOB, MODEL, VERSION),
    "RJ": (JOB,),
}
WORDS = {
    "MARK": "(-(max(up{SI}) == 1) or vector(-2))",
    # Instances of GPUs have nothing that is drawn of these. A host has eight GPUs at most, usually.
    "BUSIEST_GPUS": (
        "topk(8, max by (gpu_uuid)"
        " (avg_over_time(inferometer_gpu_utilization_ratio{SG}[$__range] @ end()))"
        " or 0 * max by (gpu_uuid)"
        " (max_over_time(inferometer_gpu_up{SG, gpu_uuid!~'MIG-.*'}[$__range] @ end())))"
    ),
    # A table: who asks for one finds it by the variables.
    "LISTED_GPUS": "bottomk(100, max by (instance, gpu_uuid) (inferometer_gpu_up{SG}))",
    "[RI]": "[$__rate_interval]",
    "[W]": "[$window]",
}
_SCOPE = re.compile(r"\{(SM|SI|SG|RV|RJ|S|R)((?:, [^}]*)?)\}")
_WORST = re.compile(r"WORST_GPUS\((\w+?(_total)?)(\{[^}]*\})\)")
_FIGURE = re.compile(r"fig\((\w+)\)")
# What figures are compared with, which is no counter.
_GAUGE = re.compile(r"(inferometer_reference_(?:bin_share|rows))\)")


def written_out(expression: str) -> str:
    """Return a query as Grafana has it. Raises KeyError for a figure that there is not."""
    expression = _FIGURE.sub(_figure, expression)
    expression = _WORST.sub(_worst, expression)
    for word, text in WORDS.items():
        expression = expression.replace(word, text)
    return _SCOPE.sub(_scoped, expression)


def _worst(match: re.Match[str]) -> str:
    over_range = "increase" if match[2] else "max_over_time"
    return f"topk(8, max by (gpu_uuid) ({over_range}({match[1]}{match[3]}[$__range] @ end())))"


def _figure(match: re.Match[str]) -> str:
    found = expanded(FIGURES[match[1]].expression, _increase)
    # Over all jobs that are chosen, as everything else on a dashboard.
    found = found.replace("job, model, version", "model, version")
    return "(" + _GAUGE.sub(r"\1{S})", found) + ")"


def _increase(count: Count) -> str:
    names = ", ".join(("job", "model", "version", *count.labels))
    more = f", {count.selector[1:-1]}" if count.selector else ""
    return f"sum by ({names}) (increase(inferometer_{count.metric}{{S{more}}}[W]))"


def _scoped(match: re.Match[str]) -> str:
    return "{" + ", ".join(SCOPES[match[1]]) + match[2] + "}"
