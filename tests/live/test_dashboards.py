"""Every query of every panel against real servers and a real Prometheus, in several states.

Each query has a word, one letter for a state, of what is to come of it (`Target.states`):

    v  values, at least one of them not 0      -  nothing
    0  only zeros                               x  the mark -1: nothing to show
    n  only NaN                                 !  the mark -2: no target answers
    *  anything but nothing

The states, in the order of the letters: L a server under load, with two simulated GPUs; I the same
before its first request; N a server under load without GPUs; K the first, whose runner is killed;
D the second, which has been killed. The GPU dashboard has one more: G an exporter with two GPUs, of
which one is lost and the other too hot and with memory errors.
"""

import math
import os
import random
import re
import shutil
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import requests
import yaml

from grafana.classic import COLLECTION
from grafana.definitions import DASHBOARDS
from grafana.model import Panel, Target
from grafana.panel_json import ONCE
from grafana.promql import filled, used
from grafana.scope import written_out
from tests.gpu.stand_in import WHOLE, Gpus, build, exporter_of
from tests.live.labels import KEY, declared
from tests.live.profiles import profiled
from tests.live.prometheus import prometheus, query
from tests.live.servers import Server, again_and_again, descendants, start_server, wait_for
from tests.live.structures import BOXES, PIXELS, RANKING, TEXTS

STATES = "LINKDG"
PROJECT = Path(__file__).parents[2]
RULES = PROJECT / "grafana/rules"
RANGE_SECONDS, STEP_SECONDS, WINDOW_SECONDS = 10, 1, 20
VALUES = {
    "__rate_interval": "6s", "__range": f"{WINDOW_SECONDS}s", "__range_s": f"{WINDOW_SECONDS}",
    "window": f"{WINDOW_SECONDS}s", "model": ".+", "version": ".+", "threshold": "0.25",
    "feature": "age", "gpu": ".+", "cost": "1",
}  # fmt: skip

# What KEDA asks; the HPA's adapter asks the same (test_kubernetes.py).
KEDA = PROJECT / "deploy/kubernetes/components/autoscaling-keda/autoscaler.yaml"
AUTOSCALER = yaml.safe_load(KEDA.read_text())["spec"]["triggers"][0]["metadata"]["query"].replace(
    'job="inferometer/inferometer"', 'job=~"inferometer.*"'
)

# Of faults that a server under load does not have; promtool's tests of the alerts have them, and
# the state G.
NOT_UNDER_LOAD = {
    "inferometer_dropped_series_total",
    "inferometer_gpu_clock_event_active",
    "inferometer_gpu_xid_errors_total",
    "inferometer_gpu_xid_last_timestamp_seconds",
    "inferometer_reference_refused",
}

pytestmark = [
    pytest.mark.alone,
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not installed"),
]

# The load has requests that are late, values that are no numbers, and batches that are padded.
UNDER_LOAD = {
    "InferometerDeadlinesMissed",
    "InferometerErrorBudgetBurn",
    "InferometerInvalidFeature",
    "InferometerNonfiniteOutputs",
    "InferometerPaddingWaste",
    "InferometerRequestsShed",
}


class Asked(NamedTuple):
    """A query, and what came of it."""

    where: str
    expression: str
    expected: str
    found: str


def targets() -> Iterator[tuple[str, Panel, Target]]:
    for dashboard in DASHBOARDS:
        for panel in (COLLECTION, *dashboard.panels):
            for number, target in enumerate(panel.targets):
                yield f"{dashboard.slug}/{panel.title}/{number}", panel, target


def ask(url: str, panel: Panel, expression: str) -> list[float]:
    """Return all values that a panel's query gives, as the panel asks it."""
    now = time.time()
    if panel.kind in ONCE:
        path, more = "query", {"time": f"{now}"}
    else:
        times = {"start": f"{now - RANGE_SECONDS}", "end": f"{now}", "step": f"{STEP_SECONDS}"}
        path, more = "query_range", times
    answer = requests.get(f"{url}/api/v1/{path}", params={"query": expression, **more}, timeout=20)
    document = answer.json()
    assert (document["status"], document.get("warnings")) == ("success", None), document
    return [
        float(value)
        for series in document["data"]["result"]
        for _, value in series.get("values", [series.get("value")])
    ]


def letter_of(values: list[float]) -> str:
    if not values:
        return "-"
    numbers = {value for value in values if not math.isnan(value)}
    if not numbers:
        return "n"
    return {frozenset({0.0}): "0", frozenset({-1.0}): "x", frozenset({-2.0}): "!"}.get(
        frozenset(numbers), "v"
    )


def wrong(url: str, state: str, job: str, instance: str) -> list[Asked]:
    """Return the queries of which something else came than is written beside them."""
    place, found = STATES.index(state), []
    for where, panel, target in targets():
        if state == "G" and not where.startswith("gpu/"):
            continue
        # The rules' minutes are seconds here.
        written = written_out(target.expression).replace(":1m]", ":1s]")
        expression = filled(written, VALUES | {"job": job, "instance": instance})
        expected, letter = target.states[place], letter_of(ask(url, panel, expression))
        if not (letter == expected or (expected == "*" and letter != "-")):
            found.append(Asked(where, expression, expected, letter))
    return found


def unnoticed(url: str, job: str, instance: str) -> list[str]:
    """Return the metrics that could be renamed without any query under load telling.

    To a dashboard it is the same whether the exposition or the query has another name.
    """
    values = VALUES | {"job": job, "instance": instance}
    asking: dict[str, list[tuple[Panel, Target, str]]] = {}
    for _, panel, target in targets():
        expression = written_out(target.expression)
        for metric in {selector.metric for selector in used(expression).selectors}:
            asking.setdefault(metric, []).append((panel, target, expression))
    found = []
    for metric, those in sorted(asking.items()):
        renamed = re.compile(rf"\b{metric}\b")
        if not any(
            letter_of(ask(url, panel, filled(renamed.sub("no_such_metric", text), values)))
            != target.states[STATES.index("L")]
            for panel, target, text in those
        ):
            found.append(metric)
    return found


def rules(url: str) -> list[dict[str, Any]]:
    """Return every rule, with what came of its last evaluation."""
    groups = requests.get(f"{url}/api/v1/rules", timeout=20).json()["data"]["groups"]
    return [rule for group in groups for rule in group["rules"]]


def failing(url: str) -> list[str]:
    """Return the rules that cannot be evaluated, and why."""
    return [f"{rule['name']}: {rule['lastError']}" for rule in rules(url) if rule["health"] != "ok"]


def unrecorded(url: str) -> set[str]:
    """Return the recorded series that have no value."""
    recorded = {rule["name"] for rule in rules(url) if rule["type"] == "recording"}
    return {name for name in recorded if not query(url, name)}


def alerts(url: str) -> set[str]:
    """Return the alerts that fire, or would if it went on."""
    return {dict(labels)["alertname"] for labels in query(url, "ALERTS")}


def shown(state: str, found: list[Asked]) -> str:
    lines = [f"{state}: {one.where}: {one.expected} expected, {one.found} found: {one.expression}" for one in found]  # fmt: skip # noqa: E501
    return "\n".join(lines)


class Load:
    """Bounded load of all kinds of requests on servers, until it is stopped."""

    def __init__(self, servers: list[Server]) -> None:
        self._servers = servers
        self._ends = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(server, seed))
            for seed, server in enumerate([*servers, *servers])
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._ends.set()
        for thread in self._threads:
            thread.join()

    def _run(self, server: Server, seed: int) -> None:
        numbers = random.Random(seed)
        session = requests.Session()
        while not self._ends.wait(0.05):
            try:
                self._ask(session, server, numbers)
            except (requests.RequestException, KeyError):
                # A server that is being killed; what it answers is not this test's question.
                session.close()

    def _ask(self, session: requests.Session, server: Server, numbers: random.Random) -> None:
        rows = [
            [numbers.gauss(0, 1) + 0.3, numbers.gauss(0, 1)] for _ in range(numbers.randint(1, 8))
        ]
        texts = [
            " ".join(numbers.choices(["the", "cat", "sat", "on", "a", "mat"], k=6)) for _ in rows
        ]
        requests_: list[tuple[str, list[Any], Any]] = [
            ("half", rows, lambda *_: numbers.choice(["cat", "dog"])),
            ("log", [abs(row[0]) for row in rows], lambda _, found: found + 0.1),
            ("order", [[1, 4, 2, 3]], lambda *_: {"1": 1}),
            ("pixels", [[[0, 1], [1, 2]]], lambda *_: [[0, 1], [2, 2]]),
            (
                "boxes",
                [[[0, 0, 9, 9, 0.9, 0]]],
                lambda *_: [{"box": [0, 0, 9, 8], "class": numbers.choice(["cat", "dog"])}],
            ),
            ("text", texts, lambda text, _: text.replace("mat", "hat")),
        ]
        model, instances, label = numbers.choice(requests_)
        kind = numbers.random()
        if kind < 0.02:
            session.post(
                f"{server.url}/v1/models/picky:predict", json={"instances": [13]}, timeout=20
            )
        elif kind < 0.05:
            session.post(
                f"{server.url}/v1/models/half:predict", json={"instances": [["a"]]}, timeout=20
            )
        elif kind < 0.1:
            session.post(
                f"{server.url}/v1/models/log:predict", json={"instances": [-1.0]}, timeout=20
            )
        elif kind < 0.15:
            session.post(
                f"{server.url}/v1/models/nap:predict", json={"instances": [0.3]},
                headers={"X-Request-Timeout-Ms": "20"}, timeout=20,
            )  # fmt: skip
        elif kind < 0.2:
            data = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]}
            session.post(f"{server.url}/v2/models/half/infer", json=data, timeout=20)
        else:
            self._label(session, server, (model, instances, label), numbers)

    def _label(
        self,
        session: requests.Session,
        server: Server,
        kind: tuple[str, list[Any], Any],
        numbers: random.Random,
    ) -> None:
        model, rows, label = kind
        answer = session.post(
            f"{server.url}/v1/models/{model}:predict?feedback_tokens=true",
            json={"instances": rows}, headers={"X-Segment": "country=de"}, timeout=20,
        ).json()  # fmt: skip
        items = [
            {"token": token, "label": label(row, found), **_echo(model, row, found)}
            for token, row, found in zip(
                answer["feedback_tokens"], rows, answer["predictions"], strict=True
            )
            if token is not None
        ]
        if numbers.random() < 0.1:
            items.append({"token": "i1.a.b", "label": 1})
        if model == "half" and items:
            items.append(items[0] | {"source": "teacher"})
        session.post(f"{server.url}/v1/feedback/batch", json=items, timeout=20)


def _echo(model: str, row: Any, found: Any) -> Mapping[str, Any]:
    if model in {"half", "log"}:
        return {}
    return {"prediction": {"pixels": row, "text": row}.get(model, found)}


@contextmanager
def rules_each_second(folder: Path) -> Iterator[Path]:
    """Yield a folder with the shipped rules, evaluated each second."""
    for file in RULES.glob("*.yml"):
        (folder / file.name).write_text(file.read_text().replace("interval: 1m", "interval: 1s"))
    yield folder


def test_every_query_gives_what_is_written_beside_it(models: Path, tmp_path: Path) -> None:
    served = {
        **profiled(models, tmp_path / "profiled"),
        "net": models / "network.keras",
        "picky": models / "picky",
        "order": declared(models, "order", tmp_path, RANKING),
        "pixels": declared(models, "pixels", tmp_path, PIXELS),
        "boxes": declared(models, "boxes", tmp_path, BOXES),
        "text": declared(models, "text", tmp_path, TEXTS),
        "nap": models / "nap",
    }
    (tmp_path / "rules").mkdir()
    arguments = ("--workers=2", f"--feedback-keys={KEY}", "--allowed-batch-rows=4,16,64")
    with ExitStack() as stack:
        first, second = (
            stack.enter_context(start_server(served, folder, *arguments, environment=environment))
            for folder, environment in (
                (_folder(tmp_path, "first"), {"INFEROMETER_EXPORTER_GPU_SIMULATE": "2"}),
                (_folder(tmp_path, "second"), {}),
            )
        )
        addresses = [s.metrics_url.removeprefix("http://") for s in (first, second)]
        ours, others = (("inferometer", addresses[0]), ("inferometer-cpu", addresses[1]))
        rules = stack.enter_context(rules_each_second(tmp_path / "rules"))
        scraped = ",".join("=".join(each) for each in (ours, others))
        url = stack.enter_context(prometheus(tmp_path, scraped, rules=rules))
        wait_for(
            lambda: len(query(url, "count_over_time(up[20s]) >= 18")) == 2, "scraped for a while"
        )
        report = [shown("I", wrong(url, "I", *ours)), *failing(url)]
        assert set() == alerts(url)
        load = Load([first, second])
        stack.callback(load.stop)
        wait_for(lambda: _has_lasted(url), "load for longer than every window", seconds=90)
        report += [shown("L", wrong(url, "L", *ours)), shown("N", wrong(url, "N", *others))]
        report += failing(url)
        assert set() == unrecorded(url)
        assert UNDER_LOAD == alerts(url)
        assert NOT_UNDER_LOAD == set(unnoticed(url, *ours))
        with again_and_again(lambda: first.signal("runner", signal.SIGKILL), pause_seconds=0.5):
            killed = 'inferometer_process_exits_total{role="runner", cause="signal"} offset 3s > 0'
            wait_for(lambda: query(url, killed), "a runner was killed some seconds ago")
            report += [shown("K", wrong(url, "K", *ours)), *failing(url)]
        assert query(url, AUTOSCALER)
        for pid in descendants(second.process.pid):
            os.kill(pid, signal.SIGKILL)
        second.process.kill()
        long = RANGE_SECONDS + WINDOW_SECONDS + 5
        down = f"count_over_time((up == 0)[{long}s:1s]) >= {long - 3}"
        wait_for(lambda: query(url, down), "the second has been down for every window", seconds=90)
        report += [shown("D", wrong(url, "D", *others)), *failing(url)]
        # Of fewer than half of the fleet nothing is said: no reason to halve it.
        assert query(url, AUTOSCALER)
        assert not query(url, AUTOSCALER.replace("0.5", "0.51"))

    assert not any(report), "\n".join(filter(None, report))


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler (cc)")
def test_gpu_dashboard_shows_what_is_wrong_with_a_gpu(tmp_path: Path) -> None:
    gpus = Gpus(tmp_path, build(tmp_path))
    first, second = (
        f"{WHOLE} event_types=8",
        "gpu 1 uuid=GPU-b name=Other memory_total=100 memory_used=9",
    )
    moves = ("ramp 0 f83 412000", "ramp 0 ecc1 1", "ramp 0 f269 500000000")
    gpus.say(first, second, *moves)
    (tmp_path / "rules").mkdir()
    with (
        exporter_of(gpus, tmp_path / "store") as running,
        rules_each_second(tmp_path / "rules") as rules,
        prometheus(tmp_path, f"127.0.0.1:{running.ports[0]}", rules=rules) as url,
    ):
        ours = ("inferometer", f"127.0.0.1:{running.ports[0]}")
        wait_for(lambda: len(query(url, "inferometer_gpu_up == 1")) == 2, "both are up")
        lost = "fail nvmlDeviceGetMemoryInfo_v2 code=15 gpu=1"
        gpus.say(first, second, *moves, lost, "event 0 xid=48")
        long = RANGE_SECONDS + WINDOW_SECONDS + 5
        wait_for(
            lambda: query(
                url, f"count_over_time((inferometer_gpu_up == 0)[{long}s:1s]) > {long - 3}"
            ),
            "one has been lost for every window",
        )
        report = [shown("G", wrong(url, "G", *ours)), *failing(url)]

    assert not any(report), "\n".join(filter(None, report))


def _has_lasted(url: str) -> bool:
    """Whether labels have been counted for so long that every window is full of them."""
    return (
        len(
            query(
                url,
                f"sum by (instance) (inferometer_labels_total offset {WINDOW_SECONDS + 2}s) > 0",
            )
        )
        == 2
    )


def _folder(path: Path, name: str) -> Path:
    (path / name).mkdir()
    return path / name
