"""What a reader returns: the interactions as the files have them, before filters and splits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

TRAIN, VALID, TEST = 0, 1, 2
PART_NAMES = ("train", "valid", "test")


@dataclass(frozen=True, eq=False)
class Interactions:
    """Rows in file order; repeated pairs are still there. Ids are coded by first appearance."""

    name: str
    source: str
    format: str
    users: NDArray[np.int32]  # [n]
    items: NDArray[np.int32]  # [n]
    user_ids: Sequence[str]  # [U]
    item_ids: Sequence[str]  # [I]
    ratings: NDArray[np.float64] | None = None  # [n]
    timestamps: NDArray[np.float64] | None = None  # [n], seconds, or another unit of the file
    parts: NDArray[np.int8] | None = None  # [n] TRAIN, VALID or TEST, where the files are a split
    names: Mapping[str, str] | None = None  # item id -> name
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.users)
