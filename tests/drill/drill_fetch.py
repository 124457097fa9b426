"""Processes that fetch one data set at once, over lines that break off: 40 rounds of three.

python tests/drill/drill_fetch.py [--count N] [--seed S]        see scripts/drill.py
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from support.drilling import arguments, report
from support.fetching import rounds


def main() -> int:
    """0 if every process got the whole files, and only those."""
    count, seed = arguments(per=2500)
    with tempfile.TemporaryDirectory(prefix="advrec-drill-") as folder:
        return report(f"{count} rounds of three downloads", rounds(Path(folder), count, seed))


if __name__ == "__main__":
    sys.exit(main())
