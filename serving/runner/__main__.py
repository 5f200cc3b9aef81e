"""The runner process: opens its block, loads the models, serves front-ends until SIGTERM."""

import faulthandler
import logging
import os
import signal
import socket
import sys
import threading
from pathlib import Path

from serving import __version__
from serving.process import open_process_recorder, read_process_settings, start_logging
from serving.settings import Settings
from serving.wire import line_limits, runner_socket_path

# Beside a busy Python thread a 0.28 ms device call takes 6 ms at the default interval of 5 ms.
SWITCH_INTERVAL_SECONDS = 0.0005
LISTEN_BACKLOG = 128
BROKEN_DEVICE_STATUS = 3

logger = logging.getLogger(__name__)


def main(arguments: list[str]) -> int:
    """Run until SIGTERM; the arguments are the supervisor's settings file and a number."""
    settings_file, runner_number = arguments
    settings = read_process_settings(Path(settings_file))
    name = "runner" if (settings.runners or 1) == 1 else f"runner-{runner_number}"
    start_logging(settings, name)
    # SIGABRT, with which a runner that hangs is ended, writes where every thread stands.
    faulthandler.enable()
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)
    died = threading.Event()

    def end(failure: threading.ExceptHookArgs) -> None:
        # A runner without its receiver or a batch thread would look alive and answer nothing.
        logger.critical("a thread died; the runner ends", exc_info=failure.exc_value)
        died.set()
        stopping.set()

    threading.excepthook = end
    _run(settings, int(runner_number), stopping)
    logging.shutdown()
    # At once: the loader may be within TensorFlow, which an ordinary end would pull from under it.
    os._exit(1 if died.is_set() else 0)


def _run(settings: Settings, number: int, stopping: threading.Event) -> None:
    recorder = open_process_recorder(settings, "runner")
    # TensorFlow takes seconds to import. Front-ends connect meanwhile, so that all of them learn of
    # a ready model in the same moment, and the process is on /metrics.
    listener = _listen(runner_socket_path(settings, number))
    from serving.runner import tensorflow_model
    from serving.runner.receiver import Receiver
    from serving.runner.runner import Runner

    tensorflow_model.configure(
        intra_op_threads=settings.effective_intra_op_threads,
        inter_op_threads=settings.effective_inter_op_threads,
        gpu_memory_growth=settings.gpu_memory_growth,
        gpu_memory_limit_bytes=settings.gpu_memory_limit_bytes,
    )
    has_gpu = tensorflow_model.has_gpu()
    device = device_name(has_gpu=has_gpu)

    def give_up(reason: str) -> None:
        # Front-ends see the connection end, and the supervisor starts another runner.
        logger.critical("%s; the runner ends", reason)
        recorder.close()
        logging.shutdown()
        os._exit(BROKEN_DEVICE_STATUS)

    runner = Runner(
        settings, recorder, number=number, device=device, has_gpu=has_gpu, give_up=give_up
    )
    receiver = Receiver(
        listener,
        queues=runner.queues,
        limits=line_limits(settings),
        description={"build": __version__, "runner": number, "device": device},
    )
    runner.start(announce=receiver.announce_models, after_batch=receiver.flush)
    receiver.start(runner.catalog, runner.loader.control)
    runner.loader.start()
    stopping.wait()
    runner.stop()
    receiver.stop()
    recorder.close()


def _listen(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    path.chmod(0o600)
    listener.listen(LISTEN_BACKLOG)
    return listener


def device_name(*, has_gpu: bool) -> str:
    """Return the label of the device.

    `cpu`, the GPU's uuid where the environment names it, or `gpu` and its number there.
    """
    if not has_gpu:
        return "cpu"
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    if visible.startswith(("GPU-", "MIG-")):
        return visible
    return f"gpu{visible}" if visible.isdecimal() else "gpu"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
