"""Run the long fault and fuzz loops, one after the other: what `make drill` does.

    python scripts/drill.py [--count N] [--seed S] [NAME …]

A loop is a program in tests/support or tests/drill, named fuzz_*.py or drill_*.py, that takes
`--count N` (files, or faults) and `--seed S`, and exits with 0 if nothing went wrong. A new one is
run because it is there. `make test` runs short loops of the same kind.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("tests/support", "tests/drill")
PATTERNS = ("fuzz_*.py", "drill_*.py")


def loops(root: Path = ROOT) -> list[Path]:
    """Every loop below `root`, by name."""
    places = [(root / folder, pattern) for folder in FOLDERS for pattern in PATTERNS]
    paths = (path for folder, pattern in places for path in folder.glob(pattern))
    return sorted(paths, key=lambda path: path.stem)


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """0 if every loop found nothing, 1 if one failed, 2 for an unknown name."""
    parser = argparse.ArgumentParser(prog="drill", description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=100_000, help="files or faults per loop")
    parser.add_argument("--seed", type=int, default=None, help="by default a new one each time")
    parser.add_argument("names", nargs="*", help="loops to run; all of them by default")
    given = parser.parse_args(arguments)
    known = {path.stem: path for path in loops(root)}
    unknown = [name for name in given.names if name not in known]
    if unknown or not known:
        print(f"error: no loop {', '.join(unknown) or 'at all'}", file=sys.stderr)
        print(f"hint: the loops are {', '.join(known) or 'still to be written'}", file=sys.stderr)
        return 2
    seed = time.time_ns() % 2**32 if given.seed is None else given.seed
    failed = []
    for name in given.names or known:
        words = ["--count", str(given.count), "--seed", str(seed)]
        print(f"{name} {' '.join(words)}", flush=True)
        started = time.monotonic()
        done = subprocess.run(
            [sys.executable, str(known[name]), *words],
            cwd=root,
            env={**os.environ, "PYTHONPATH": _python_path(root)},
            check=False,
        )
        result = "nothing found" if done.returncode == 0 else f"FAILED, exit {done.returncode}"
        print(f"{name}: {result} in {time.monotonic() - started:.0f} s", flush=True)
        if done.returncode:
            failed.append(name)
    if failed:
        again = f"python scripts/drill.py --count {given.count} --seed {seed} {' '.join(failed)}"
        print(f"to repeat: {again}", file=sys.stderr)
    return int(bool(failed))


def _python_path(root: Path) -> str:
    """The checkout and its tests first, then what was there."""
    before = os.environ.get("PYTHONPATH")
    return os.pathsep.join([str(root), str(root / "tests"), *([before] if before else [])])


if __name__ == "__main__":
    sys.exit(main())
