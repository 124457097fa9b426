"""Fake kernels and autograd of the compiled operators.

With them `torch.library.opcheck` and `torch.compile` understand the operators; the arithmetic is
in csrc/. Schemas, and so the names of the arguments here, are those of csrc/torch/ops_cpu.cpp.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar

import torch
from torch import Tensor

F = TypeVar("F", bound=Callable[..., Any])


@lru_cache(maxsize=1)
def operators() -> Any:
    """torch.ops.advrec, with autograd and fake kernels registered: once, when it is first used."""
    _register_fakes()
    _register_autograd()
    return torch.ops.advrec


def _fake(name: str) -> Callable[[F], F]:
    decorator: Callable[[F], F] = torch.library.register_fake(f"advrec::{name}")
    return decorator


def _register_fakes() -> None:
    @_fake("sample_triplets")
    def _(
        pair_users: Tensor,
        pair_items: Tensor,
        active_users: Tensor,
        indptr: Tensor,
        items: Tensor,
        n_items: int,
        seed: int,
        epoch: int,
        first: int,
        count: int,
        *_: Any,
    ) -> Tensor:
        return pair_users.new_empty(3, count)

    @_fake("propagate")
    def _(x: Tensor, *_: Any) -> Tensor:
        return torch.empty_like(x)

    @_fake("triplet_margin")
    def _(user_table: Tensor, item_table: Tensor, triplets: Tensor) -> Tensor:
        return user_table.new_empty(triplets.shape[1])

    @_fake("triplet_margin_backward")
    def _(grad: Tensor, user_table: Tensor, item_table: Tensor, triplets: Tensor) -> Any:
        return torch.empty_like(user_table), torch.empty_like(item_table)

    @_fake("normalize_rows")
    def _(x: Tensor, eps: float) -> Tensor:
        return torch.empty_like(x)

    @_fake("optimizer_step")
    def _(*_: Any) -> None:
        return None

    @_fake("rank_topk")
    def _(user_vectors: Tensor, item_vectors: Tensor, *lists: Any) -> Any:
        return _ranking(user_vectors, *lists)

    @_fake("rank_scores")
    def _(scores: Tensor, *lists: Any) -> Any:
        return _ranking(scores, *lists)

    @_fake("smallest_radii")
    def _(user_vectors: Tensor, item_vectors: Tensor, *rest: Any) -> Any:
        count, k = rest[-2].shape[0], rest[-1]  # of relevant items
        return (
            user_vectors.new_empty(count, dtype=torch.int64),
            user_vectors.new_empty((count, k), dtype=torch.float64),
            user_vectors.new_empty(count, dtype=torch.float64),
        )

    @_fake("smooth_rank")
    def _(user_vectors: Tensor, item_vectors: Tensor, *_: Any) -> Any:
        loss = user_vectors.new_empty(1, dtype=torch.float64)
        return loss, torch.empty_like(user_vectors), torch.empty_like(item_vectors)

    for name in ("mf_steps", "lightgcn_steps", "lightgcn_steps_bf16", "amr_steps"):

        @_fake(name)
        def _(table: Tensor, *_: Any) -> Tensor:
            return table.new_empty(2, dtype=torch.float64)


def _ranking(
    like: Tensor,
    mask_indptr: Tensor,
    mask_items: Tensor,
    relevant_indptr: Tensor,
    relevant_items: Tensor,
    k: int,
    count_above: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    shape = (like.shape[0], k)
    above = relevant_items.shape[0] if count_above else 0
    return (
        like.new_empty(shape, dtype=torch.int32),
        like.new_empty(shape),
        like.new_empty(shape, dtype=torch.bool),
        like.new_empty(above, dtype=torch.int64),
    )


def _register_autograd() -> None:
    for name, backward, setup in (
        ("propagate", _propagate_backward, _keep_graph),
        ("triplet_margin", _margin_backward, _keep_tables),
        ("normalize_rows", _normalize_backward, _keep_rows),
    ):
        torch.library.register_autograd(f"advrec::{name}", backward, setup_context=setup)


def _keep_graph(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, *graph, layers = inputs
    ctx.save_for_backward(*graph)
    ctx.layers = layers


def _propagate_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    # Â is symmetric, so the backward of the propagation is the propagation.
    moved = torch.ops.advrec.propagate(grad.contiguous(), *ctx.saved_tensors, ctx.layers)
    return moved, None, None, None, None


def _keep_tables(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _margin_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    saved = ctx.saved_tensors
    return (*torch.ops.advrec.triplet_margin_backward(grad.contiguous(), *saved), None)


def _keep_rows(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, ctx.eps = inputs
    ctx.save_for_backward(x, output)


def _normalize_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, out = ctx.saved_tensors
    norms = torch.linalg.vector_norm(x, dim=1, keepdim=True)
    unit = out / ctx.eps if ctx.eps else out
    along = (grad * unit).sum(1, keepdim=True) * unit
    return torch.where(norms > 0, (grad - along) * ctx.eps / norms, 0.0), None
