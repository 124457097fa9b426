"""The alternatives behind small interfaces. None is vendored; each reports if it is missing."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path

MODULES = {
    "implicit": ("implicit", "pip install implicit"),
    "cornac": ("cornac", "pip install cornac"),
    "faiss": ("faiss", "pip install faiss-cpu"),
    "pyg": ("torch_geometric", "pip install torch-geometric"),
    "recbole": ("recbole", "pip install --no-deps recbole, in addition to `.[bench]`"),
    "pandas": ("pandas", "pip install pandas"),
}
CHECKOUTS = {
    "lightgcn-pytorch": "code/model.py",
    "rs-zoos": "model/ALGN.py",
}
"""What `--checkout NAME=PATH` takes, and a file by which a checkout is known."""


def why_missing(name: str, checkouts: Mapping[str, Path]) -> str | None:
    """Why a peer cannot be measured, with the remedy; None if it is there."""
    if name in MODULES:
        module, how = MODULES[name]
        installed = importlib.util.find_spec(module) is not None
        return None if installed else f"{module} is not installed ({how})"
    if name in CHECKOUTS and name not in checkouts:
        return f"no checkout of {name} was given (--checkout {name}=PATH)"
    return None
