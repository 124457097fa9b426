"""The compiled core: what the operators run on.

- loader: the one place that loads the modules `_C`, `_C_cuda` and `_host`, prebuilt or on first use
- sources: what they are compiled from (standard library only: `setup.py` runs it)
- gpu: what the CUDA core needs to know of a card
"""

from __future__ import annotations

from advrec.native.loader import (
    choice,
    core,
    cuda,
    diagnose,
    host,
    isa,
    kernels,
    prebuilt,
    set_threads,
    use,
)

__all__ = [
    "choice",
    "core",
    "cuda",
    "diagnose",
    "host",
    "isa",
    "kernels",
    "prebuilt",
    "set_threads",
    "use",
]
