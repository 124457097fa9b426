"""An inspection says what was understood, without splitting anything."""

from __future__ import annotations

import json

import numpy as np
import pytest

from advrec.data import inspect, load_dataset
from advrec.errors import DataError


def test_it_counts_what_stands_in_the_file(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(
        "userId,movieId,rating,timestamp\na,x,1,1000000000\nb,x,5,1500000000\na,y,3,1200000000\na,x,2,1\n"
    )
    seen = inspect(path)
    assert (seen.format, seen.rows, seen.pairs, seen.repeated) == ("csv", 4, 3, 1)
    assert (seen.users, seen.items, seen.density) == (2, 2, 0.75)
    assert (seen.first_users, seen.first_items) == (("a", "b"), ("x", "y"))
    assert (seen.pairs_per_user.least, seen.pairs_per_user.mean, seen.pairs_per_user.most) == (
        1,
        1.5,
        2,
    )
    assert seen.ratings is not None
    assert (seen.ratings.least, seen.ratings.most) == (1, 5)
    assert seen.timestamps is not None
    assert (seen.timestamps.first, seen.timestamps.last) == (1, 1500000000)
    assert (seen.parts, seen.split, seen.named_items) == (None, "loo-time", 0)
    assert seen.notes[0] == "t.csv: a table by its name"
    assert seen.notes[2:4] == (
        "1 repeated pair was merged",
        "split: loo-time; each user's latest pair tested on, the next one validated on",
    )


@pytest.fixture
def ratings(tmp_path):
    rows = [f"{user},{item}" for user in range(4) for item in range(5)]
    (tmp_path / "t.csv").write_text("\n".join(["user,item", *rows]) + "\n")
    return tmp_path / "t.csv"


def test_features_and_names_are_opened_and_matched(ratings):
    names, features = ratings.with_name("n.tsv"), ratings.with_name("f.npy")
    names.write_text("item\tname\n0\tzero\n1\tone\n")
    np.save(features, np.ones((5, 3), np.float32))
    seen = inspect(ratings, features=str(features), item_names=str(names))
    assert seen.named_items == 2
    assert seen.notes[-2:] == (
        f"item names from {names}; none for 3 of 5 items",
        "item features: 3 columns from f.npy",
    )


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"features": "none.npy"}, "no such file of item features"),
        ({"features": "short.npy"}, "item '2' has no row"),
        ({"features": "nan.npy"}, "is nan, expected a number"),
        ({"item_names": "none.tsv"}, "none.tsv"),
        ({"item_names": "others.tsv"}, "no item of the data has a name here; its ids are like '0'"),
    ],
)
def test_features_and_names_that_do_not_fit_are_refused(ratings, options, sentence):
    folder = ratings.parent
    np.save(folder / "short.npy", np.ones((2, 3)))
    np.save(folder / "nan.npy", np.full((5, 3), np.nan))
    (folder / "others.tsv").write_text("item\tname\na\tA\nb\tB\n")
    paths = {name: str(folder / file) for name, file in options.items()}
    with pytest.raises(DataError, match=sentence):
        inspect(ratings, **paths)


def test_what_training_would_refuse_is_shown_with_the_reason(tmp_path):
    (tmp_path / "train.csv").write_text("user,item\n1.0,5\n1.0,6\n2.0,5\n")
    (tmp_path / "test.csv").write_text("user,item\n1,5\n2,6\n")
    seen = inspect(tmp_path)
    assert (seen.users, seen.items, seen.pairs) == (4, 2, 5)
    reason = seen.notes[-1]
    assert reason.startswith(
        f"training refuses this: {tmp_path}: no training pair has any of the 2"
    )
    assert "ids like '1', training like '1.0'" in reason
    assert reason.endswith("(write the user ids of both parts alike)")
    with pytest.raises(DataError, match="no training pair"):
        load_dataset(tmp_path)


@pytest.mark.parametrize(
    ("first", "last", "unit", "date"),
    [
        (1_000_000_000, 1_500_000_000, "seconds", "2017-07-14T02:40:00Z"),
        (1_000_000_000_000, 1_500_000_000_000, "milliseconds", "2017-07-14T02:40:00Z"),
        (1e15, 1.5e15, "microseconds", "2017-07-14T02:40:00Z"),
        (1, 40, None, None),
        (-5, 1_500_000_000, None, None),
    ],
)
def test_times_are_shown_as_dates_where_they_are_dates(tmp_path, first, last, unit, date):
    path = tmp_path / "t.csv"
    path.write_text(f"user,item,timestamp\n1,2,{first}\n1,3,{last}\n")
    times = inspect(path).timestamps
    assert times is not None
    assert (times.unit, times.last_date) == (unit, date)


def test_the_parts_of_a_given_split_are_counted(tmp_path):
    (tmp_path / "train.txt").write_text("0 1 2 3\n1 2\n")
    (tmp_path / "test.txt").write_text("0 4 1\n")
    seen = inspect(tmp_path)
    assert seen.parts == {"train": 4, "valid": 0, "test": 2}
    assert (seen.split, seen.repeated, seen.pairs) == ("given", 1, 5)


def test_it_works_on_the_embedded_set_and_as_json():
    seen = inspect("debian")
    assert (seen.format, seen.pairs, seen.named_items) == ("embedded", 115003, 3731)
    assert json.loads(json.dumps(seen.to_dict()))["first_users"][0] == "0ad"


def test_it_raises_what_loading_raises(tmp_path):
    (tmp_path / "t.csv").write_text("user,item\n1\n")
    with pytest.raises(DataError, match="1 column, expected 2"):
        inspect(tmp_path / "t.csv")
