"""Data in memory is the same data set as the same rows in a file, with the same checks."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from support.interactions import pairs

import advrec
from advrec.data import DataConfig, load_dataset
from advrec.data.readers import frames
from advrec.errors import AdvrecError, ConfigError, DataError, RunError, UsageError

pd = pytest.importorskip("pandas", reason="the extra test is not installed")
pl = pytest.importorskip("polars", reason="the extra test is not installed")
arrow = pytest.importorskip("pyarrow", reason="the extra parquet is not installed")

RANDOM = np.random.default_rng(3)
N = 400
COLUMNS = {
    "user_id": [f"u{n}" for n in RANDOM.integers(30, size=N)],
    "movie_id": RANDOM.integers(90, size=N).tolist(),
    "rating": (RANDOM.integers(1, 11, size=N) / 2).tolist(),
    "timestamp": (RANDOM.permutation(N) * 3600 + 10**9).tolist(),
    "title": ["a, b"] * N,
}
MAKERS = {
    "pandas": pd.DataFrame,
    "pandas with pyarrow": lambda columns: pd.DataFrame(columns).convert_dtypes(
        dtype_backend="pyarrow"
    ),
    "pandas nullable": lambda columns: pd.DataFrame(columns).convert_dtypes(),
    "polars": pl.DataFrame,
    "polars lazy": pl.LazyFrame,
    "arrow": arrow.table,
}


def refusal(data: object, **options: object) -> str:
    with pytest.raises(AdvrecError) as caught:
        load_dataset(data, **options)
    hint = caught.value.hint
    return str(caught.value) if hint is None else f"{caught.value} | {hint}"


@pytest.fixture(scope="module")
def csv(tmp_path_factory):
    path = tmp_path_factory.mktemp("frames") / "t.csv"
    pd.DataFrame(COLUMNS).to_csv(path, index=False)
    return path


@pytest.mark.parametrize("options", [{}, {"min_rating": 3, "k_core": 2}, {"split": "global-time"}])
@pytest.mark.parametrize("maker", MAKERS)
def test_a_frame_is_the_data_set_of_the_same_rows_in_a_csv_file(csv, maker, options):
    dataset = load_dataset(MAKERS[maker](COLUMNS), **options)
    assert dataset.digest == load_dataset(csv, **options).digest
    assert dataset.name == "frame"
    assert dataset.notes[0].endswith(
        "; user = 'user_id', item = 'movie_id', rating = column 3, timestamp = column 4; "
        "not read: 'title'"
    )


@pytest.mark.parametrize("maker", MAKERS)
def test_columns_are_named_by_options(maker):
    frame = MAKERS[maker]({"who": ["a", "b"], "what": ["x", "y"], "when": [2, 1]})
    options = {"user_col": "who", "item_col": "2", "timestamp_col": "when"}
    rows = frames.read(frame, DataConfig.of("frame", **options))
    assert pairs(rows) == [("a", "x"), ("b", "y")]
    assert rows.timestamps is not None
    assert rows.timestamps.tolist() == [2, 1]
    assert refusal(frame) == (
        f"{rows.source}: cannot tell which column is the user: 'who', 'what', 'when' | "
        "name it with user_col"
    )


def by_time(moments):
    return {"user": ["a"] * 3, "item": ["x", "y", "z"], "time": moments}


ZONED = pd.to_datetime([f"2024-05-{day} 12:00" for day in (31, 29, 30)]).tz_localize("Asia/Tokyo")
MOMENTS = {
    "pandas": pd.DataFrame(by_time(ZONED.tz_localize(None))),
    "pandas with a zone": pd.DataFrame(by_time(ZONED)),
    "pandas nanoseconds": pd.DataFrame(by_time(ZONED.tz_localize(None).astype("datetime64[ns]"))),
    "pandas strings": pd.DataFrame(by_time(["2024-05-31", "2024-05-29", "2024-05-30"])),
    "pandas objects": pd.DataFrame(by_time([date(2024, 5, day) for day in (31, 29, 30)])),
    "polars": pl.DataFrame(by_time([datetime(2024, 5, day) for day in (31, 29, 30)])),
    "polars dates": pl.DataFrame(by_time([date(2024, 5, day) for day in (31, 29, 30)])),
}


@pytest.mark.parametrize("kind", MOMENTS)
def test_times_of_every_type_order_the_split(kind):
    dataset = load_dataset(MOMENTS[kind])
    test, valid, train = (
        [dataset.item_ids[item] for item in part.items]
        for part in (dataset.test, dataset.valid, dataset.train)
    )
    assert (test, valid, train) == (["x"], ["z"], ["y"])


ITEMS = {"item": [1, 2, 3]}
IDS = {
    "pandas categories": pd.DataFrame({"user": pd.Categorical([7, 8, 7]), **ITEMS}),
    "pandas floats": pd.DataFrame({"user": [7.0, 8.0, 7.0], **ITEMS}),
    "pandas objects": pd.DataFrame({"user": pd.Series([7, "8", 7.0], dtype=object), **ITEMS}),
    "polars categories": pl.DataFrame({"user": ["7", "8", "7"], **ITEMS}).with_columns(
        pl.col("user").cast(pl.Categorical)
    ),
    "polars enumeration": pl.DataFrame({"user": ["7", "8", "7"], **ITEMS}).with_columns(
        pl.col("user").cast(pl.Enum(["8", "7"]))
    ),
    "polars decimals": pl.DataFrame({"user": [Decimal(7), Decimal(8), Decimal(7)], **ITEMS}),
}  # fmt: skip


@pytest.mark.parametrize("kind", IDS)
def test_ids_of_every_type_are_the_same_strings(kind):
    dataset = load_dataset(IDS[kind])
    assert list(dataset.user_ids) == ["7", "8"]
    assert list(dataset.item_ids) == ["1", "2", "3"]


EMPTY = " | fill it in, or drop such rows with --drop-incomplete"
ID = ", expected a whole number or a string"
TWO = {"user": ["a", "b"], "item": ["x", "y"]}
NULLABLE = pd.array([1, None], "Int64")
NAT = pd.to_datetime(["2024-05-31", None])
MONTHS = pd.period_range("2024-01", periods=2, freq="M")
SPANS = pd.to_timedelta([1, 2], "s")
SPAN = "0 days 00:00:01"
TWICE = pd.DataFrame([["a", "x", 1]], columns=["user", "item", "user"])
REFUSED = [
    (pd.DataFrame({**TWO, "user": ["a", None]}), "user is missing in row 2" + EMPTY),
    (pd.DataFrame({**TWO, "user": [1, None]}), "user is missing in row 2" + EMPTY),
    (pd.DataFrame({**TWO, "user": NULLABLE}), "user is missing in row 2" + EMPTY),
    (pd.DataFrame({**TWO, "timestamp": NAT}), "timestamp is missing in row 2" + EMPTY),
    (pl.DataFrame({**TWO, "user": [None, 1]}), "user is missing in row 1" + EMPTY),
    (pl.DataFrame({**TWO, "rating": [1.0, float("nan")]}), "rating is missing in row 2" + EMPTY),
    (pl.DataFrame({**TWO, "item": [[1], [2]]}), "item is a list in row 1" + ID),
    (pd.DataFrame({**TWO, "item": [0.5, 1.0]}), "item is 0.5 in row 1" + ID),
    (pd.DataFrame({**TWO, "item": MONTHS}), "item is 2024-01 in row 1" + ID),
    (pd.DataFrame({**TWO, "rating": SPANS}), f"rating is {SPAN} in row 1, expected a number"),
    (pd.DataFrame(TWO).iloc[:0], "the table has no row"),
    (TWICE, "two columns are called 'user'"),
]  # fmt: skip


@pytest.mark.parametrize(("frame", "expected"), REFUSED)
def test_what_does_not_fit_is_named_with_its_row(frame, expected):
    assert refusal(frame) == f"{type(frame).__module__.split('.')[0]}.DataFrame: {expected}"


@pytest.mark.parametrize("data", [[1], {"user": [1]}, np.zeros((2, 2)), pd.Series([1]), None, 3])
def test_other_objects_are_refused(data):
    with pytest.raises(UsageError, match=r"^data is a \S+; expected a name, a path"):
        load_dataset(data)


def test_options_about_files_have_no_meaning():
    frame = pd.DataFrame(TWO)
    for options in ({"format": "csv"}, {"separator": ";"}, {"header": "yes"}):
        with pytest.raises(ConfigError, match="does not apply to data in memory"):
            load_dataset(frame, **options)
    with pytest.raises(ConfigError, match="user_col does not apply to a sparse matrix"):
        load_dataset(sparse.eye(3), user_col="user")


def as_csv(tmp_path, matrix):
    rows = [
        (row, column, matrix[row, column])
        for row in range(matrix.shape[0])
        for column in range(matrix.shape[1])
        if matrix[row, column]
    ]
    path = tmp_path / "m.csv"
    path.write_text("user,item,rating\n" + "".join(f"{u},{i},{r}\n" for u, i, r in rows))
    return path


@pytest.mark.parametrize("form", ["csr", "csc", "coo", "lil", "dok", "dia", "bsr"])
@pytest.mark.parametrize("array", [False, True], ids=["matrix", "array"])
def test_a_sparse_matrix_is_the_data_set_of_its_entries(tmp_path, form, array):
    dense = np.random.default_rng(5).integers(0, 3, size=(12, 9)).astype(np.float64)
    make = getattr(sparse, f"{form}_{'array' if array else 'matrix'}")
    dataset = load_dataset(make(dense), min_rating=1.5)
    assert dataset.digest == load_dataset(as_csv(tmp_path, dense), min_rating=1.5).digest


def test_entries_stored_twice_are_summed_and_zeros_left_out():
    users, items, values = [0, 0, 1, 1, 2], [1, 1, 0, 2, 2], [1.0, 2.0, 0.0, 4.0, 1.0]
    matrix = sparse.coo_array((values, (users, items)), shape=(3, 3))
    rows = frames.read(matrix, DataConfig.of("frame"))
    assert pairs(rows) == [("0", "1"), ("1", "2"), ("2", "2")]
    assert rows.ratings is not None
    assert rows.ratings.tolist() == [3, 4, 1]
    assert rows.notes == (
        "scipy.coo_array [3, 3]; user = row, item = column, rating = value",
        "1 stored zero left out",
    )
    assert matrix.nnz == 5


def test_a_matrix_of_ones_has_no_ratings():
    with pytest.raises(ConfigError, match="has no ratings"):
        load_dataset(sparse.eye_array(3, dtype=bool), min_rating=1)


MATRICES = [
    (sparse.csr_array(np.eye(2) * np.nan), "the entry of row 0, column 0 is nan"),
    (sparse.csr_array((2, 2)), "the table has no row"),
    (
        sparse.csr_array(np.eye(2) * 1j),
        "the matrix holds complex128 in shape (2, 2), expected numbers [users, items]",
    ),
]


@pytest.mark.parametrize(("matrix", "expected"), MATRICES)
def test_a_matrix_that_does_not_fit(matrix, expected):
    assert refusal(matrix) == f"scipy.csr_array: {expected}"


def test_a_run_is_made_from_a_frame_as_from_any_data_set_in_memory(tmp_path):
    frame = pd.DataFrame(COLUMNS)
    result = advrec.pretrain(frame, "mf", tmp_path / "run", epochs=1, dim=4)
    assert result.run.data is None
    with pytest.raises(RunError, match="in memory"):
        advrec.evaluate(result.run)
    figures = advrec.evaluate(result.run, frame)
    assert figures.values == advrec.evaluate(result.run, load_dataset(frame)).values


def test_a_frame_of_other_rows_is_not_taken_for_the_data_of_a_run(tmp_path):
    frame = pd.DataFrame(COLUMNS)
    result = advrec.pretrain(frame, "mf", tmp_path / "run", epochs=1, dim=4)
    with pytest.raises(RunError):
        advrec.evaluate(result.run, frame.iloc[1:])


text = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=4)


@given(rows=st.lists(st.tuples(text, st.integers(0, 9), st.integers(0, 10**9)), min_size=1))
@settings(max_examples=40, deadline=None)
def test_every_maker_gives_the_same_data_set(rows):
    names = ("user", "item", "timestamp")
    columns = {name: [row[at] for row in rows] for at, name in enumerate(names)}
    results = set()
    for maker in MAKERS.values():
        try:
            results.add(load_dataset(maker(columns)).digest)
        except DataError as error:
            results.add(str(error).partition(": ")[2])
    assert len(results) == 1


def read_frame(columns, **options):
    return frames.read(pd.DataFrame(columns), DataConfig.of("frame", **options))


THREE = {"user": ["a", "b", "a"], "item": ["x", "y", "z"]}


def test_rows_without_a_value_are_dropped_and_counted():
    rating, time = [1.0, None, 2.0], ["2024-05-31", "2024-05-31", ""]
    columns = {**THREE, "rating": rating, "time": time}
    rows = read_frame(columns, drop_incomplete=True)
    assert pairs(rows) == [("a", "x")]
    assert rows.notes[-1] == "pandas.DataFrame: 2 rows without a value dropped"
    rows = read_frame(columns, drop_incomplete=True, timestamp_col="none")
    assert pairs(rows) == [("a", "x"), ("a", "z")]


def test_columns_are_left_out_with_none():
    columns = {**THREE, "rating": ["good", "bad", ""], "time": ["soon", "", "late"]}
    rows = read_frame(columns, rating_col="none", timestamp_col="none")
    assert len(rows) == 3
    assert (rows.ratings, rows.timestamps) == (None, None)


def test_labels_are_rows_that_count_and_rows_that_do_not():
    dataset = load_dataset(pd.DataFrame({**THREE, "label": [True, False, True]}))
    assert list(dataset.item_ids) == ["x", "z"]
    assert any("1 of 3 rows are labelled 0 or less" in note for note in dataset.notes)


DATES = [
    (["12/31/2010 8:26", "1/2/2010 8:26", "1/12/2010 8:26"], {}, "dates: month first"),
    (["05 31, 2014", "01 12, 2014", "02 01, 2014"], {}, "dates: month first"),
    ([20240531, 20240101, 20240201], {"time_format": "%Y%m%d"}, "dates: by '%Y%m%d'"),
    (["31.12.2010", "12.1.2010", "1.2.2010"], {"time_format": "%d.%m.%Y"}, "dates: by '%d.%m.%Y'"),
]


@pytest.mark.parametrize(("dates", "options", "note"), DATES)
def test_dates_have_one_form_in_a_column(monkeypatch, dates, options, note):
    monkeypatch.setattr(frames, "BATCH", 1)
    rows = read_frame({**THREE, "date": dates}, **options)
    assert rows.timestamps is not None
    assert rows.timestamps.argsort().tolist() == [1, 2, 0]
    assert rows.notes[-1] == f"pandas.DataFrame: {note}"


DOUBTS = [
    (["1/2/2010", "3/4/2010", "5/6/2010"], "may begin with the day or with the month"),
    (["2024-05-31", "31.12.2010", "2024-05-31"], "is '31.12.2010' in row 2, not a date like"),
    ([1717156800, "2024-05-31", 1717156801], "is '2024-05-31' in row 2, other rows have numbers"),
]


@pytest.mark.parametrize(("dates", "expected"), DOUBTS)
def test_dates_in_doubt_are_refused(monkeypatch, dates, expected):
    monkeypatch.setattr(frames, "BATCH", 1)
    with pytest.raises(DataError) as caught:
        read_frame({**THREE, "date": dates})
    assert expected in str(caught.value)
