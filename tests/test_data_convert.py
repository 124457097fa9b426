"""What is written is read back the same, or refused with the id that the format cannot hold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advrec.data import DataConfig, Dataset, load_dataset
from advrec.data.convert import convert
from advrec.data.interactions import Interactions
from advrec.data.load import read_interactions
from advrec.data.readers.text_twin import MISSING
from advrec.errors import DataError, UsageError

TARGETS = ("lightgcn", "csv", "recbole")
FILES = {"lightgcn": "x.txt", "csv": "x.csv", "recbole": "x.inter"}
texts = st.text(
    st.characters(blacklist_characters="\r\n\0", blacklist_categories=("Cs",)),
    min_size=1,
    max_size=6,
).filter(lambda text: text.encode() not in MISSING)
number = st.floats(allow_nan=False, allow_infinity=False)


def quote(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def by_id(data: Dataset) -> list[set[tuple[str, str]]]:
    return [
        {
            (data.user_ids[user], data.item_ids[item])
            for user, item in zip(part.users().tolist(), part.items.tolist(), strict=True)
        }
        for part in (data.train, data.valid, data.test)
    ]


def in_rows(rows: Interactions) -> list[tuple[object, ...]]:
    columns = [[rows.user_ids[n] for n in rows.users.tolist()]]
    columns.append([rows.item_ids[n] for n in rows.items.tolist()])
    columns += [[] if v is None else v.tolist() for v in (rows.ratings, rows.timestamps)]
    return list(zip(*(column for column in columns if column), strict=True))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(texts, texts, number, number), min_size=1, max_size=20))
def test_csv_gives_back_every_row_whatever_the_ids(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("csv")
    lines = [f"{quote(u)},{quote(i)},{r!r},{t!r}" for u, i, r, t in rows]
    source = folder / "source.csv"
    source.write_bytes("\n".join(["user,item,rating,timestamp", *lines]).encode())
    assert in_rows(read_interactions(DataConfig.of(str(source)))) == rows
    (written,) = convert(source, folder / "again.csv", to="csv")
    assert in_rows(read_interactions(DataConfig.of(str(written)))) == rows


@pytest.fixture
def source(tmp_path):
    generator = np.random.default_rng(5)
    lines = ["user\titem\trating\ttimestamp"]
    for user in range(12):
        for item in generator.permutation(20)[: 4 + user % 5]:
            lines.append(f"u {user}\ti,{item}\t{generator.integers(1, 11) / 2}\t{item * 60 + user}")
    path = tmp_path / "source.tsv"
    path.write_text("\n".join(lines))
    return path


@pytest.mark.parametrize("to", TARGETS)
def test_a_folder_gives_back_the_three_sets(tmp_path, source, to):
    before = load_dataset(source)
    written = convert(source, tmp_path / "out", to=to)
    assert all(path.parent == tmp_path / "out" for path in written)
    after = load_dataset(tmp_path / "out")
    if to == "lightgcn":  # ids became numbers; the tables say which
        users = dict(
            line.split("\t") for line in (tmp_path / "out/users.tsv").read_text().split("\n")[1:-1]
        )
        items = dict(
            line.split("\t") for line in (tmp_path / "out/items.tsv").read_text().split("\n")[1:-1]
        )
        after = type(after)(
            **{
                **{name: getattr(after, name) for name in after.__dataclass_fields__},
                "user_ids": [users[text] for text in after.user_ids],
                "item_ids": [items[text] for text in after.item_ids],
            }
        )
    assert by_id(after) == by_id(before)
    assert "split: given, with its own validation part" in after.notes


@pytest.mark.parametrize("to", ["csv", "recbole"])
def test_one_file_keeps_ratings_times_and_order(tmp_path, source, to):
    (written,) = convert(source, tmp_path / "new" / FILES[to], to=to)
    assert in_rows(read_interactions(DataConfig.of(str(written)))) == in_rows(
        read_interactions(DataConfig.of(str(source)))
    )
    assert load_dataset(written).digest == load_dataset(source).digest


def test_lightgcn_text_keeps_numbers_and_users_without_train(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/train.txt").write_text("5 10 20\n7 20\n9 10\n")
    (tmp_path / "in/test.txt").write_text("8 10\n5 30\n")
    written = convert(tmp_path / "in", tmp_path / "out", to="lightgcn", valid="none")
    assert [path.name for path in written] == ["train.txt", "test.txt"]
    assert (tmp_path / "out/train.txt").read_text() == "5 10 20\n7 20\n9 10\n8\n"
    assert (tmp_path / "out/test.txt").read_text() == "5 30\n8 10\n"
    (one,) = convert(tmp_path / "in", tmp_path / "all.txt", to="lightgcn")
    assert one.read_text() == "5 10 20 30\n7 20\n9 10\n8 10\n"


def test_the_embedded_set_becomes_lightgcn_text(tmp_path):
    written = convert("debian", tmp_path / "debian", to="lightgcn")
    names = [path.name for path in written]
    assert names == ["users.tsv", "items.tsv", "train.txt", "valid.txt", "test.txt"]
    back = load_dataset(tmp_path / "debian", item_names=str(tmp_path / "debian/items.tsv"))
    original = load_dataset("debian")
    assert (len(back.train), len(back.valid), len(back.test)) == (93467, 10768, 10768)
    assert set(back.item_names or ()) == set(original.item_ids)


def test_what_a_format_cannot_hold_is_refused_and_nothing_is_written(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text('user,item\n1,"a\tb"\n1,c\n')
    wanted = r"id 'a\\tb' contains '\\t', which the format cannot hold"
    with pytest.raises(DataError, match=wanted):
        convert(path, tmp_path / "out.inter", to="recbole")
    path.write_text('user,item\n1," a"\n1,c\n')
    with pytest.raises(DataError, match="id ' a' has blanks at its ends, which would be lost"):
        convert(path, tmp_path / "out", to="recbole")
    assert [each.name for each in tmp_path.iterdir()] == ["t.csv"]


def test_nothing_is_overwritten_and_unknown_formats_are_named(tmp_path, source):
    with pytest.raises(UsageError, match=r"source\.tsv already exists"):
        convert("debian", source, to="csv")
    with pytest.raises(UsageError, match="unknown format 'arff': choose lightgcn, csv, recbole"):
        convert(source, tmp_path / "x", to="arff")
