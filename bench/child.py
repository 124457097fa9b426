"""Measurements that need a process of their own: a cold start, or a peak of memory."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import threads

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Ended:
    """A process that ended well."""

    seconds: float  # from start to end
    found: Any  # the last line of its output, read as JSON; None if it is none
    output: str


def python(module: str, *arguments: object, n_threads: int) -> Ended:
    """`python -m MODULE ARGUMENTS` with so many threads, from the root of the project."""
    return command([sys.executable, "-m", module, *map(str, arguments)], n_threads=n_threads)


def command(words: list[str], *, n_threads: int) -> Ended:
    """Any command. RuntimeError with the end of its output if it fails."""
    environment = threads.environment(n_threads)
    paths = [str(ROOT), *filter(None, [environment.get("PYTHONPATH")])]
    environment["PYTHONPATH"] = os.pathsep.join(paths)
    started = time.perf_counter()
    done = subprocess.run(
        words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    seconds = time.perf_counter() - started
    if done.returncode != 0:
        tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-8:])
        raise RuntimeError(f"{' '.join(words[:6])} … ended with {done.returncode}:\n{tail}")
    lines = done.stdout.strip().splitlines()
    try:
        found = json.loads(lines[-1]) if lines else None
    except ValueError:
        found = None
    return Ended(seconds, found, done.stdout)


def report(found: dict[str, Any]) -> None:
    """What a child says at its end."""
    print(json.dumps(found), flush=True)


def forget_peak() -> None:
    """From here on `peak_mib` tells of what comes now, where the system can do that."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_mib() -> float:
    """The largest resident memory of this program.

    Not getrusage's figure where there is another: it begins with what the parent held when it
    started this process.
    """
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    from advrec.system.memory import peak_bytes

    return peak_bytes() / 2**20
