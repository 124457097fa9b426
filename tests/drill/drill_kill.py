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
        print(
            f"{count} SIGKILLs in {trainings} trainings of {len(shop.commands)} kinds", flush=True
        )
        others, more = killed_commands(shop, count // 2, seed)
        studies, last = killed_studies(shop, max(1, count // 100), seed)
        print(f"{others} SIGKILLs of other commands, {studies} of studies", flush=True)
        return report(count + others + studies, [*complaints, *more, *last])


if __name__ == "__main__":
    sys.exit(main())
