"""Held-out users and items that no training pair has: counted, warned of, refused if it is all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from advrec.data import Dataset, load_dataset
from advrec.errors import DataError

PLAIN = "{user},{item}"
HELD_OUT = [(1, 7), (2, 8), (3, 7), (4, 8)]
TRAIN = [(u, i) for u in range(1, 6) for i in range(5, 10) if (u, i) not in HELD_OUT]


def lines(pairs: list[tuple[int, int]], form: str = PLAIN) -> str:
    rows = [form.format(user=user, item=item) for user, item in pairs]
    return "\n".join(["user,item", *rows]) + "\n"


def folder_of(folder: Path, **parts: str) -> Path:
    """A folder with a split of its own."""
    for part, text in parts.items():
        (folder / f"{part}.csv").write_text(text)
    return folder


def about_training(data: Dataset) -> list[str]:
    return [note for note in data.notes if "training" in note]


@pytest.mark.parametrize(
    ("form", "noun", "count", "ids", "alike"),
    [
        ("{user}.0,{item}", "user", 4, "'1', training like '1.0'", True),
        ("{user:05d},{item}", "user", 4, "'1', training like '00001'", True),
        ("n{user},{item}", "user", 4, "'1', training like 'n1'", False),
        ("{user},{item}.0", "item", 2, "'7', training like '7.0'", True),
        ("{user},{item:05d}", "item", 2, "'7', training like '00007'", True),
    ],
)
def test_test_ids_spelled_otherwise_than_in_train_are_refused(
    tmp_path, form, noun, count, ids, alike
):
    folder = folder_of(tmp_path, train=lines(TRAIN, form), test=lines(HELD_OUT))
    with pytest.raises(DataError) as error:
        load_dataset(folder)
    assert str(error.value) == (
        f"{folder}: no training pair has any of the {count} test {noun}s: "
        f"test has {noun} ids like {ids}"
    )
    hint = f"write the {noun} ids of both parts alike"
    assert (error.value.hint == hint) == alike


def test_parts_that_speak_of_the_same_ids_are_fine(tmp_path):
    folder = folder_of(tmp_path, train=lines(TRAIN), test=lines(HELD_OUT))
    assert about_training(load_dataset(folder, valid="none")) == []


def test_a_validation_part_of_its_own_is_checked_too(tmp_path):
    valid = [(1, 8), (2, 7)]
    train = [pair for pair in TRAIN if pair not in valid]
    parts = {"train": lines(train), "test": lines(HELD_OUT)}
    assert about_training(load_dataset(folder_of(tmp_path, **parts, valid=lines(valid)))) == []
    folder_of(tmp_path, valid=lines(valid, "{user}.0,{item}"))
    with pytest.raises(DataError, match=r"any of the 2 validation users: .* '1.0', training like"):
        load_dataset(tmp_path)


@pytest.mark.parametrize(
    ("strangers", "sentence"),
    [
        (1, "1 of 10 test items have no training pair"),
        (2, "warning: 2 of 10 test items (20%) have no training pair, such as '100': nothing is"),
        (10, None),
    ],
)
def test_unseen_items_of_a_given_split_are_counted_then_warned_of_then_refused(
    tmp_path, strangers, sentence
):
    items = [*range(100, 100 + strangers), *range(10 - strangers)]
    train = lines([(1, item) for item in range(12)])
    folder = folder_of(tmp_path, train=train, test=lines([(2, item) for item in items] + [(1, 0)]))
    folder_of(tmp_path, train=train + "2,11\n")
    if sentence is None:
        folder_of(tmp_path, test=lines([(2, item) for item in items]))
        with pytest.raises(DataError, match=r"any of the 10 test items: .* '100', training like"):
            load_dataset(folder, valid="none")
    else:
        (note,) = about_training(load_dataset(folder, valid="none"))
        assert note.startswith(sentence)


def test_a_part_of_the_ids_in_another_spelling_is_warned_of_with_both(tmp_path):
    test = lines(HELD_OUT) + "05,7\n"
    folder = folder_of(tmp_path, train=lines(TRAIN), test=test)
    assert about_training(load_dataset(folder, valid="none")) == [
        "warning: 1 of 5 test users (20%) have no training pair; '05' may be '5' of training, "
        "spelled otherwise"
    ]


def by_time(path: Path, early: list[str], late: list[str]) -> Path:
    rows = [f"{pair},{time}" for time, pair in enumerate(early + late)]
    path.write_text("\n".join(["user,item,timestamp", *rows]) + "\n")
    return path


def test_a_split_by_time_without_a_known_item_or_user_is_refused(tmp_path):
    early = [f"u{n % 4},i{n % 5}" for n in range(16)]
    options = {"split": "global-time", "valid": "none"}
    new_items = by_time(tmp_path / "a.csv", early, [f"u{n},new{n}" for n in range(4)])
    with pytest.raises(DataError, match="no training pair has any of the 4 test items") as error:
        load_dataset(new_items, **options)
    assert "--test-ratio" in (error.value.hint or "")
    new_users = by_time(tmp_path / "b.csv", early, [f"new{n},i{n}" for n in range(4)])
    with pytest.raises(DataError, match="no training pair has any of the 4 test users"):
        load_dataset(new_users, **options)
    some = by_time(tmp_path / "c.csv", early, ["u0,new0", "new1,i0", "u1,i2", "u2,i3"])
    notes = about_training(load_dataset(some, **options))
    assert [note.partition(" have")[0] for note in notes] == [
        "warning: 1 of 4 test users (25%)",
        "warning: 1 of 4 test items (25%)",
    ]


def test_unseen_items_that_have_features_can_be_ranked_and_are_only_noted(tmp_path):
    folder = folder_of(
        tmp_path, train=lines(TRAIN), test=lines([(u, i + 100) for u, i in HELD_OUT])
    )
    np.savez(tmp_path / "f.npz", ids=np.arange(5, 120), features=np.ones((115, 2), np.float32))
    with pytest.raises(DataError, match="test items"):
        load_dataset(folder)
    data = load_dataset(folder, features=str(tmp_path / "f.npz"))
    assert any(note.startswith("warning: 2 of 2 test items (100%)") for note in data.notes)


@pytest.mark.parametrize("split", ["random", "loo-random"])
def test_an_item_that_chance_holds_out_is_no_reason_to_refuse(tmp_path, split):
    (tmp_path / "t.csv").write_text("user,item\n1,2\n1,3\n")
    (note,) = about_training(load_dataset(tmp_path / "t.csv", split=split))
    assert note.startswith("warning: 1 of 1 test item (100%) has no training pair, such as '")
