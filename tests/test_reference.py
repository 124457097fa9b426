"""The plain-torch operators against definitions written once more, and against torch.optim."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from advrec import ops
from advrec.data.dataset import Pairs
from advrec.ops import reference
from advrec.ops.graph import Graph

N_USERS, N_ITEMS, DIM = 7, 9, 4


def randn(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


def toy_graph() -> Graph:
    seen = np.random.default_rng(1).random((N_USERS, N_ITEMS)) < 0.4
    seen[3] = False
    return Graph.build(Pairs.from_coo(*np.nonzero(seen), N_USERS, N_ITEMS), dtype=torch.float64)


def dense(graph: Graph) -> Tensor:  # [N, N]
    matrix = torch.zeros(graph.n_nodes, graph.n_nodes, dtype=torch.float64)
    rows = torch.repeat_interleave(torch.arange(graph.n_nodes), graph.indptr.diff())
    columns = graph.indices.long()
    matrix[rows, columns] = graph.scale[rows] * graph.scale[columns]
    return matrix


# -- propagate -----------------------------------------------------------------------------------


@pytest.mark.parametrize("layers", [0, 1, 2, 3, 5])
def test_propagation_is_the_mean_of_the_powers(layers: int) -> None:
    graph, x = toy_graph(), randn(N_USERS + N_ITEMS, DIM)
    powers = [torch.linalg.matrix_power(dense(graph), k) for k in range(layers + 1)]
    expected = torch.stack(powers).mean(0) @ x
    torch.testing.assert_close(reference.propagate(x, graph, layers), expected)


def test_propagation_has_the_right_gradient_and_is_self_adjoint() -> None:
    graph, x, y = toy_graph(), randn(N_USERS + N_ITEMS, 2), randn(N_USERS + N_ITEMS, 2, seed=1)
    x.requires_grad_()
    assert torch.autograd.gradcheck(lambda t: reference.propagate(t, graph, 3), x)
    (gradient,) = torch.autograd.grad((reference.propagate(x, graph, 3) * y).sum(), x)
    torch.testing.assert_close(gradient, reference.propagate(y, graph, 3))


def test_propagation_of_no_layers_is_a_copy() -> None:
    x = randn(N_USERS + N_ITEMS, DIM)
    out = reference.propagate(x, toy_graph(), 0)
    assert torch.equal(out, x)
    assert out.data_ptr() != x.data_ptr()


@pytest.mark.parametrize(("rows", "layers"), [(N_USERS, 2), (N_USERS + N_ITEMS, -1)])
def test_propagation_refuses_what_does_not_fit(rows: int, layers: int) -> None:
    with pytest.raises(ValueError, match="expected"):
        reference.propagate(randn(rows, DIM), toy_graph(), layers)


# -- triplet_margin and normalize_rows -----------------------------------------------------------


def test_margins_are_differences_of_scores() -> None:
    users, items = randn(N_USERS, DIM), randn(N_ITEMS, DIM, seed=1)
    triplets = torch.tensor([[0, 3, 3], [1, 2, 8], [4, 4, 2]], dtype=torch.int32)
    expected = [users[u] @ items[i] - users[u] @ items[j] for u, i, j in triplets.T.tolist()]
    margins = reference.triplet_margin(users, items, triplets)
    torch.testing.assert_close(margins, torch.stack(expected))


def test_margins_have_the_right_gradient_where_rows_repeat() -> None:
    users, items = (
        randn(N_USERS, DIM).requires_grad_(),
        randn(N_ITEMS, DIM, seed=1).requires_grad_(),
    )
    triplets = torch.tensor([[0, 0, 0, 3], [1, 1, 2, 2], [2, 4, 1, 1]], dtype=torch.int32)
    assert torch.autograd.gradcheck(
        lambda p, q: reference.triplet_margin(p, q, triplets), (users, items)
    )
    assert reference.triplet_margin(users, items, triplets[:, :0]).shape == (0,)


def test_margins_refuse_what_is_no_list_of_triplets() -> None:
    with pytest.raises(ValueError, match=r"expected \[3, B\]"):
        reference.triplet_margin(
            randn(N_USERS, DIM), randn(N_ITEMS, DIM), torch.zeros(2, 4, dtype=torch.int32)
        )


@given(
    st.lists(st.floats(-1e3, 1e3, width=32), min_size=3, max_size=3),
    st.floats(0.0625, 8, width=32),
    st.sampled_from([1.0, 1e-18, 1e-30]),
)
@settings(max_examples=200, deadline=None)
def test_rows_get_length_eps_and_keep_their_direction(
    row: list[float], eps: float, factor: float
) -> None:
    x = torch.tensor([row, [0.0] * 3], dtype=torch.float32) * factor
    out = reference.normalize_rows(x, eps)
    assert not out[1].any()
    if not x[0].any():
        assert not out[0].any()
        return
    # Six roundings of 2^-24 on the way to each entry, and as many again for room.
    torch.testing.assert_close(out[0].norm(), torch.tensor(eps), rtol=12 * 2**-24, atol=0)
    expected = x[0].double() / x[0].double().norm() * eps
    torch.testing.assert_close(out[0].double(), expected, rtol=12 * 2**-24, atol=1e-30)


# -- ranking -------------------------------------------------------------------------------------


def ragged(rows: list[list[int]]) -> tuple[Tensor, Tensor]:
    indptr = np.cumsum([0, *map(len, rows)])
    flat = [item for row in rows for item in row]
    return torch.tensor(indptr), torch.tensor(flat, dtype=torch.int32)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("k", [1, 3, 12])
def test_rankings_follow_the_order_and_count_what_is_above(seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 4, (5, 9)).astype(np.float64)  # few values: many ties
    mask = [np.flatnonzero(rng.random(9) < 0.3).tolist() for _ in range(5)]
    relevant = [np.flatnonzero(rng.random(9) < 0.3).tolist() for _ in range(5)]
    mask[0], relevant[1], mask[2] = list(range(9)), [], []
    found = reference.rank_scores(
        torch.from_numpy(scores), ragged(mask), ragged(relevant), k, count_above=True
    )
    above = []
    for user in range(5):
        candidates = [item for item in range(9) if item not in mask[user]]
        order = sorted(candidates, key=lambda i: (-scores[user, i], i in relevant[user], i))[:k]
        empty = [-1] * (k - len(order))
        assert found.ids[user].tolist() == order + empty
        assert found.scores[user, : len(order)].tolist() == scores[user, order].tolist()
        assert found.scores[user, len(order) :].isinf().all()
        assert found.hits[user].tolist() == [i in relevant[user] for i in order] + [
            False for _ in empty
        ]
        others = [item for item in candidates if item not in relevant[user]]
        above += [sum(scores[user, o] >= scores[user, i] for o in others) for i in relevant[user]]
    assert found.above.tolist() == above
    assert (found.ids.dtype, found.above.dtype) == (torch.int32, torch.int64)


def test_rankings_of_vectors_are_rankings_of_their_scores() -> None:
    users, items = randn(3, DIM), randn(N_ITEMS, DIM, seed=1)
    mask, relevant = ragged([[0], [], [1, 2]]), ragged([[3], [1, 2], []])
    of_vectors = reference.rank_topk(users, items, mask, relevant, 4)
    of_scores = reference.rank_scores(users @ items.T, mask, relevant, 4)
    assert torch.equal(of_vectors.ids, of_scores.ids)
    assert torch.equal(of_vectors.hits, of_scores.hits)
    assert of_vectors.above.numel() == 0


def test_rankings_refuse_what_does_not_fit() -> None:
    scores, empty = randn(2, N_ITEMS), ragged([[], []])
    with pytest.raises(ValueError, match="k is 0"):
        reference.rank_scores(scores, empty, empty, 0)
    with pytest.raises(ValueError, match="relevant has 1 rows"):
        reference.rank_scores(scores, empty, ragged([[1]]), 3)


# -- optimisers ----------------------------------------------------------------------------------

KINDS: dict[str, tuple[Any, dict[str, Any], float, int]] = {
    # torch's class and arguments, what fills state1 at the start, number of states
    "sgd": (torch.optim.SGD, {"lr": 0.1}, 0.0, 0),
    "adagrad": (
        torch.optim.Adagrad,
        {"lr": 0.1, "eps": 1e-10, "initial_accumulator_value": 0.1},
        0.1,
        1,
    ),
    "adam": (torch.optim.Adam, {"lr": 0.1, "eps": 1e-8, "betas": (0.8, 0.95)}, 0.0, 2),
    "sparse_adam": (torch.optim.SparseAdam, {"lr": 0.1, "eps": 1e-8, "betas": (0.8, 0.95)}, 0.0, 2),
}


def ours(kind: str, start: Tensor, grads: list[Tensor], rows: list[Tensor] | None) -> Tensor:
    _, arguments, fill, count = KINDS[kind]
    param = start.clone()
    states = [torch.full_like(start, fill) for _ in range(count)] + [None] * (2 - count)
    beta1, beta2 = arguments.get("betas", (0.0, 0.0))
    for number, grad in enumerate(grads, start=1):
        touched = None if rows is None else rows[number - 1]
        reference.optimizer_step_(
            kind,
            param,
            grad if touched is None else grad[touched],
            *states,
            step=number,
            lr=arguments["lr"],
            beta1=beta1,
            beta2=beta2,
            opt_eps=arguments.get("eps", 0.0),
            rows=touched,
        )
    return param


def theirs(kind: str, start: Tensor, grads: list[Tensor], rows: list[Tensor] | None) -> Tensor:
    optimizer, arguments, _, _ = KINDS[kind]
    param = torch.nn.Parameter(start.clone())
    stepper = optimizer([param], **arguments)
    for number, grad in enumerate(grads):
        if rows is None:
            param.grad = grad
        else:
            index = rows[number]
            param.grad = torch.sparse_coo_tensor(
                index[None], grad[index], grad.shape, check_invariants=True
            )
        stepper.step()
    return param.detach()


@pytest.mark.parametrize("kind", ["sgd", "adagrad", "adam"])
def test_dense_steps_are_those_of_torch(kind: str) -> None:
    start, grads = randn(6, DIM), [randn(6, DIM, seed=s) for s in range(1, 6)]
    torch.testing.assert_close(ours(kind, start, grads, None), theirs(kind, start, grads, None))


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")  # torch's Adagrad's own
@pytest.mark.parametrize("kind", ["sgd", "adagrad", "sparse_adam"])
def test_steps_on_rows_are_those_of_torch_on_sparse_gradients(kind: str) -> None:
    start, grads = randn(6, DIM), [randn(6, DIM, seed=s) for s in range(1, 6)]
    rows = [torch.tensor(r) for r in ([0, 2], [2, 5], [1], [0, 1, 2, 3, 4, 5], [5])]
    torch.testing.assert_close(ours(kind, start, grads, rows), theirs(kind, start, grads, rows))


@pytest.mark.parametrize("kind", ["sgd", "adagrad"])
def test_steps_on_rows_are_dense_steps_with_zeros_elsewhere(kind: str) -> None:
    start, rows = randn(6, DIM), [torch.tensor([4, 1]), torch.tensor([1, 0])]
    grads = [torch.zeros(6, DIM, dtype=torch.float64).index_copy(0, r, randn(2, DIM)) for r in rows]
    assert torch.equal(ours(kind, start, grads, rows), ours(kind, start, grads, None))


@pytest.mark.parametrize("kind", sorted(ops.OPTIMIZERS))
def test_steps_on_rows_leave_the_other_rows_alone(kind: str) -> None:
    start, rows = randn(6, DIM), torch.tensor([4, 1])
    param = ours(kind, start, [randn(6, DIM, seed=1)] * 3, [rows] * 3)
    changed = (param != start).any(1).nonzero().flatten().tolist()
    assert changed == [1, 4]


def test_steps_refuse_what_does_not_fit() -> None:
    param, grad = randn(6, DIM), randn(6, DIM)

    def step(kind: str, grad: Tensor, **more: Any) -> None:
        reference.optimizer_step_(
            kind, param, grad, more.pop("state1", None), None, step=1, lr=0.1, opt_eps=0.0, **more
        )

    with pytest.raises(ValueError, match="unknown optimizer"):
        step("lion", grad)
    with pytest.raises(ValueError, match="state1 of adagrad is missing"):
        step("adagrad", grad)
    with pytest.raises(ValueError, match="state1 of adagrad is"):
        step("adagrad", grad, state1=randn(5, DIM))
    with pytest.raises(ValueError, match="grad is"):
        step("sgd", grad, rows=torch.tensor([1, 2]))
