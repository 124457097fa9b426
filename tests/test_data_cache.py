"""The cache of data sets that were read before: the same set, or none."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from advrec.data import Dataset, cache, load_dataset

OLD = 1_700_000_000.0  # seconds; long before now


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("ADVREC_DATA_CACHE", raising=False)
    monkeypatch.setenv("ADVREC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "WORTHWHILE", 1)
    return tmp_path / "cache" / "advrec" / "datasets"


def ratings(folder: Path, rows: int = 300, seed: int = 0) -> Path:
    """A MovieLens folder whose files are not new."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(seed)
    lines = [f"{u}::{i}::{r}::{t}" for u, i, r, t in rng.integers(1, 20, (rows, 4))]
    (folder / "ratings.dat").write_text("\n".join(lines) + "\n")
    (folder / "movies.dat").write_text("".join(f"{i}::Film {i}::None\n" for i in range(1, 20)))
    for path in folder.iterdir():
        os.utime(path, (OLD, OLD))
    return folder


def same(a: Dataset, b: Dataset) -> bool:
    return (
        (a.digest, a.name, a.source, a.item_names) == (b.digest, b.name, b.source, b.item_names)
        and (a.n_users, a.n_items) == (b.n_users, b.n_items)
        and all(getattr(a, part).items.dtype == np.int32 for part in cache.PARTS)
    )


def entries(home: Path) -> list[Path]:
    return sorted(home.glob("*.safetensors"))


def test_second_time_comes_from_the_cache_and_is_the_same(tmp_path: Path, home: Path) -> None:
    path = ratings(tmp_path / "films")
    first, second = load_dataset(path), load_dataset(path)
    (entry,) = entries(home)
    assert same(first, second)
    assert second.notes == (*first.notes, f"read before: taken from {entry}")
    assert second.item_names is not None
    assert second.item_names[0].startswith("Film ")
    assert all(getattr(second, part).items.flags.writeable for part in cache.PARTS)


@pytest.mark.parametrize(
    "options", [{"split": "random"}, {"split_seed": 1, "split": "loo-random"}, {"min_rating": 5}]
)
def test_other_options_are_another_entry(
    tmp_path: Path, home: Path, options: dict[str, object]
) -> None:
    path = ratings(tmp_path / "films")
    before = load_dataset(path)
    other = load_dataset(path, **options)
    assert other.digest != before.digest
    assert len(entries(home)) == 2
    assert same(load_dataset(path, **options), other)


def test_names_and_features_are_not_kept(tmp_path: Path, home: Path) -> None:
    path = ratings(tmp_path / "films")
    names = tmp_path / "names.csv"
    items = load_dataset(path).item_ids
    for title in ("One", "Two"):
        names.write_text("item,name\n" + "".join(f"{item},{title}\n" for item in items))
        found = load_dataset(path, item_names=str(names), features="text")
        assert found.item_names == [title] * len(items)
        assert found.item_features is not None
    assert len(entries(home)) == 1


@pytest.mark.parametrize("changed", ["ratings.dat", "movies.dat"])
def test_a_changed_file_is_read_again(tmp_path: Path, home: Path, changed: str) -> None:
    path = ratings(tmp_path / "films")
    before = load_dataset(path)
    content = (path / changed).read_text().replace("7::", "8::")
    (path / changed).write_text(content)
    os.utime(path / changed, (OLD + 10, OLD + 10))  # of the same size, at another time
    after = load_dataset(path)
    assert not same(before, after)
    assert len(entries(home)) == 2


def test_another_file_in_the_folder_is_noticed(tmp_path: Path, home: Path) -> None:
    path = ratings(tmp_path / "films")
    load_dataset(path)
    (path / "movies.dat").rename(path / "notes.txt")
    assert load_dataset(path).item_names is None


def test_a_file_that_may_still_change_is_not_kept(tmp_path: Path, home: Path) -> None:
    path = ratings(tmp_path / "films")
    os.utime(path / "ratings.dat")  # now
    load_dataset(path)
    assert entries(home) == []


def test_small_files_and_the_embedded_set_are_not_kept(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "WORTHWHILE", 1 << 20)
    load_dataset(ratings(tmp_path / "films"))
    load_dataset("debian")
    assert not home.exists()


def test_switched_off(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADVREC_DATA_CACHE", "off")
    load_dataset(ratings(tmp_path / "films"))
    assert not home.exists()


def damage_nothing_left(entry: Path) -> None:
    entry.write_bytes(b"")


def damage_cut(entry: Path) -> None:
    entry.write_bytes(entry.read_bytes()[:-7])


def damage_one_bit(entry: Path) -> None:
    content = bytearray(entry.read_bytes())
    content[-1] ^= 1
    entry.write_bytes(bytes(content))


@pytest.mark.parametrize("damage", [damage_nothing_left, damage_cut, damage_one_bit])
def test_a_damaged_entry_is_made_again(tmp_path: Path, home: Path, damage: object) -> None:
    path = ratings(tmp_path / "films")
    before = load_dataset(path, item_names=None)
    (entry,) = entries(home)
    whole = entry.read_bytes()
    damage(entry)  # type: ignore[operator]
    assert same(load_dataset(path), before)
    assert entry.read_bytes() == whole


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(tmp_path: Path, home: Path) -> None:
    home.parent.mkdir(parents=True)
    home.write_text("in the way")
    assert len(load_dataset(ratings(tmp_path / "films")).train)


def test_the_oldest_entries_make_room(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = ratings(tmp_path / "films")
    for seed in range(3):
        load_dataset(path, split="random", split_seed=seed)
        for age, entry in enumerate(sorted(entries(home), key=lambda p: p.stat().st_mtime)):
            os.utime(entry, (OLD + age, OLD + age))
    first, second, third = sorted(entries(home), key=lambda p: p.stat().st_mtime)
    monkeypatch.setattr(cache, "LIMIT", 3 * third.stat().st_size)
    load_dataset(path, split="random", split_seed=0)  # used again
    load_dataset(path, split="random", split_seed=3)
    assert not second.exists()
    assert first.exists()
    assert third.exists()
    assert len(entries(home)) == 3
