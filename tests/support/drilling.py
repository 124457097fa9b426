"""What the drills of faults share: their arguments, a shop to break, and the line at the end."""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from support.faults import Shop
from support.forked import Server


def arguments(per: int) -> tuple[int, int]:
    """Number of faults, and the seed. `--count` is in damaged files: a fault is `per` of them."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 2**32)
    given = parser.parse_args()
    return max(1, given.count // per), given.seed


@contextlib.contextmanager
def begin(per: int) -> Iterator[tuple[Shop, int, int]]:
    """A shop in a folder of its own, the number of faults, and the seed."""
    count, seed = arguments(per)
    with (
        tempfile.TemporaryDirectory(prefix="advrec-drill-") as folder,
        Server(Path(folder)) as server,
    ):
        yield Shop(server, Path(folder) / "shop"), count, seed


def report(what: str, complaints: Sequence[str]) -> int:
    """Print what went wrong, and a line with how much; the exit code."""
    for line in complaints:
        print(f"  {line}")
    print(f"{what}: {len(complaints)} not as they should be", flush=True)
    return int(bool(complaints))
