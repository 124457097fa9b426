"""Pairs are a sorted set; a data set's digest says exactly when two are the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advrec.data import Dataset, Pairs

N_USERS, N_ITEMS = 6, 5
pair_lists = st.lists(
    st.tuples(st.integers(0, N_USERS - 1), st.integers(0, N_ITEMS - 1)), max_size=40
)


def make(pairs: list[tuple[int, int]]) -> Pairs:
    return Pairs.from_coo([u for u, _ in pairs], [i for _, i in pairs], N_USERS, N_ITEMS)


@settings(max_examples=50, deadline=None)
@given(pair_lists)
def test_pairs_hold_a_set_sorted_by_user_and_item(pairs):
    made = make(pairs)
    assert list(zip(made.users().tolist(), made.items.tolist(), strict=True)) == sorted(set(pairs))
    assert (made.n_users, made.n_items, len(made)) == (N_USERS, N_ITEMS, len(set(pairs)))
    assert made.indptr.dtype == np.int64
    assert made.items.dtype == np.int32


@settings(max_examples=50, deadline=None)
@given(pair_lists)
def test_pairs_answer_as_a_set_does(pairs):
    made = make(pairs)
    for user in range(N_USERS):
        assert made.of(user).tolist() == sorted({i for u, i in pairs if u == user})
    assert made.keys().tolist() == sorted({u * N_ITEMS + i for u, i in pairs})
    assert made.user_degrees().sum() == made.item_degrees().sum() == len(made)


@pytest.mark.parametrize(("users", "items"), [([0, 6], [0, 0]), ([0], [5]), ([-1], [0]), ([0], [])])
def test_ids_out_of_range_are_refused(users, items):
    with pytest.raises(ValueError, match=r"ids must be|differ in shape"):
        Pairs.from_coo(users, items, N_USERS, N_ITEMS)


def test_an_empty_set_has_every_user():
    empty = Pairs.empty(3, 2)
    assert (len(empty), empty.n_users, empty.of(2).tolist()) == (0, 3, [])


def tiny() -> Dataset:
    train, valid, test = ([(0, 0), (1, 1)], [(0, 1)], [(1, 0)])
    return Dataset(
        name="tiny",
        source="here",
        n_users=N_USERS,
        n_items=N_ITEMS,
        train=make(train),
        valid=make(valid),
        test=make(test),
        user_ids=[f"u{n}" for n in range(N_USERS)],
        item_ids=[f"ï{n}" for n in range(N_ITEMS)],
    )


def test_the_digest_is_the_same_on_every_platform():
    assert tiny().digest == "d7e58c604cba0c10ab8457850ce37304e93670301c52059ca970ddcabe89957c"


def test_the_digest_changes_with_ids_and_sets_and_with_nothing_else():
    one = tiny()
    assert replace(one, name="x", source="y", notes=("z",)).digest == one.digest
    for other in (
        replace(one, valid=one.test, test=one.valid),
        replace(one, train=make([(0, 0)])),
        replace(one, user_ids=["u", "0u1", *one.user_ids[2:]]),  # the same letters, cut elsewhere
        replace(one, item_ids=one.item_ids[::-1]),
    ):
        assert other.digest != one.digest
