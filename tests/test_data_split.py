"""What every split keeps: disjoint, covering, deterministic, validation held out of train."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advrec.data import DataConfig, Dataset
from advrec.data.interactions import TEST, TRAIN, VALID, Interactions
from advrec.data.load import build_dataset, divide
from advrec.errors import DataError

RULES = ("random", "loo-time", "loo-random", "global-time")
N_USERS, N_ITEMS = 7, 9
quick = settings(max_examples=40, deadline=None)

row = st.tuples(
    st.integers(2, N_USERS - 1),  # users 0 and 1 are those of SURE
    st.integers(0, N_ITEMS - 1),
    st.integers(0, 5),  # timestamp, with ties
    st.integers(1, 5),  # rating
    st.sampled_from([TRAIN, TRAIN, VALID, TEST]),
)
# Two users with two pairs each, so that every rule finds something to test on.
SURE = [(0, 0, 0, 5, TRAIN), (0, 1, 1, 5, TEST), (1, 0, 2, 5, TEST), (1, 1, 3, 5, TRAIN)]
rows_of_a_file = st.lists(row, max_size=60).map(lambda rows: SURE + rows)


def interactions(rows: list[tuple[int, ...]], parts: bool = False) -> Interactions:
    columns = np.array(rows).reshape(-1, 5)
    return Interactions(
        name="t",
        source="t",
        format="csv",
        users=columns[:, 0].astype(np.int32),
        items=columns[:, 1].astype(np.int32),
        user_ids=[f"u{n}" for n in range(N_USERS)],
        item_ids=[f"i{n}" for n in range(N_ITEMS)],
        ratings=columns[:, 3].astype(np.float64),
        timestamps=columns[:, 2].astype(np.float64),
        parts=columns[:, 4].astype(np.int8) if parts else None,
    )


def split(rows: list[tuple[int, ...]], rule: str, **options: Any) -> Dataset:
    config = DataConfig.of("t", split=rule, **options)
    return divide(interactions(rows, parts=rule == "given"), config)


def keys(data: Dataset) -> list[set[int]]:
    return [set(part.keys().tolist()) for part in (data.train, data.valid, data.test)]


options = st.fixed_dictionaries(
    {
        "test_ratio": st.floats(0.05, 0.9),
        "valid_ratio": st.floats(0.05, 0.9),
        "valid": st.sampled_from(["auto", "none"]),
        "split_seed": st.integers(0, 2**40),
    }
)


@quick
@given(rows_of_a_file, st.sampled_from([*RULES, "given"]), options)
def test_the_three_sets_are_disjoint_and_cover_every_pair(rows, rule, options):
    train, valid, test = keys(split(rows, rule, **options))
    assert not train & valid
    assert not train & test
    assert not valid & test
    assert train | valid | test == {u * N_ITEMS + i for u, i, *_ in rows}
    assert train
    assert test


@quick
@given(rows_of_a_file, st.sampled_from([*RULES, "given"]), options)
def test_the_same_seed_gives_the_same_sets(rows, rule, options):
    assert split(rows, rule, **options).digest == split(rows, rule, **options).digest


@quick
@given(rows_of_a_file, st.sampled_from(["random", "loo-random"]), options)
def test_a_random_split_does_not_depend_on_the_order_of_the_file(rows, rule, options):
    assert keys(split(rows, rule, **options)) == keys(split(rows[::-1], rule, **options))


@quick
@given(rows_of_a_file, st.sampled_from([*RULES, "given"]), options)
def test_without_validation_its_pairs_are_trained_on_and_the_test_stays(rows, rule, options):
    train, valid, test = keys(split(rows, rule, **{**options, "valid": "auto"}))
    refit_train, refit_valid, refit_test = keys(split(rows, rule, **{**options, "valid": "none"}))
    assert refit_valid == set()
    assert refit_train == train | valid
    assert refit_test == test


@quick
@given(rows_of_a_file, st.sampled_from(["random", "loo-time", "loo-random"]), options)
def test_every_user_with_a_pair_keeps_one_in_train_and_tests_on_one_of_two(rows, rule, options):
    data = split(rows, rule, **options)
    total = np.bincount([key // N_ITEMS for key in set.union(*keys(data))], minlength=N_USERS)
    train, valid, test = (part.user_degrees() for part in (data.train, data.valid, data.test))
    assert ((train >= 1) == (total >= 1)).all()
    assert ((test >= 1) == (total >= 2)).all()
    if options["valid"] == "auto":
        assert ((valid >= 1) == (total - test >= 2)).all()
    if rule != "random":
        assert test.max() == 1
        assert valid.max() <= 1


@pytest.mark.parametrize(
    ("pairs", "n_test", "n_valid"),
    [(1, 0, 0), (2, 1, 0), (3, 1, 1), (10, 2, 1), (13, 3, 1), (50, 10, 4)],
)
def test_the_shares_of_a_random_split_are_rounded_half_up(pairs, n_test, n_valid):
    codes = np.arange(pairs, dtype=np.int32)
    rows = replace(
        interactions(SURE),
        users=np.append(np.zeros_like(codes), np.int32([1, 1])),
        items=np.append(codes, np.int32([0, 1])),
        item_ids=[str(n) for n in range(max(pairs, 2))],
        timestamps=None,
        ratings=None,
    )
    data = build_dataset(rows, DataConfig.of("t", test_ratio=0.2, valid_ratio=0.1))
    assert (len(data.test.of(0)), len(data.valid.of(0))) == (n_test, n_valid)


@quick
@given(rows_of_a_file)
def test_the_latest_pair_is_tested_on_and_the_one_before_validated_on(rows):
    data = split(rows, "loo-time")
    for user in range(N_USERS):
        first: dict[int, tuple[int, int]] = {}  # item -> (time, row), the earliest of its rows
        for at, (u, item, time, *_) in enumerate(rows):
            if u == user:
                first[item] = min(first.get(item, (time, at)), (time, at))
        by_time = sorted(first, key=lambda item: first[item])
        assert data.test.of(user).tolist() == by_time[1:][-1:]
        assert data.valid.of(user).tolist() == by_time[1:-1][-1:]


def test_ties_in_time_are_broken_by_the_order_of_the_file():
    rows = [(0, item, 7, 1, 0) for item in (4, 2, 8, 3)] + SURE[2:]
    data = split(rows, "loo-time")
    assert (data.valid.of(0).tolist(), data.test.of(0).tolist()) == ([8], [3])


@quick
@given(rows_of_a_file, options)
def test_a_global_split_trains_on_nothing_later_than_it_tests_on(rows, options):
    data = split(rows, "global-time", **options)
    first: dict[int, int] = {}
    for u, i, time, *_ in rows:
        first[u * N_ITEMS + i] = min(first.get(u * N_ITEMS + i, time), time)
    train, valid, test = ([first[key] for key in part] for part in keys(data))
    assert max(train) <= min(valid + test)
    assert max(valid, default=0) <= min(test)
    assert len(test) == pytest.approx(options["test_ratio"] * len(first), abs=1)


TIED = "the last two pairs of {}: of these, the one further down in the file is taken as the later"


@pytest.mark.parametrize(
    ("times", "sentence"),
    [
        ([(1, 2, 3), (1, 2, 2), (5,)], "1 of 2 users (50%) have the same timestamp"),
        ([(1, 2, 2), (1, 1, 2), (7, 7)], "2 of 3 users (67%) have the same timestamp"),
        ([(1, 1, 2), (3, 1, 2), (5,)], None),  # ties that decide nothing
    ],
)
def test_users_whose_latest_pair_is_not_the_only_one_of_its_time_are_counted(times, sentence):
    rows = [
        (user, item, time, 1, 0)
        for user, of_user in enumerate(times)
        for item, time in enumerate(of_user)
    ]
    notes = [note for note in split(rows, "loo-time").notes if "timestamp" in note]
    assert notes == ([] if sentence is None else [f"warning: {TIED.format(sentence)}"])


def test_few_ties_are_counted_without_a_warning():
    rows = [(0, item, 4, 1, 0) for item in (0, 1)]
    rows += [(user, item, item, 1, 0) for user in range(1, 7) for item in (0, 1)]
    rows += [(user, item, item, 1, 0) for user in range(7, 11) for item in (0, 1)]
    data = interactions(rows)
    data = replace(data, user_ids=[f"u{user}" for user in range(11)])
    notes = divide(data, DataConfig.of("t", split="loo-time")).notes
    assert TIED.format("1 of 11 users (9%) have the same timestamp") in notes


@pytest.mark.parametrize("rule", ["loo-time", "global-time"])
def test_one_time_for_all_pairs_is_no_order(rule):
    rows = [(user, item, 3, 1, 0) for user in range(3) for item in range(3)]
    with pytest.raises(DataError, match=f"split {rule} needs an order in time, but all 9") as error:
        split(rows, rule)
    assert "loo-random" in (error.value.hint or "")
    assert len(split([*rows, (3, 0, 4, 1, 0)], rule).test)  # two times are an order
    assert len(split(rows, "loo-random").test)


@quick
@given(rows_of_a_file)
def test_a_given_split_keeps_its_test_part_and_its_validation_part(rows):
    data = split(rows, "given")
    best: dict[int, int] = {}
    for u, i, _, _, part in rows:
        best[u * N_ITEMS + i] = min(best.get(u * N_ITEMS + i, part), part)
    given_parts = [{key for key, part in best.items() if part == wanted} for wanted in range(3)]
    train, valid, test = keys(data)
    assert test == given_parts[TEST]
    if given_parts[VALID]:
        assert (train, valid) == (given_parts[TRAIN], given_parts[VALID])
    else:
        assert train | valid == given_parts[TRAIN]
        taken = np.array([len([k for k in valid if k // N_ITEMS == u]) for u in range(N_USERS)])
        of = np.array(
            [len([k for k in given_parts[TRAIN] if k // N_ITEMS == u]) for u in range(N_USERS)]
        )
        assert ((taken >= 1) == (of >= 2)).all()


def test_a_pair_in_two_parts_stays_in_the_first_and_is_counted():
    rows = [*SURE, (0, 1, 9, 1, TRAIN), (1, 0, 9, 1, VALID), (2, 5, 0, 1, TEST)]
    data = split(rows, "given")
    assert "1 pair is in both train and test: dropped from test" in data.notes
    assert "1 pair is in both valid and test: dropped from test" in data.notes
    assert 1 in data.train.of(0)
    assert 0 in data.valid.of(1)
    assert len(data.test) == 1


@pytest.mark.parametrize(
    ("timestamps", "parts", "wanted"),
    [(True, False, "loo-time"), (False, False, "random"), (True, True, "given")],
)
def test_auto_takes_what_the_files_are_made_for(timestamps, parts, wanted):
    rows = interactions(SURE, parts)
    if not timestamps:
        rows = replace(rows, timestamps=None)
    notes = build_dataset(rows, DataConfig.of("t")).notes
    assert any(note.startswith(f"split: {wanted};") for note in notes)


def test_nothing_to_test_on_is_an_error():
    with pytest.raises(DataError, match="split random leaves no pair to test on"):
        split([(0, 0, 0, 1, 0), (1, 1, 0, 1, 0)], "random")


def test_the_stream_of_the_random_splits_is_fixed():
    data = split([(u, i, 0, 1, 0) for u in range(3) for i in range(9)], "loo-random", split_seed=7)
    found = [(int(data.test.of(u)[0]), int(data.valid.of(u)[0])) for u in range(3)]
    assert found == [(6, 3), (3, 2), (6, 5)]
