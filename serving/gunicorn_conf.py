"""gunicorn's configuration: front-ends that know neither TensorFlow nor each other."""

import os
import resource
from pathlib import Path

from serving.front_end_worker import FrontEndWorker
from serving.process import read_process_settings, store_path_of

SETTINGS_FILE_VARIABLE = "INFEROMETER_SETTINGS_FILE"
LISTEN_DESCRIPTOR_VARIABLE = "INFEROMETER_LISTEN_DESCRIPTOR"

MOST_CONNECTIONS = 2000
# Log, sockets to the runners, blocks that a scrape reads.
OTHER_DESCRIPTORS = 100

_settings = read_process_settings(Path(os.environ[SETTINGS_FILE_VARIABLE]))
_descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)

bind = [f"fd://{os.environ[LISTEN_DESCRIPTOR_VARIABLE]}"]
wsgi_app = "serving.front_end:make_application()"
worker_class = FrontEndWorker
workers = _settings.workers
worker_connections = MOST_CONNECTIONS
if _descriptors != resource.RLIM_INFINITY:
    worker_connections = max(1, min(MOST_CONNECTIONS, _descriptors - OTHER_DESCRIPTORS))
keepalive = _settings.keep_alive_seconds
timeout = _settings.front_end_hang_seconds
graceful_timeout = int(_settings.drain_seconds) + 5
# On tmpfs, where touching a file never waits for a disk.
worker_tmp_dir = str(store_path_of(_settings))
control_socket_disable = True
# gunicorn's own parser, whatever else is installed: it is the one that is tested here.
http_parser = "python"
# Nothing here depends on the scheme, the script's name or the caller's address. So no header of a
# proxy is heeded, and who may set one need not be looked up with every request.
forwarded_allow_ips = "*"
secure_scheme_headers: dict[str, str] = {}
forwarder_headers = ""
accesslog = None
# A start line for each process is enough, and the supervisor writes one.
loglevel = "warning" if _settings.log_level == "info" else _settings.log_level
proc_name = "inferometer"
