"""Stand-in GPUs: the library built from nvml.c, scripted by a file that a test writes."""

import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.live.exporters import Exporter, exporter
from tests.live.servers import Samples, samples_of

SOURCE = Path(__file__).parent / "nvml.c"
LIBRARY = "libnvidia-ml.so.1"
UUID = "GPU-00000000-1111-2222-3333-444444444444"
FLAGS = ("--gpu.interval=0.2", "--gpu.min-age=0", "--gpu.slow-interval=0.2")

# A GPU that has everything, in the driver's units.
WHOLE = (
    f"gpu 0 uuid={UUID} name=NVIDIA_H200 pci=00000000:0F:00.0 minor=0 capability=90"
    " memory_total=150000000000 memory_reserved=600000000 memory_used=1000000000"
    " utilization=37 memory_utilization=12 f185=1:70500 power_limit_mw=700000"
    " temperature0=41 f82=1:44 threshold0=95 threshold1=90 threshold2=105 threshold3=88"
    " clock0=1980 clock1=1970 clock2=3201 clock3=1500"
    " clock_max0=1981 clock_max1=1971 clock_max2=3202 clock_max3=1501"
    " performance_state=2 event_reasons=68 fans=2 fan0=30 fan1=45 samples=1"
    " ecc0=3 ecc1=1 remapped_correctable=1 remapped_uncorrectable=2 remap_pending=1 remap_failed=0"
    " gpm=1 gpm2=50 gpm3=25 gpm5=12.5 gpm10=40"
    " f83=3:123456 f74=3:5000000000 f76=3:1000000 f269=3:2500000000 f270=3:0 f271=3:7000000000"
    " f197=3:1000 f198=3:2000 f94=1:7 f138=3:10 f139=3:20"
)


class Gpus:
    """A simulated driver: its library, its control file and the trace of its calls."""

    def __init__(self, folder: Path, library: Path) -> None:
        self._control, self._trace = folder / "control", folder / "trace"
        self.environment = {
            "LD_LIBRARY_PATH": str(library.parent),
            "FAKE_NVML_CONTROL": str(self._control),
            "FAKE_NVML_TRACE": str(self._trace),
        }

    def say(self, *lines: str) -> None:
        """Replace what the driver has."""
        new = self._control.with_suffix(".new")
        new.write_text("\n".join(lines) + "\n")
        new.rename(self._control)

    def trace(self) -> list[tuple[str, int, str, int]]:
        """Return begin (+) or end (-), thread, function and device of each call."""
        if not self._trace.exists():
            return []
        lines = (line.split() for line in self._trace.read_text().splitlines())
        return [(mark, int(thread), name, int(gpu)) for mark, thread, name, gpu in lines]

    def calls(self) -> Counter[str]:
        """Return how often each function was called."""
        return Counter(name for mark, _, name, _ in self.trace() if mark == "+")


class Reading:
    """The samples of one scrape."""

    def __init__(self, text: str) -> None:
        self._found = samples_of(text)

    def get(self, name: str, **labels: str) -> float | None:
        """Return a GPU's row, by its name without the prefix; None where there is none."""
        return self._found.get((f"inferometer_gpu_{name}", frozenset(labels.items())))

    def names(self, uuid: str = UUID) -> set[str]:
        """Return the names, without the prefix, of a GPU's rows."""
        return {
            name.removeprefix("inferometer_gpu_")
            for name, labels in self._found
            if ("gpu_uuid", uuid) in labels
        }

    def labels(self, name: str) -> list[dict[str, str]]:
        """Return the labels of each row of a family."""
        return [dict(labels) for found, labels in self._found if found == f"inferometer_gpu_{name}"]

    @property
    def has_succeeded(self) -> bool:
        key = ("inferometer_collector_success", frozenset({("collector", "gpu")}))
        return self._found[key] == 1


def build(folder: Path, *hidden: str) -> Path:
    """Compile the library, without some of its functions; return its path."""
    library = folder / "-".join(["nvml", *hidden]) / LIBRARY
    if not library.exists():
        library.parent.mkdir()
        subprocess.run(
            [
                *("cc", "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror"),
                f"-Wl,-soname,{LIBRARY}",
                *(f"-DHIDE_{name}" for name in hidden),
                *("-o", str(library), str(SOURCE)),
            ],
            check=True,
        )
    return library


@contextmanager
def exporter_of(gpus: Gpus, store: Path, *flags: str, **environment: str) -> Iterator[Exporter]:
    """Run an exporter on stand-in GPUs."""
    variables = {**gpus.environment, **environment}
    with exporter(store, *FLAGS, *flags, **variables) as running:
        yield running


def scrape(running: Exporter, flags: Iterable[str] = ()) -> Reading:
    """Return what an exporter shows of the GPUs."""
    _, _, body = running.get("/metrics" + "".join(flags))
    return Reading(body.decode())


def gpu_rows(samples: Samples) -> dict[tuple[str, str], float]:
    """Return the rows that have no label but the GPU's, by name without prefix and by GPU."""
    rows = {}
    for (name, labels), value in samples.items():
        if name.startswith("inferometer_gpu_") and {"gpu_uuid"} == {key for key, _ in labels}:
            rows[name.removeprefix("inferometer_gpu_"), dict(labels)["gpu_uuid"]] = value
    return rows
