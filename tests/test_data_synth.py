"""Synthetic interactions: exact numbers, no repeats, the same from the same seed, skewed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advrec.data import load_dataset
from advrec.data.sources.synth import MOST_SHARE, user_degrees, write_synthetic
from advrec.errors import UsageError


def read(path):
    rows = [line.split() for line in path.read_text().splitlines()]
    return {int(user): [int(item) for item in items] for user, *items in rows}


@settings(deadline=None, max_examples=30)
@given(
    users=st.integers(1, 60),
    items=st.integers(4, 60),
    fill=st.floats(0, 1),
    seed=st.integers(0, 2**63 - 1),
)
def test_a_file_has_exactly_the_pairs_that_were_asked_for(
    tmp_path_factory, users, items, fill, seed
):
    most = users * int(items * MOST_SHARE)
    pairs = users + int(fill * (most - users))
    out = tmp_path_factory.mktemp("synth") / "one.txt"
    write_synthetic(out, users=users, items=items, pairs=pairs, seed=seed)
    rows = read(out)
    assert sorted(rows) == list(range(users))
    assert sum(len(row) for row in rows.values()) == pairs
    for row in rows.values():
        assert row == sorted(set(row))
        assert 0 <= row[0] <= row[-1] < items


def test_a_folder_is_a_given_split_without_a_user_who_cannot_be_trained(tmp_path):
    reports = []
    paths = write_synthetic(
        tmp_path / "made",
        users=300,
        items=200,
        pairs=6000,
        progress=lambda done, total: reports.append((done, total)),
    )
    assert [path.name for path in paths] == ["train.txt", "test.txt"]
    assert reports[-1] == (6000, 6000)
    dataset = load_dataset(tmp_path / "made", valid="none")
    assert dataset.n_users == 300
    assert len(dataset.train) + len(dataset.test) == 6000
    assert len(dataset.test) == pytest.approx(1200, abs=300)
    assert (dataset.train.user_degrees() > 0).all()


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(tmp_path):
    for name, seed in (("a.txt", 1), ("b.txt", 1), ("c.txt", 2)):
        write_synthetic(tmp_path / name, users=40, items=50, pairs=300, seed=seed)
    first, second, third = ((tmp_path / f"{name}.txt").read_bytes() for name in "abc")
    assert first == second
    assert first != third


def test_users_and_items_are_as_unequal_as_in_real_data(tmp_path):
    write_synthetic(tmp_path / "made.txt", users=2000, items=1500, pairs=40_000)
    rows = read(tmp_path / "made.txt")
    degrees = np.array([len(row) for row in rows.values()])
    counts = np.bincount(np.concatenate(list(rows.values())), minlength=1500)
    for values in (degrees, counts):
        top = np.sort(values)[::-1]
        assert top[: len(top) // 10].sum() > 0.2 * values.sum()
        assert top[0] > 4 * values.mean()


def test_degrees_of_a_million_users_sum_to_the_pairs():
    degrees = user_degrees(1_000_000, 40_000, 50_000_000, np.random.default_rng(0))
    assert degrees.sum() == 50_000_000
    assert degrees.min() >= 1
    assert degrees.max() <= 10_000


@pytest.mark.parametrize(
    ("numbers", "word"),
    [
        ({"users": 10, "items": 8, "pairs": 9}, "pairs"),
        ({"users": 10, "items": 8, "pairs": 21}, "pairs"),
        ({"users": 0, "items": 8, "pairs": 9}, "users"),
        ({"users": 2, "items": 8, "pairs": 3, "seed": -1}, "seed"),
    ],
)
def test_numbers_that_cannot_be_met_are_refused(tmp_path, numbers, word):
    with pytest.raises(UsageError, match=word):
        write_synthetic(tmp_path / "made", **numbers)
    assert not list(tmp_path.iterdir())


def test_what_is_there_is_not_overwritten(tmp_path):
    (tmp_path / "made").mkdir()
    with pytest.raises(UsageError, match="already exists"):
        write_synthetic(tmp_path / "made", users=10, items=8, pairs=15)
    with pytest.raises(UsageError, match=r"\.csv"):
        write_synthetic(tmp_path / "made.csv", users=10, items=8, pairs=15)
