"""Passes over the whole catalogue, certified radii and smooth losses, against their twins."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from test_ops import available_isas
from torch import Tensor

from advrec import native, ops
from advrec.ops import reference
from advrec.ops.reference import Reach

pytestmark = pytest.mark.skipif(
    native.kernels() != "native", reason="the compiled core is switched off (ADVREC_KERNELS)"
)

U, I, K = 31, 700, 7  # items of three tiles, the last one not full
Rows = tuple[Tensor, Tensor]
SMOOTH = ("ndcg", "softmax")


@pytest.fixture(autouse=True)
def _as_before():
    threads, isa = native.set_threads(1), native.isa()
    yield
    native.set_threads(threads)
    torch.ops.advrec.set_isa(isa)


@pytest.fixture(params=available_isas())
def isa(request) -> str:
    """Every instruction set that this machine has, in turn."""
    torch.ops.advrec.set_isa(request.param)
    return request.param


def rows(sets: list[set[int]]) -> Rows:
    indptr = np.cumsum([0] + [len(row) for row in sets])
    return torch.tensor(indptr), torch.tensor([i for row in sets for i in sorted(row)]).int()


def some_lists(n_items: int = I) -> tuple[Rows, Rows, Rows]:
    """Masked, relevant, and both; users without relevant items, without rivals, with many."""
    rng = np.random.default_rng(0)
    masked, relevant = (
        [set(rng.choice(n_items, rng.integers(0, most), replace=False).tolist()) for _ in range(U)]
        for most in (n_items // 3, 6)
    )
    relevant[3], relevant[U - 1] = set(), set()
    masked[4] = set(range(n_items)) - relevant[4]  # all but the relevant ones
    masked[5], relevant[5] = set(range(n_items)), {0, 9}  # the relevant ones, too
    relevant[6] = set(range(0, n_items, 5))
    relevant[7] = set(range(n_items))
    both = [a | b for a, b in zip(masked, relevant, strict=True)]
    return rows(masked), rows(relevant), rows(both)


def tables(kind: str, dim: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(dim)
    users = torch.randn(U, dim, generator=generator, dtype=dtype) / dim**0.5
    items = torch.randn(I, dim, generator=generator, dtype=dtype) + 0.2
    indptr, relevant = some_lists()[1]
    for user in range(0, U, 2):  # a first relevant item near the top of the list
        if indptr[user] < indptr[user + 1]:
            items[relevant[indptr[user]]] += 3 * dim**0.5 * users[user]
    if kind == "zeros":
        users[::3], items[::2] = 0, 0
    elif kind == "equal":
        # Eighths: products are exact in any order, so that what ties does so in both.
        users, items = (users * 8).round() / 8, (items[torch.arange(I) % 5] * 8).round() / 8
    elif kind == "giant":
        items[17] *= 1e6
        users[8] *= 1e8
    elif kind == "large":
        users, items = users * 1e15, items * 1e15
    elif kind == "tiny":
        users, items = users * 1e-13, items * 1e-7
    elif kind == "tinier":
        users, items = users * 1e-30, items * 1e-30
    elif kind == "scales":
        users *= 10.0 ** torch.linspace(-9, 9, U, dtype=dtype)[:, None]
        items *= 10.0 ** torch.linspace(-3, 3, I, dtype=dtype)[:, None]
    return users, items


KINDS = ("random", "zeros", "equal", "giant", "large", "tiny", "tinier", "scales")


def reach_of(users: Tensor, items: Tensor, kind: str) -> Reach:
    generator = torch.Generator().manual_seed(1)
    norms = users.double().norm(dim=1), items.double().norm(dim=1)
    ones = torch.ones(U, dtype=torch.float64), torch.ones(I, dtype=torch.float64)
    slack = tuple(2 * 2.0**-24 * n for n in norms)
    if kind == "users":
        return Reach(ones[0], 0 * ones[1], slack[0], 0 * slack[1])
    if kind == "items":
        return Reach(0 * ones[0], ones[1], 0 * slack[0], slack[1])
    if kind == "relative":
        return Reach(norms[0], norms[1].mean() * ones[1], *slack)
    if kind == "rows":  # every row has a budget of its own, as at LightGCN's `ego`
        own = (torch.rand(len(o), generator=generator, dtype=torch.float64) for o in ones)
        return Reach(*own, *(9 * s for s in slack), exact=False)
    if kind == "levers":
        levers = norms[0] * torch.rand(U, generator=generator, dtype=torch.float64)
        return Reach(0 * ones[0], ones[1], 0 * slack[0], slack[1], levers)
    return Reach(*ones, *slack)


def same_radii(users: Tensor, items: Tensor, reach: Reach, k: int = K) -> Tensor:
    masked, relevant, _ = some_lists()
    ranks, rivals, stays = ops.smallest_radii(users, items, reach, masked, relevant, k)
    twin = reference.smallest_radii(users, items, reach, masked, relevant, k)
    assert torch.equal(ranks, twin[0])
    for ours, theirs in ((rivals, twin[1]), (stays, twin[2])):
        assert not ours.isnan().any()
        # Exact up to the order of sums in float64, of which what is left of a margin can be small.
        scale = theirs[theirs.isfinite()].abs().max() if theirs.isfinite().any() else 1.0
        torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-12 * float(scale))
    return rivals


@pytest.mark.parametrize("dim", [1, 2, 3, 17, 64, 67])
@pytest.mark.parametrize("kind", ["both", "users", "items", "relative", "rows", "levers"])
def test_radii_are_those_of_all_pairs(isa, dim, kind):
    users, items = tables("random", dim)
    rivals = same_radii(users, items, reach_of(users, items, kind))
    assert ((rivals > 0) & rivals.isfinite()).sum() > 20


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("vectors", KINDS)
def test_radii_of_hostile_vectors_are_those_of_all_pairs(isa, vectors, dtype):
    users, items = tables(vectors, 9, dtype)
    for kind in ("both", "relative"):
        same_radii(users, items, reach_of(users, items, kind))


@pytest.mark.parametrize("k", [1, 2, 50, 1000])
def test_radii_of_short_and_long_lists(isa, k):
    users, items = tables("random", 8)
    same_radii(users, items, reach_of(users, items, "both"), k)


def test_radii_without_a_trusted_scan_are_zero_or_exact(isa):
    """Norms that no scale brings near 1: every pair takes the exact path, none is passed over."""
    users, items = tables("random", 4, torch.float64)
    masked, relevant, _ = some_lists()
    for scale in (1e-290, 1e170):
        reach = reach_of(users * scale, items * scale, "both")
        _, rivals, _ = ops.smallest_radii(users * scale, items * scale, reach, masked, relevant, K)
        assert (rivals[rivals.isfinite()] == 0).all()


# -- smooth losses -------------------------------------------------------------------------------


def losses(
    smooth: str, users: Tensor, items: Tensor, tau: Tensor, k: int = K
) -> list[tuple[Tensor, Tensor, Tensor]]:
    _, relevant, known = some_lists(len(items))
    weights = torch.linspace(0.3, 1, U, dtype=torch.float64)
    return [
        module.smooth_rank(smooth, users, items, tau, weights, relevant, known, k)
        for module in (ops, reference)
    ]


def temperature(users: Tensor, items: Tensor, factor: float) -> Tensor:
    tau = factor * (users.norm(dim=1) + 0.01) * items.norm(dim=1).median()
    return tau.clamp_min(torch.finfo(tau.dtype).tiny)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("dim", [1, 3, 17, 64, 67])
@pytest.mark.parametrize("smooth", SMOOTH)
def test_smooth_losses_and_gradients_are_those_of_the_twin(isa, smooth, dim, dtype):
    users, items = tables("random", dim, dtype)
    for factor in (0.003, 0.05, 1.0):
        ours, theirs = losses(smooth, users, items, temperature(users, items, factor))
        precision = 3e-4 if dtype == torch.float32 else 1e-10
        assert float(ours[0]) == pytest.approx(float(theirs[0]), rel=precision)
        for mine, other in zip(ours[1:], theirs[1:], strict=True):
            # Slopes left out (float32: 1.2e-7), and the rounding of scores over small temperatures.
            close = precision * float(other.norm(dim=1).max())
            assert float((mine - other).norm(dim=1).max()) <= close
            assert float(other.norm(dim=1).max()) > 0 or factor < 0.05


@pytest.mark.parametrize("vectors", KINDS)
@pytest.mark.parametrize("smooth", SMOOTH)
def test_smooth_losses_of_hostile_vectors_are_those_of_the_twin(isa, smooth, vectors):
    users, items = tables(vectors, 9)
    ours, theirs = losses(smooth, users, items, temperature(users, items, 0.05))
    assert float(ours[0]) == pytest.approx(float(theirs[0]), rel=1e-3)
    for mine, other in zip(ours[1:], theirs[1:], strict=True):
        assert bool(mine.isfinite().all()) == bool(other.isfinite().all())
        if other.isfinite().all():
            largest = other.double().norm(dim=1).max()
            assert (mine.double() - other.double()).norm(dim=1).max() <= 1e-3 * largest


@pytest.mark.parametrize("smooth", SMOOTH)
def test_a_user_far_from_any_loss_keeps_its_direction(isa, smooth):
    """Gradients of 1e-9 count: attacks take each row's direction only."""
    users, items = tables("random", 8, torch.float64)
    items[:, 0], users[:, 0] = 0.0, 1.0
    relevant = rows([{u} for u in range(U)])
    items[:U, 0] = 3.0
    weights, tau = torch.ones(U, dtype=torch.float64), torch.full((U,), 0.05).double()
    known = rows([set(range(U)) for _ in range(U)])
    ours, theirs = (
        module.smooth_rank(smooth, users, items, tau, weights, relevant, known, K)[1]
        for module in (ops, reference)
    )
    assert (theirs.norm(dim=1) > 0).all()
    assert theirs.norm(dim=1).min() < 1e-9
    cosines = torch.nn.functional.cosine_similarity(ours, theirs, eps=0)
    assert cosines.min() > 1 - 1e-9


@pytest.mark.parametrize("smooth", SMOOTH)
def test_smooth_gradients_are_central_differences(isa, smooth):
    users, items = tables("random", 5, torch.float64)
    tau = temperature(users, items, 0.3)
    _, *gradients = losses(smooth, users, items, tau)[0]
    generator = torch.Generator().manual_seed(2)
    way = [torch.randn(t.shape, generator=generator, dtype=t.dtype) for t in (users, items)]
    h = 1e-5
    ahead, behind = (
        float(losses(smooth, users + s * h * way[0], items + s * h * way[1], tau)[0][0])
        for s in (1, -1)
    )
    slope = sum(float((g * w).sum()) for g, w in zip(gradients, way, strict=True))
    assert slope == pytest.approx((ahead - behind) / (2 * h), rel=1e-5)


def test_passes_do_not_depend_on_the_number_of_threads(isa):
    users, items = tables("random", 19)
    masked, relevant, known = some_lists()
    reach = reach_of(users, items, "rows")
    weights, tau = torch.ones(U, dtype=torch.float64), temperature(users, items, 0.05)
    results = []
    for threads in (1, 2, 3, 8):
        native.set_threads(threads)
        results.append(
            (
                *ops.smallest_radii(users, items, reach, masked, relevant, K),
                *ops.smooth_rank("ndcg", users, items, tau, weights, relevant, known, K),
                *ops.smooth_rank("softmax", users, items, tau, weights, relevant, known, K),
            )
        )
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_torch_finds_nothing_wrong_with_the_passes():
    users, items = tables("random", 8)
    masked, relevant, known = some_lists()
    reach = reach_of(users, items, "both")
    rest = (reach.users, reach.items, reach.user_slack, reach.item_slack, None)
    smooth = (temperature(users, items, 0.1), torch.ones(U).double(), *relevant, *known, 0, K)
    operators = ops.fused()
    for operator, arguments in (
        (operators.smallest_radii, (*rest, *masked, *relevant, K)),
        (operators.smooth_rank, smooth),
    ):
        torch.library.opcheck(operator.default, (users, items, *arguments))


def test_wrong_arguments_are_value_errors():
    users, items = tables("random", 8)
    masked, relevant, known = some_lists()
    reach = reach_of(users, items, "both")
    outside = (relevant[0], relevant[1] + I)
    with pytest.raises(ValueError, match="items must be in"):
        ops.smallest_radii(users, items, reach, masked, outside, K)
    with pytest.raises(ValueError, match="k must be at least 1"):
        ops.smallest_radii(users, items, reach, masked, relevant, 0)
    with pytest.raises(ValueError, match="unknown smooth 'bpr'"):
        ops.smooth_rank("bpr", users, items, users[:, 0], users[:, 0], relevant, known, K)
    weights = torch.ones(U, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"temperature must have shape \[31\]"):
        ops.smooth_rank("ndcg", users, items, users[:3, 0], weights, relevant, known, K)
