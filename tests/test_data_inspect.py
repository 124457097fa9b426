"""An inspection says what was understood, without splitting anything."""

from __future__ import annotations

import json

import pytest

from advrec.data import inspect
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
    assert seen.notes[-1] == "1 repeated pair was merged"


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
