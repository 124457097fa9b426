"""The compiled core: what the operators run on.

- loader: the one place that loads the modules `_C`, `_C_cuda` and `_host`
- compile: how one is compiled on first use, where no prebuilt one fits
- sources: what they are compiled from (standard library only: `setup.py` runs it)
- gpu: devices, what the CUDA core accepts, and the errors of a card
- doctor: the report of `advrec doctor`

A name is imported when it is first used: `prebuilt` needs no torch, everything else does.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from advrec.native.doctor import Check, diagnose
    from advrec.native.loader import (
        choice,
        core,
        cuda,
        host,
        isa,
        kernels,
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

_MODULES = {"Check": "doctor", "diagnose": "doctor"}


def prebuilt() -> Path | None:
    """The core that was compiled ahead of time, if there is one. Looks, and loads nothing."""
    if os.environ.get("ADVREC_JIT") == "1":
        return None
    spec = importlib.util.find_spec("advrec._C")
    return None if spec is None or spec.origin is None else Path(spec.origin)


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_MODULES.get(name, 'loader')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
