"""Vectors from elsewhere: every format, rows in order or by id, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from support.training_data import tiny_dataset

from advrec.errors import DataError
from advrec.evaluation.evaluate import evaluate
from advrec.models import ModelSpec, create
from advrec.runs.export import export_vectors
from advrec.runs.subject import Subject
from advrec.runs.vectors import read_pair, read_side

DATA = tiny_dataset()
RNG = np.random.default_rng(7)
USERS = RNG.normal(size=(DATA.n_users, 6)).astype(np.float32)
ITEMS = RNG.normal(size=(DATA.n_items, 6)).astype(np.float32)
SHUFFLED = RNG.permutation(DATA.n_users)
IDS = np.array(DATA.user_ids)


def parquet(path: Path, **columns: object) -> Path:
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet as module

    module.write_table(arrow.table(columns), path)
    return path


def npy(folder: Path) -> Path:
    np.save(folder / "u.npy", USERS)
    return folder / "u.npy"


def npz(folder: Path) -> Path:
    np.savez(folder / "u.npz", vectors=USERS[SHUFFLED], ids=IDS[SHUFFLED])
    return folder / "u.npz"


def safetensors(folder: Path) -> Path:
    about = {"advrec": json.dumps({"user_ids": IDS[SHUFFLED].tolist()})}
    save_file({"user_vectors": USERS[SHUFFLED]}, folder / "u.safetensors", about)
    return folder / "u.safetensors"


def with_id_column(folder: Path) -> Path:
    rows = [list(map(float, row)) for row in USERS[SHUFFLED]]
    return parquet(folder / "u.parquet", user_id=IDS[SHUFFLED].tolist(), embedding=rows)


@pytest.mark.parametrize("write", [npy, npz, safetensors, with_id_column])
def test_rows_come_back_in_the_order_of_the_data(write: Callable[[Path], Path], tmp_path):
    table = read_side(write(tmp_path), "user", DATA)
    assert table.rows.numpy() == pytest.approx(USERS)
    assert table.rows.dtype == torch.float32
    assert len(table.sha256) == 64


@pytest.mark.parametrize("ending", [".npz", ".safetensors"])
def test_what_export_writes_is_read_for_both_sides(ending, tmp_path):
    model = create("mf", ModelSpec(DATA.n_users, DATA.n_items, 6, init_std=1.0))
    path = export_vectors(model, DATA.user_ids, DATA.item_ids, tmp_path / f"v{ending}")
    pair = read_pair(path, path, DATA)
    for table, own in zip(pair, model.vectors(), strict=True):
        assert torch.equal(table.rows, own)


def test_rows_of_other_ids_are_left_out_and_counted(tmp_path):
    more = np.concatenate([USERS, USERS[:3] + 1])
    np.savez(tmp_path / "u.npz", user_factors=more, user_ids=[*DATA.user_ids, "a", "b", "c"])
    table = read_side(tmp_path / "u.npz", "user", DATA)
    assert table.unused == 3
    assert table.rows.numpy() == pytest.approx(USERS)


def test_a_subject_of_files_scores_as_its_vectors_do(tmp_path):
    np.save(tmp_path / "i.npy", ITEMS)
    subject = Subject.of_files(npy(tmp_path), tmp_path / "i.npy", DATA, "cpu")
    pair = (torch.from_numpy(USERS), torch.from_numpy(ITEMS))
    assert evaluate(subject.model, DATA).values == evaluate(pair, DATA).values
    assert subject.kind == "vectors"
    assert subject.arguments()[0] == "--users"


def saved(**arrays: object) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        np.savez(folder / "bad.npz", **arrays)
        return folder / "bad.npz"

    return write


def array(values: object) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        np.save(folder / "bad.npy", values)
        return folder / "bad.npy"

    return write


def text(name: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / name).write_text("user,0,1\n")
        return folder / name

    return write


def uneven(folder: Path) -> Path:
    rows = [list(map(float, row)) for row in USERS]
    return parquet(folder / "bad.parquet", vector=[*rows[:-1], [1.0]])


def unnamed_ids(folder: Path) -> Path:
    rows = [list(map(float, row)) for row in USERS]
    return parquet(folder / "bad.parquet", customer=DATA.user_ids, vector=rows)


HOLED = USERS.copy()
HOLED[4, 2] = np.nan


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda folder: folder / "none.npy", "no such file of vectors"),
        (text("vectors.csv"), "must end in .npy, .npz, .safetensors or .parquet"),
        (text("bad.npy"), "not a .npy file"),
        (text("bad.npz"), "not an .npz file"),
        (text("bad.safetensors"), "not a .safetensors file"),
        (array(USERS[:-1]), "39 rows, but the data set has 40 users"),
        (array(USERS[0]), "expected a table of numbers"),
        (array(USERS.astype(str)), "expected a table of numbers"),
        (array(np.empty((40, 0))), "expected a table of numbers"),
        (array(HOLED), "row 4 has a non-finite value"),
        (array(USERS.astype(float) * 1e300), "too large for float32"),
        (saved(a=USERS, b=USERS), "expected a table of numbers for the users, found 'a', 'b'"),
        (saved(item_vectors=USERS), "for the users, found 'item_vectors'"),
        (saved(a=USERS, ids=[*DATA.user_ids[1:], "x"]), "no row for 1 of 40 users"),
        (saved(a=USERS, ids=[*DATA.user_ids[1:], "user 1"]), "'user 1' has more than one row"),
        (saved(a=USERS, ids=DATA.user_ids[1:]), "39 ids for 40 rows"),
        (saved(a=USERS, ids=np.arange(40) + 0.5), "expected text or a whole number"),
        (saved(a=USERS, ids=np.arange(40)), "no row for 40 of 40 users"),
        (uneven, "row 39 has 1 numbers"),
        (unnamed_ids, "no column of ids among 'customer'"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(write, message, tmp_path):
    with pytest.raises(DataError, match=message):
        read_side(write(tmp_path), "user", DATA)


def test_tables_of_different_widths_are_refused(tmp_path):
    np.save(tmp_path / "i.npy", ITEMS[:, :-1])
    with pytest.raises(DataError, match="rows of 5 numbers"):
        read_pair(npy(tmp_path), tmp_path / "i.npy", DATA)


def test_a_damaged_parquet_file_is_refused(tmp_path):
    pytest.importorskip("pyarrow")
    with pytest.raises(DataError, match="not a parquet file"):
        read_side(text("bad.parquet")(tmp_path), "user", DATA)
