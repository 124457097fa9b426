"""Each format gives the rows that stand in it, and says what was understood.

Everything here runs with the compiled reader and with its twin in Python.
"""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from advrec import native
from advrec.data import DataConfig, load_dataset
from advrec.data.interactions import Interactions
from advrec.data.load import read_interactions
from advrec.data.readers import text


@pytest.fixture(params=["native", "python"], autouse=True)
def reader(request, monkeypatch):
    if request.param == "native" and native.host() is None:
        pytest.skip("the compiled text reader cannot be built here")
    monkeypatch.setattr(text, "NATIVE_FROM", 0 if request.param == "native" else 1 << 60)


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read(path: Path, **options: object) -> Interactions:
    return read_interactions(DataConfig.of(str(path), **options))


def pairs(rows: Interactions) -> list[tuple[str, str]]:
    users = [rows.user_ids[code] for code in rows.users.tolist()]
    return list(zip(users, [rows.item_ids[code] for code in rows.items.tolist()], strict=True))


THREE = [("a", "x"), ("b", "x"), ("a", "y")]

TABLES = [
    ("header", "t.csv", "user,item\na,x\nb,x\na,y\n"),
    ("names as in MovieLens", "t.csv", "userId,movieId,genre\na,x,1\nb,x,2\na,y,3\n"),
    ("columns in another order", "t.csv", "item_id,when,USER ID\nx,1,a\nx,2,b\ny,3,a\n"),
    ("tabs", "t.tsv", "user\titem\na\tx\nb\tx\na\ty\n"),
    ("semicolons", "t.csv", "user;item\na;x\nb;x\na;y\n"),
    ("bars", "t.csv", "user|item\na|x\nb|x\na|y\n"),
    ("double colons", "t.dat", "a::x\nb::x\na::y\n"),
    ("runs of blanks", "t.txt", "a  x\nb x\n a   y \n"),
    ("no header", "t.csv", "a,x\nb,x\na,y\n"),
    ("no end of the last line", "t.csv", "user,item\na,x\nb,x\na,y"),
    ("windows line ends", "t.csv", "user,item\r\na,x\r\nb,x\r\na,y\r\n"),
    ("byte order mark", "t.csv", "\ufeffuser,item\na,x\nb,x\na,y\n"),
    ("empty lines", "t.csv", "\n\nuser,item\na,x\n\nb,x\n  \na,y\n\n"),
    ("blanks around fields", "t.csv", "user, item\na, x\n b ,x\t\na,y \n"),
    ("quotes", "t.csv", '"user","item"\n"a",x\n"b","x"\n a , "y" \n'),
    ("recbole", "t.inter", "user_id:token\titem_id:token\na\tx\nb\tx\na\ty\n"),
]


@pytest.mark.parametrize(("name", "content"), [t[1:] for t in TABLES], ids=[t[0] for t in TABLES])
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_a_table_is_read(tmp_path, name, content, packed):
    path = write(tmp_path, name, content)
    if packed:
        path = write(tmp_path, f"{name}.gz", gzip.compress(content.encode()))
    rows = read(path)
    assert pairs(rows) == THREE
    assert (list(rows.user_ids), list(rows.item_ids)) == (["a", "b"], ["x", "y"])
    assert rows.name == "t"


NUMBERS = [
    ("u.data", "1\t5\t3\t881250949\n2\t5\t4.5\t891717742\n"),
    ("ratings.dat", "1::5::3::881250949\n2::5::4.5::891717742\n"),
    ("ratings.csv", "userId,movieId,rating,timestamp\n1,5,3.0,881250949\n2,5,4.5,891717742\n"),
    ("t.rating", "1\t5\t3\t881250949\n2\t5\t4.5\t891717742\n"),
    ("t.txt", "1 5 3 881250949\n2 5 4.5 891717742\n"),
    ("t.csv", "1,5,+3.,881250949\n2,5,45e-1,8.91717742E8\n"),
    ("t.csv", "user,item,score,date\n1,5,3,1997-12-04T15:55:49Z\n2,5,4.5,1998-04-04 19:22:22\n"),
    (
        "t.inter",
        "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
        "1\t5\t3\t881250949\n2\t5\t4.5\t891717742\n",
    ),
]


@pytest.mark.parametrize(("name", "content"), NUMBERS)
def test_ratings_and_timestamps_are_read(tmp_path, name, content):
    rows = read(write(tmp_path, name, content))
    assert pairs(rows) == [("1", "5"), ("2", "5")]
    assert rows.ratings is not None
    assert rows.timestamps is not None
    assert rows.ratings.tolist() == [3.0, 4.5]
    assert rows.timestamps.tolist() == [881250949.0, 891717742.0]


@pytest.mark.parametrize(
    ("text_date", "seconds"),
    [
        ("1970-01-01", 0.0),
        ("2000-02-29T12:30Z", 951827400.0),
        ("2024-05-31T12:00:00.25+02:00", 1717149600.25),
        ("1969-12-31 23:59:59-0100", 3599.0),
        ("0001-01-01", -62135596800.0),
    ],
)
def test_iso_dates_are_seconds_since_1970(tmp_path, text_date, seconds):
    rows = read(write(tmp_path, "t.csv", f"user,item,timestamp\n1,2,{text_date}\n"))
    assert rows.timestamps is not None
    assert rows.timestamps.tolist() == [seconds]


def test_a_third_column_of_large_numbers_is_a_time(tmp_path):
    rows = read(write(tmp_path, "t.csv", "1,5,881250949\n2,5,891717742\n"))
    assert rows.ratings is None
    assert rows.timestamps is not None
    assert rows.notes[-1].endswith("user = column 1, item = column 2, timestamp = column 3")


def test_quoted_fields_keep_what_they_hold(tmp_path):
    rows = read(write(tmp_path, "t.csv", 'user,item\n"a,b","say ""x"""\n" c ",""""\n'))
    assert pairs(rows) == [("a,b", 'say "x"'), (" c ", '"')]


def test_tabs_know_no_quotes(tmp_path):
    rows = read(write(tmp_path, "t.tsv", 'user\titem\n"a\tx"y\n'))
    assert pairs(rows) == [('"a', 'x"y')]


@pytest.mark.parametrize(
    "options",
    [
        {"user_col": "who", "item_col": "what"},
        {"user_col": "WHO", "item_col": "3"},
        {"user_col": "2", "item_col": "what", "separator": ","},
    ],
)
def test_columns_are_named_by_name_or_number(tmp_path, options):
    path = write(tmp_path, "t.csv", "n,who,what\n1,a,x\n2,b,x\n3,a,y\n")
    assert pairs(read(path, **options)) == THREE


def test_columns_without_header_are_named_by_number(tmp_path):
    path = write(tmp_path, "t.csv", "x,q,9,a,0,0\nx,q,9,b,0,0\ny,q,9,a,0,0\n")
    rows = read(path, user_col="4", item_col="1", rating_col="3")
    assert pairs(rows) == THREE
    assert rows.ratings is not None
    assert rows.ratings.tolist() == [9, 9, 9]


def test_a_separator_can_be_given(tmp_path):
    assert pairs(read(write(tmp_path, "t.txt", "a~~x\nb~~x\na~~y\n"), separator="~~")) == THREE
    path = write(tmp_path, "s.csv", "user\titem\na\tx\nb\tx\na\ty\n")
    assert pairs(read(path, separator="\\t")) == THREE


LIGHTGCN = "0 1 2\n1 2\n2\n\n0 7 1 \n99999999999999999999 007\n"


def test_lightgcn_text_is_read(tmp_path):
    rows = read(write(tmp_path, "t.txt", LIGHTGCN))
    assert rows.format == "lightgcn"
    assert list(rows.user_ids) == ["0", "1", "2", "99999999999999999999"]
    assert list(rows.item_ids) == ["1", "2", "7", "007"]
    assert pairs(rows)[:5] == [("0", "1"), ("0", "2"), ("1", "2"), ("0", "7"), ("0", "1")]
    assert "t.txt: 5 lines for 4 users, joined by user" in rows.notes


SPLITS = [
    (
        "lightgcn",
        {"train.txt": "0 1 2\n1 2\n", "valid.txt": "0 3\n", "test.txt": "0 4\n1 1\n2 1\n"},
    ),
    (
        "csv",
        {
            "train.csv": "user,item\n0,1\n0,2\n1,2\n",
            "validation.csv": "user,item\n0,3\n",
            "test.csv": "user,item\n0,4\n1,1\n2,1\n",
        },
    ),
    (
        "recbole",
        {
            "x.train.inter": "user_id:token\titem_id:token\n0\t1\n0\t2\n1\t2\n",
            "x.valid.inter": "user_id:token\titem_id:token\n0\t3\n",
            "x.test.inter": "user_id:token\titem_id:token\n0\t4\n1\t1\n2\t1\n",
        },
    ),
    (
        "csv",
        {
            "train.rating": "0\t1\n0\t2\n1\t2\n",
            "dev.rating": "0\t3\n",
            "test.rating": "0\t4\n1\t1\n2\t1\n",
        },
    ),
]


@pytest.mark.parametrize(("format", "files"), SPLITS)
def test_a_folder_with_train_and_test_is_a_given_split(tmp_path, format, files):
    for name, content in files.items():
        write(tmp_path, name, content)
    write(tmp_path, "items.csv", "nothing to do with it\n")
    data = load_dataset(tmp_path)
    assert read(tmp_path).format == format
    assert data.user_ids == ["0", "1", "2"]  # user 2 is only in test
    assert data.item_ids == ["1", "2", "3", "4"]
    assert [data.train.of(user).tolist() for user in range(3)] == [[0, 1], [1], []]
    assert [data.valid.of(user).tolist() for user in range(3)] == [[2], [], []]
    assert [data.test.of(user).tolist() for user in range(3)] == [[3], [0], [0]]


def test_movielens_titles_lie_beside_the_ratings(tmp_path):
    write(tmp_path, "u.data", "1\t5\t3\t881250949\n2\t6\t4\t891717742\n")
    write(tmp_path, "u.item", "5|Am\u00e9lie (2001)|x\n7|Other|x\n".encode("latin-1"))
    rows = read(tmp_path)
    assert rows.names == {"5": "Am\u00e9lie (2001)", "7": "Other"}
    assert "2 titles from u.item (latin-1)" in rows.notes


FOLDERS = [
    (["interactions.tsv", "items.tsv"], "interactions.tsv"),
    (["only.csv", "README.md", "features.npy"], "only.csv"),
    (["x.inter", "x.item", "x.user", "notes.txt"], "x.inter"),
    (["ratings.csv", "movies.csv", "tags.csv"], "ratings.csv"),
    (["u.data", "ua.base", "u1.test"], "u.data"),
]


@pytest.mark.parametrize(("names", "chosen"), FOLDERS)
def test_the_interactions_of_a_folder_are_found(tmp_path, names, chosen):
    contents = {
        "x.inter": "user_id:token\titem_id:token\n1\t2\n",
        "u.data": "1\t2\t3\t4\n",
        "ratings.csv": "userId,movieId,rating,timestamp\n1,2,3,4\n",
        "movies.csv": "movieId,title,genres\n2,One,x\n",
    }
    for name in names:
        separator = "," if name.endswith("csv") else "\t"
        write(tmp_path, name, contents.get(name, f"user{separator}item\n1{separator}2\n"))
    assert pairs(read(tmp_path)) == [("1", "2")]
    assert any(note.startswith(f"{chosen}: ") for note in read(tmp_path).notes)


def test_plain_numbers_are_a_table_where_users_come_again(tmp_path):
    table = "".join(f"{n % 4 + 40} {n} 5 8812509{n:02}\n" for n in range(20))
    lists = "".join(f"{n} 31 {n + 20}\n" for n in range(20))
    assert read(write(tmp_path, "t.txt", table)).format == "csv"
    assert read(write(tmp_path, "l.txt", lists)).format == "lightgcn"


def test_what_was_understood_is_said_aloud(tmp_path):
    path = write(tmp_path, "t.csv", "movieId,userId,stars,genre\n1,2,3,x\n1,3,3,y\n1,4,3,z\n")
    assert read(path).notes == (
        "t.csv: a table by its name",
        "t.csv: header, separated by commas; user = 'userId', item = 'movieId', rating = 'stars'; "
        "not read: 'genre'",
    )
