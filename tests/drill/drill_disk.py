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
        chance, failed = random.Random(seed), 0
        for name in ("mf", "vbpr"):
            failed |= report(f"full disks, {name}", full_disks(shop, name))
        if shop.server.refuses:
            for name in ("mf", "lightgcn", "mf-apr"):
                number, complaints = refusals(shop, name, REFUSALS, chance, count // 5)
                failed |= report(f"{number} refused calls of {name}", complaints)
            number, complaints = refused_commands(shop, chance, count // 5)
            failed |= report(f"{number} refused calls of other commands", complaints)
        return failed


if __name__ == "__main__":
    sys.exit(main())
