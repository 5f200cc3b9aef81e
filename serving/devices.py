"""Which devices there are: one runner each. Read from files, so that nothing of CUDA is loaded."""

import os
import re
from pathlib import Path

from serving.settings import Settings

NVIDIA_GPUS = Path("/proc/driver/nvidia/gpus")
UUID = re.compile(r"^GPU UUID:\s*(GPU-[0-9a-fA-F-]{36})\s*$", re.MULTILINE)


def devices_of(settings: Settings) -> list[str]:
    """Return what each runner sees as CUDA_VISIBLE_DEVICES; empty texts leave it as it is.

    One for each GPU that this process may use, or as many as the setting says: those share the
    GPUs in turn, or the processor where there is none.
    """
    visible = _visible_gpus()
    count = settings.runners or max(1, len(visible))
    return [visible[number % len(visible)] if visible else "" for number in range(count)]


def _visible_gpus() -> list[str]:
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [part.strip() for part in named.split(",") if part.strip() not in {"", "-1"}]
    found = []
    for file in sorted(NVIDIA_GPUS.glob("*/information")):
        try:
            match = UUID.search(file.read_text())
        except OSError:
            continue
        if match:
            found.append(match[1])
    return found
