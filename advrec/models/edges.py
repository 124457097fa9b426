"""Arithmetic on the edges of a graph whose weights are computed, not fixed.

Two operations, each the other's derivative: a dot product along every edge, and a weighted sum over
every node's neighbours. Memory is one number per edge, in addition to the rows of the nodes.
"""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import torch
from torch import Tensor

from advrec.ops.graph import Graph


class Edges(NamedTuple):
    """The P pairs of a graph, by user, and the places of the same pairs by item."""

    indptr: Tensor  # [N+1] int32 \ Graph's rows: the first P entries are pairs by user,
    indices: Tensor  # [2P] int32 / the others the same pairs by item
    user: Tensor  # [P] int64, node of each pair's user
    item: Tensor  # [P] int64, node of each pair's item
    by_item: Tensor  # [P] int64: the n-th pair by item is pair by_item[n]
    by_user: Tensor  # [U+1] int32: where the pairs of each user begin

    @classmethod
    def of(cls, graph: Graph) -> Edges:
        """The pairs in the order of the graph's rows."""
        pairs = graph.indices.numel() // 2
        degrees = graph.indptr.diff()
        nodes = torch.arange(graph.n_nodes, device=degrees.device).repeat_interleave(degrees)
        item = graph.indices[:pairs].long()
        by_item = torch.argsort(item, stable=True)
        # 32 bits as the indices have: torch's sparse products would convert them in every call.
        indptr = graph.indptr.int()
        by_user = indptr[: graph.n_users + 1]
        return cls(indptr, graph.indices, nodes[:pairs], item, by_item, by_user)


def dots(x: Tensor, edges: Edges) -> Tensor:  # [N, d] -> [P]
    """x_u·x_i of every pair. Differentiable in x."""
    value = _Dots.apply(x, edges)  # type: ignore[no-untyped-call]
    assert isinstance(value, Tensor)
    return value


def sums(
    to_user: Tensor,  # [P], weight of the item in the user's sum
    to_item: Tensor,  # [P], weight of the user in the item's sum
    x: Tensor,  # [N, d]
    edges: Edges,
) -> Tensor:  # [N, d]
    """Σ over a node's neighbours of weight · x. Differentiable in the weights and in x."""
    value = _Sums.apply(to_user, to_item, x, edges)  # type: ignore[no-untyped-call]
    assert isinstance(value, Tensor)
    return value


def _dots(left: Tensor, right: Tensor, edges: Edges) -> Tensor:
    """left of the user · right of the item, for every pair."""
    pairs, users = len(edges.user), len(edges.by_user) - 1
    places = _matrix(edges.by_user, edges.indices[:pairs], left.new_zeros(pairs), right)
    product: Tensor = torch.sparse.sampled_addmm(places, left[:users], right.T, beta=0.0)
    return product.values()


def _sums(to_user: Tensor, to_item: Tensor, x: Tensor, edges: Edges) -> Tensor:
    values = torch.cat([to_user, to_item[edges.by_item]])
    return _matrix(edges.indptr, edges.indices, values, x) @ x


def _matrix(indptr: Tensor, indices: Tensor, values: Tensor, columns: Tensor) -> Tensor:
    """The matrix in compressed rows, with a column for each row of `columns`."""
    size = (len(indptr) - 1, len(columns))
    with warnings.catch_warnings():
        # torch warns once per process that its CSR is in beta; there is nothing to do about it.
        warnings.filterwarnings("ignore", message="Sparse")
        return torch.sparse_csr_tensor(indptr, indices, values, size, check_invariants=False)


class _Dots(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, edges: Edges) -> Tensor:
        ctx.save_for_backward(x)
        ctx.edges = edges
        return _dots(x, x, edges)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return _sums(grad, grad, x, ctx.edges), None


class _Sums(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, to_user: Tensor, to_item: Tensor, x: Tensor, edges: Edges) -> Tensor:
        ctx.save_for_backward(to_user, to_item, x)
        ctx.edges = edges
        return _sums(to_user, to_item, x, edges)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        to_user, to_item, x = ctx.saved_tensors
        edges, grad = ctx.edges, grad.contiguous()
        # The transpose sends along every edge in the other direction, with the same weight.
        return (
            _dots(grad, x, edges),
            _dots(x, grad, edges),
            _sums(to_item, to_user, grad, edges),
            None,
        )
