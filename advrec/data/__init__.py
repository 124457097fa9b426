"""Data sets: reading, filtering, splitting, and the embedded one."""

from __future__ import annotations

from advrec.data.config import DataConfig
from advrec.data.dataset import Dataset, Pairs
from advrec.data.load import load_dataset

__all__ = ["DataConfig", "Dataset", "Pairs", "load_dataset"]
