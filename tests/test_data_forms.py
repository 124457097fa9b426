"""One small invented file for each form that people have, and its one right reading.

The files lie in `data/forms`, named after the data set or program that writes such files. Each is
read right without options, or refused with a sentence and a way out; none is misread in silence.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from advrec import native
from advrec.data import DataConfig, load_dataset
from advrec.data.filters import unique_pairs
from advrec.data.interactions import Interactions
from advrec.data.load import read_interactions
from advrec.data.readers import text
from advrec.errors import DataError
from tests.support import fuzz_readers
from tests.support.fuzz_tables import count_outcomes

FORMS = Path(__file__).parent / "data" / "forms"

ML = [("7", "101"), ("9", "102"), ("7", "103"), ("12", "101"), ("9", "104"), ("7", "102")]
STARS = [4.0, 3, 5, 1, 2, 4]
TIMES = [882606572.0, 882606601, 882607000, 891717742, 891717800, 882606999]
ABC = [("ann", "Emma"), ("bob", "Dune")]

# name -> (format, pairs, ratings, timestamps); None: there are none
READ = {
    "movielens-100k.txt": ("csv", ML, STARS, TIMES),
    "movielens-100k-blanks.dat": ("csv", ML, STARS, TIMES),
    "movielens-100k.data": ("csv", ML, STARS, TIMES),
    "movielens-100k-noending": ("csv", ML, STARS, TIMES),
    "movielens-1m-colons.txt": ("csv", ML, STARS, TIMES),
    "three-columns-blanks.txt": ("csv", ML, STARS, None),
    "three-columns-times.txt": ("csv", ML, None, TIMES),
    "ml-ratings-time-first.csv": ("csv", ML, STARS, TIMES),
    "user-item-time-rating.csv": ("csv", ML, STARS, TIMES),
    "user-item-date-rating.csv": (
        "csv",
        ML,
        STARS,
        [1717113600.0, 1717200000, 1717286400, 1717027200, 1717372800, 1717459200],
    ),
    "milliseconds.csv": ("csv", ML, STARS, [time * 1e3 + 123 for time in TIMES]),
    "microseconds.csv": ("csv", ML, None, [time * 1e6 + 123456 for time in TIMES]),
    "lightgcn-lists.txt": (
        "lightgcn",
        [("0", "101"), ("0", "102"), ("0", "103"), ("1", "101"), ("2", "104"), ("2", "102")],
        None,
        None,
    ),
    "lightgcn-comment.txt": (
        "lightgcn",
        [("0", "101"), ("0", "102"), ("0", "103"), ("1", "101")],
        None,
        None,
    ),
    "german-excel.csv": ("csv", [("7", "101"), ("9", "102"), ("7", "103")], [3.5, 4, 4.5], None),
    "german-no-header.csv": ("csv", [("1", "10"), ("1", "11"), ("2", "10")], [3.5, 4.5, 2.5], None),
    "blanks-decimal-comma.txt": (
        "csv",
        [("1", "10"), ("1", "11"), ("2", "10")],
        [3.5, 4.5, 2.5],
        None,
    ),
    "excel-sep.csv": ("csv", [("7", "101"), ("9", "102")], [3.0, 4], None),
    "excel-sep-bars.csv": ("csv", [("17", "101"), ("19", "102"), ("17", "103")], [3.0, 4, 5], None),
    "last-first.csv": (
        "csv",
        [("Smith, Bob", "x1"), ("Jones, Ann", "x2"), ("Smith, Bob", "x2")],
        None,
        None,
    ),
    "last-first.tsv": (
        "csv",
        [("Smith, Bob", "x1"), ("Jones, Ann", "x2"), ("Smith, Bob", "x2")],
        None,
        None,
    ),
    "log-times.txt": ("csv", [("7", "101"), ("9", "102")], None, [1717149600.0, 1717149601.5]),
    "lastfm-plays.tsv": (  # plays are neither a time nor an obvious rating
        "csv",
        [("u1", "a1"), ("u1", "a2"), ("u2", "a1"), ("u2", "a3")],
        None,
        None,
    ),
    "spotify-text-header.csv": (
        "csv",
        [("ann", "Blue"), ("bob", "Creep"), ("ann", "Low")],
        None,
        None,
    ),
    "goodreads-words.csv": ("csv", [*ABC, ("ann", "Dune")], None, None),
    "steam-words.csv": (
        "csv",
        [("ann", "Portal"), ("bob", "Braid"), ("ann", "Braid")],
        None,
        None,
    ),
    "quoted-header.csv": ("csv", [("ann", "Blue"), ("bob", "Creep")], None, None),
    "one-known-name.csv": ("csv", ABC, None, None),
    "item-and-item-id.csv": ("csv", [("1", "11"), ("2", "12")], None, None),
    "book-crossing.csv": (
        "csv",
        [("276725", "034545104X"), ("276726", "0155061224")],
        [0.0, 5],
        None,
    ),
    "onlineretail.csv": (
        "csv",
        [("17850", "85123A"), ("17850", "71053"), ("13047", "84406B")],
        None,
        [1291191960.0, 1291192080, 1292265240],
    ),
    "hm-transactions.csv": (
        "csv",
        [("000058a1", "0663713001"), ("00007d2d", "0541518023")],
        None,
        [1537401600.0, 1537488000],
    ),
    "otto-cosmetics.csv": (
        "csv",
        [("541312140", "44600062"), ("554748717", "3900821")],
        None,
        [1569888000.0, 1569888001],
    ),
    "amazon-review-time.tsv": (
        "csv",
        [("A1", "B01"), ("A2", "B01")],
        [5.0, 3],
        [1401494400.0, 1364860800],
    ),
    "amazon-2023.csv": (
        "csv",
        [("AF1", "B08"), ("AF2", "B09")],
        [5.0, 1],
        [1605511842000.0, 1605511843000],
    ),
    "german-dates.csv": ("csv", [("1", "5"), ("2", "5")], None, [1293753600.0, 1293840000]),
    "slash-dates.csv": ("csv", [("1", "5"), ("2", "5")], None, [1577836800.0, 1606723500]),
    "month-names.csv": ("csv", [("1", "5"), ("2", "5")], None, [1398902400.0, 1419984000]),
    "am-pm.csv": ("csv", [("1", "5"), ("2", "5")], None, [1399940760.0, 1400072700]),
    "twitter.csv": ("csv", [("1", "5"), ("2", "5")], None, [1399284000.0, 1399363200]),
    "konect.tsv": (
        "csv",
        [("11", "25"), ("11", "26"), ("12", "25")],
        [3.0, 4, 5],
        [1107734400.0, 1107734401, 1107734402],
    ),
    "hash-comment.csv": ("csv", ABC, None, None),
    "hash-header.csv": ("csv", [("1", "5"), ("2", "5"), ("1", "6")], [3.0, 4, 4], None),
    "yelp-text.csv": ("csv", [("u1", "b1"), ("u2", "b1"), ("u1", "b2")], [5.0, 2, 4], None),
    "ten-digit-isbn.csv": (
        "csv",
        [("u1", "0061020717"), ("u2", "0345339681"), ("u1", "0345339681")],
        [5.0, 3, 4],
        None,
    ),
    "ratings-negative.csv": (
        "csv",
        [("1", "10"), ("2", "11"), ("1", "12"), ("3", "10")],
        [-9.5, 3.25, 8, 7.1],
        None,
    ),
    "recbole-label.inter": (
        "recbole",
        [("1", "5"), ("1", "6"), ("2", "5"), ("2", "6")],
        [1.0, 0, 1, 1],
        None,
    ),
    "amazon-2018.csv": (  # the product stands first
        "csv",
        [
            ("A1C6M8LCIO199M", "0001713353"),
            ("A1REUF3A1YCPHM", "B00CWTZ8SI"),
            ("A1REUF3A1YCPHM", "0001713353"),
        ],
        [5.0, 3, 4],
        [1407110400.0, 1404518400, 1404518401],
    ),
    "twitter-users-halves.csv": (  # an item has no fraction, so the first column is not the time
        "csv",
        [("1310000001", "10"), ("1310000002", "11"), ("1310000001", "12")],
        [4.5, 3, 5],
        None,
    ),
    "twitter-users-pairs.csv": (  # two columns are the user and the item
        "csv",
        [("1310000001", "20"), ("1310000002", "21"), ("1310000001", "21")],
        None,
        None,
    ),
    "trailing-comma.csv": ("csv", [("71", "101"), ("92", "102"), ("71", "103")], [4.0, 3, 5], None),
    "amazon-lines.csv": ("json", [("A1", "B1"), ("A2", "B1")], [5.0, 3], None),
}

# name -> what the error says, what the hint says
REFUSED = {
    "netflix-blocks.txt": ("1: '1:' begins a block of the Netflix prize", "--item-col 1"),
    "pairs-with-colons.txt": ("1: 'ann:Emma' is a pair with a colon in it", "--separator ':'"),
    "lists-with-colons.txt": ("1: '0: 1 2 3' is a list with a colon", "sed 's/://'"),
    "lists-or-table.txt": ("1: 3 numbers on every line", "--format csv, or --format lightgcn"),
    "lists-or-table-rating-second.txt": (
        "1: 3 numbers on every line",
        "--format csv, or --format lightgcn",
    ),
    "two-separators.csv": (
        "1: commas or semicolons may separate the columns",
        "--separator ',' or --separator ';'",
    ),
    "day-or-month.csv": (
        "may begin with the day or with the month",
        "--time-format '%m/%d/%Y' or --time-format '%d/%m/%Y'",
    ),
    "joined.csv": ("3: the header again", "take the line out"),
    "joined-numbers.csv": ("3: the header again", "take the line out"),
    "joined-bom.csv": ("3: a byte order mark at the start of this line", "take it out"),
    "joined-without-header.csv": ("2: the header again", "take the line out"),
    "joined-other-header.csv": ("3: the header again", "take the line out"),
    "one-name-twice.csv": ("1: columns 1 and 2 are both called 'user_id'", "user_col 1"),
    "lightgcn-lists.csv": ("1: lines of whole numbers that are of diff", "--format lightgcn"),
    "twitter-users.csv": (
        "column 1 may be an id or the time",
        "--user-col 2 --item-col 3 --timestamp-col 1, or --user-col 1 --item-col 2 --rating-col 3",
    ),
    "twitter-two-rows.csv": ("column 1 may be an id or the time", "--user-col 1 --item-col 2"),
    "items-like-times.csv": (
        "column 2 may be an id or the time",
        "--user-col 1 --item-col 3 --timestamp-col 2, or --user-col 1 --item-col 2 --rating-col 3",
    ),
    "seconds-and-milliseconds.csv": (
        "in different units, such as seconds and milliseconds: 1717156800 and 1717156800123",
        "--timestamp-col none",
    ),
    "date-and-milliseconds.csv": ("1717113600 and 1717156800123", "dates count as seconds"),
    "one-word-header.csv": (
        "1: line 1 may be a header or a row: 'book'",
        "--header yes, or --header no",
    ),
    "unknown-header.csv": ("which column is the user: 'kunde', 'artikel'", "--header no"),
    "session-log.csv": (
        "column 4 may be a rating or a category",
        "--user-col 1 --item-col 3 --rating-col 4 --timestamp-col 2, or "
        "--user-col 1 --item-col 3 --timestamp-col 2",
    ),
    "yoochoose.csv": (
        "column 3 may be an id or the rating",
        "--user-col 1 --item-col 3 --timestamp-col 2, or",
    ),
    "rating-second.csv": (
        "column 2 may be an id or the rating",
        "--user-col 1 --item-col 2, or --user-col 1 --item-col 3 --rating-col 2",
    ),
    "two-times.csv": ("columns 1 and 3 may be the time", "--user-col 2 --item-col 3"),
    "labels-no-header.csv": ("column 3 is 0 or 1", "--user-col 1 --item-col 2 --rating-col 3, or"),
    "rating-and-label.inter": ("'rating' is a rating, and 'label' may", "--rating-col label"),
    "nan-ids.csv": ("3: user is 'nan', which stands for no value", "--drop-incomplete"),
    "none-ids.csv": ("3: item is 'None', which stands for no value", "--drop-incomplete"),
    "diginetica.csv": ("2: user (column 'user_id') is 'NA', which stands for", "--drop-incomplete"),
    "hive-nulls.tsv": ("3: user (column 'user_id') is '\\\\N', which stands", "--drop-incomplete"),
    "stray-quote.csv": ("2: a quote opens here and runs over line 3", "is written twice"),
    "thousands.csv": ("'1,234': the comma may be a decimal comma", "--rating-col none"),
}


@pytest.fixture(params=["native", "python"], autouse=True)
def reader(request, monkeypatch):
    if request.param == "native" and native.host() is None:
        pytest.skip("the compiled text reader cannot be built here")
    monkeypatch.setattr(text, "NATIVE_FROM", 0 if request.param == "native" else 1 << 60)


def read(path: Path, **options: object) -> Interactions:
    return read_interactions(DataConfig.of(str(path), **options))


def pairs(rows: Interactions) -> list[tuple[str, str]]:
    users = [rows.user_ids[code] for code in rows.users.tolist()]
    return list(zip(users, [rows.item_ids[code] for code in rows.items.tolist()], strict=True))


def listed(values: object) -> object:
    return None if values is None else values.tolist()


def test_every_file_has_its_reading():
    assert {path.name for path in FORMS.iterdir()} == READ.keys() | REFUSED.keys()


@pytest.mark.parametrize("name", READ)
def test_a_form_is_read_right_without_options(name):
    rows = read(FORMS / name)
    format, expected, ratings, times = READ[name]
    assert (rows.format, pairs(rows)) == (format, expected)
    assert listed(rows.ratings) == ratings
    assert listed(rows.timestamps) == times


@pytest.mark.parametrize("name", REFUSED)
def test_a_form_in_doubt_is_refused_with_a_way_out(name):
    with pytest.raises(DataError) as caught:
        load_dataset(FORMS / name)
    message, hint = REFUSED[name]
    assert message in str(caught.value)
    assert hint in str(caught.value.hint)


OPTIONS = [
    ("session-log.csv", {"user_col": "1", "item_col": "3", "timestamp_col": "2"}, 0, 1396867869),
    ("day-or-month.csv", {"time_format": "%d/%m/%Y"}, 0, 1391212800),
    ("day-or-month.csv", {"timestamp_col": "none"}, 0, None),
    ("joined-numbers.csv", {"rating_col": "none", "header": "yes"}, None, None),
    ("one-word-header.csv", {"header": "no"}, 0, None),
    ("lists-or-table.txt", {"format": "csv", "user_col": "1", "item_col": "2"}, 0, None),
    ("pairs-with-colons.txt", {"separator": ":"}, 0, None),
    ("unknown-header.csv", {"user_col": "kunde", "item_col": "artikel"}, 0, None),
    ("nan-ids.csv", {"drop_incomplete": True}, 0, None),
    ("diginetica.csv", {"drop_incomplete": True}, 0, 1462752000),
    ("hive-nulls.tsv", {"drop_incomplete": True}, 0, None),
    ("thousands.csv", {"rating_col": "none"}, 0, None),
    ("lightgcn-lists.csv", {"format": "lightgcn"}, 0, None),
    ("one-name-twice.csv", {"user_col": "2"}, 0, None),
    ("items-like-times.csv", {"user_col": "1", "item_col": "2", "rating_col": "3"}, 0, None),
    ("twitter-users.csv", {"user_col": "2", "item_col": "3", "timestamp_col": "1"}, 0, 1310000001),
]


@pytest.mark.parametrize(("name", "options", "row", "time"), OPTIONS)
def test_the_way_out_leads_out(name, options, row, time):
    if row is None:
        with pytest.raises(DataError, match="the header again"):
            read(FORMS / name, **options)
        return
    rows = read(FORMS / name, **options)
    assert (rows.timestamps is None) == (time is None)
    if rows.timestamps is not None:
        assert rows.timestamps[row] == time


def test_rows_that_were_dropped_are_counted():
    rows = read(FORMS / "nan-ids.csv", drop_incomplete=True)
    assert pairs(rows) == [("ann", "Emma")]
    assert "nan-ids.csv: 1 row without a value dropped" in rows.notes


def test_labels_of_zero_are_no_interactions():
    rows = read(FORMS / "recbole-label.inter")
    positive = unique_pairs(rows, min_rating=None, k_core=0)
    assert len(positive.users) == 3
    assert "1 of 4 rows are labelled 0 or less" in positive.notes[0]
    every = unique_pairs(
        read(FORMS / "recbole-label.inter", rating_col="none"), min_rating=None, k_core=0
    )
    assert len(every.users) == 4


def test_equal_latest_times_are_said(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("user,item,time\n1,5,100\n1,6,100\n1,7,90\n2,5,1\n2,6,2\n2,7,3\n")
    notes = load_dataset(path).notes
    assert any(
        "the last two pairs of 1 of 2 users (50%) have the same timestamp" in note for note in notes
    )


def test_a_line_far_down_decides_too(tmp_path):
    path = tmp_path / "t.txt"
    rows = [f"{n % 700 + 200},{n % 900 + 300},{n % 5 + 1}" for n in range(5000)]
    rows[4321] = "207,311,1364312712"
    path.write_text("\n".join(rows) + "\n")
    with pytest.raises(DataError, match=r"t.txt:4322: .*column 3 is not a rating on every line"):
        read(path)


TABLE = "71 10 4\n92 11 3\n71 12 5\n92 10 1\n"


def split(folder: Path, train: str, test: str) -> Path:
    (folder / "train.txt").write_text(train)
    (folder / "test.txt").write_text(test)
    return folder


def test_a_table_is_not_the_test_part_of_lists(tmp_path):
    split(tmp_path, "0 12 7 3\n1 7\n2 3 12\n", TABLE)
    with pytest.raises(DataError, match=r"test\.txt: 3 numbers per line and users come again"):
        read(tmp_path)
    split(tmp_path, "0 12 7 3\n1 7\n", "0 5 4 882606572\n1 6 3 882606573\n")
    with pytest.raises(DataError, match="one of them a time, so a table, but train"):
        read(tmp_path)


def test_lists_are_not_the_test_part_of_a_table(tmp_path):
    with pytest.raises(DataError, match=r"test.txt:1: lines of whole numbers"):
        read(split(tmp_path, TABLE, "71 10 4\n92 11\n"))


def test_lists_that_happen_to_be_of_one_length_are_the_test_part_of_lists(tmp_path):
    rows = read(split(tmp_path, "0 12 7 3\n1 7\n2 3 12\n", "0 4 5\n1 3 6\n"))
    assert pairs(rows)[-4:] == [("0", "4"), ("0", "5"), ("1", "3"), ("1", "6")]


def test_a_test_part_that_would_be_in_doubt_has_the_columns_of_train(tmp_path):
    rows = read(split(tmp_path, TABLE, "1 2 4\n2 3 3\n"))
    assert pairs(rows)[-2:] == [("1", "2"), ("2", "3")]
    assert rows.ratings[-2:].tolist() == [4, 3]


def test_a_test_part_without_a_header_has_the_columns_of_trains_header(tmp_path):
    (tmp_path / "train.csv").write_text("item,user\nEmma,ann\nDune,bob\n")
    (tmp_path / "test.csv").write_text("Dune,ann\nEmma,bob\n")
    assert pairs(read(tmp_path))[-2:] == [("ann", "Dune"), ("bob", "Emma")]


def test_columns_of_train_are_checked_on_the_test_part(tmp_path):
    split(tmp_path, TABLE, "71 10 4\n92 11 882606572\n71 11 882606573\n")
    with pytest.raises(DataError, match=r"test.txt:2: .*column 3 is not a rating on every line"):
        read(tmp_path)


def test_a_header_that_the_caller_calls_a_row_is_one(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("user,item\nann,Emma\n")
    assert pairs(read(path, header="no")) == [("user", "item"), ("ann", "Emma")]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", "user,item,time\n1,2,5\n2,3,1e400\n"),
        ("t.csv", "user;item;rating\n1;2;1,5\n2;3;1e400\n"),
        ("t.csv", "user;item;rating\n1;2;1,5\n2;3;" + "9" * 400 + "\n"),
        ("t.json", '{"user": 1, "item": 2, "time": "1e400"}\n'),
    ],
)
def test_a_number_too_large_for_a_float_is_not_infinite(tmp_path, name, content):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(DataError, match="expected a number"):
        read(path)


@pytest.mark.parametrize("name", ["x" * 5000, "a/" * 3000])
def test_a_name_that_no_file_can_have_is_one_sentence(name):
    with pytest.raises(DataError, match="cannot be read") as caught:
        load_dataset(name)
    assert len(str(caught.value)) < 200


def test_no_generated_table_is_misread():
    counts, sentences = count_outcomes(150)
    wrong = [sentence for sentence in sentences if "misread: " in sentence]
    assert not wrong, "\n".join(wrong)
    assert counts["right"] >= 75
    known = [sentence for sentence in sentences if " known header" in sentence]
    assert not known, "a table whose header names user and item is read without options"


def test_no_generated_split_is_misread():
    counts, sentences = count_outcomes(150, split=True)
    wrong = [sentence for sentence in sentences if "misread: " in sentence]
    assert not wrong, "\n".join(wrong)
    assert counts["right"] >= 75


def test_mutated_files_are_read_whole_or_refused():
    """500 for each format: half of them with the compiled reader, half with its twin."""
    first = 0 if text.NATIVE_FROM == 0 else 250
    assert fuzz_readers.fuzz(250, first=first, progress=lambda _: None) == []


def test_a_traceback_is_a_complaint(tmp_path, monkeypatch):
    def fail(config):
        raise ValueError(config)

    monkeypatch.setattr(fuzz_readers, "read_interactions", fail)
    assert "ValueError" in str(fuzz_readers.complaint("t.csv", b"user,item\n1,2\n", tmp_path))
