"""Noise in a file: an .npz that others can make, read back only for the model that it is for.

Arrays `users` and `items` where one table holds the rows of both (one may be left out: no noise),
otherwise the keys of the site; and `about`, JSON that says where the noise comes from, which is
for people and for `write` alone: nothing in it is believed when the file is read.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from advrec.errors import DataError, UsageError
from advrec.models.base import Noise, Recommender
from advrec.system import files

ABOUT = "about"
SIDES = ("users", "items")


def write_noise(
    path: str | Path, noise: Noise, model: Recommender, site: str, about: Mapping[str, Any]
) -> Path:
    """Write noise as it is stored, whole or not at all; UsageError unless `path` ends in .npz."""
    path = Path(path)
    check_noise_path(path)
    arrays = {key: value.detach().cpu().numpy() for key, value in noise.items()}
    if _shared(model, site, noise):
        (table,) = arrays.values()
        arrays = dict(zip(SIDES, (table[: model.n_users], table[model.n_users :]), strict=True))
    file = io.BytesIO()
    text = np.array(json.dumps(dict(about), sort_keys=True))
    np.savez_compressed(file, **{ABOUT: text}, **arrays)  # type: ignore[arg-type]
    files.write(path, file.getvalue())
    return path


def check_noise_path(path: Path) -> None:
    """UsageError unless the path ends in .npz."""
    if path.suffix.lower() != ".npz":
        raise UsageError(f"{path} must end in .npz", hint=f"for example {path.with_suffix('.npz')}")


def read_noise(path: str | Path, model: Recommender, site: str) -> dict[str, torch.Tensor]:
    """The noise of a file for a site of a model, in the precision of what it is added to.

    Raises DataError for a file that is not an .npz, has other arrays, shapes or non-finite numbers.
    """
    path = Path(path)
    tables = model.tables(site)
    arrays = _arrays(path)
    if _shared(model, site, tables) and set(arrays) & set(SIDES):
        (key,) = tables
        width, counts = tables[key].shape[1], (model.n_users, model.n_items)
        parts = []
        for name, rows in zip(SIDES, counts, strict=True):
            part = arrays.pop(name, np.zeros((rows, width), np.float32))
            parts.append(_checked(part, (rows, width), name, path))
        arrays[key] = np.concatenate([part.astype(np.float64) for part in parts])
    unknown = [name for name in arrays if name not in tables]
    if unknown or not arrays:
        wanted = " or ".join(SIDES) if _shared(model, site, tables) else ", ".join(tables)
        names = ", ".join(unknown) or "none"
        raise DataError(f"expected the arrays {wanted}, found {names}", path=path)
    noise = {}
    for key, table in tables.items():
        array = arrays.get(key)
        if array is None:
            noise[key] = torch.zeros_like(table)
            continue
        checked = _checked(array, tuple(table.shape), key, path)
        noise[key] = torch.from_numpy(checked.astype(np.float64)).to(table)
        if not bool(torch.isfinite(noise[key]).all()):
            raise DataError(f"{key}: values too large for the model's precision", path=path)
    return noise


def _arrays(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    try:
        with np.load(path, allow_pickle=False) as content:
            return {name: content[name] for name in content.files if name != ABOUT}
    except FileNotFoundError:
        raise DataError("does not exist", path=path) from None
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}", path=path) from None
    except (
        ValueError, EOFError, KeyError, TypeError, AttributeError, MemoryError, NotImplementedError,
        zipfile.BadZipFile, zlib.error,
    ) as error:  # fmt: skip
        raise DataError(f"not an .npz file ({error})", path=path) from None


def _checked(
    array: np.ndarray[Any, Any], shape: tuple[int, ...], name: str, path: Path
) -> np.ndarray[Any, Any]:
    if array.shape != shape or array.dtype.kind != "f":
        raise DataError(
            f"{name}: expected numbers of shape {list(shape)}, found {array.dtype} of shape"
            f" {list(array.shape)}",
            path=path,
        )
    if not np.isfinite(array).all():
        raise DataError(f"{name}: non-finite values", path=path)
    return array


def _shared(model: Recommender, site: str, tables: Noise) -> bool:
    """Does one table hold the rows of users and of items?"""
    return model.site(site).rows == "both" and len(tables) == 1
