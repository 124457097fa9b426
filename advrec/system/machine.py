"""The machine that a figure was measured on, in one phrase."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path


def machine(device: str = "cpu") -> str:
    """`AMD EPYC 9V74, 2 cores, x86_64 Linux`, and the GPU where one is used."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    count = f"{cores} core" + ("" if cores == 1 else "s")
    about = f"{_processor()}, {count}, {platform.machine()} {platform.system()}"
    if device.startswith("cuda"):
        import torch

        about += f", {torch.cuda.get_device_name(device)}"
    return about


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor() or "processor unknown"
    match = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return " ".join(match.group(1).split()) if match else "processor unknown"
