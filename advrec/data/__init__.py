"""Data sets: reading, filtering, splitting, and the embedded one.

A name is imported when it is first used: the command line reads the options of `DataConfig`, and
numpy is not needed for that.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from advrec.data.config import DataConfig
    from advrec.data.dataset import Dataset, Pairs
    from advrec.data.inspection import Inspection, inspect
    from advrec.data.load import load_dataset
    from advrec.data.sources.catalog import Listed, list_datasets
    from advrec.data.sources.embedded import load_item_text

__all__ = [
    "DataConfig",
    "Dataset",
    "Inspection",
    "Listed",
    "Pairs",
    "inspect",
    "list_datasets",
    "load_dataset",
    "load_item_text",
]

_MODULES = {
    "DataConfig": "config",
    "Dataset": "dataset",
    "Inspection": "inspection",
    "Listed": "sources.catalog",
    "Pairs": "dataset",
    "inspect": "inspection",
    "list_datasets": "sources.catalog",
    "load_dataset": "load",
    "load_item_text": "sources.embedded",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
