"""User and item vectors from elsewhere: what another library trained, as two .npy files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from advrec.errors import DataError

if TYPE_CHECKING:
    from advrec.data.dataset import Dataset


def read_vectors(users: str | Path, items: str | Path, dataset: Dataset) -> tuple[Tensor, Tensor]:
    """Both tables, [U, d] and [I, d], rows in the order of the data set's ids.

    Raises DataError for a file that is not a table of finite numbers, or another number of rows.
    """
    tables = []
    for path, count, kind in ((users, dataset.n_users, "users"), (items, dataset.n_items, "items")):
        table = _read(Path(path))
        if len(table) != count:
            raise DataError(
                f"{len(table):,} rows, but the data set has {count:,} {kind}",
                path=Path(path),
                hint="one row per id, in the order that advrec export writes; users and items"
                " without training pairs count, too",
            )
        tables.append(table)
    user, item = tables
    if user.shape[1] != item.shape[1]:
        raise DataError(
            f"rows of {item.shape[1]} numbers, but those of {users} have {user.shape[1]}",
            path=Path(items),
            hint="scores are dot products of users and items, so both need the same width",
        )
    return user, item


def _read(path: Path) -> Tensor:
    try:
        array = np.load(path, allow_pickle=False)
    except FileNotFoundError as error:
        raise DataError("no such file", path=path) from error
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"not a .npy file: {error}", path=path) from error
    if not isinstance(array, np.ndarray) or array.ndim != 2 or array.dtype.kind not in "fiu":
        shape = getattr(array, "shape", type(array).__name__)
        raise DataError(f"expected a table of numbers, rows × width, found {shape}", path=path)
    if not np.isfinite(array).all():
        row = int(np.flatnonzero(~np.isfinite(array).all(1))[0])
        raise DataError(f"row {row} has a non-finite value", path=path)
    return torch.from_numpy(np.ascontiguousarray(array, np.float32))
