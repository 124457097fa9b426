"""JSON of public data sets gives its rows in every notation; anything else is named by its line."""

from __future__ import annotations

import gzip
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.interactions import pairs, read, refusal

from advrec.data import load_dataset
from advrec.data.readers import json_lines
from advrec.data.readers.table import MISSING

AMAZON = [
    {"reviewerID": "A2", "asin": "0000013714", "reviewerName": "J. \"Mac\"", "helpful": [2, 3],
     "reviewText": "it's\n{good}", "overall": 5.0, "summary": "ok", "unixReviewTime": 1252800000,
     "reviewTime": "09 13, 2009"},
    {"reviewerID": "A1", "asin": "0000013714", "helpful": [0, 0], "reviewText": "", "overall": 2.0,
     "unixReviewTime": 1400457600, "reviewTime": "05 19, 2014", "image": None},
]  # fmt: skip
YELP = [
    {"review_id": "x", "user_id": "u-1", "business_id": "b_1", "stars": 5.0, "useful": 1,
     "text": "Ä “quote”, a comma", "date": "2014-02-13 18:23:24"},
    {"review_id": "y", "user_id": "u-2", "business_id": "b_1", "stars": 3.0, "useful": 0,
     "text": "", "date": "2014-02-13 18:23:25"},
]  # fmt: skip
STEAM = [
    {"username": "Chaos Syren", "hours": 0.1, "products": 159, "product_id": "725280", "page": 1,
     "date": "2017-12-17", "text": "it's \\d", "early_access": False, "compensation": None},
    {"username": "ピア", "hours": 51.1, "product_id": "328100", "date": "2017-12-18", "text": ""},
]  # fmt: skip
PEERS = {
    "Amazon": (AMAZON, ("reviewerID", "asin"), [5.0, 2.0], [1252800000.0, 1400457600.0]),
    "Yelp": (YELP, ("user_id", "business_id"), [5.0, 3.0], [1392315804.0, 1392315805.0]),
    "Steam": (STEAM, ("username", "product_id"), None, [1513468800.0, 1513555200.0]),
}


def spaced(objects):
    return "".join(json.dumps(value) + "\n" for value in objects)


def compact(objects):
    return "\n".join(
        json.dumps(value, separators=(",", ":"), ensure_ascii=False) for value in objects
    )


NOTATIONS = {
    "spaced": spaced,
    "compact": compact,
    "windows": lambda objects: "\r\n" + compact(objects).replace("\n", "\r\n\r\n"),
    "byte order mark": lambda objects: "\ufeff" + compact(objects),
    "array": json.dumps,
    "array of lines": lambda objects: "[\n" + compact(objects).replace("\n", ",\n") + "\n]\n",
    "indented array": lambda objects: json.dumps(objects, indent=4),
    "indented objects": lambda objects: "\n".join(json.dumps(v, indent=1) for v in objects),
    "without line ends": lambda objects: " ".join(map(json.dumps, objects)),
    "python": lambda objects: "".join(f"{value!r}\n" for value in objects),
    "python 2": lambda objects: "".join(f"{v!r}\n".replace("{'", "{u'", 1) for v in objects),
    "python list": repr,
    "mixed": lambda objects: f"{objects[0]!r}\n{json.dumps(objects[1])}\n",
}


@pytest.mark.parametrize("notation", NOTATIONS)
@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize("name", ["t.json", "t.jsonl.gz", "reviews"])
def test_reviews_are_read(tmp_path, peer, notation, name):
    objects, (user, item), ratings, timestamps = PEERS[peer]
    content = NOTATIONS[notation](objects).encode()
    path = tmp_path / name
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    rows = read(path)
    assert rows.format == "json"
    assert pairs(rows) == [(value[user], value[item]) for value in objects]
    assert (None if rows.ratings is None else rows.ratings.tolist()) == ratings
    assert rows.timestamps is not None
    assert rows.timestamps.tolist() == timestamps


def test_numbers_are_ids_and_strings_are_numbers(tmp_path):
    path = tmp_path / "t.json"
    path.write_text('{"user": 7, "item": 2.0, "rating": "4.5", "ts": "1e9"}\n')
    rows = read(path)
    assert pairs(rows) == [("7", "2")]
    assert rows.ratings is not None
    assert rows.timestamps is not None
    assert (rows.ratings.tolist(), rows.timestamps.tolist()) == ([4.5], [1e9])
    assert rows.notes[-1].endswith(
        "whole numbers of 'item', stored as floats, are read as integers"
    )


def test_columns_are_named_by_options(tmp_path):
    path = tmp_path / "t.json"
    path.write_text('{"who": "a", "what": "x", "n": 3}\n')
    assert refusal(path) == (
        "FILE: cannot tell which column is the user: 'who', 'what', 'n' | name it with user_col"
    )
    rows = read(path, user_col="who", item_col="2", rating_col="n")
    assert pairs(rows) == [("a", "x")]
    assert rows.ratings is not None
    assert rows.ratings.tolist() == [3]


def test_a_name_that_only_later_objects_have_is_seen(tmp_path, monkeypatch):
    monkeypatch.setattr(json_lines, "FIRST", 2)
    monkeypatch.setattr(json_lines, "BATCH", 3)
    lines = [{"user": "a", "item": n} for n in range(8)] + [{"user": "a", "item": 8, "rating": 1}]
    path = tmp_path / "t.json"
    path.write_text(spaced(lines))
    assert refusal(path) == "FILE:1: rating is missing" + EMPTY


A1 = '{"user": 1, "item": 2}'
A = A1 + "\n"
P = "{'user': 1, 'item': 2}\n"
NO = "not JSON: "
PY = NO + "neither JSON nor Python's notation"
EMPTY = " | fill it in, or drop such rows with --drop-incomplete"
ID = ", expected a whole number or a string"
EXAMPLE = " | expected on each line, for example, " + '{"user": "a", "item": "x"}'
REFUSED = [
    (A + '{"user": 1, "item": }', 2, NO + "Expecting value at character 21"),
    (A + '\n{"user": 1, "item": "a', 3, NO + "Unterminated string starting at character 21"),
    (A + "[1, 2]", 2, "'[1, 2]' is not an object with named fields" + EXAMPLE),
    (A1 + ' {"user": 2, "item"', 1, NO + "Expecting ':' delimiter at character 42"),
    ('{"user": 1, "item": 2, "user": 3}', 1, NO + "a name comes twice in one object"),
    (P + "{'user': 1, 'item': 2, 'user': 3}", 2, PY),
    (P + "{'user': 1, 'item': f()}", 2, PY),
    (P + "{'user': 1, 'item': 2, 3: 4}", 2, PY),
    (f"[{A1},\n{A}", 2, NO + "the array is not closed, or a comma is missing"),
    (f"[{A1},\n]", 1, NO + "the array ends with a comma"),
    (f"[{A1}]\n{A}", 1, NO + "the array is not closed, or something follows it"),
    (f"[{A1},\n\n" + ' {"user": 1, "item": x}]', 3, NO + "Expecting value at character 22"),
    (f"[{A1},\n\n" + ' {"user": 1, "item": null}]', 3, "item is missing" + EMPTY),
    (A + '{"user": 1}', 2, "item is missing" + EMPTY),
    (A + '{"user": NaN, "item": 2}', 2, "user is missing" + EMPTY),
    ('{"user": 1, "item": "None"}', 1, "item is missing ('None')" + EMPTY),
    ('{"user": {"0": 1}, "item": {"0": 2}}', 1, "user is an object" + ID),
    ('{"user": 1, "item": [2]}', 1, "item is a list" + ID),
    ('{"user": 1, "item": true}', 1, "item is true or false" + ID),
    ('{"user": 1, "item": 2.5}', 1, "item is 2.5" + ID),
    ('{"user": 1, "item": 1e400}', 1, "item is inf" + ID),
    ('{"user": 1, "item": "\\ud800"}', 1, "item is '\\ud800', which is half of a character"),
    ('{"user": 1, "item": 2, "rating": "good"}', 1, "rating is 'good', expected a number"),
    ('{"user": 1, "item": 2, "rating": 1e999}', 1, "rating is inf, expected a number"),
    (
        '{"user": 1, "item": 2, "date": "soon"}',
        1,
        "timestamp (column 'date') is 'soon', expected a number or a date",
    ),
    ("hello", 1, NO + "Expecting value at character 1"),
    ("[" * 5000, 1, NO + "nested too deep"),
]


@pytest.mark.parametrize(("content", "line", "expected"), REFUSED)
def test_what_does_not_fit_is_named_with_its_line(tmp_path, content, line, expected):
    path = tmp_path / "t.json"
    path.write_text(content)
    assert refusal(path) == f"FILE:{line}: {expected}"


@pytest.mark.parametrize("deep", ["[", '{"a":', "(", "-"])
def test_depth_is_refused_without_a_crash(tmp_path, deep):
    path = tmp_path / "t.json"
    path.write_text('{"user": 1, "item": 2}\n{"user": 1, "item": ' + deep * 100_000 + "\n")
    assert refusal(path).startswith("FILE:2: not JSON: ")


def test_json_and_csv_of_the_same_rows_are_one_data_set(tmp_path):
    rows = [(f"u{n * n % 11}", n % 7, n % 5 + 0.5, 10**9 + n) for n in range(200)]
    names = ("user_id", "movie_id", "rating", "timestamp")
    (tmp_path / "t.jsonl").write_text(spaced(dict(zip(names, row, strict=True)) for row in rows))
    lines = [",".join(map(str, row)) for row in (names, *rows)]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    assert load_dataset(tmp_path / "t.jsonl").digest == load_dataset(tmp_path / "t.csv").digest


ids = st.one_of(st.text(min_size=1, max_size=5), st.integers(-(2**70), 2**70))


@given(
    rows=st.lists(st.tuples(ids, ids), min_size=1, max_size=20), style=st.sampled_from([*NOTATIONS])
)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_strings_and_integers_come_back(tmp_path, rows, style):
    if style == "mixed" and len(rows) != 2:
        style = "spaced"
    objects = [{"user": user, "item": item} for user, item in rows if not {user, item} & MISSING]
    if not objects or (style == "mixed" and len(objects) < 2):
        return
    path = tmp_path / "t.json"
    path.unlink(missing_ok=True)
    path.write_bytes(NOTATIONS[style](objects).encode())
    assert pairs(read(path)) == [tuple(map(str, value.values())) for value in objects]


@pytest.mark.parametrize("option", ["separator", "header"])
def test_options_about_text_have_no_meaning(tmp_path, option):
    path = tmp_path / "t.json"
    path.write_text(A)
    assert refusal(path, **{option: "no"}) == (
        f"{option} does not apply to json, whose columns have names"
    )
