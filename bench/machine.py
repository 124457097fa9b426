"""What a measurement was made on, and whether other processes used the machine meanwhile."""

from __future__ import annotations

import os
import platform
import re
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from advrec import native

PACKAGES = (
    "torch",
    "numpy",
    "scipy",
    "implicit",
    "cornac",
    "faiss-cpu",
    "torch-geometric",
    "recbole",
    "pandas",
)
VARIABLES = re.compile(r"^(OMP|MKL|KMP|GOMP|OPENBLAS|ATEN|ADVREC|MALLOC)_|^LD_PRELOAD$")
QUIET = 0.1  # share of the machine that others may use before the figures are called disturbed


def describe() -> dict[str, Any]:
    """Processor, memory, versions, and the environment that could make a difference."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(_memory_bytes() / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "instruction_set": native.isa() if native.core() else "reference kernels",
        "versions": versions(),
        "environment": {k: v for k, v in sorted(os.environ.items()) if VARIABLES.search(k)},
    }


def versions() -> dict[str, str | None]:
    """The version of each package; None where it is not installed."""
    found: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


class Watch:
    """How much of the machine other processes used since this was made."""

    def __init__(self) -> None:
        self._wall, self._own, self._all = time.monotonic(), _own_seconds(), _busy_seconds()

    def foreign(self) -> float | None:
        """Their share of all cores' time, 0 to 1; None where the system does not say."""
        busy = _busy_seconds()
        if busy is None or self._all is None:
            return None
        others = (busy - self._all) - (_own_seconds() - self._own)
        whole = (time.monotonic() - self._wall) * (os.cpu_count() or 1)
        return min(1.0, max(0.0, others / max(whole, 1e-9)))


def _own_seconds() -> float:
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def _busy_seconds() -> float | None:
    """Busy time of all cores together, time taken by the hypervisor included."""
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    except OSError:
        return None
    user, nice, system, _idle, _wait, irq, softirq, steal = map(int, fields[:8])
    ticks = user + nice + system + irq + softirq + steal
    return ticks / float(os.sysconf("SC_CLK_TCK"))


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    fields = dict(re.findall(r"^([^\t:]+)\t*: ?(.*)$", text, re.MULTILINE))
    name = fields.get("model name", platform.machine())
    if "cpu family" in fields:
        name += f" (family {fields['cpu family']}, model {fields.get('model', '?')})"
    return name


def _memory_bytes() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return 0
