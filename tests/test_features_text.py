"""Features from text: what the columns mean, that they are reproducible, and the command."""

from __future__ import annotations

import math
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from support.cli_runner import advrec as run

import advrec
from advrec.data import load_item_text
from advrec.data.item_features import load_features
from advrec.data.item_text import read_texts
from advrec.errors import DataError, RunError, UsageError
from advrec.features import save_features, text_features

TEXTS = [
    "red cotton shirt",
    "red shirt",
    "blue cotton shirt, cotton",
    "garden chair",
    "Garden-table (blue)",
    "",
    "unheard",
]


def tf_idf(texts):
    """Once more, a weight at a time."""
    plain = ("".join(c if c.isalnum() else " " for c in text.lower()) for text in texts)
    words = [text.split() for text in plain]
    spread = Counter(word for text in words for word in set(text))
    known = sorted(word for word, count in spread.items() if count > 1)
    matrix = np.zeros((len(texts), len(known)))
    for row, text in enumerate(words):
        for word, count in Counter(text).items():
            if word in known:
                idf = 1 + math.log((1 + len(texts)) / (1 + spread[word]))
                matrix[row, known.index(word)] = (1 + math.log(count)) * idf
    lengths = np.linalg.norm(matrix, axis=1, keepdims=True)
    return known, matrix / np.where(lengths > 0, lengths, 1)


def test_with_all_dimensions_products_of_rows_are_those_of_the_weights():
    known, weights = tf_idf(TEXTS)
    assert known == ["blue", "cotton", "garden", "red", "shirt"]
    made = text_features(TEXTS, dim=64)
    assert made.words == 5
    assert made.values.shape == (7, 5)  # no more than there are words
    # Rounded to four decimals: products of rows of norm 1 are 1e-4 off.
    np.testing.assert_allclose(made.values @ made.values.T, weights @ weights.T, atol=3e-4)
    assert made.kept == pytest.approx(1)


def test_fewer_dimensions_keep_the_largest_singular_values():
    _, weights = tf_idf(TEXTS)
    left, singular, _ = np.linalg.svd(weights, full_matrices=False)
    made = text_features(TEXTS, dim=2)
    closest = left[:, :2] * singular[:2] @ (left[:, :2] * singular[:2]).T
    np.testing.assert_allclose(made.values @ made.values.T, closest, atol=3e-4)
    assert made.kept == pytest.approx((singular[:2] ** 2).sum() / (singular**2).sum())


def test_the_truncated_and_the_whole_decomposition_agree(monkeypatch):
    rng = np.random.default_rng(0)
    texts = [" ".join(f"word{w}" for w in rng.zipf(1.6, 12) % 90) for _ in range(300)]
    whole = text_features(texts, dim=6)
    monkeypatch.setattr("advrec.features.text.DENSE", 0)
    for seed in (0, 1):
        np.testing.assert_allclose(
            text_features(texts, dim=6, seed=seed).values, whole.values, atol=1.1e-4
        )


def test_the_largest_entry_of_a_column_is_positive():
    values = text_features(TEXTS, dim=3).values
    assert (values[np.abs(values).argmax(axis=0), range(3)] > 0).all()


def test_texts_without_a_shared_word_have_zeros_and_are_counted():
    made = text_features(TEXTS, dim=3)
    assert made.empty == 2
    assert not made.values[5:].any()
    assert not np.signbit(made.values[5:]).any()
    assert "2 of 7 items have no such word: zeros" in made.sentence
    with pytest.raises(DataError, match="no word is in two of the 2 item texts"):
        text_features(["one", "two"])
    with pytest.raises(UsageError, match="dim must be at least 1, got 0"):
        text_features(TEXTS, dim=0)


def test_the_embedded_text_gives_the_same_bits_in_another_process_and_on_other_threads():
    code = (
        "import hashlib; from advrec.data import load_item_text;"
        "from advrec.features import text_features;"
        "texts = [' '.join(text) for text in load_item_text().values()];"
        "print(hashlib.sha256(text_features(texts).values.tobytes()).hexdigest())"
    )
    prints = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True,
            env={"OMP_NUM_THREADS": n, "OPENBLAS_NUM_THREADS": n, "PYTHONPATH": root},
        ).stdout
        for n in ("1", "2")
        for root in [str(Path(advrec.__file__).parents[1])]
    }  # fmt: skip
    assert len(prints) == 1


def test_the_embedded_text_brings_like_packages_together():
    text = load_item_text()
    names = list(text)
    values = text_features([" ".join(fields) for fields in text.values()]).values
    units = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-9)
    place = names.index("libgtk-3-0")
    nearest = [names[n] for n in np.argsort(-(units @ units[place]))[:6]]
    assert "libgtk-4-1" in nearest


# -- tables of text ------------------------------------------------------------------------------


def written(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "items.tsv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_all_columns_beside_the_id_are_text(tmp_path):
    path = written(tmp_path, "title\titem\tgenres", "Heat\t7\tCrime|Drama", "Alien\t9\tHorror")
    assert read_texts(path) == {"7": "Heat Crime|Drama", "9": "Alien Horror"}
    assert read_texts(path, ["genres"]) == {"7": "Crime|Drama", "9": "Horror"}


def test_without_a_header_the_first_column_is_the_id(tmp_path):
    path = written(tmp_path, "a\tred shirt", "b\tblue shirt")
    assert read_texts(path) == {"a": "red shirt", "b": "blue shirt"}


@pytest.mark.parametrize(
    ("lines", "columns", "wanted"),
    [
        (["item\ttitle", "a\tx", "b"], [], r"items\.tsv:3: 1 column, expected 2"),
        (["item\ttitle", "a\tx", "a\ty"], [], r"items\.tsv:3: item 'a' has a second row"),
        (["item\ttitle", "a\tx"], ["name"], "no column 'name'"),
        (["item\ttitle"], [], "no rows of an item id"),
    ],
)
def test_a_wrong_table_is_refused_with_its_line(tmp_path, lines, columns, wanted):
    with pytest.raises(DataError, match=wanted):
        read_texts(written(tmp_path, *lines), columns)


# -- files ---------------------------------------------------------------------------------------


def test_saved_features_are_read_by_item_id(tmp_path):
    values = np.arange(6, dtype=np.float32).reshape(3, 2)
    save_features(tmp_path / "f.npz", ["a", "é", "10"], values)
    first = (tmp_path / "f.npz").read_bytes()
    found, sentence = load_features(tmp_path / "f.npz", ["10", "b", "a"])
    np.testing.assert_array_equal(found, [[4, 5], [0, 0], [0, 1]])
    assert "1 of 3 items" in sentence
    save_features(tmp_path / "f.npz", ["a", "é", "10"], values)
    assert (tmp_path / "f.npz").read_bytes() == first
    with pytest.raises(UsageError, match=r"written as \.npz"):
        save_features(tmp_path / "f.npy", ["a"], values[:1])
    with pytest.raises(DataError, match="'a' in column 1 is nan"):
        save_features(tmp_path / "f.npz", ["a"], np.array([[0, np.nan]], np.float32))
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be created"):
        save_features(tmp_path / "file" / "f.npz", ["a"], values[:1])


# -- the command ---------------------------------------------------------------------------------


def test_the_command_makes_what_training_reads(tmp_path):
    table = written(tmp_path, "item\ttitle", "x\tred shoe", "y\tred hat", "z\tblue hat")
    out = tmp_path / "f.npz"
    made = run("features", "--text", table, "--out", out, "--dim", 2, "--json")
    assert made.code == 0, made.err
    document = made.json()
    assert {key: document[key] for key in ("items", "columns", "words")} == {
        "items": 3, "columns": 2, "words": 2,
    }  # fmt: skip
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("user,item\n" + "".join(f"u{n},{i}\n" for n in range(9) for i in "xy"))
    trained = run(
        "pretrain", "--model", "vbpr", "--data", pairs, "--features", out, "--epochs", 1,
        "--dim", 4, "--lr", "users=0.1,items=0.2", "--split", "random", "--threads", 1,
        "--runs-dir", tmp_path / "runs", "--json",
    )  # fmt: skip
    assert trained.code == 0, trained.err
    assert "1 row" in trained.err  # of z, which is no item of the data
    options = trained.json()["train"]
    assert options["lr"] == {"users": 0.1, "items": 0.2, "projection": 0.05}


def test_the_command_takes_the_text_of_a_data_set(tmp_path):
    made = run("features", "--data", "debian", "-o", tmp_path / "f.npz", "--dim", 8)
    assert made.code == 0, made.err
    assert "3,731" in made.out
    with np.load(tmp_path / "f.npz") as arrays:
        assert arrays["ids"].tolist() == list(load_item_text())
        assert arrays["features"].shape == (3731, 8)


@pytest.mark.parametrize(
    ("line", "code", "wanted"),
    [
        ("features", 2, "one of --text, --images and --data is needed, got none"),
        ("features --text a --images b", 2, "got --text and --images"),
        ("features --text nowhere.tsv", 3, "nowhere.tsv: no such file"),
        ("features --data debian --out f.npy", 2, "written as .npz"),
        ("features --data debian --dim 0", 2, "--dim must be at least 1, got 0"),
        ("features --images . --out f.npz", 2, "needs --encoder"),
    ],
)
def test_the_command_says_in_a_sentence_what_is_wrong(line, code, wanted):
    failed = run(*line.split())
    assert failed.code == code
    assert wanted in failed.err
    assert "Traceback" not in failed.err
