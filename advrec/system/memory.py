"""Memory: what this process holds, what it held at most, and what it may still take."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Final

from advrec.errors import ConfigError

LIMIT: Final = "ADVREC_MEMORY"
"""Environment variable: how much a training may take in total, such as 16G, in place of what the
system says is free."""


def held_bytes() -> int:
    """Resident memory of this process now; 0 where the system does not say."""
    return 1024 * _kib(Path("/proc/self/status"), "VmRSS")


def free_bytes(held: int, device: str = "cpu") -> int | None:
    """How much more this process may take; None where the system does not say.

    Raises ConfigError when the environment variable LIMIT is not a size.
    """
    limit = os.environ.get(LIMIT)
    if limit is not None:
        return max(0, _parsed(limit) - held)
    if device != "cpu":
        import torch

        return torch.cuda.mem_get_info(device)[0]
    sizes = [1024 * _kib(Path("/proc/meminfo"), "MemAvailable"), _left_in_group()]
    known = [size for size in sizes if size]
    return min(known) if known else None


def peak_bytes() -> int:
    """The largest resident memory this process ever had; 0 where the system does not say."""
    # Linux's own mark first: ru_maxrss starts at what the parent held when it forked.
    mark = _kib(Path("/proc/self/status"), "VmHWM")
    if mark:
        return 1024 * mark
    try:
        import resource
    except ModuleNotFoundError:  # not a POSIX system
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def written(size: int, space: str = " ") -> str:
    """Bytes as text: `1.5 GB`."""
    for unit, power in (("GB", 30), ("MB", 20)):
        if size >= 1 << power:
            return f"{size / (1 << power):.{0 if size >= 10 << power else 1}f}{space}{unit}"
    return f"{size / 1024:.0f}{space}KB"


def _left_in_group() -> int:
    """What a control group (a container) leaves free; 0 without a limit."""
    home = Path("/sys/fs/cgroup")
    try:
        limit = (home / "memory.max").read_text().strip()
        used = int((home / "memory.current").read_text())
        cached = re.search(r"^inactive_file (\d+)", _text(home / "memory.stat"), re.M)
    except (OSError, ValueError):
        return 0
    if limit == "max" or cached is None:
        return 0
    return max(1, int(limit) - used + int(cached[1]))


def _kib(path: Path, name: str) -> int:
    line = re.search(rf"^{name}:\s+(\d+) kB", _text(path), re.M)
    return int(line[1]) if line else 0


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, ValueError):
        return ""


def _parsed(text: str) -> int:
    match = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*([KMGT]?)B?\s*", text, re.I)
    if match is None:
        raise ConfigError(
            f"the environment variable {LIMIT} must be a size, got {text!r}", hint=f"{LIMIT}=16G"
        )
    return int(float(match[1]) * 1024 ** " KMGT".index(match[2].upper() or " "))
