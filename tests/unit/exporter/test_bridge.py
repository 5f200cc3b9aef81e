"""Metrics of prometheus_client in the store: every type, every gauge mode, two processes."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from exporter import CollectorSettings, Label, Scraper, ScrapeRequest, counter, open_recorder
from exporter.metric import Family
from exporter.store_reader import StoreReader
from tests.unit.exporter.programs import PYTHON, wait_until_recorded

PROGRAM = """
import gc, os, sys, time
from pathlib import Path
from prometheus_client import Counter, Gauge, Histogram, Summary
from exporter import open_recorder
from exporter.bridge import install
number = int(sys.argv[2])
recorder = open_recorder(Path(sys.argv[1]), "worker", families=())
install(recorder)
"""

METRICS = """
orders = Counter("orders", "Orders.", ["kind"])
orders.labels("a").inc(number)
orders.labels("a").inc(1, exemplar={"trace_id": "ab" * 16})
plain = Counter("plain", "Plain.")
plain.inc(3)
work = Histogram("work_seconds", "Work.", ["kind"], buckets=(0.1, 1, 10))
work.labels("x").observe(0.5, exemplar={"trace_id": "cd" * 16})
work.labels("x").observe(100)
size = Summary("size_bytes", "Size.")
size.observe(number)
for mode in ("sum", "max", "min", "mostrecent", "all"):
    for live in ("", "live"):
        gauge = Gauge(f"g_{live}{mode}", "G.", multiprocess_mode=live + mode)
        gauge.set(number)
assert orders.labels("a")._value.get() == number + 1
"""


def run(store_path: Path, number: int, body: str = METRICS) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            *PYTHON,
            "-c",
            PROGRAM + body,
            str(store_path),
            str(number),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


WAIT = "\nprint('recorded', flush=True)\nsys.stdin.read()\n"


def text(store_path: Path) -> str:
    scraper = Scraper(store_path, CollectorSettings(), folds=False)
    openmetrics = ScrapeRequest(accept="application/openmetrics-text")
    return scraper.scrape(openmetrics).body.decode()


def test_every_type_and_gauge_mode_over_two_processes_of_which_one_dies(store_path: Path) -> None:
    living, dying = (run(store_path, number, METRICS + WAIT) for number in (2, 5))
    for process in (living, dying):
        wait_until_recorded(process)

    both = text(store_path)
    dying.kill()
    dying.communicate()
    rest = text(store_path)
    StoreReader(store_path).fold()
    folded = text(store_path)

    for body in (both, rest, folded):
        assert 'orders_total{kind="a"} 9.0 # {trace_id="' + "ab" * 16 in body
        assert "plain_total 6.0" in body
        assert 'work_seconds_bucket{kind="x",le="1.0"} 2.0 # {trace_id="' + "cd" * 16 in body
        assert 'work_seconds_bucket{kind="x",le="+Inf"} 4.0' in body
        assert 'work_seconds_sum{kind="x"} 201.0' in body
        assert "# TYPE size_bytes summary" in body
        assert "size_bytes_count 2.0" in body
        assert "size_bytes_sum 7.0" in body
        for mode, value in (("sum", 7), ("max", 5), ("min", 2)):
            assert f"g_{mode} {value}.0" in body
        assert f'g_liveall{{pid="{living.pid}"}} 2.0' in body
    assert f'g_all{{pid="{dying.pid}"}} 5.0' in both
    for mode, value in (("sum", 7), ("max", 5), ("min", 2)):
        assert f"g_live{mode} {value}.0" in both
    for body in (rest, folded):
        for mode in ("sum", "max", "min", "mostrecent"):
            assert f"g_live{mode} 2.0" in body
        assert f'pid="{dying.pid}"' not in body
    living.communicate()


def test_a_removed_child_ends_its_series_and_can_come_back(store_path: Path) -> None:
    body = """
orders = Counter("orders", "Orders.", ["kind"])
for kind in "abc":
    orders.labels(kind).inc(1)
orders.remove("a")
orders.remove("b")
gc.collect()
recorder.tick()
orders.labels("b").inc(5)
"""
    process = run(store_path, 1, body + WAIT)
    wait_until_recorded(process)

    shown = text(store_path)

    assert 'kind="a"' not in shown
    assert 'orders_total{kind="b"} 6.0' in shown
    assert 'orders_total{kind="c"} 1.0' in shown
    process.communicate()
    StoreReader(store_path).fold()
    assert 'kind="a"' not in text(store_path)


def test_forked_workers_record_with_the_metrics_of_their_parent(store_path: Path) -> None:
    body = """
orders = Counter("orders", "Orders.")
pids = Gauge("pids", "Pids.")
work = Histogram("work_seconds", "Work.")
for _ in range(3):
    if os.fork() == 0:
        orders.inc()
        work.observe(1)
        pids.set(1)
        os._exit(0)
for _ in range(3):
    assert os.wait()[1] == 0
"""
    process = run(store_path, 1, body)
    process.communicate()
    assert process.returncode == 0

    shown = text(store_path)

    assert "orders_total 3.0" in shown
    assert "work_seconds_count 3.0" in shown


def test_label_sets_beyond_what_a_block_holds_are_recorded_as_other(store_path: Path) -> None:
    body = """
import logging
logging.disable(logging.CRITICAL)
wide = Histogram("wide", "Wide.", ["kind"])
for part in range(30):
    many = Counter(f"many{part}", "Many.", ["kind"])
    for number in range(900):
        many.labels("x" * 100 + str(number)).inc()
wide.labels("late").observe(1)
print("recorded", flush=True)
"""
    process = run(store_path, 1, body)
    wait_until_recorded(process)
    process.communicate()
    assert process.returncode == 0
    assert "many0_total" in text(store_path)
    assert 'wide_count{kind="__other__"} 1.0' in text(store_path)


@pytest.mark.parametrize(
    ("body", "environment", "message"),
    [
        ("Counter('inferometer_x', 'x')", "", "names that begin with inferometer_"),
        ("", "PROMETHEUS_MULTIPROC_DIR", "PROMETHEUS_MULTIPROC_DIR is set"),
    ],
)
def test_what_cannot_be_is_an_error(
    store_path: Path, tmp_path: Path, body: str, environment: str, message: str
) -> None:
    program = PROGRAM + body
    if environment:
        program = program.replace(
            "install(recorder)", f"os.environ['{environment}'] = '{tmp_path}'\ninstall(recorder)"
        )

    done = subprocess.run(
        [sys.executable, "-c", program, str(store_path), "1"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert message in done.stderr


def test_metrics_created_too_early_are_named(store_path: Path) -> None:
    program = PROGRAM.replace("number =", "Counter('early', 'x')\nnumber =")

    done = subprocess.run(
        [sys.executable, "-c", program, str(store_path), "1"],
        capture_output=True,
        text=True,
        check=True,
    )

    assert "created too early to be recorded in the store: early" in done.stderr


def families() -> tuple[Family, ...]:
    return (counter("events_total", "Events.", Label("kind")),)


def test_a_series_removed_in_one_of_two_processes_stays_and_loses_nothing(store_path: Path) -> None:
    first, second = (open_recorder(store_path, role, families=families()) for role in ("a", "b"))
    for recorder in (first, second):
        recorder.child("events_total", kind="x").inc(2)
        recorder.child("events_total", kind="y").inc(2)
    reader = StoreReader(store_path)

    first.remove(first.child("events_total", kind="x"))
    assert reader.view().families["events_total"].series["x",].cells == [4.0]
    second.remove(second.child("events_total", kind="x"))
    assert ("x",) not in reader.view().families["events_total"].series
    first.close()
    reader.fold()
    assert ("x",) not in reader.view().families["events_total"].series
    second.child("events_total", kind="x").inc(1)
    assert reader.view().families["events_total"].series["x",].cells == [5.0]
    assert reader.view().families["events_total"].series["y",].cells == [4.0]


def test_what_a_registry_has_beside_is_copied(store_path: Path) -> None:
    body = """
from prometheus_client import REGISTRY, Enum, Info
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
Info("build", "Build.").info({"version": "1.2"})
Enum("phase", "Phase.", states=["on", "off"]).state("off")
Gauge("answer", "Answer.", multiprocess_mode="sum").set_function(lambda: 42)
labelled = Gauge("room", "Room.", ["name"], multiprocess_mode="max")
labelled.labels("a").set_function(lambda: 7)
class Own:
    def collect(self):
        yield GaugeMetricFamily("own", "Own.", value=3)
        yield CounterMetricFamily("seen", "Seen.", value=4)
class Broken:
    def describe(self):
        return []
    def collect(self):
        raise RuntimeError("broken")
REGISTRY.register(Own())
REGISTRY.register(Broken())
recorder.tick()
print("recorded", flush=True)
sys.stdin.read()
"""
    process = run(store_path, 1, body)
    wait_until_recorded(process)

    shown = text(store_path)

    process.kill()
    process.communicate()
    assert '# TYPE build info\nbuild_info{version="1.2"} 1.0' in shown
    assert '# TYPE phase stateset\nphase{phase="on"} 0.0\nphase{phase="off"} 1.0' in shown
    assert "\nanswer 42.0\n" in shown
    assert '\nroom{name="a"} 7.0\n' in shown
    assert "\nown 3.0\n" in shown
    assert "seen" not in shown
    assert "python_info" not in shown
    assert "\nown" not in text(store_path)  # It was read by a process that is dead.


@pytest.mark.parametrize(
    "declared",
    [
        'Gauge("connections", "x", ["pid"]).labels("7").set(1)',
        'Counter("my.metric", "x").inc()',
        'Counter("other", "x", ["a.b"]).labels("q").inc()',
        'Gauge("jobs_total", "x").set(1)',
        'Histogram("wide", "x", buckets=range(1_100)).observe(1)',
        'Histogram("twice", "x", buckets=(1, 1, 2)).observe(1)',
        'Histogram("low", "x", buckets=(float("-inf"), 0, 2)).observe(1)',
    ],
)
def test_a_metric_that_no_store_can_keep_works_in_its_process(
    store_path: Path, declared: str
) -> None:
    body = f"""
import logging
from prometheus_client import REGISTRY, generate_latest
logging.basicConfig(stream=sys.stdout, format="%(message)s")
before = Counter("before", "B.")
before.inc()
{declared}
Counter("after", "A.").inc()
print(sum(sample.value == 1 for metric in REGISTRY.collect() for sample in metric.samples))
"""
    process = run(store_path, 1, body)
    output, _ = process.communicate()

    assert process.returncode == 0
    assert output.count("stays in this process, not in the store") == 1
    assert int(output.splitlines()[-1]) >= 3
    shown = text(store_path)
    assert "before_total 1.0" in shown
    assert "after_total 1.0" in shown


def test_gauges_count_from_0_whatever_their_mode(store_path: Path) -> None:
    body = (
        """
for mode in ("sum", "max", "min", "livemax", "all"):
    gauge = Gauge(f"g_{mode}", "G.", multiprocess_mode=mode)
    gauge.inc(5)
    gauge.dec(2)
    assert gauge._value.get() == 3
"""
        + WAIT
    )
    process = run(store_path, 1, body)
    wait_until_recorded(process)

    shown = text(store_path)

    process.kill()
    process.communicate()
    for mode in ("sum", "max", "min", "livemax"):
        assert f"\ng_{mode} 3.0\n" in shown
    assert f'g_all{{pid="{process.pid}"}} 3.0' in shown


def test_a_forked_worker_leaves_its_parents_rows_by_pid_to_it(store_path: Path) -> None:
    body = """
gauge = Gauge("busy", "B.", multiprocess_mode="all")
jobs = Counter("jobs", "J.")
gauge.set(7)
if os.fork():
    os._exit(0)
jobs.inc()
print(os.getpid(), flush=True)
print("recorded", flush=True)
sys.stdin.read()
"""
    process = run(store_path, 1, body)
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    process.wait()

    shown = text(store_path)

    os.kill(pid, signal.SIGKILL)
    process.communicate()
    assert "jobs_total 1.0" in shown
    assert "busy{" not in shown


def test_a_gauge_that_outlives_its_process_can_be_removed(store_path: Path) -> None:
    program = """
gauge = Gauge("queue", "Q.", ["name"], multiprocess_mode="sum")
gauge.labels("a").set(5)
"""
    dead = run(store_path, 1, program)
    dead.communicate()
    assert 'queue{name="a"} 5.0' in text(store_path)

    removing = run(
        store_path, 1, program + 'gauge.remove("a")\ngc.collect()\nrecorder.tick()' + WAIT
    )
    wait_until_recorded(removing)
    shown = text(store_path)
    StoreReader(store_path).fold()
    removing.kill()
    removing.communicate()

    assert 'queue{name="a"}' not in shown
    StoreReader(store_path).fold()
    assert 'queue{name="a"}' not in text(store_path)


def test_a_signal_handler_may_count(store_path: Path) -> None:
    body = """
import signal
counter = Counter("seen", "S.")
handled = 0
def handle(*_):
    global handled
    handled += 1
    counter.inc()
signal.signal(signal.SIGALRM, handle)
signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
counted = 0
while handled < 2_000:
    counter.inc()
    counted += 1
signal.setitimer(signal.ITIMER_REAL, 0)
print(counted + handled)
"""
    process = run(store_path, 1, body)
    output, _ = process.communicate(timeout=60)

    (counted,) = re.findall(r"^seen_total (.*)$", text(store_path), re.MULTILINE)
    assert float(counted) == float(output)


def test_forks_while_labels_come_and_go_do_not_hang(store_path: Path) -> None:
    body = """
import threading
jobs = Counter("jobs", "J.", ["kind"])
forked = Counter("forked", "F.", ["kind"])
stop = threading.Event()
def churn():
    number = 0
    while not stop.is_set():
        number += 1
        jobs.labels(str(number % 50)).inc()
        jobs.remove(str(number % 50))
        recorder.tick()
thread = threading.Thread(target=churn)
thread.start()
for _ in range(60):
    pid = os.fork()
    if pid == 0:
        forked.labels("a").inc()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
stop.set()
thread.join()
"""
    process = run(store_path, 1, body)
    process.communicate(timeout=60)

    assert process.returncode == 0
    assert 'forked_total{kind="a"} 60.0' in text(store_path)


def test_a_label_set_removed_and_used_again_at_once_is_never_lost(store_path: Path) -> None:
    body = """
import threading
from exporter.store_reader import StoreReader
sys.setswitchinterval(1e-6)
jobs = Counter("jobs", "J.", ["kind"])
stop = threading.Event()
def tick():
    while not stop.is_set():
        recorder.tick()
thread = threading.Thread(target=tick)
thread.start()
for number in range(3_000):
    jobs.labels("x").inc()
    jobs.remove("x")
jobs.labels("x").inc()
stop.set()
thread.join()
recorder.tick()
"""
    process = run(store_path, 1, body)
    process.communicate(timeout=60)

    assert process.returncode == 0
    assert 'jobs_total{kind="x"} 3001.0' in text(store_path)


def test_other_registries_can_be_copied_too(store_path: Path) -> None:
    body = """
from prometheus_client import CollectorRegistry, Info
own = CollectorRegistry()
install(recorder, registries=(own,))
Info("build", "Build.", registry=own).info({"version": "1.2"})
Gauge("answer", "A.", multiprocess_mode="sum", registry=own).set_function(lambda: 42)
recorder.tick()
"""
    process = run(store_path, 1, body + WAIT)
    wait_until_recorded(process)

    shown = text(store_path)

    process.kill()
    process.communicate()
    assert 'build_info{version="1.2"} 1.0' in shown
    assert "\nanswer 42.0\n" in shown
