"""The compiled core: what the operators run on.

- loader: the one place that loads the modules `_C`, `_C_cuda` and `_host`
- compile: how one is compiled on first use, where no prebuilt one fits
- sources: what they are compiled from (standard library only: `setup.py` runs it)
- gpu: devices, what the CUDA core accepts, and the errors of a card
- doctor: the report of `advrec doctor`
"""

from __future__ import annotations

from advrec.native.doctor import Check, diagnose
from advrec.native.loader import (
    choice,
    core,
    cuda,
    host,
    isa,
    kernels,
    prebuilt,
    set_threads,
    use,
)

__all__ = [
    "Check",
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
