"""The readers on real data sets, kept next to a checkout where they may not be shipped."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from advrec import native
from advrec.data import inspect, load_dataset
from advrec.data.readers.text import parse_lists, read_bytes

SHARED = Path(__file__).resolve().parent.parent.parent / "shared" / "data"

pytestmark = pytest.mark.skipif(
    not SHARED.is_dir(), reason="the real data sets (../shared/data) are not on this machine"
)

# As published: users, items, train and test pairs.
COUNTS = {
    "gowalla": (29858, 40981, 810128, 217242),
    "ml-1m-loo": (6040, 3706, 994169, 6040),
    "lastfm": (1880, 4489, 42135, 10533),  # 12 of the 1,892 users stand in neither file
    "onlineretail": (3691, 2779, 207418, 51876),
    "movietweetings": (2059, 1099, 35736, 8877),
}


@pytest.mark.parametrize("name", COUNTS)
def test_the_given_split_has_its_published_counts(name):
    users, items, train, test = COUNTS[name]
    data = load_dataset(SHARED / name)
    assert (data.name, data.n_users, data.n_items) == (name, users, items)
    assert (len(data.train) + len(data.valid), len(data.test)) == (train, test)
    assert len(data.valid) == pytest.approx(0.1 * train, rel=0.03)
    assert not np.intersect1d(data.train.keys(), data.valid.keys()).size
    assert not np.intersect1d(data.train.keys(), data.test.keys()).size
    assert not np.intersect1d(data.valid.keys(), data.test.keys()).size
    assert data.train.user_degrees()[data.valid.user_degrees() > 0].min() >= 1


def test_a_set_without_validation_is_refitted_on_all_of_train():
    data = load_dataset(SHARED / "lastfm", valid="none")
    assert (len(data.train), len(data.valid)) == (42135, 0)
    degrees = (data.train.user_degrees(), data.train.item_degrees())
    assert tuple((counts == 0).sum() for counts in degrees) == (2, 13)


@pytest.mark.parametrize("name", ["onlineretail", "movietweetings"])
def test_a_table_with_times_has_the_pairs_of_its_split(name):
    users, items, train, test = COUNTS[name]
    seen = inspect(SHARED / name / "interactions.tsv")
    assert (seen.users, seen.items, seen.pairs, seen.repeated) == (users, items, train + test, 0)
    assert (seen.format, seen.split) == ("csv", "loo-time")
    assert seen.timestamps is not None
    assert seen.timestamps.unit == "seconds"


@pytest.mark.parametrize(("name", "columns"), [("onlineretail", 64), ("movietweetings", 33)])
def test_features_and_names_follow_the_item_ids(name, columns):
    folder = SHARED / name
    data = load_dataset(
        folder, features=str(folder / "features.npy"), item_names=str(folder / "items.tsv")
    )
    stored = np.load(folder / "features.npy").astype(np.float32)
    assert data.item_features is not None
    assert data.item_features.shape == (data.n_items, columns)
    assert data.item_names is not None
    lines = (folder / "items.tsv").read_text().split("\n")[1:]
    for item in range(0, data.n_items, 97):
        number = int(data.item_ids[item])
        assert data.item_features[item].tolist() == stored[number].tolist()
        assert data.item_names[item].strip() in lines[number]


def test_numeric_text_is_read_in_well_under_half_a_second():
    if native.host() is None:
        pytest.skip("the compiled text reader cannot be built here")
    path = SHARED / "gowalla" / "train.txt"
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        lists = parse_lists(path, read_bytes(path))
        seconds.append(time.perf_counter() - start)
    assert len(lists.users) == 810128
    assert min(seconds) < 0.5
