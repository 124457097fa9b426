"""LightGCN's propagation as sparse matrix products."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from advrec.ops.graph import Graph


def propagate(
    x: Tensor,  # [N, d]
    graph: Graph,
    layers: int,
) -> Tensor:  # [N, d]
    """mean over k = 0..K of Â^k x (LightGCN, He et al., SIGIR 2020, with α_k = 1/(K+1)).

    Differentiable in x; autograd goes through the products and does not know that Â is symmetric.
    """
    if layers < 0 or x.dim() != 2 or x.shape[0] != graph.n_nodes:
        raise ValueError(
            f"x is {tuple(x.shape)} and layers is {layers}; "
            f"expected [{graph.n_nodes}, d] and at least 0"
        )
    if layers == 0:
        return x.clone()
    adjacency = _adjacency(graph, x.dtype)
    scale = graph.scale.to(x.dtype).unsqueeze(1)
    hop = total = x
    for _ in range(layers):
        hop = scale * (adjacency @ (scale * hop))
        total = total + hop
    return total / (layers + 1)


def _adjacency(graph: Graph, dtype: torch.dtype) -> Tensor:  # [N, N] sparse CSR of ones
    ones = torch.ones(graph.indices.numel(), dtype=dtype, device=graph.indices.device)
    size = (graph.n_nodes, graph.n_nodes)
    with warnings.catch_warnings():
        # torch warns once per process that its CSR is in beta; there is nothing to do about it.
        warnings.filterwarnings("ignore", message="Sparse")
        return torch.sparse_csr_tensor(
            graph.indptr, graph.indices.long(), ones, size, check_invariants=False
        )
