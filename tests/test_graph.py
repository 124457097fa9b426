"""The graph is D^-½ A D^-½ of the bipartite adjacency, users first."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from advrec.data.dataset import Pairs
from advrec.ops.graph import Graph

# user 3 and item 1 have no pair at all
USERS, ITEMS, N_USERS, N_ITEMS = [0, 2, 0, 1, 2, 2], [3, 0, 0, 3, 2, 3], 4, 4


def dense(graph: Graph) -> np.ndarray:
    """The normalised adjacency [N, N] as the graph stores it."""
    matrix = np.zeros((graph.n_nodes, graph.n_nodes))
    scale = graph.scale.numpy()
    for row in range(graph.n_nodes):
        for column in graph.indices[graph.indptr[row] : graph.indptr[row + 1]].tolist():
            matrix[row, column] += scale[row] * scale[column]
    return matrix


def test_it_is_the_normalised_adjacency() -> None:
    graph = Graph.build(Pairs.from_coo(USERS, ITEMS, N_USERS, N_ITEMS), dtype=torch.float64)
    adjacency = np.zeros((N_USERS + N_ITEMS, N_USERS + N_ITEMS))
    for user, item in zip(USERS, ITEMS, strict=True):
        adjacency[user, N_USERS + item] = adjacency[N_USERS + item, user] = 1
    degrees = adjacency.sum(1)
    root = np.zeros(N_USERS + N_ITEMS)
    root[degrees > 0] = 1 / np.sqrt(degrees[degrees > 0])
    np.testing.assert_allclose(dense(graph), root[:, None] * adjacency * root, rtol=1e-15)


def test_columns_ascend_within_a_row_and_types_are_the_kernels() -> None:
    seen = np.random.default_rng(0).random((17, 23)) < 0.4
    graph = Graph.build(Pairs.from_coo(*np.nonzero(seen), 17, 23))
    for begin, end in zip(graph.indptr[:-1].tolist(), graph.indptr[1:].tolist(), strict=True):
        row = graph.indices[begin:end]
        assert (row.diff() > 0).all()
    assert (graph.indptr.dtype, graph.indices.dtype) == (torch.int64, torch.int32)
    assert graph.scale.dtype == torch.float32
    assert graph.indices.numel() == 2 * seen.sum()


def test_a_node_without_neighbours_has_scale_zero() -> None:
    graph = Graph.build(Pairs.from_coo(USERS, ITEMS, N_USERS, N_ITEMS))
    isolated = torch.tensor([3, N_USERS + 1])
    assert (graph.scale[isolated] == 0).all()
    assert (graph.scale > 0).sum() == N_USERS + N_ITEMS - 2


def test_a_set_without_pairs_has_a_graph_without_edges() -> None:
    graph = Graph.build(Pairs.empty(2, 3))
    assert graph.indptr.tolist() == [0] * 6
    assert graph.indices.numel() == 0
    assert not graph.scale.any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_to_changes_the_precision_of_scale_only(dtype: torch.dtype) -> None:
    graph = Graph.build(Pairs.from_coo(USERS, ITEMS, N_USERS, N_ITEMS))
    other = graph.to(dtype=dtype)
    assert other.scale.dtype == dtype
    assert (other.indptr.dtype, other.indices.dtype) == (torch.int64, torch.int32)
    assert (other is graph) == (dtype == torch.float32)
