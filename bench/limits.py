"""Builds limits.cpp and runs it: the limits of this machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).with_name("limits.cpp")
TUNINGS = ("-march=native", "-mcpu=native", "")  # x86, ARM, a compiler that knows neither


@dataclass(frozen=True)
class Limits:
    """Limits of all threads together, in bytes and operations per second."""

    threads: int
    flops: float  # float32 multiply-adds, each counted as two
    read: float  # reading memory in order
    update: float  # reading and writing three arrays, both counted
    cache: float  # reading what fits into the last cache
    rows: dict[float, float]  # size of the table in MiB → random rows of 256 bytes


def build(folder: Path) -> Path:
    """Compile the program. RuntimeError where there is no compiler."""
    compiler = shutil.which(os.environ.get("CXX", "c++")) or shutil.which("g++")
    if compiler is None:
        raise RuntimeError("found no C++ compiler to measure the machine with")
    program = folder / "limits"
    said = ""
    for tuning in TUNINGS:
        words = [compiler, "-std=c++20", "-O3", *filter(None, [tuning]), "-pthread"]
        done = subprocess.run(
            [*words, str(SOURCE), "-o", str(program)], capture_output=True, text=True, check=False
        )
        if done.returncode == 0:
            return program
        said = done.stderr
    raise RuntimeError(f"limits.cpp does not compile: {said.strip().splitlines()[:1]}")


def measure(program: Path, threads: int, tables_mib: list[float], runs: int = 25) -> Limits:
    """Each limit is the best of so many runs; 25 take some seconds."""
    words = [str(program), str(runs), str(threads), *(f"{size:g}" for size in tables_mib)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    rows = {float(size): rate for size, rate in found["rows"].items()}
    return Limits(threads, found["flops"], found["read"], found["update"], found["cache"], rows)


def better(a: Limits, b: Limits) -> Limits:
    """The higher of each figure: a limit is what was ever reached."""
    return Limits(
        a.threads,
        max(a.flops, b.flops),
        max(a.read, b.read),
        max(a.update, b.update),
        max(a.cache, b.cache),
        {size: max(rate, b.rows[size]) for size, rate in a.rows.items()},
    )
