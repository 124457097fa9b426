"""Settings of the whole suite: how many threads a test computes with, how hypothesis searches.

The suite runs in several processes at once (`make test`: pytest-xdist), so each computes with one
thread. What depends on the number of threads is tested by the tests that set that number.
"""

from __future__ import annotations

import gc
import os

from hypothesis import settings

# before torch is imported; child processes inherit it
os.environ.setdefault("OMP_NUM_THREADS", "1")

# An example's time depends on what else the machine does; the number of examples does not.
settings.register_profile("advrec", deadline=None, max_examples=100)
settings.load_profile("advrec")


def pytest_collection_finish() -> None:
    """Keep what was imported and collected out of later garbage collections: it is there to stay.

    The benchmarks collect garbage before each measurement; a pass over the suite's own objects
    takes a tenth of a second.
    """
    gc.collect()
    gc.freeze()
