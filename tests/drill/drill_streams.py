"""Streams that are closed, full or without a reader, in every combination, for every model.

python tests/drill/drill_streams.py [--count N] [--seed S]        see scripts/drill.py
"""

from __future__ import annotations

import sys

from support.drilling import begin, report
from support.faults import broken_streams


def main() -> int:
    """0 if no stream ended or faked a training."""
    with begin(per=1000) as (shop, count, _):
        complaints, done = [], 0
        for name in shop.commands:
            if done < count:
                complaints += broken_streams(shop, name)
                done += 16
        return report(f"{done} broken streams", complaints)


if __name__ == "__main__":
    sys.exit(main())
