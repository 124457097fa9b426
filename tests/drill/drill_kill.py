"""Kill trainings of every model, commands and studies; resume, and compare all bits: 200 kills.

python tests/drill/drill_kill.py [--count N] [--seed S]        see scripts/drill.py
"""

from __future__ import annotations

import sys

from support.drilling import begin, report
from support.faults import kills
from support.faults_of_commands import killed_commands, killed_studies


def main() -> int:
    """0 if no kill lost anything."""
    with begin(per=500) as (shop, count, seed):
        trainings, complaints = kills(shop, count, seed)
        kinds = len(shop.commands)
        failed = report(f"{count} SIGKILLs in {trainings} trainings of {kinds} kinds", complaints)
        number, complaints = killed_commands(shop, count // 2, seed)
        failed |= report(f"{number} SIGKILLs of other commands", complaints)
        number, complaints = killed_studies(shop, max(1, count // 100), seed)
        return failed | report(f"{number} SIGKILLs of studies", complaints)


if __name__ == "__main__":
    sys.exit(main())
