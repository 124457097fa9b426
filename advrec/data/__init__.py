"""Data sets: reading, filtering, splitting, and the embedded one."""

from __future__ import annotations

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
