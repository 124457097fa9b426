"""The compiled operators against their twins, finite differences and torch's own checks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from advrec import native, ops
from advrec.data.dataset import Pairs
from advrec.ops import reference
from advrec.ops.graph import Graph
from advrec.ops.positives import Positives

pytestmark = pytest.mark.skipif(
    native.kernels() != "native", reason="the compiled core is switched off (ADVREC_KERNELS)"
)

U, I = 50, 40
DTYPES = (torch.float32, torch.float64)
# Less than a vector, whole vectors, register blocks, and each with a rest
DIMS = (1, 3, 8, 20, 64, 67, 130, 260)


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    """Random pairs with an idle user, an idle item, a user of nearly everything, and a hub."""
    rng = np.random.default_rng(0)
    users, items = rng.integers(1, U, 500), rng.integers(1, I, 500)
    users = np.concatenate([users, np.full(I - 2, 7), np.arange(1, U)])
    items = np.concatenate([items, np.arange(1, I - 1), np.full(U - 1, 5)])
    return Pairs.from_coo(users.astype(np.int32), items.astype(np.int32), U, I)


@pytest.fixture(autouse=True)
def _as_before():
    threads, isa = native.set_threads(None), native.isa()
    yield
    native.set_threads(threads)
    torch.ops.advrec.set_isa(isa)


def available_isas() -> list[str]:
    if native.kernels() != "native":
        return []
    before = native.isa()
    found = [name for name in ("portable", "avx2", "avx512") if torch.ops.advrec.set_isa(name)]
    torch.ops.advrec.set_isa(before)
    return found


@pytest.fixture(params=available_isas())
def isa(request) -> str:
    """Every instruction set that this machine has, in turn."""
    torch.ops.advrec.set_isa(request.param)
    return request.param


def rounding(dtype: torch.dtype, terms: int) -> float:
    """k·ulp·√terms: what sums of `terms` numbers of size 1 in two orders may differ by, k = 8."""
    return 8 * torch.finfo(dtype).eps * terms**0.5


def lists(rows: int, most: int, seed: int) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    sets = [np.sort(rng.choice(I, rng.integers(0, most), replace=False)) for _ in range(rows)]
    indptr = np.cumsum([0] + [len(row) for row in sets])
    return torch.tensor(indptr), torch.from_numpy(np.concatenate(sets).astype(np.int32))


@pytest.mark.parametrize("sampling", ["pairs", "users"])
@pytest.mark.parametrize("negatives", [1, 3])
@pytest.mark.parametrize(("seed", "epoch"), [(0, 0), (123456789012345, 7), (2**63 - 1, 2**31 - 1)])
def test_the_sampler_draws_what_its_twin_draws(isa, pairs, sampling, negatives, seed, epoch):
    pos = Positives.from_pairs(pairs)
    total = len(pos) * negatives
    for first, count in ((0, total), (5, 1), (total - 70, 70), (3, 0)):
        arguments = dict(
            seed=seed, epoch=epoch, first=first, count=count, negatives=negatives, sampling=sampling
        )
        expected = reference.sample_triplets(pos, **arguments)
        assert torch.equal(ops.sample_triplets(pos, **arguments), expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("layers", range(5))
def test_propagation_is_the_mean_of_sparse_products(isa, pairs, dtype, dim, layers):
    graph, x = Graph.build(pairs, dtype=dtype), torch.randn(U + I, dim, dtype=dtype)
    error = (ops.propagate(x, graph, layers) - reference.propagate(x, graph, layers)).abs().max()
    assert error <= rounding(dtype, U)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dim", DIMS)
def test_margins_and_their_gradients(isa, pairs, dtype, dim):
    triplets = reference.sample_triplets(
        Positives.from_pairs(pairs), seed=1, epoch=0, first=0, count=400
    )
    users = torch.randn(U, dim, dtype=dtype, requires_grad=True)
    items = torch.randn(I, dim, dtype=dtype, requires_grad=True)
    weight = torch.randn(400, dtype=dtype)
    results = []
    for module in (ops, reference):
        margin = module.triplet_margin(users, items, triplets)
        grads = torch.autograd.grad((margin * weight).sum(), (users, items))
        results.append((margin.detach(), *grads))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=10 * rounding(dtype, 400 + dim))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dim", DIMS)
def test_normalised_rows_have_length_eps_even_when_tiny(isa, dtype, dim):
    x = torch.randn(9, dim, dtype=dtype)
    x[1] = 0
    x[2] *= 1e-25
    x[3] *= 1e18
    x[4] *= torch.finfo(dtype).tiny
    out = ops.normalize_rows(x, 0.5)
    assert torch.equal(out[1], torch.zeros_like(out[1]))
    lengths = torch.linalg.vector_norm(out, dim=1)[torch.arange(9) != 1]
    torch.testing.assert_close(lengths, torch.full_like(lengths, 0.5))
    torch.testing.assert_close(out, reference.normalize_rows(x, 0.5))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dim", [1, 7, 64, 130])
@pytest.mark.parametrize("k", [1, 5, 39, 60])
def test_rankings_equal_the_obvious_sort_ties_included(isa, dtype, dim, k):
    users = torch.randint(-1, 2, (U, dim)).to(dtype)  # whole numbers: exact, and full of ties
    items = torch.randint(-1, 2, (I, dim)).to(dtype)
    mask, relevant = lists(U, 20, seed=1), lists(U, 8, seed=2)
    expected = reference.rank_topk(users, items, mask, relevant, k, count_above=True)
    for found in (
        ops.rank_topk(users, items, mask, relevant, k, count_above=True),
        ops.rank_scores(users @ items.T, mask, relevant, k, count_above=True),
    ):
        for field in ("ids", "scores", "hits", "above"):
            assert torch.equal(getattr(found, field), getattr(expected, field)), field


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dim", [3, 64, 67])
@pytest.mark.parametrize("count_above", [False, True])
def test_equal_vectors_tie_to_the_last_bit_whichever_is_relevant(isa, dtype, dim, count_above):
    users, half = torch.randn(17, dim, dtype=dtype), torch.randn(400, dim, dtype=dtype)
    items = torch.cat([half, half])
    empty = (torch.zeros(18, dtype=torch.int64), torch.zeros(0, dtype=torch.int32))
    relevant = (torch.arange(18), torch.arange(17, dtype=torch.int32))  # one of each pair of twins
    found = ops.rank_topk(users, items, empty, relevant, 800, count_above)
    for u in range(17):
        ids, scores = found.ids[u].tolist(), found.scores[u]
        here, twin = ids.index(u), ids.index(u + 400)
        assert scores[here] == scores[twin]
        assert here == twin + 1, "a tie counts against the hit"
        if count_above:
            assert found.above[u] == here


def test_a_catalogue_of_many_tiles_ranks_as_a_sort(isa):
    users, items = torch.randn(17, 24), torch.randn(1501, 24)
    empty = (torch.zeros(18, dtype=torch.int64), torch.zeros(0, dtype=torch.int32))
    relevant = (torch.arange(18), torch.arange(17, dtype=torch.int32) * 80)
    found = ops.rank_topk(users, items, empty, relevant, 50, count_above=True)
    expected = reference.rank_topk(users, items, empty, relevant, 50, count_above=True)
    same = (found.ids == expected.ids).float().mean()
    assert same > 0.98  # two scores an ulp apart may change places, and nothing else
    torch.testing.assert_close(found.scores, expected.scores, rtol=1e-5, atol=1e-5)
    assert (found.above - expected.above).abs().max() <= 2


@pytest.mark.parametrize("kind", sorted(ops.OPTIMIZERS))
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("touched", [False, True])
def test_optimisers_make_their_twins_steps(isa, kind, dtype, touched):
    rows = torch.tensor([3, 0, 8], dtype=torch.int32) if touched else None
    results = []
    for module in (ops, reference):
        generator = torch.Generator().manual_seed(0)
        param, state1, state2 = (
            torch.rand(10, 67, dtype=dtype, generator=generator) for _ in range(3)
        )
        for step in (1, 2, 3):
            grad = torch.randn(3 if touched else 10, 67, dtype=dtype, generator=generator)
            module.optimizer_step_(
                kind, param, grad, state1, state2, step=step, lr=0.1, opt_eps=1e-8, rows=rows
            )
        results.append((param, state1, state2))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=20 * torch.finfo(dtype).eps, atol=1e-6)


def test_results_do_not_depend_on_the_number_of_threads(isa, pairs):
    graph, pos = Graph.build(pairs), Positives.from_pairs(pairs)
    x = torch.randn(U + I, 64)
    triplets = reference.sample_triplets(pos, seed=1, epoch=0, first=0, count=400)
    mask, relevant = lists(U, 20, seed=1), lists(U, 8, seed=2)
    results = []
    for threads in (1, 2, 3, 5):
        native.set_threads(threads)
        ranking = ops.rank_topk(x[:U], x[U:], mask, relevant, 10, count_above=True)
        grads = torch.ops.advrec.triplet_margin_backward(
            torch.linspace(-1, 1, 400), x[:U], x[U:], triplets
        )
        results.append(
            (
                ops.sample_triplets(pos, seed=3, epoch=1, first=0, count=len(pos)),
                ops.propagate(x, graph, 3),
                ops.triplet_margin(x[:U], x[U:], triplets),
                *grads,
                ops.normalize_rows(x, 0.5),
                ranking.ids,
                ranking.scores,
                ranking.above,
            )
        )
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_gradients_equal_finite_differences(pairs):
    graph, pos = Graph.build(pairs, dtype=torch.float64), Positives.from_pairs(pairs)
    triplets = reference.sample_triplets(pos, seed=1, epoch=0, first=0, count=20)
    x = torch.randn(U + I, 3, dtype=torch.float64, requires_grad=True)
    users = torch.randn(U, 3, dtype=torch.float64, requires_grad=True)
    items = torch.randn(I, 3, dtype=torch.float64, requires_grad=True)
    check = torch.autograd.gradcheck
    assert check(lambda x: ops.propagate(x, graph, 3), (x,))
    assert check(lambda u, i: ops.triplet_margin(u, i, triplets), (users, items))
    assert check(lambda x: ops.normalize_rows(x, 0.5), (x,))


def test_torch_finds_nothing_wrong_with_the_operators(pairs):
    graph, pos = Graph.build(pairs), Positives.from_pairs(pairs)
    triplets = reference.sample_triplets(pos, seed=1, epoch=0, first=0, count=20)
    x = torch.randn(U + I, 8, requires_grad=True)
    users, items = torch.randn(U, 8, requires_grad=True), torch.randn(I, 8, requires_grad=True)
    mask, relevant = lists(U, 20, seed=1), lists(U, 8, seed=2)
    drawing = (*ops.positives_arguments(pos).values(), 0, 0)
    embedding, state = torch.randn(U + I, 8), torch.ones(U + I, 8)
    optimizer = (1, 0.05, 0.9, 0.999, 1e-10, 0)
    schedule = (1, 0, 0, 2, 50, False, 0.0, 0.5, 1.0, 0)
    table = (embedding, state, None)
    o = ops.fused()
    for op, arguments in (
        (o.sample_triplets, (*drawing, 0, 10, 1, 0)),
        (o.propagate, (x, graph.indptr, graph.indices, graph.scale, 3)),
        (o.triplet_margin, (users, items, triplets)),
        (o.normalize_rows, (x, 0.5)),
        (o.rank_topk, (users.detach(), items.detach(), *mask, *relevant, 5, True)),
        (o.rank_topk_by, (users.detach(), items.detach(), *mask, *relevant, 5, False, 3)),
        (o.rank_scores, (torch.randn(U, I), *mask, *relevant, 5, False)),
        (o.optimizer_step, (embedding, state.clone(), state, None, None, *optimizer)),
        (o.mf_steps, (*table, *drawing, *schedule, *optimizer)),
        (
            o.amr_steps,
            (
                *(torch.randn(U, 8), torch.ones(U, 8), None),
                *(torch.randn(I, 8), torch.ones(I, 8), None),
                *(torch.randn(5, 8), torch.ones(5, 8), None),
                torch.randn(I, 5),
                *drawing,
                *schedule,
                *(0.1, 0.01, 0.01),
                *optimizer,
            ),
        ),
        (
            o.lightgcn_steps,
            (
                *table,
                graph.indptr,
                graph.indices,
                graph.scale,
                2,
                *drawing,
                *schedule,
                0,
                *optimizer,
            ),
        ),
    ):
        torch.library.opcheck(op.default, arguments)


WRONG = {
    "layers must be at least 0, got -1": lambda o, x, g: o.propagate(x, *g, -1),
    "the graph must have": lambda o, x, g: o.propagate(x[:-1].contiguous(), *g, 1),
    "x must be contiguous": lambda o, x, g: o.propagate(x.T, *g, 1),
    "values must be float32 or float64, got": lambda o, x, g: o.propagate(x.half(), *g, 1),
    "user 50 of the triplets is outside its table of 50 rows": lambda o, x, g: o.triplet_margin(
        x[:U], x[U:], torch.tensor([[U], [0], [0]], dtype=torch.int32)
    ),
    "item -1 of the triplets": lambda o, x, g: o.triplet_margin(
        x[:U], x[U:], torch.tensor([[0], [0], [-1]], dtype=torch.int32)
    ),
    "triplets must have shape": lambda o, x, g: o.triplet_margin(
        x[:U], x[U:], torch.zeros(2, 4, dtype=torch.int32)
    ),
    "k must be at least 1, got 0": lambda o, x, g: o.rank_topk(
        x[:U], x[U:], *lists(U, 3, 0), *lists(U, 3, 0), 0, False
    ),
    "mask must have": lambda o, x, g: o.rank_topk(
        x[:U], x[U:], *lists(U - 1, 3, 0), *lists(U, 3, 0), 1, False
    ),
    "threads must be at least 1, got 0": lambda o, x, g: o.set_threads(0),
}


@pytest.mark.parametrize("sentence", WRONG)
def test_wrong_arguments_are_refused_with_a_sentence(pairs, sentence):
    graph, x = Graph.build(pairs), torch.randn(U + I, 8)
    with pytest.raises(ValueError, match=sentence):
        WRONG[sentence](ops.fused(), x, (graph.indptr, graph.indices, graph.scale))
