"""Parquet and Arrow files of many makers give the rows that stand in them, or name the row."""

from __future__ import annotations

from datetime import date, datetime, timezone
from decimal import Decimal

import numpy as np
import pytest
from support.interactions import pairs, read, refusal

from advrec.data import cache, load_dataset

arrow = pytest.importorskip("pyarrow", reason="the extra parquet is not installed")
from pyarrow import feather, ipc, parquet  # noqa: E402

TWO = {"user": ["a", "b"], "item": ["x", "y"]}
MOMENTS = [datetime(2024, 5, 31, 12, 0, 0, 250_000), datetime(1969, 12, 31)]
SECONDS = [1717156800.25, -86400.0]


def write(path, columns, **options):
    parquet.write_table(arrow.table(columns), path, **options)
    return path


def test_every_column_of_a_usual_table_is_read(tmp_path):
    moments = arrow.array([0, 1_500_000, 2_000_000], arrow.timestamp("us"))
    table = {"item": arrow.array(["x", "x", "y"]).dictionary_encode(), "user": [7, 8, 7]}
    table |= {"rating": [1, 2, 3], "time": moments, "note": [None, None, "z"]}
    rows = read(write(tmp_path / "t.parquet", table))
    assert rows.format == "parquet"
    assert pairs(rows) == [("7", "x"), ("8", "x"), ("7", "y")]
    assert rows.ratings is not None
    assert rows.timestamps is not None
    assert (rows.ratings.tolist(), rows.timestamps.tolist()) == ([1, 2, 3], [0, 1.5, 2])


TIMES = {
    **{unit: arrow.array(MOMENTS, arrow.timestamp(unit)) for unit in ("ms", "us", "ns")},
    "with a zone": arrow.array(
        [moment.replace(tzinfo=timezone.utc) for moment in MOMENTS],
        arrow.timestamp("ns", tz="Europe/Berlin"),
    ),
    "ISO strings": arrow.array(["2024-05-31T12:00:00.25Z", "1969-12-31"]),
    "string views": arrow.array(["2024-05-31 12:00:00.25", "1969-12-31"], arrow.string_view()),
    "dictionary": arrow.array(["2024-05-31 12:00:00.25", "1969-12-31"]).dictionary_encode(),
    "floats": arrow.array(SECONDS),
    "numbers as strings": arrow.array([str(value) for value in SECONDS]),
}


@pytest.mark.parametrize("kind", TIMES)
def test_times_are_seconds_in_every_type(tmp_path, kind):
    rows = read(write(tmp_path / "t.parquet", {**TWO, "timestamp": TIMES[kind]}))
    assert rows.timestamps is not None
    assert rows.timestamps.tolist() == SECONDS


@pytest.mark.parametrize("kind", [arrow.date32(), arrow.date64()])
def test_dates_are_midnight(tmp_path, kind):
    dates = arrow.array([date(1970, 1, 2), date(1969, 12, 31)], kind)
    rows = read(write(tmp_path / "t.parquet", {**TWO, "date": dates}))
    assert rows.timestamps is not None
    assert rows.timestamps.tolist() == [86400.0, -86400.0]


IDS = {
    "int8": arrow.array([1, 2, 1], arrow.int8()),
    "uint64": arrow.array([1, 2, 1], arrow.uint64()),
    "float": arrow.array([1.0, 2.0, 1.0]),
    "half float": arrow.array(np.array([1, 2, 1], dtype=np.float16)),
    "string": arrow.array(["1", "2", "1"]),
    "large string": arrow.array(["1", "2", "1"], arrow.large_string()),
    "string view": arrow.array(["1", "2", "1"], arrow.string_view()),
    "dictionary": arrow.array(["1", "2", "1"]).dictionary_encode(),
    "dictionary of integers": arrow.array([1, 2, 1]).dictionary_encode(),
    "decimal": arrow.array([Decimal(1), Decimal(2), Decimal(1)]),
}


@pytest.mark.parametrize("kind", IDS)
def test_ids_are_the_same_strings_in_every_type(tmp_path, kind):
    rows = read(write(tmp_path / "t.parquet", {"user": IDS[kind], "item": ["x", "x", "y"]}))
    assert pairs(rows) == [("1", "x"), ("2", "x"), ("1", "y")]
    floats = any("stored as floats" in note for note in rows.notes)
    assert floats == (kind in ("float", "half float"))


def test_large_integers_keep_every_digit(tmp_path):
    ids = [2**53 + 1, 2**63 - 1]
    rows = read(write(tmp_path / "t.parquet", {"user": ids, "item": ids}))
    assert list(rows.user_ids) == [str(value) for value in ids]


@pytest.mark.parametrize("kind", ["decimal", "bool", "int", "string"])
def test_ratings_of_every_type(tmp_path, kind):
    ratings = {
        "decimal": [Decimal("1.0"), Decimal("1.5")],
        "bool": [True, True],
        "int": [1, 2],
        "string": ["1.0", "2e0"],
    }[kind]
    rows = read(write(tmp_path / "t.parquet", {**TWO, "rating": ratings}))
    assert rows.ratings is not None
    assert rows.ratings.tolist() == [float(value) for value in ratings]


def write_ipc(table, path, *, stream=False):
    with (ipc.new_stream if stream else ipc.new_file)(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=1)
    return path


WRITERS = {
    "t.feather": feather.write_feather,
    "packed.feather": lambda table, path: feather.write_feather(table, path, compression="zstd"),
    "t.arrow": write_ipc,
    "t.ipc": lambda table, path: write_ipc(table, path, stream=True),
    "no ending": write_ipc,
    "stream": lambda table, path: write_ipc(table, path, stream=True),
}


@pytest.mark.parametrize("name", WRITERS)
def test_arrow_files_are_read(tmp_path, name):
    path = tmp_path / name
    table = arrow.table({"n": [0, 0], **TWO, "time": TIMES["ns"]})
    WRITERS[name](table, str(path))
    rows = read(path)
    assert rows.format == "arrow"
    assert pairs(rows) == [("a", "x"), ("b", "y")]
    assert rows.timestamps is not None
    assert rows.timestamps.tolist() == SECONDS


def test_a_stream_that_was_cut_between_its_batches_is_refused(tmp_path):
    path = write_ipc(arrow.table(TWO), str(tmp_path / "t.ipc"), stream=True)
    content = (tmp_path / "t.ipc").read_bytes()
    (tmp_path / "t.ipc").write_bytes(content[:-8])
    assert refusal(tmp_path / "t.ipc") == (
        "FILE: the Arrow stream has no end mark, so it may be cut"
    )
    assert path.endswith("t.ipc")


def test_a_packed_parquet_file_is_read(tmp_path):
    import gzip

    content = write(tmp_path / "t.parquet", TWO).read_bytes()
    path = tmp_path / "t.parquet.gz"
    path.write_bytes(gzip.compress(content))
    assert pairs(read(path)) == [("a", "x"), ("b", "y")]


def test_of_two_columns_of_one_name_neither_is_chosen_by_name(tmp_path):
    columns = [arrow.array(values) for values in (["x", "y"], ["a", "b"], ["v", "w"], [1, 2])]
    table = arrow.Table.from_arrays(columns, names=["item", "user", "item", "n"])
    for name in ("t.parquet", "t.arrow"):
        path = tmp_path / name
        (parquet.write_table if name == "t.parquet" else write_ipc)(table, str(path))
        assert refusal(path) == (
            "FILE: columns 1 and 3 are both called 'item'; which one is the item? | "
            "name it by number: item_col 1"
        )
        assert pairs(read(path, item_col="1")) == [("a", "x"), ("b", "y")]
        assert pairs(read(path, item_col="3")) == [("a", "v"), ("b", "w")]
        assert pairs(read(path, item_col="n")) == [("a", "1"), ("b", "2")]


def parts_in(folder, name="part-0000{}-c000.snappy.parquet"):
    folder.mkdir(parents=True)
    for number, (user, item) in enumerate([("a", "x"), ("b", "x"), ("a", "y")]):
        write(folder / name.format(number), {"user": [user], "item": [item]})
    (folder / "_SUCCESS").touch()
    (folder / ".part-00000-c000.snappy.parquet.crc").write_bytes(b"crc")
    return folder


THREE = [("a", "x"), ("b", "x"), ("a", "y")]


@pytest.mark.parametrize("name", ["part-0000{}-c000.parquet", "part.{}.parquet", "0{}.parquet"])
def test_a_folder_of_parts_is_one_table(tmp_path, name):
    rows = read(parts_in(tmp_path / "events", name))
    assert pairs(rows) == THREE
    assert rows.name == "events"
    assert rows.notes == (
        "3 parts of a parquet table",
        "events: 3 parts: parquet; user = column 1, item = column 2",
    )


def test_folders_of_parts_are_a_split(tmp_path):
    parts_in(tmp_path / "train.parquet")
    parts_in(tmp_path / "test.parquet")
    rows = read(tmp_path)
    assert pairs(rows) == THREE * 2
    assert rows.parts is not None
    assert rows.parts.tolist() == [0, 0, 0, 2, 2, 2]


def test_a_changed_part_is_another_data_set_for_the_cache(tmp_path):
    folder = parts_in(tmp_path / "set" / "train.parquet")
    before = cache._files(tmp_path / "set")
    assert before == sorted(folder.glob("part-*"))


def test_parts_of_other_columns_are_refused(tmp_path):
    folder = parts_in(tmp_path / "events")
    odd = write(folder / "part-00009.parquet", {"user": ["a"], "movie": ["x"]})
    assert refusal(folder).replace(str(odd), "ODD") == (
        "FILE/part-00009.parquet: the columns are 'user', 'movie', "
        "expected those of part-00000-c000.snappy.parquet"
    )


def test_several_tables_in_a_folder_are_a_question(tmp_path):
    for name in ("users", "items"):
        write(tmp_path / f"{name}.parquet", TWO)
    assert refusal(tmp_path).startswith("FILE: cannot tell which file holds the interactions")


EMPTY = " | fill it in, or drop such rows with --drop-incomplete"
ID = ", expected a whole number or a string"
LATEST_EXACT = arrow.array([1, 2**24], arrow.float32())
REFUSED = [
    ("user", ["1", None], "is missing in row 2" + EMPTY),
    ("item", ["1", ""], "is missing in row 2" + EMPTY),
    ("item", ["1", "None"], "is missing ('None') in row 2" + EMPTY),
    ("user", arrow.nulls(2), "is missing in row 1" + EMPTY),
    ("rating", [1.0, float("nan")], "is missing in row 2" + EMPTY),
    ("item", [1.0, 2.5], "is 2.5 in row 2" + ID),
    ("item", [2.0**53, 1.0], "is 9007199254740992.0 in row 1" + ID),
    ("item", LATEST_EXACT, "is 1.6777216e+07 in row 2" + ID),
    ("item", [True, False], "is true or false in row 1" + ID),
    ("item", [b"1", b"2"], "is binary data in row 1" + ID),
    ("item", [["1"], ["2"]], "is a list in row 1" + ID),
    ("item", [{"id": 1}, {"id": 2}], "is an object in row 1" + ID),
    ("item", TIMES["ns"], "is 2024-05-31T12:00:00.250000 in row 1" + ID),
    ("rating", [float("inf"), 1.0], "is inf in row 1, expected a number"),
    ("rating", ["4", "good"], "is 'good' in row 2, expected a number"),
    ("rating", TIMES["ns"], "is 2024-05-31T12:00:00.250000 in row 1, expected a number"),
    (
        "timestamp",
        ["2024-05-31", "soon"],
        "is 'soon' in row 2, not a date like '2024-05-31' before it",
    ),
]


@pytest.mark.parametrize(("column", "values", "expected"), REFUSED)
def test_what_does_not_fit_is_named_with_its_row(tmp_path, column, values, expected):
    path = write(tmp_path / "a.parquet", {**TWO, "rating": [1.0, 2.0], column: values})
    assert refusal(path) == f"FILE: {column} {expected}"


def test_rows_are_counted_over_batches_and_row_groups(tmp_path, monkeypatch):
    from advrec.data.readers import frames

    monkeypatch.setattr(frames, "BATCH", 7)
    users = [f"u{n}" for n in range(99)]
    write(tmp_path / "a.parquet", {"user": users, "item": users}, row_group_size=10)
    assert list(read(tmp_path / "a.parquet").user_ids) == users
    users[77] = None
    write(tmp_path / "a.parquet", {"user": users, "item": users}, row_group_size=10)
    assert refusal(tmp_path / "a.parquet") == "FILE: user is missing in row 78" + EMPTY


def test_a_table_without_rows(tmp_path):
    table = {"user": arrow.array([], arrow.string()), "item": arrow.array([], arrow.string())}
    assert refusal(write(tmp_path / "a.parquet", table)) == "FILE: the table has no row"


def test_what_is_not_parquet_is_one_sentence(tmp_path):
    path = tmp_path / "a.parquet"
    for content in (b"PAR1 is not enough", b"", b"user,item\n1,2\n"):
        path.write_bytes(content)
        message = refusal(path)
        assert message.startswith("FILE: not a parquet or Arrow file that can be read (")
        assert "\n" not in message


def test_columns_without_known_names_are_a_question(tmp_path):
    path = write(tmp_path / "a.parquet", {"p": ["a"], "q": ["x"]})
    assert refusal(path) == (
        "FILE: cannot tell which column is the user: 'p', 'q' | name it with user_col"
    )
    assert pairs(read(path, user_col="p", item_col="2")) == [("a", "x")]


def test_without_pyarrow_the_extra_is_named(tmp_path, monkeypatch):
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    assert refusal(path) == (
        "FILE: parquet and Arrow files need the package pyarrow | pip install 'advrec[parquet]'"
    )


def test_a_parquet_file_and_a_csv_of_the_same_rows_are_one_data_set(tmp_path):
    from pyarrow import csv

    random = np.random.default_rng(1)
    table = arrow.table(
        {"user_id": random.integers(20, size=300), "movie_id": random.integers(50, size=300)}
        | {"rating": random.integers(1, 6, size=300) / 1.0, "ts": random.permutation(300) + 10**9}
    )
    parquet.write_table(table, tmp_path / "t.parquet", row_group_size=7)
    csv.write_csv(table, tmp_path / "t.csv")
    for options in ({}, {"min_rating": 3}, {"split": "global-time"}):
        first = load_dataset(tmp_path / "t.parquet", **options)
        assert first.digest == load_dataset(tmp_path / "t.csv", **options).digest
