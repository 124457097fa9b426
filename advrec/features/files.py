"""Features as a file that `--features` reads: an .npz of the item ids and the rows."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from advrec.errors import DataError, RunError, UsageError
from advrec.system import files


def save_features(
    path: str | Path,
    ids: Sequence[str],  # [n], all different
    features: NDArray[np.float32],  # [n, F]
) -> None:
    """Write `ids` and `features`: the file is complete or absent.

    The same content gives the same bytes. Raises DataError for values that are not finite,
    RunError if the file cannot be written.
    """
    target = checked_path(path)
    wrong = np.argwhere(~np.isfinite(features))
    if len(wrong):
        row, column = wrong[0].tolist()
        raise DataError(
            f"the feature of {ids[row]!r} in column {column} is {features[row, column]}"
        )
    buffer = io.BytesIO()
    names = np.array(ids, dtype=np.str_) if len(ids) else np.zeros(0, "U1")
    np.savez(buffer, ids=names, features=features.astype(np.float32))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{target.parent} cannot be created: {error.strerror}") from error
    files.write(target, buffer.getvalue())


def checked_path(path: str | Path) -> Path:
    """The path, if it ends in .npz; UsageError before any work is done for another."""
    target = Path(path)
    if target.suffix != ".npz":
        raise UsageError(
            f"features are written as .npz with the item ids, got {target.name}",
            hint=f"--out {target.with_suffix('.npz')}",
        )
    return target
