"""`python -m demo.load`: sends digits and labels to a server that serves the demo's model.

What it sends can be spoilt: `--fault nan` makes pixels that are no numbers, `--fault overload`
sends more at once than the server has room for.
"""

import argparse
import signal
import sys
import threading
import time
from urllib.parse import urlsplit

import numpy as np

from demo.folder import HELD_OUT
from demo.replay import MOST_ROWS, REPORT_SECONDS, REQUEST_INTERVAL_SECONDS, Replay

OVERLOADING_CALLERS = 64
OVERLOADING_ROWS = 256
BRIGHT = 0.5


def main() -> int:
    """Send until SIGINT or SIGTERM; return 0."""
    parser = argparse.ArgumentParser(prog="python -m demo.load", description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8501", help="address of the server")
    parser.add_argument("--fault", choices=("none", "nan", "overload"), default="none")
    arguments = parser.parse_args()
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr] # a text stream always
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    with np.load(HELD_OUT) as held_out:
        images, labels = held_out["image"], held_out["label"]
    if arguments.fault == "nan":
        images = np.where(images > BRIGHT, np.nan, images)
    is_overload = arguments.fault == "overload"
    replays = [
        Replay(
            urlsplit(arguments.url).netloc,
            images=images,
            labels=labels,
            most_rows=OVERLOADING_ROWS if is_overload else MOST_ROWS,
            seed=seed,
        )
        for seed in range(OVERLOADING_CALLERS if is_overload else 1)
    ]
    interval = 0.0 if is_overload else REQUEST_INTERVAL_SECONDS
    callers = [threading.Thread(target=_send, args=(r, interval, stopped)) for r in replays]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    return 0


def _send(replay: Replay, interval_seconds: float, stopped: threading.Event) -> None:
    report_at = time.monotonic() + REPORT_SECONDS
    while not stopped.wait(interval_seconds):
        replay.send()
        if time.monotonic() >= report_at:
            report_at += REPORT_SECONDS
            print(replay.report())


if __name__ == "__main__":
    sys.exit(main())
