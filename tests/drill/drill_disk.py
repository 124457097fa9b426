"""Disks that are full at every place, and every call that the system may refuse.

python tests/drill/drill_disk.py [--count N] [--seed S]        see scripts/drill.py
"""

from __future__ import annotations

import random
import sys

from support.drilling import begin, report
from support.faults import REFUSALS, full_disks, refusals
from support.faults_of_commands import refused_commands


def main() -> int:
    """0 if every fault was one sentence and lost nothing."""
    with begin(per=100) as (shop, count, seed):
        chance, complaints, faults = random.Random(seed), [], 0
        for name in ("mf", "vbpr"):
            complaints += full_disks(shop, name)
        print(f"full disks: {len(complaints)} not as they should be", flush=True)
        if shop.server.refuses:
            for name in ("mf", "lightgcn", "mf-apr"):
                number, more = refusals(shop, name, REFUSALS, chance, count // 5)
                faults, complaints = faults + number, complaints + more
                print(f"{number} refused calls of {name}: {len(more)}", flush=True)
            number, more = refused_commands(shop, chance, count // 5)
            faults, complaints = faults + number, complaints + more
            print(f"{number} refused calls of other commands: {len(more)}", flush=True)
        return report(faults, complaints)


if __name__ == "__main__":
    sys.exit(main())
