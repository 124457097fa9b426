"""Products and sums of torch tensors whose bits do not depend on the number of threads.

torch deals a product of matrices, or the sum of a whole tensor, out to as many parts as there are
threads, and how parts are rounded depends on where they end. MKL's strict mode holds on some
processors only. Here a product runs on one thread of torch, and a sum has parts of a fixed size.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch import Tensor

PART: Final = 4096
"""Numbers in a part of a sum. One thread adds up a whole part."""


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch works on one thread inside, the core on its own number of threads."""
    threads = torch.get_num_threads()
    if threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def product(
    a: Tensor,  # [..., m, k]
    b: Tensor,  # [k, n]
) -> Tensor:  # [..., m, n]
    """a·b. Differentiable, once, in both."""
    flat = a.reshape(-1, a.shape[-1])
    value = _Product.apply(flat, b)  # type: ignore[no-untyped-call]
    assert isinstance(value, Tensor)
    return value.reshape(*a.shape[:-1], b.shape[1])


def total(x: Tensor) -> Tensor:  # scalar
    """The sum of all entries. Differentiable."""
    flat = x.flatten()
    while len(flat) > PART:
        whole = len(flat) // PART * PART
        parts = flat[:whole].view(-1, PART).sum(1)
        flat = torch.cat([parts, flat[whole:].sum().unsqueeze(0)])
    return flat.sum()


def length(x: Tensor) -> Tensor:  # scalar, float64
    """The L2 norm of all entries, summed in float64."""
    flat = x.flatten()
    while len(flat) > PART:
        whole = len(flat) // PART * PART
        parts = _norm(flat[:whole].view(-1, PART), dim=1)
        flat = torch.cat([parts, _norm(flat[whole:], dim=0).unsqueeze(0)])
    return _norm(flat, dim=0)


def _norm(x: Tensor, dim: int) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(x, dim=dim, dtype=torch.float64)
    return norm


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        ctx.save_for_backward(a, b)
        with one_thread():
            return a @ b

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        a, b = ctx.saved_tensors
        with one_thread():
            by_a = grad @ b.T if ctx.needs_input_grad[0] else None
            by_b = a.T @ grad if ctx.needs_input_grad[1] else None
        return by_a, by_b
