"""Ranking by bounds against the kernel that computes every score: the same bits, whatever comes.

`rank_topk_by` is the operator with its way chosen: 1 computes all scores, 2 skips tiles by norms, 3
scans in integers as well, 4 does so without VNNI. What 1 returns is tested in test_ops.py.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from advrec import native, ops

pytestmark = pytest.mark.skipif(
    native.kernels() != "native", reason="the compiled core is switched off (ADVREC_KERNELS)"
)

ALL, NORMS, INT8, INT8_OWN = 1, 2, 3, 4
U, I = 70, 1100  # several blocks of users, several tiles of items and a part of one
DIMS = (1, 2, 7, 8, 9, 64, 67, 130, 1024)
Rows = tuple[Tensor, Tensor]
Vectors = tuple[Tensor, Tensor]


def available_isas() -> list[str]:
    if native.kernels() != "native":
        return []
    before = native.isa()
    found = [name for name in ("portable", "avx2", "avx512") if ops.fused().set_isa(name)]
    ops.fused().set_isa(before)
    return found


@pytest.fixture(params=available_isas())
def isa(request):
    before = native.isa()
    ops.fused().set_isa(request.param)
    yield request.param
    ops.fused().set_isa(before)


def normal(rng: np.random.Generator, dim: int) -> tuple[np.ndarray, np.ndarray]:
    return rng.normal(size=(U, dim)), rng.normal(size=(I, dim))


def trained(rng: np.random.Generator, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Norms as of a trained model: many tiles are skipped."""
    users, items = normal(rng, dim)
    return users, items * rng.lognormal(sigma=1.5, size=(I, 1))


def whole(rng: np.random.Generator, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Ties everywhere, at the k-th place too."""
    return rng.integers(-1, 2, size=(U, dim)), rng.integers(-1, 2, size=(I, dim))


def flat(rng: np.random.Generator, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """All values are the largest: sums of integers are as large as they can be."""
    users, items = np.ones((U, dim)), np.ones((I, dim))
    users[::2] *= -1
    items[::3] *= -1
    items[1::3] *= 1 + 1e-6 * rng.normal(size=items[1::3].shape)
    return users, items


def equal_rows(rng: np.random.Generator, dim: int) -> tuple[np.ndarray, np.ndarray]:
    users, items = normal(rng, dim)
    items = items[rng.integers(0, 40, size=I)]
    users[5:20] = users[5]
    users[20:30] = items[3]
    return users, items


def zeros(rng: np.random.Generator, dim: int) -> tuple[np.ndarray, np.ndarray]:
    users, items = normal(rng, dim)
    users[::3], items[rng.random(I) < 0.9] = 0, 0
    items[::7] *= -0.0
    return users, items


def nothing(rng: np.random.Generator, dim: int) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros((U, dim)), np.zeros((I, dim))


def giant(rng: np.random.Generator, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """One item, and one value of another, are far larger than the rest of their tile."""
    users, items = normal(rng, dim)
    items[700] *= 1e15
    items[701, dim // 2] = 1e12
    users[3] *= 1e10
    return users, items


def huge(rng: np.random.Generator, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Products around the largest float32: some scores are infinite, some not numbers."""
    users, items = normal(rng, dim)
    return users * 1e19, items * 10.0 ** rng.uniform(10, 20, size=(I, 1))


def tiny(rng: np.random.Generator, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Products around the smallest float32, and below it."""
    users, items = normal(rng, dim)
    return users * 1e-20, items * 10.0 ** rng.uniform(-28, -15, size=(I, 1))


def denormal(rng: np.random.Generator, dim: int) -> tuple[np.ndarray, np.ndarray]:
    users, items = normal(rng, dim)
    users[::2] *= 1e-41
    items[::2] *= 1e-43
    return users, items


def every_size(rng: np.random.Generator, dim: int) -> tuple[np.ndarray, np.ndarray]:
    users, items = normal(rng, dim)
    return (
        users * 10.0 ** rng.uniform(-44, 37, size=(U, 1)),
        items * 10.0 ** rng.uniform(-44, 37, size=(I, 1)),
    )


def not_finite(rng: np.random.Generator, dim: int) -> tuple[np.ndarray, np.ndarray]:
    users, items = trained(rng, dim)
    for table in (users, items):
        for value in (np.nan, np.inf, -np.inf):
            table[rng.integers(0, len(table), 4), rng.integers(0, dim, 4)] = value
    return users, items


HOSTILE: dict[str, Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]]] = {
    make.__name__: make
    for make in (
        normal, trained, whole, flat, equal_rows, zeros, nothing, giant, huge, tiny, denormal,
        every_size, not_finite,
    )
}  # fmt: skip


def vectors(name: str, dim: int, seed: int = 0) -> Vectors:
    with np.errstate(all="ignore"):
        users, items = HOSTILE[name](np.random.default_rng(seed), dim)
        return (
            torch.from_numpy(users.astype(np.float32)),
            torch.from_numpy(items.astype(np.float32)),
        )


def lists(density: float, seed: int, n_items: int = I, everything: tuple[int, ...] = ()) -> Rows:
    """A random set of items for each user; for the users `everything`, all of them."""
    there = np.random.default_rng(seed).random((U, n_items)) < density
    there[list(everything)] = True
    indptr = np.concatenate(([0], there.sum(axis=1).cumsum()))
    return torch.from_numpy(indptr), torch.from_numpy(there.nonzero()[1].astype(np.int32))


def as_bits(values: Tensor) -> Tensor:
    """Scores as integers: -0 is not 0, and NaN is NaN."""
    return values.view(torch.int32) if values.is_floating_point() else values


def assert_same_bits(tables: Vectors, mask: Rows, relevant: Rows, k: int) -> None:
    by = ops.fused().rank_topk_by
    expected = by(*tables, *mask, *relevant, k, False, ALL)
    for path in (NORMS, INT8, INT8_OWN):
        found = by(*tables, *mask, *relevant, k, False, path)
        for name, ours, theirs in zip(("ids", "scores", "hits"), found, expected, strict=False):
            differing = (as_bits(ours) != as_bits(theirs)).any(dim=1).sum().item()
            assert not differing, f"{name} of {differing} users, path {path}, k {k}"


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("dim", DIMS)
def test_bounds_change_no_bit(isa, name, dim):
    mask = lists(0.05, seed=1, everything=(0, 17))
    relevant = lists(0.02, seed=2, everything=(17, 33))
    for k in (1, 20) if dim == 1024 else (1, 20, 150):
        assert_same_bits(vectors(name, dim), mask, relevant, k)


@pytest.mark.parametrize("name", ["trained", "whole", "every_size", "not_finite"])
@pytest.mark.parametrize("n_items", [1, 255, 256, 257, 513])
def test_catalogues_of_few_tiles_and_lists_longer_than_they(isa, name, n_items):
    users, items = vectors(name, 9)
    tables = users, items[:n_items].contiguous()
    mask, relevant = lists(0.1, 1, n_items, everything=(4,)), lists(0.1, 2, n_items)
    for k in (1, 10, 300, 2000):
        assert_same_bits(tables, mask, relevant, k)


def test_random_tables_of_many_sizes(isa):
    rng = np.random.default_rng(3)
    for seed in range(60):
        tables = vectors(str(rng.choice(list(HOSTILE))), int(rng.integers(1, 40)), seed)
        mask, relevant = lists(rng.random() ** 4, seed), lists(rng.random() ** 6, seed + 1000)
        assert_same_bits(tables, mask, relevant, int(rng.integers(1, 60)))


def test_bounds_do_not_depend_on_the_number_of_threads(isa):
    tables, none = vectors("trained", 33), lists(0, 0)
    before, found = native.set_threads(None), []
    for threads in (1, 2, 5):
        native.set_threads(threads)
        found.append(ops.fused().rank_topk_by(*tables, *none, *lists(0.01, 1), 20, False, INT8))
    native.set_threads(before)
    assert all(
        torch.equal(a, b) for other in found[1:] for a, b in zip(found[0], other, strict=True)
    )


@pytest.mark.parametrize("count_above", [False, True])
def test_the_operator_itself_takes_bounds_where_it_may(isa, count_above):
    tables, mask, relevant = vectors("trained", 33), lists(0.05, 1), lists(0.02, 2)
    expected = ops.fused().rank_topk_by(*tables, *mask, *relevant, 20, count_above, ALL)
    found = ops.rank_topk(*tables, mask, relevant, 20, count_above)
    for ours, theirs in zip(
        (found.ids, found.scores, found.hits, found.above), expected, strict=True
    ):
        assert torch.equal(ours, theirs)


def test_a_way_that_does_not_exist_is_refused():
    none = lists(0, 0)
    with pytest.raises(ValueError, match=r"path must be in \[0, 4\], got 5"):
        ops.fused().rank_topk_by(*vectors("normal", 3), *none, *none, 1, False, 5)
