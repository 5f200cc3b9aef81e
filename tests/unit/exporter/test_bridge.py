"""Metrics of prometheus_client in the store: every type, every gauge mode, two processes."""

import subprocess
import sys
from pathlib import Path

import pytest

from exporter import CollectorSettings, Label, Scraper, ScrapeRequest, counter, open_recorder
from exporter.metric import Family
from exporter.store_reader import StoreReader

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
        [sys.executable, "-W", "error", "-c", PROGRAM + body, str(store_path), str(number)],
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
        assert process.stdout is not None
        assert process.stdout.readline() == "recorded\n"

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
    assert process.stdout is not None
    assert process.stdout.readline() == "recorded\n"

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
    assert process.stdout is not None
    assert process.stdout.readline() == "recorded\n"
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
