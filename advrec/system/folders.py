"""The folders outside a project that advrec writes to."""

from __future__ import annotations

import os
from pathlib import Path


def cache_home() -> Path:
    """advrec below $ADVREC_CACHE, else below $XDG_CACHE_HOME, else below ~/.cache.

    Everything in it can be made again.
    """
    root = os.environ.get("ADVREC_CACHE") or os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(root).expanduser() / "advrec"
