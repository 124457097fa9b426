# ruff: noqa: E501 - the sentences stand as they appear on the screen
"""Every malformed input: one sentence with the file, the line, what was found, what was wanted."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from advrec import native
from advrec.data import load_dataset
from advrec.data.readers import text
from advrec.errors import ConfigError, DataError


@pytest.fixture(params=["native", "python"], autouse=True)
def reader(request, monkeypatch):
    if request.param == "native" and native.host() is None:
        pytest.skip("the compiled text reader cannot be built here")
    monkeypatch.setattr(text, "NATIVE_FROM", 0 if request.param == "native" else 1 << 60)


def message(path: Path, error: type[Exception] = DataError, **options: object) -> str:
    """The sentence and the hint, with FILE for the path."""
    with pytest.raises(error) as caught:
        load_dataset(path, **options)
    hint = f" | {caught.value.hint}" if caught.value.hint else ""
    return str(caught.value).replace(str(path), "FILE") + hint


LIGHTGCN = "LightGCN text is one line per user: user item item …; a table is format csv"
QUOTE = 'a quote inside a quoted field is written twice: "a ""b"" c"'

FILES = {
    # LightGCN text
    "negative id": (
        "a.txt",
        "0 1 2\n1 -3\n",
        "FILE:2: the id -3 is negative, expected ids that are whole numbers from 0, separated by "
        f"blanks | {LIGHTGCN}",
    ),
    "comma in a list": (
        "a.txt",
        "0 1 2\n1 2\n2 2,3\n",
        "FILE:3: '2,3' mixes in another separator, expected ids that are whole numbers from 0, "
        f"separated by blanks | {LIGHTGCN}",
    ),
    "name in a list": (
        "a.txt",
        "0 1 2 3\n\n1 2 x3\n",
        "FILE:3: 'x3' is not an id, expected ids that are whole numbers from 0, separated by blanks "
        "| ids in LightGCN text are numbers; csv and .inter can hold names",
    ),
    "users without items": (
        "a.txt",
        "0\n1\n",
        "FILE: no interactions: no user has items",
    ),
    # any text
    "empty file": ("a.txt", "", "FILE: the file is empty"),
    "only blanks": ("a.csv", "\n \t\r\n", "FILE: the file is empty"),
    "not utf-8": (
        "a.csv",
        b"user,item\n1,caf\xe9\n",
        "FILE:2: byte 0xe9 is not UTF-8 | convert the file, for example with iconv -f latin1 -t utf8",
    ),
    "utf-16": (
        "a.csv",
        "user,item\n1,2\n".encode("utf-16"),
        "FILE: the text is UTF-16, expected UTF-8 | save it as UTF-8",
    ),
    "binary": ("a.csv", b"user,item\n1,\0\n", "FILE:2: binary data (a NUL byte), expected text"),
    "old line ends": (
        "a.csv",
        "user,item\r\n1,2\r3,4\r",
        "FILE:2: a carriage return inside a line, expected line ends \\n or \\r\\n",
    ),
    "truncated gzip": (
        "a.txt.gz",
        gzip.compress(b"0 1 2\n1 2 3\n")[:-6],
        "FILE: the gzip data is damaged (Compressed file ended before the end-of-stream marker was "
        "reached) | download or pack the file again",
    ),
    # tables
    "truncated line": (
        "a.csv",
        "user,item,rating,timestamp\n1,2,3,4\n1,2,3\n",
        "FILE:3: 3 columns, expected 4 (user, item, rating, timestamp) | the line looks truncated",
    ),
    "too many columns": (
        "a.csv",
        "userId,movieId\n1,2\n1,Paris, Texas\n",
        "FILE:3: 3 columns, expected 2 (userId, movieId) | put quotes around a field with ',' in it",
    ),
    "tabs among commas": (
        "a.csv",
        "user,item\n1,2\n3\t4\n",
        "FILE:3: mixed separators: tabs here, commas before",
    ),
    "commas among tabs": (
        "a.tsv",
        "user\titem\n1\t2\n3,4\n",
        "FILE:3: mixed separators: commas here, tabs before",
    ),
    "one column": (
        "a.csv",
        "user\n1\n",
        "FILE:1: 'user' is a single column, expected user and item | give the separator",
    ),
    "no row": ("a.csv", "user,item\n", "FILE: no row below the header"),
    "empty user": (
        "a.csv",
        "user,item\n1,2\n,4\n",
        "FILE:3: user is empty | fill it in, or drop such rows with --drop-incomplete",
    ),
    "empty item": (
        "a.csv",
        'userId,movieId\n1,2\n3,""\n',
        "FILE:3: item (column 'movieId') is empty | fill it in, or drop such rows with --drop-incomplete",
    ),
    "empty rating": (
        "a.csv",
        "user,item,rating\n1,2,\n",
        "FILE:2: rating is empty | fill it in, or drop such rows with --drop-incomplete",
    ),
    "rating no number": (
        "a.csv",
        "user,item,stars\n1,2,good\n",
        "FILE:2: rating (column 'stars') is 'good', expected a number | without ratings: --rating-col none",
    ),
    "rating nan": (
        "a.csv",
        "user,item,rating\n1,2,3\n1,3,nan\n",
        "FILE:3: rating is 'nan', expected a number | drop such rows with --drop-incomplete, or use "
        "--rating-col none",
    ),
    "rating too large": (
        "a.csv",
        "user,item,rating\n1,2,1e999\n",
        "FILE:2: rating is '1e999', expected a number | without ratings: --rating-col none",
    ),
    "rating with a comma and one with a point": (
        "a.tsv",
        "user\titem\trating\n1\t2\t3,5\n1\t3\t3.5\n",
        "FILE:3: a decimal point in '3.5', and a decimal comma in '3,5'",
    ),
    "rating no number, no header": (
        "a.csv",
        "11,12,3\n11,13,3\n11,14,x\n",
        "FILE:3: rating is 'x', expected a number | without ratings: --rating-col none",
    ),
    "long field": (
        "a.csv",
        f"user,item,rating\n1,2,{'x' * 100}\n",
        f"FILE:2: rating is '{'x' * 39}…', expected a number | without ratings: --rating-col none",
    ),
    "timestamp no date": (
        "a.csv",
        "user,item,timestamp\n1,2,2023-02-29\n",
        "FILE:2: timestamp is '2023-02-29', expected a number or a date | for example 1717156800 or "
        "2024-05-31T12:00:00Z; other forms by --time-format; without times: --timestamp-col none",
    ),
    "open quote": (
        "a.csv",
        'user,item\n1,"2\n3,4\n',
        f"FILE:2: item opens a quote that is not closed on its line | {QUOTE}",
    ),
    "text after a quote": (
        "a.csv",
        'user,item\n1,"2"x\n',
        f"FILE:2: 'x' after the closing quote of item, expected a separator | {QUOTE}",
    ),
    "open quote in a column not read": (
        "a.csv",
        'title,user,item\n"a,1,2\n',
        f"FILE:2: column 1 opens a quote that is not closed on its line | {QUOTE}",
    ),
    "unknown columns": (
        "a.csv",
        "who,thing,n\n1,2,3\n1,3,4\n",
        "FILE:1: cannot tell which column is the user: 'who', 'thing', 'n' | name it with user_col; if line 1 is a row and not a header: "
        "--header no",
    ),
    "many columns, no header": (
        "a.csv",
        "1,2,3,4,5\n1,3,3,4,5\n",
        "FILE:1: 5 columns and no header that says which is the user and which the item | name them "
        "by number from 1, for example --user-col 1 --item-col 2; lines of LightGCN text are "
        "--format lightgcn",
    ),
    # MovieLens and RecBole
    "movielens truncated": (
        "ratings.dat",
        "1::2::3::4\n1::3::3\n",
        "FILE:2: 3 columns, expected 4 (user, item, rating, timestamp) | the line looks truncated",
    ),
    "no movielens": (
        "ratings.dat",
        "hello\n",
        "FILE:1: not a MovieLens rating file: expected user, item, rating and timestamp separated by "
        "tabs, double colons or commas | try format csv",
    ),
    "recbole without types": (
        "a.inter",
        "user_id\titem_id\n1\t2\n",
        "FILE:1: the header field 'user_id' has no type, expected name:type | the types are token, "
        "token_seq, float, float_seq; a csv without types is format csv",
    ),
    "recbole of wrong type": (
        "a.inter",
        "user_id:token\titem_id:float\n1\t2\n",
        "FILE:1: the item column 'item_id' is a float, expected a token",
    ),
    "recbole without item": (
        "a.inter",
        "user_id:token\tx:token\ty:token\n1\t2\t3\n",
        "FILE:1: cannot tell which column is the item: 'user_id', 'x', 'y' | name it with item_col",
    ),
}


@pytest.mark.parametrize("case", FILES)
def test_a_malformed_file_is_named_with_line_and_remedy(tmp_path, case):
    name, content, wanted = FILES[case]
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert message(path) == wanted


@pytest.mark.parametrize("case", ["negative id", "truncated line", "empty user"])
def test_a_malformed_part_of_a_split_is_named_by_its_own_name(tmp_path, case):
    name, content, wanted = FILES[case]
    ending = name.removeprefix("a")
    train = "user,item,rating,timestamp\n1,2,3,4\n" if ending == ".csv" else "0 1\n0 2 3\n1 2\n"
    (tmp_path / f"train{ending}").write_text(train)
    (tmp_path / f"test{ending}").write_text(content)
    with pytest.raises(DataError) as caught:
        load_dataset(tmp_path)
    assert str(caught.value) == wanted.split(" | ")[0].replace("FILE", f"{tmp_path}/test{ending}")
    assert caught.value.path == tmp_path / f"test{ending}"


TABLE = "user,item,stars\n1,2,3\n1,3,4\n"
OPTIONS = [
    (
        {"user_col": "who"},
        "FILE: no column is called 'who', found 'user', 'item', 'stars' | give user_col one of these "
        "names, or a number from 1",
    ),
    (
        {"rating_col": "item"},
        "FILE: 'item' cannot be both the item and the rating | name both item_col and rating_col",
    ),
    (
        {"min_rating": 5},
        "FILE: no interaction is rated 5 or higher; the highest is 4 | lower min_rating",
    ),
    (
        {"k_core": 3},
        "FILE: the 3-core is empty: no set of users and items has 3 pairs each | lower k_core",
    ),
    ({"features": "none.npy"}, "none.npy: no such file of item features"),
    ({"item_names": "none.tsv"}, "none.tsv: no such file"),
]


@pytest.mark.parametrize(("options", "wanted"), OPTIONS)
def test_an_option_that_the_data_cannot_meet(tmp_path, options, wanted):
    path = tmp_path / "t.csv"
    path.write_text(TABLE)
    assert message(path, **options) == wanted


CONFIG = [
    (
        "a.csv",
        {"split": "loo-time"},
        "split loo-time needs timestamps, FILE has none | name the column with timestamp_col, or use "
        "split loo-random or random",
    ),
    (
        "a.csv",
        {"split": "given"},
        "split given: FILE is not split into train and test | give a folder with train.* and test.*, "
        "or use another split",
    ),
    (
        "a.txt",
        {"min_rating": 1.5},
        "min_rating 1.5: FILE has no ratings | name the column with rating_col, or leave min_rating out",
    ),
    (
        "a.txt",
        {"user_col": "x"},
        "user_col does not apply to LightGCN text, which has no columns | for a table, use format csv",
    ),
    ("a.csv", {"test_ratio": 1.5}, "test_ratio in the data options must be less than 1, got 1.5"),
    (
        "a.csv",
        {"split": "x"},
        "split in the data options must be 'auto', 'given', 'random', 'loo-time', 'loo-random' or 'global-time', got 'x'",
    ),
]


@pytest.mark.parametrize(("name", "options", "wanted"), CONFIG)
def test_an_option_that_makes_no_sense(tmp_path, name, options, wanted):
    path = tmp_path / name
    path.write_text(TABLE if name == "a.csv" else "0 1 2 3\n1 2\n")
    assert message(path, ConfigError, **options) == wanted


def test_an_unknown_option_is_named_with_the_nearest_or_the_known_ones():
    with pytest.raises(ConfigError, match="unknown option 'splitt' in the data options") as caught:
        load_dataset("debian", splitt="random")
    assert caught.value.hint == "did you mean 'split'?"
    with pytest.raises(ConfigError, match="unknown option 'zzz' in the data options") as caught:
        load_dataset("debian", zzz="random")
    assert "split_seed" in str(caught.value.hint)


FOLDERS = [
    (
        [],
        "FILE: cannot tell which file holds the interactions; found nothing | give the file itself, or train.* together with test.*",
    ),
    (
        ["train.txt"],
        "FILE: train.txt stands alone, expected train.* and test.* together | to have it split, give the file itself",
    ),
    (
        ["a.csv", "b.csv"],
        "FILE: cannot tell which file holds the interactions; found a.csv, b.csv | give the file itself, or train.* together with test.*",
    ),
    (
        ["train.txt", "test.txt", "train.csv", "test.csv"],
        "FILE: more than one split: train.csv, train.txt | give format, or one of them as a folder of its own",
    ),
]


@pytest.mark.parametrize(("names", "wanted"), FOLDERS)
def test_a_folder_that_does_not_say_what_to_read(tmp_path, names, wanted):
    for name in names:
        (tmp_path / name).write_text("0 1\n")
    assert message(tmp_path) == wanted


NAMES = [
    ("gowala", "gowala: no such file, folder or data set | did you mean 'gowalla'?"),
    ("gowalla", "the data set gowalla is not on this machine | advrec data download gowalla"),
    (
        "a/b.csv",
        "a/b.csv: no such file, folder or data set | advrec data list shows the known ones",
    ),
]


@pytest.mark.parametrize(("name", "wanted"), NAMES)
def test_a_name_that_leads_nowhere(tmp_path, monkeypatch, name, wanted):
    monkeypatch.setenv("ADVREC_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert message(Path(name)).replace("FILE", name) == wanted


def test_what_cannot_be_read_is_said(tmp_path, monkeypatch):
    def refuse(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    assert message(tmp_path) == "FILE: cannot be read (Permission denied)"
    path = tmp_path / "a.csv"
    path.write_text(TABLE)
    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert message(path) == "FILE: cannot be read (Permission denied)"
