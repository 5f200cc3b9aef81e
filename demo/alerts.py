"""`python -m demo.alerts`: prints what Alertmanager sends to its webhook, one alert a line.

Source of the form: Alertmanager's documentation, "Webhook configuration", version 4.
"""

import argparse
import contextlib
import json
import signal
import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MOST_BYTES = 1 << 20
TIMEOUT_SECONDS = 10


class Handler(BaseHTTPRequestHandler):
    """Takes a notification and prints its alerts."""

    timeout = TIMEOUT_SECONDS

    def do_POST(self) -> None:
        """Answer 200 when the alerts were printed, 400 when this was no notification."""
        try:
            size = min(MOST_BYTES, max(0, int(self.headers.get("Content-Length", "0"))))
            notification = json.loads(self.rfile.read(size))
            lines = [_line(alert, notification["receiver"]) for alert in notification["alerts"]]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            self.send_error(HTTPStatus.BAD_REQUEST, f"no notification of Alertmanager: {error!r}")
            return
        # Before the answer: what was acknowledged has been printed.
        for line in lines:
            print(line)
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        """Say nothing of the requests themselves."""


def _line(alert: dict[str, dict[str, str]], receiver: str) -> str:
    labels = dict(alert["labels"])
    words = [str(alert["status"]), receiver, labels.pop("alertname"), labels.pop("severity", "-")]
    words += [f"{name}={value}" for name, value in sorted(labels.items())]
    return f"{' '.join(words)}: {alert['annotations'].get('summary', '')}"


def main() -> int:
    """Listen until SIGINT; return 0."""
    parser = argparse.ArgumentParser(prog="python -m demo.alerts", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=9095, help="port; 0 lets the kernel choose")
    arguments = parser.parse_args()
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr] # a text stream always
    server = ThreadingHTTPServer((arguments.host, arguments.port), Handler)
    print(f"listening for alerts on port {server.server_port}")
    # The first process of a container would not end by SIGTERM.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
