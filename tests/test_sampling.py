"""The sampler: what it draws is fixed by (seed, epoch, position) and nothing else."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from advrec.data.dataset import Pairs
from advrec.errors import DataError
from advrec.ops.positives import Positives
from advrec.ops.reference import philox4x32, sample_triplets

MASK = 0xFFFFFFFF


def toy(n_users: int = 30, n_items: int = 20, density: float = 0.3, seed: int = 0) -> Pairs:
    seen = np.random.default_rng(seed).random((n_users, n_items)) < density
    return Pairs.from_coo(*np.nonzero(seen), n_users, n_items)


# The known answers of Random123's kat_vectors.
@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        ("00000000 00000000 00000000 00000000", "00000000 00000000",
         "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff",
         "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0",
         "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)  # fmt: skip
def test_philox_gives_the_published_words(counter: str, key: str, words: str) -> None:
    def ints(text: str) -> list[int]:
        return [int(word, 16) for word in text.split()]

    c0, c1, c2, c3 = ints(counter)
    k0, k1 = ints(key)
    assert philox4x32((c0, c1, c2, c3), (k0, k1)).tolist() == ints(words)


class Scalar:
    """The sampler once more, one triplet at a time in Python's integers."""

    def __init__(self, pairs: Pairs, seed: int, epoch: int, negatives: int, sampling: str) -> None:
        self.rows = [pairs.of(user).tolist() for user in range(pairs.n_users)]
        self.n_items = pairs.n_items
        self.active = [u for u, row in enumerate(self.rows) if 0 < len(row) < pairs.n_items]
        self.pairs = [(u, i) for u in self.active for i in self.rows[u]]
        self.seed, self.epoch, self.negatives, self.sampling = seed, epoch, negatives, sampling

    def words(self, t: int, stream: int, attempt: int) -> list[int]:
        counter = (t & MASK, t >> 32, self.epoch, (stream << 24) | attempt)
        return [int(w) for w in philox4x32(counter, (self.seed & MASK, self.seed >> 32))]

    def place(self, p: int) -> int:
        n = len(self.pairs)
        bits = 2
        while 1 << bits < n:
            bits += 1
        la, lb = bits // 2, bits - bits // 2
        keys = [self.words(r, 2, 0)[0] for r in range(6)]
        x = p
        while True:
            left, right = x >> lb, x & ((1 << lb) - 1)
            for r in range(6):
                value = right if r % 2 == 0 else left
                h = (value * 0x9E3779B1 + keys[r]) & MASK
                h ^= h >> 16
                h = h * 0x85EBCA6B & MASK
                h ^= h >> 13
                h = h * 0xC2B2AE35 & MASK
                h ^= h >> 16
                if r % 2 == 0:
                    left ^= h & ((1 << la) - 1)
                else:
                    right ^= h & ((1 << lb) - 1)
            x = left << lb | right
            if x < n:
                return x

    def triplet(self, t: int) -> tuple[int, int, int]:
        p = t // self.negatives
        if self.sampling == "pairs":
            user, item = self.pairs[self.place(p)]
        else:
            w = self.words(p, 1, 0)
            user = self.active[w[0] * len(self.active) >> 32]
            item = self.rows[user][w[1] * len(self.rows[user]) >> 32]
        for attempt in range(32):
            for w in self.words(t, 0, attempt):
                if (j := w * self.n_items >> 32) not in self.rows[user]:
                    return user, item, j
        unseen = [j for j in range(self.n_items) if j not in self.rows[user]]
        return user, item, unseen[self.words(t, 0, 32)[0] * len(unseen) >> 32]


@pytest.mark.parametrize("sampling", ["pairs", "users"])
@pytest.mark.parametrize("negatives", [1, 3])
@pytest.mark.parametrize("seed", [0, 7, 2**63 + 5])
def test_vectorised_and_scalar_sampler_agree(sampling: str, negatives: int, seed: int) -> None:
    pairs = toy()
    positives = Positives.from_pairs(pairs)
    scalar = Scalar(pairs, seed, 4, negatives, sampling)
    count = len(positives) * negatives
    drawn = sample_triplets(
        positives, seed=seed, epoch=4, first=0, count=count, negatives=negatives, sampling=sampling
    )
    assert drawn.dtype == torch.int32
    assert drawn.T.tolist() == [list(scalar.triplet(t)) for t in range(count)]


def test_a_user_with_one_item_unseen_always_gets_it() -> None:
    n_items = 3000  # 128 candidates miss one item of 3000 nearly always: the exact way is taken
    items = [j for j in range(n_items) if j != 1234]
    pairs = Pairs.from_coo([0] * len(items), items, 1, n_items)
    scalar = Scalar(pairs, 1, 0, 1, "pairs")
    positives = Positives.from_pairs(pairs)
    drawn = sample_triplets(positives, seed=1, epoch=0, first=0, count=50)
    assert set(drawn[2].tolist()) == {1234}
    assert drawn.T.tolist()[:3] == [list(scalar.triplet(t)) for t in range(3)]


@pytest.mark.parametrize("n_pairs", [1, 2, 3, 4, 5, 16, 17, 1000])
@pytest.mark.parametrize("negatives", [1, 2])
def test_pairs_mode_visits_every_pair_once_for_each_negative(n_pairs: int, negatives: int) -> None:
    users = np.arange(n_pairs)
    pairs = Pairs.from_coo(users, users % 7, n_pairs, 8)
    drawn = sample_triplets(
        Positives.from_pairs(pairs),
        seed=3,
        epoch=0,
        first=0,
        count=n_pairs * negatives,
        negatives=negatives,
    )
    visits = Counter(map(tuple, drawn[:2].T.tolist()))
    assert visits == {(u, u % 7): negatives for u in range(n_pairs)}


@pytest.mark.parametrize("sampling", ["pairs", "users"])
def test_any_part_of_an_epoch_is_the_same_alone(sampling: str) -> None:
    positives = Positives.from_pairs(toy())
    total = 2 * len(positives)

    def draw(first: int, count: int) -> torch.Tensor:
        return sample_triplets(
            positives, seed=5, epoch=2, first=first, count=count, negatives=2, sampling=sampling
        )

    parts = [draw(first, min(13, total - first)) for first in range(0, total, 13)]
    assert torch.equal(torch.cat(parts, 1), draw(0, total))


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    positives = Positives.from_pairs(toy())
    orders = {
        (seed, epoch): tuple(
            sample_triplets(positives, seed=seed, epoch=epoch, first=0, count=50).flatten().tolist()
        )
        for seed in (0, 1, 1 << 32)
        for epoch in (0, 1)
    }
    assert len(set(orders.values())) == len(orders)


@pytest.mark.parametrize("sampling", ["pairs", "users"])
def test_the_positive_is_in_train_and_the_negative_is_not(sampling: str) -> None:
    pairs = toy(density=0.8)
    positives = Positives.from_pairs(pairs)
    drawn = sample_triplets(
        positives, seed=0, epoch=0, first=0, count=len(positives), sampling=sampling
    ).tolist()
    for u, i, j in zip(*drawn, strict=True):
        assert i in pairs.of(u)
        assert j not in pairs.of(u)


def test_users_without_items_or_without_negatives_are_never_drawn() -> None:
    pairs = Pairs.from_coo([0, 0, 0, 2], [0, 1, 2, 1], 4, 3)  # 0 has all, 1 and 3 none
    positives = Positives.from_pairs(pairs)
    assert positives.active_users.tolist() == [2]
    assert (positives.n_users, len(positives)) == (4, 1)
    for sampling in ("pairs", "users"):
        drawn = sample_triplets(positives, seed=0, epoch=0, first=0, count=1, sampling=sampling)
        assert drawn[:2].flatten().tolist() == [2, 1]


def test_nothing_to_draw_is_an_error() -> None:
    for pairs in (Pairs.empty(3, 4), Pairs.from_coo([0, 0], [0, 1], 1, 2)):
        with pytest.raises(DataError, match="no triplet can be drawn"):
            Positives.from_pairs(pairs)


def chi_square(counts: np.ndarray) -> float:
    """Standardised: about normal(0, 1) if the counts are uniform."""
    expected = counts.sum() / len(counts)
    statistic = ((counts - expected) ** 2 / expected).sum()
    return float((statistic - (len(counts) - 1)) / np.sqrt(2 * (len(counts) - 1)))


def test_negatives_are_uniform_over_the_unseen() -> None:
    pairs = Pairs.from_coo([0, 0, 0], [0, 5, 9], 1, 40)
    positives = Positives.from_pairs(pairs)
    drawn = sample_triplets(positives, seed=0, epoch=0, first=0, count=60_000, negatives=20_000)
    counts = np.bincount(drawn[2].numpy(), minlength=40)
    assert counts[[0, 5, 9]].sum() == 0
    assert abs(chi_square(np.delete(counts, [0, 5, 9]))) < 4


def test_users_mode_draws_users_uniformly_and_then_one_of_their_items() -> None:
    degrees = [10, 20, 50, 80]
    users = np.repeat(np.arange(4), degrees)
    items = np.concatenate([np.arange(d) for d in degrees])
    positives = Positives.from_pairs(Pairs.from_coo(users, items, 4, 100))
    epochs = [
        sample_triplets(positives, seed=0, epoch=e, first=0, count=160, sampling="users")
        for e in range(60)
    ]
    drawn = torch.cat(epochs, 1).numpy()
    assert abs(chi_square(np.bincount(drawn[0]))) < 4
    assert abs(chi_square(np.bincount(drawn[1][drawn[0] == 3]))) < 4


def test_the_first_place_of_an_order_is_uniform_over_epochs() -> None:
    users = np.arange(11)
    positives = Positives.from_pairs(Pairs.from_coo(users, users, 11, 12))
    first = [
        int(sample_triplets(positives, seed=0, epoch=e, first=0, count=1)[0, 0]) for e in range(660)
    ]
    assert abs(chi_square(np.bincount(first, minlength=11))) < 4


@pytest.mark.parametrize(
    "wrong",
    [{"sampling": "items"}, {"first": -1}, {"count": 10**6}, {"count": -1}, {"negatives": 0}],
)
def test_a_range_outside_the_epoch_or_an_unknown_mode_is_refused(wrong: dict[str, object]) -> None:
    positives = Positives.from_pairs(toy())
    arguments: dict[str, object] = {"seed": 0, "epoch": 0, "first": 0, "count": 4} | wrong
    with pytest.raises(ValueError, match=r"sampling|triplets"):
        sample_triplets(positives, **arguments)  # type: ignore[arg-type]


def test_draws_stay_the_same_from_release_to_release() -> None:
    """A resumed run needs the very numbers that the interrupted one would have drawn."""
    users, items = zip(*((u, i) for u in range(20) for i in range(u % 3, 16, 3)), strict=True)
    positives = Positives.from_pairs(Pairs.from_coo(users, items, 20, 16))
    drawn = {
        sampling: sample_triplets(
            positives, seed=1, epoch=2, first=3, count=4, sampling=sampling
        ).tolist()
        for sampling in ("pairs", "users")
    }
    assert drawn == {
        "pairs": [[5, 10, 8, 12], [8, 1, 14, 3], [13, 3, 4, 8]],
        "users": [[19, 1, 3, 13], [7, 10, 0, 4], [6, 3, 4, 8]],
    }
