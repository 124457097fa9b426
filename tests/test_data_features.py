# ruff: noqa: E501 - the sentences stand as they appear on the screen
"""Features and names are matched by item id, never by place alone; what is missing is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.fuzzed_forms import mutated

from advrec.data import load_dataset
from advrec.data.item_features import load_features, load_names
from advrec.errors import DataError

IDS = ["2", "0", "1"]  # by first appearance
ROWS = np.array([[0.0, 1.0], [10.0, 11.0], [20.0, 21.0]])


def save(folder: Path, name: str, content: object) -> Path:
    path = folder / name
    if name.endswith(".npy"):
        np.save(path, content)  # type: ignore[arg-type]
    elif name.endswith(".npz"):
        np.savez(path, **content)  # type: ignore[arg-type]
    else:
        path.write_text(str(content))
    return path


SAME = [
    ("f.npy", ROWS),
    ("f.npy", ROWS.astype(np.float16)),
    ("f.npy", ROWS.astype(np.int64)),
    ("f.npz", {"ids": np.array([1, 2, 0]), "features": ROWS[[1, 2, 0]]}),
    ("f.npz", {"ids": np.array(["1", "2", "0"]), "features": ROWS[[1, 2, 0]].astype(np.float32)}),
    ("f.csv", "item,a,b\n0,0,1\n1,10,11\n2,2e1,21.\n"),
    ("f.tsv", "2\t20\t21\n0\t0\t1\n1\t10\t11\n"),
    ("f.csv", "a,item_id,b\r\n0,0,1\r\n10,1,11\r\n20,2,21"),
    ("f.csv", 'item,"a, b",b\n0,0,1\n1,10,11\n2,20,"21"\n'),
]


@pytest.mark.parametrize(("name", "content"), SAME)
def test_rows_are_put_in_the_order_of_the_items(tmp_path, name, content):
    features, sentence = load_features(save(tmp_path, name, content), IDS)
    assert features.dtype == np.float32
    assert features.tolist() == [[20, 21], [0, 1], [10, 11]]
    assert sentence == f"item features: 2 columns from {name}"


def test_items_without_a_row_get_zeros_and_are_counted(tmp_path):
    path = save(tmp_path, "f.csv", "item,a\n1,5\n7,6\n8,6\n")
    features, sentence = load_features(path, IDS)
    assert features.tolist() == [[0], [0], [5]]
    assert sentence == (
        "item features: 1 column from f.csv; zeros for those without, 2 of 3 items; "
        "2 rows of unknown items left out"
    )


NPZ = "an .npz with the arrays ids [n] and features [n, F]"
NPY = f"give {NPZ}, or a table keyed by item id"
nan, big = np.array([[1.0], [2.0], [np.nan]]), np.array([[1.0], [1e300], [2.0]])
WRONG = [
    ("f.npy", nan, "FILE: the feature in row 2, column 0 (from 0) is nan, expected a number that float32 can hold"),
    ("f.npy", -nan * np.inf, "FILE: the feature in row 0, column 0 (from 0) is -inf, expected a number that float32 can hold"),
    ("f.npy", big, "FILE: the feature in row 1, column 0 (from 0) is 1e+300, expected a number that float32 can hold"),
    ("f.npy", ROWS[0], "FILE: features are float64 of shape (2,), expected numbers [items, F]"),
    ("f.npy", np.array([["a"]]), "FILE: features are <U1 of shape (1, 1), expected numbers [items, F]"),
    ("f.npy", ROWS[:2], f"FILE: item '2' has no row: a .npy of 2 rows belongs to item ids 0 to 1 | {NPY}"),
    ("f.npz", {"x": ROWS}, f"FILE: the arrays are 'x', expected {NPZ}"),
    ("f.npz", {"ids": np.arange(2), "features": ROWS}, "FILE: ids is int64 of shape (2,), expected 3 integers or strings"),
    ("f.npz", {"ids": np.array([1, 1, 2]), "features": ROWS}, "FILE: item '1' has more than one row"),
    ("f.npz", {"ids": np.array([7, 8, 9]), "features": ROWS}, "FILE: no item of the data has a row here; its ids are like '2'"),
    ("f.csv", "item,a\n1,5\n2,nan\n", "FILE:3: the feature 'a' is 'nan', expected a number"),
    ("f.csv", "item,a\n1,5\n2,1e99\n", "FILE:3: the feature 'a' is '1e99', expected a number"),
    ("f.csv", "item,a\n1,5\n\n2\n", "FILE:4: 1 column, expected 2"),
    ("f.csv", "item,a\n", "FILE: no row below the header"),
    ("f.csv", 'item,a\n1,"5\n', "FILE:2: a quote is not closed, or something follows it"),
    ("f.csv", "item,a\n1,5\n1,6\n", "FILE: item '1' has more than one row"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "expected"), WRONG)
def test_features_that_cannot_be_used(tmp_path, name, content, expected):
    path = save(tmp_path, name, content)
    with pytest.raises(DataError) as caught:
        load_features(path, IDS)
    hint = f" | {caught.value.hint}" if caught.value.hint else ""
    assert str(caught.value).replace(str(path), "FILE") + hint == expected


def test_no_pickle_is_ever_loaded(tmp_path):
    path = tmp_path / "f.npy"
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match=r"not a \.npy file that can be read"):
        load_features(path, IDS)
    (tmp_path / "f.npz").write_bytes(b"PK\x03\x04 not a zip")
    with pytest.raises(DataError, match=r"not an \.npz file that can be read"):
        load_features(tmp_path / "f.npz", IDS)


NAMES = [
    ("n.tsv", "0\tZero\n1\tOne\n2\tTwo, two\n"),
    ("n.csv", 'item_id,year,title\n0,1,Zero\n1,1,One\n2,1,"Two, two"\n'),
    ("n.tsv", "item\tstock_code\tdescription\n0\ta\tZero\n1\tb\tOne\n2\tc\tTwo, two\n"),
    ("n.tsv", "text\titem\nZero\t0\nOne\t1\nTwo, two\t2\n"),
    ("movies.dat", "0::Zero::x\n1::One::x\n2::Two, two::y\n"),
]


@pytest.mark.parametrize(("name", "content"), NAMES)
def test_names_are_read_from_a_table(tmp_path, name, content):
    assert load_names(save(tmp_path, name, content)) == {"0": "Zero", "1": "One", "2": "Two, two"}


def test_a_data_set_carries_features_and_names(tmp_path):
    data = save(tmp_path, "t.txt", "0 2 0 1\n1 0 1\n")
    names = save(tmp_path, "n.tsv", "0\tZero\n1\tOne\n")
    loaded = load_dataset(
        data, features=str(save(tmp_path, "f.npy", ROWS)), item_names=str(names), split="loo-random"
    )
    assert loaded.item_ids == IDS
    assert loaded.item_names == ["2", "Zero", "One"]
    assert loaded.item_features is not None
    assert loaded.item_features.tolist() == [[20, 21], [0, 1], [10, 11]]
    assert loaded.notes[-2:] == (
        f"item names from {names}; none for 1 of 3 items",
        "item features: 2 columns from f.npy",
    )


@pytest.mark.parametrize("name", ["f.npy", "f.npz", "f.csv"])
@pytest.mark.filterwarnings("ignore:Reading")
def test_changed_files_of_features_end_in_no_traceback(tmp_path, name):
    path = tmp_path / name
    if name == "f.npy":
        np.save(path, np.ones((5, 3)))
    elif name == "f.npz":
        np.savez_compressed(path, ids=np.arange(5), features=np.ones((5, 3)))
    else:
        path.write_text("item,a\n" + "".join(f"{n},1.5\n" for n in range(5)))
    sound, random, refused = path.read_bytes(), np.random.default_rng(1), 0
    for _ in range(500):
        path.unlink()
        path.write_bytes(mutated(sound, random))
        try:
            features, _ = load_features(path, ["0", "1", "2", "3", "4"])
        except DataError:
            refused += 1
        else:
            assert np.isfinite(features).all()
    assert refused > 100
