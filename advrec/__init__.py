"""advrec: train recommenders that survive perturbation, and measure how robust one is.

    import advrec

    base = advrec.pretrain("debian", model="mf")
    robust = advrec.adv_train(from_=base.run, eps=0.5)
    advrec.attack(robust.run, noise="adversarial", eps=[0.5, 1.0])
    advrec.evaluate(robust.run, ks=[10, 20])
    advrec.audit([base.run, robust.run], out="audit.html")

torch is imported when one of these is first used, not by `import advrec`.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

from advrec.versions import VERSION

if TYPE_CHECKING:
    from advrec.api import (
        adv_train,
        attack,
        audit,
        certify,
        evaluate,
        export,
        pretrain,
        recommend,
        resume,
    )
    from advrec.data import DataConfig, Dataset, load_dataset
    from advrec.errors import AdvrecError
    from advrec.runs.run import Run
    from advrec.training.launch import TrainResult
    from advrec.training.loop import Event

__version__ = VERSION

# Otherwise MKL's matrix products depend on the number of threads and on the alignment of memory.
# MKL reads this at its first product, so it must be set before torch computes one.
os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")

__all__ = [
    "AdvrecError",
    "DataConfig",
    "Dataset",
    "Event",
    "Run",
    "TrainResult",
    "adv_train",
    "attack",
    "audit",
    "certify",
    "evaluate",
    "export",
    "load_dataset",
    "pretrain",
    "recommend",
    "resume",
]

_ELSEWHERE = {
    "AdvrecError": "advrec.errors",
    "DataConfig": "advrec.data",
    "Dataset": "advrec.data",
    "Event": "advrec.training.loop",
    "Run": "advrec.runs.run",
    "TrainResult": "advrec.training.launch",
    "load_dataset": "advrec.data",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'advrec' has no attribute {name!r}")
    value = getattr(importlib.import_module(_ELSEWHERE.get(name, "advrec.api")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
