"""Thresholds, repeated pairs and the k-core do what their names say, and say what they did."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advrec.data import inspect, load_dataset
from advrec.data.filters import k_core_mask

N = 8
pair_sets = st.sets(st.tuples(st.integers(0, N - 1), st.integers(0, N - 1)), min_size=1)


@settings(max_examples=60, deadline=None)
@given(pair_sets, st.integers(0, 5))
def test_the_k_core_is_the_largest_set_with_k_pairs_each(pairs, k):
    users, items = np.array(sorted(pairs), dtype=np.int32).T
    mask = k_core_mask(users, items, N, N, k)
    for codes in (users, items):
        degrees = np.bincount(codes[mask], minlength=N)
        assert (degrees[codes[mask]] >= k).all()
    # Largest: dropping one pair after another in any order never has to drop one of the core.
    kept = {pair for pair, keep in zip(sorted(pairs), mask, strict=True) if keep}
    rest = set(pairs)
    while True:
        loose = next(
            (
                (u, i)
                for u, i in sorted(rest)
                if sum(a == u for a, _ in rest) < k or sum(b == i for _, b in rest) < k
            ),
            None,
        )
        if loose is None:
            break
        assert loose not in kept
        rest.remove(loose)
    assert rest == kept


TABLE = """user,item,rating,timestamp
a,x,5,30
b,x,1,10
a,x,2,10
a,y,4,20
a,z,1,40
b,y,5,20
c,z,2,50
a,x,3,60
"""


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(TABLE)
    return path


def test_repeated_pairs_are_merged_and_counted(path):
    data = load_dataset(path)
    assert len(data.train) + len(data.valid) + len(data.test) == 6
    assert "2 repeated pairs were merged" in data.notes


def test_a_repeated_pair_stands_at_its_earliest_time(path):
    data = load_dataset(path)  # a: x at 10 (not 30 or 60), y at 20, z at 40
    assert [data.item_ids[i] for i in data.train.of(0)] == ["x"]
    assert [data.item_ids[i] for i in data.valid.of(0)] == ["y"]
    assert [data.item_ids[i] for i in data.test.of(0)] == ["z"]


def test_ratings_under_the_threshold_are_dropped_with_whom_they_leave_without_pair(path):
    data = load_dataset(path, min_rating=3)
    assert (data.user_ids, data.item_ids) == (["a", "b"], ["x", "y"])
    assert data.notes[2:6] == (
        "4 of 8 interactions are rated below 3: dropped",
        "1 repeated pair was merged",
        "1 of 3 users have no pair left: dropped",
        "1 of 3 items have no pair left: dropped",
    )


def test_one_good_rating_of_a_repeated_pair_is_enough(path):
    assert inspect(path, min_rating=5).first_items == ("x", "y")  # of a and of b


def test_the_k_core_is_said(path):
    data = load_dataset(path, k_core=2)
    assert (data.user_ids, data.item_ids) == (["a", "b"], ["x", "y"])
    assert "2-core: 4 of 6 pairs kept" in data.notes


def test_without_a_filter_every_id_is_kept(tmp_path):
    (tmp_path / "train.txt").write_text("0 1 2\n1\n2 1\n")
    (tmp_path / "test.txt").write_text("3 9 1\n0 3\n")
    data = load_dataset(tmp_path)
    assert data.user_ids == ["0", "1", "2", "3"]
    assert data.item_ids == ["1", "2", "9", "3"]
    degrees = (data.train.user_degrees(), data.train.item_degrees())
    assert tuple((counts == 0).sum() for counts in degrees) == (2, 3)
    assert load_dataset(tmp_path, k_core=1).user_ids == ["0", "2", "3"]
