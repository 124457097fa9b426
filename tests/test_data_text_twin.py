"""The compiled text reader gives what its twin in Python gives: results and errors alike."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from advrec import native
from advrec.data.readers import text_twin

host: Any = native.host()
pytestmark = pytest.mark.skipif(host is None, reason="the text reader cannot be compiled here")


quick = settings(max_examples=60, deadline=None)
thorough = settings(max_examples=250, deadline=None)


def outcome(read, *arguments: Any, **options: Any) -> Any:
    """Arrays as lists with their dtypes, or the arguments of the error."""
    try:
        parts = read(*arguments, **options)
    except (host.LineError, text_twin.LineError) as error:
        return error.args
    return [(part.dtype, part.tolist()) if isinstance(part, np.ndarray) else part for part in parts]


def same_lists(data: bytes) -> None:
    assert outcome(host.read_lists, data) == outcome(text_twin.read_lists, data)


def same_table(data: bytes, **options: Any) -> None:
    found = outcome(host.read_table, data, **options)
    assert found == outcome(text_twin.read_table, data, **options)


ids = st.one_of(
    st.integers(0, 30).map(str),
    st.sampled_from(["007", "0", "00", "999999", "1000000", "123456789012345678901234567890"]),
)
list_lines = st.lists(ids, max_size=6).map(" ".join)


@quick
@given(
    st.lists(list_lines, max_size=12).map("\n".join), st.sampled_from(["", "\n", "\r\n", " \t\n"])
)
def test_lists_are_read_alike(content, end):
    same_lists((content + end).encode())


@quick
@given(st.text(st.sampled_from("0123 \t\n-x,é\x0b\x0c"), max_size=60))
@example("0 1 2\n1 -3\n")
@example("")
def test_any_text_is_read_as_lists_alike(content):
    same_lists(content.encode())


def test_many_ids_are_coded_alike():
    names = [str(n * 7919 % 100_003 + n % 3 * 10**9) for n in range(30_000)]
    same_lists("\n".join(" ".join(names[at : at + 30]) for at in range(0, 30_000, 30)).encode())


options = st.fixed_dictionaries(
    {
        "separator": st.sampled_from([b",", b"\t", b";", b"|", b"::", b" ", b"~~"]),
        "quotes": st.booleans(),
        "skip": st.integers(0, 2),
        "columns": st.just(4),
        "user": st.integers(0, 3),
        "item": st.integers(0, 3),
        "rating": st.integers(-1, 3),
        "timestamp": st.integers(-1, 3),
        "rating_text": st.booleans(),
        "timestamp_text": st.booleans(),
        "drop": st.booleans(),
    }
)
fields = st.one_of(
    st.text(st.sampled_from('ab1 "é\t'), max_size=5),
    st.integers(-3, 300).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.sampled_from(
        ['"a,b"', '"say ""x"""', '""', "1e999", "1e-999", "4e-320", ".", "-", "1.", ".5"]
    ),
    st.sampled_from(
        ["None", "nan", "<NA>", "NA", "\\N", "N", '"two\nlines"', '"a\r\n\n""b"', '"'],
    ),
    st.sampled_from(
        ["+1", "1_0", "0x1", "inf", "nan", "1e", "1e+", "２", "2024-02-29", "2023-02-29"]
    ),
)


@given(options, st.lists(st.lists(fields, min_size=3, max_size=5), max_size=6), st.booleans())
@thorough
def test_tables_are_read_alike(layout, rows, windows):
    end = "\r\n" if windows else "\n"
    content = end.join(layout["separator"].decode().join(row) for row in rows)
    same_table(content.encode(), **layout)


def same_scan(data: bytes, skip: int) -> None:
    assert outcome(host.scan, data, skip) == outcome(text_twin.scan, data, skip)


@given(
    st.lists(st.lists(fields, max_size=5), max_size=6),
    st.sampled_from([",", "\t", ";", "|", "::", " ", ":"]),
    st.integers(0, 2),
)
@thorough
def test_tables_are_scanned_alike(rows, separator, skip):
    same_scan("\n".join(separator.join(row) for row in rows).encode(), skip)


@given(st.text(st.sampled_from('a1 \t\n"|;:,\v\fé'), max_size=80), st.integers(0, 3))
@thorough
@example("1" * 300 + " " * 300 + ",:" * 300, 0)
def test_any_text_is_scanned_alike(content, skip):
    same_scan(content.encode(), skip)


SPANNING = {
    "separator": b",",
    "quotes": True,
    "skip": 0,
    "columns": 4,
    "user": 0,
    "item": 1,
    "rating": 3,
    "timestamp": -1,
}
SPANS = {
    "a line end in a column that is not read": (b'a,x,"one\n\ntwo",3\nb,y,z,4\n', 1),
    "in the first field of a line that is not read": (b'a,x,"one\r\n""two""",3\r\n', 1),
    "in an id": (b'a,"x\ny",z,3\n', ("unclosed", 1, 1, "")),
    "a stray quote that swallows a row": (
        b'a,x,"one,3\nb,y,two,4\nc,z,three",5\n',
        ("swallowed", 1, 2, ""),
    ),
    "a quote that is never closed": (b'a,x,y,1\nb,y,"two,4\n', ("unclosed", 2, 2, "")),
}


@pytest.mark.parametrize("case", SPANS)
def test_a_quoted_field_may_run_over_lines_but_swallows_no_row(case):
    content, wanted = SPANS[case]
    for reader in (host, text_twin):
        got = outcome(reader.read_table, content, **SPANNING)
        assert (got if isinstance(wanted, tuple) else got[9]) == wanted


def test_rows_without_a_value_are_dropped_and_counted():
    content = b"a,x,z,3\n,x,z,3\nb,None,z,4\nb,y,,nan\nb,y,,4\n"
    for reader in (host, text_twin):
        table = reader.read_table(content, **SPANNING, drop=True)
        assert (table[2], table[3], table[8]) == (["a", "b"], ["x", "y"], 3)
        assert outcome(reader.read_table, content, **SPANNING) == ("empty", 2, 0, "")
        missing = outcome(reader.read_table, content[15:], **SPANNING)
        assert missing == ("missing", 1, 1, "None")


@given(options, st.text(st.sampled_from('a1., \t\n"|;:~-e+é'), max_size=60))
@thorough
def test_any_text_is_read_as_a_table_alike(layout, content):
    places = {"columns": 2, "user": 0, "item": 1, "rating": -1, "timestamp": layout["rating"] % 2}
    same_table(content.encode(), **{**layout, **places})


ONE_NUMBER = {
    "separator": b",",
    "quotes": True,
    "skip": 0,
    "columns": 2,
    "user": 0,
    "item": 0,
    "rating": -1,
    "timestamp": 1,
}
pieces = st.sampled_from(
    ["2024", "1970", "0000", "-", ":", "T", " ", "Z", "+", ".", "01", "12", "31", "7"]
)


@given(st.lists(pieces, max_size=16).map("".join))
@thorough
def test_near_dates_are_read_alike(field):
    same_table(f"a,{field}\n".encode(), **ONE_NUMBER)


@quick
@given(
    st.datetimes().map(str),
    st.sampled_from(["", "Z", "+05:30", "-0930", "+24:00", "+5", "+053"]),
    st.sampled_from([" ", "T"]),
)
def test_dates_are_read_alike(moment, zone, between):
    same_table(f"a,{moment.replace(' ', between)}{zone}\n".encode(), **ONE_NUMBER)


@quick
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_is_read_exactly(value):
    table = host.read_table(f"a,{value!r}".encode(), **ONE_NUMBER)
    assert table[5].tolist() == [value]


def test_a_line_is_counted_past_the_header_and_empty_lines():
    layout = {**ONE_NUMBER, "skip": 2}
    for reader in (host, text_twin):
        assert outcome(reader.read_table, b"x\n\n\na,1\na\n", **layout) == ("columns", 5, 1, "")


@pytest.mark.parametrize("wrong", [{"user": 4}, {"item": -1}, {"rating": 2}, {"separator": b""}])
def test_the_compiled_reader_never_reads_past_a_row(wrong):
    with pytest.raises(ValueError, match=r"no such column|separator is empty"):
        host.read_table(b"a,1\n", **{**ONE_NUMBER, **wrong})
