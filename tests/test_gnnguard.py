"""GNNGuard: similarity along edges, pruning, and never a matrix of nodes × nodes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.small_models import (
    EVERYONE,
    N_ITEMS,
    N_USERS,
    PAIRS,
    SEEN,
    TRIPLETS,
    noise_of,
    small,
    spec,
)
from torch.nn import functional

from advrec.data.dataset import Pairs
from advrec.models import create
from advrec.models.edges import Edges, dots, sums
from advrec.models.gnnguard import GNNGuard
from advrec.ops.graph import Graph

GRAPH = Graph.build(PAIRS, torch.float64)
EDGES = Edges.of(GRAPH)
N = N_USERS + N_ITEMS


# -- arithmetic on edges -------------------------------------------------------------------------


def test_edges_are_the_pairs_in_both_orders():
    users, items = np.nonzero(SEEN)
    assert EDGES.user.tolist() == users.tolist()
    assert EDGES.item.tolist() == (items + N_USERS).tolist()
    by_item = sorted(range(len(users)), key=lambda p: (items[p], users[p]))
    assert EDGES.by_item.tolist() == by_item
    assert EDGES.by_user.tolist() == PAIRS.indptr.tolist()


def test_dots_and_sums_are_those_of_dense_matrices():
    x, to_user, to_item = (
        torch.randn(N, 3).double(),
        torch.rand(len(PAIRS)).double(),
        torch.rand(len(PAIRS)).double(),
    )
    torch.testing.assert_close(dots(x, EDGES), (x @ x.T)[EDGES.user, EDGES.item])
    weights = torch.zeros(N, N).double()
    weights[EDGES.user, EDGES.item] = to_user
    weights[EDGES.item, EDGES.user] = to_item
    torch.testing.assert_close(sums(to_user, to_item, x, EDGES), weights @ x)


def test_the_derivatives_of_dots_and_sums_are_those_of_finite_differences():
    pairs = Pairs.from_coo(np.array([0, 0, 1, 2]), np.array([0, 2, 1, 2]), 3, 3)
    edges = Edges.of(Graph.build(pairs, torch.float64))
    x = torch.randn(6, 2).double().requires_grad_()
    weights = [torch.randn(4).double().requires_grad_() for _ in range(2)]
    assert torch.autograd.gradcheck(lambda t: dots(t, edges), x)
    assert torch.autograd.gradcheck(lambda a, b, t: sums(a, b, t, edges), (*weights, x))


def test_a_graph_without_edges_is_none():
    edges = Edges.of(Graph.build(Pairs.empty(2, 3), torch.float64))
    x = torch.randn(5, 2).double()
    assert dots(x, edges).shape == (0,)
    assert not sums(x.new_empty(0), x.new_empty(0), x, edges).any()


# -- the model -----------------------------------------------------------------------------------


@pytest.mark.parametrize("site", [None, "ego", "final"])
def test_with_all_memory_it_is_lightgcn(site):
    model, lightgcn = small("gnnguard", memory=1.0), small("lightgcn")
    noise = noise_of(model, site) if site else None
    assert torch.equal(model.embedding, lightgcn.embedding)
    torch.testing.assert_close(model.scores(EVERYONE, noise), lightgcn.scores(EVERYONE, noise))
    torch.testing.assert_close(model.losses(TRIPLETS, noise), lightgcn.losses(TRIPLETS, noise))


def test_an_edge_that_is_less_alike_than_the_threshold_counts_for_nothing():
    """Without memory, a layer is the mean of the neighbours that are kept, weighted by likeness."""
    model = create("gnnguard", spec(layers=1, options={"memory": 0.0, "threshold": 0.3}))
    unit = functional.normalize(model.embedding.detach(), dim=1)
    layer = 2 * torch.cat(model.vectors()) - model.embedding
    kept = 0
    for user in range(N_USERS):
        alike = [(float(unit[user] @ unit[N_USERS + i]), i) for i in PAIRS.of(user).tolist()]
        near = [(s, i) for s, i in alike if s >= 0.3]
        kept += len(near)
        rows = [s * model.embedding[N_USERS + i] for s, i in near]
        whole = sum(s for s, _ in near)
        expected = sum(rows) / whole if rows else torch.zeros_like(layer[0])
        torch.testing.assert_close(layer[user], expected)
    assert 0 < kept < len(PAIRS)


def test_a_node_all_of_whose_edges_are_pruned_stays_finite():
    model = create("gnnguard", spec(options={"threshold": 1.0}))
    before = torch.cat(model.vectors())
    assert before.isfinite().all()
    (slope,) = torch.autograd.grad(model.losses(TRIPLETS).sum(), model.embedding)
    assert slope.isfinite().all()


def test_sixty_thousand_nodes_fit_which_as_a_matrix_would_need_14_gigabytes():
    rng = np.random.default_rng(0)
    pairs = Pairs.from_coo(rng.integers(0, 30_000, 50_000), rng.integers(0, 30_000, 50_000),
                           30_000, 30_000)  # fmt: skip
    model = GNNGuard(spec(pairs, layers=2, dtype=torch.float32, dim=2))
    batch = torch.tensor([[0, 1], [2, 3], [4, 5]], dtype=torch.int32)
    (slope,) = torch.autograd.grad(model.losses(batch).sum(), model.embedding)
    assert slope.shape == (60_000, 2)


def test_the_edges_follow_the_model():
    model = GNNGuard(spec(dtype=torch.float32, graph=Graph.build(PAIRS)))
    assert model.double().graph.scale.dtype == torch.float64
    assert not any(tensor.is_floating_point() for tensor in model.edges)
    assert list(model.state_dict()) == ["embedding"]
