"""Checks of structures that kernels rely on, made once, when a structure is put together.

A kernel follows offsets and ids without looking at them again. All of these raise ValueError.
"""

from __future__ import annotations

import torch
from torch import Tensor

MOST = 2**31 - 1
"""The largest number of nodes, items or pairs: ids are int32."""


def kind(name: str, tensor: Tensor, *, like: Tensor, dtype: torch.dtype | None = None) -> None:
    """One dimension, contiguous, of that type and on the device of `like`."""
    if tensor.dim() != 1 or not tensor.is_contiguous():
        raise ValueError(
            f"{name} must be contiguous with 1 dimension, got shape {list(tensor.shape)}"
        )
    if dtype is not None and tensor.dtype != dtype:
        raise ValueError(f"{name} must be {dtype}, got {tensor.dtype}")
    if tensor.device != like.device:
        raise ValueError(f"{name} must be on {like.device}, got {tensor.device}")


def count(name: str, value: int) -> None:
    """From 0 to MOST."""
    if not 0 <= value <= MOST:
        raise ValueError(f"{name} must be from 0 to {MOST}, got {value}")


def ids(name: str, tensor: Tensor, end: int) -> None:
    """All in [0, end)."""
    if not tensor.numel():
        return
    low, high = (int(bound) for bound in torch.aminmax(tensor))
    if low < 0 or high >= end:
        raise ValueError(f"{name} must be in [0, {end}), got {low if low < 0 else high}")


def offsets(name: str, tensor: Tensor, rows: int, end: int) -> None:
    """One more than rows, from 0 up to `end`, never descending."""
    if len(tensor) != rows + 1:
        raise ValueError(f"{name} must have {rows + 1} entries, got {len(tensor)}")
    if int(tensor[0]) != 0 or int(tensor[-1]) != end or bool((tensor.diff() < 0).any()):
        raise ValueError(f"{name} must start at 0, never descend and end at {end}")
