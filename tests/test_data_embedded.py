"""The embedded set is the one that its provenance describes, and its builder follows its rules."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import json
import lzma
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from advrec import data
from advrec.data import load_dataset, load_item_text
from advrec.data.sources import embedded
from advrec.errors import ConfigError, DataError

ROOT = Path(__file__).resolve().parent.parent
SAMPLE = Path(__file__).parent / "data" / "Packages"


@pytest.fixture(scope="module")
def debian():
    return load_dataset()


def test_the_counts_are_those_of_the_provenance(debian):
    counts = embedded.provenance()["counts"]
    assert counts == {"users": 10768, "items": 3731, "pairs": 115003}
    total = len(debian.train) + len(debian.valid) + len(debian.test)
    assert (debian.n_users, debian.n_items, total) == (10768, 3731, 115003)


def test_everybody_has_five_pairs_and_one_each_to_validate_and_test(debian):
    parts = (debian.train, debian.valid, debian.test)
    assert sum(part.user_degrees() for part in parts).min() == 5
    assert sum(part.item_degrees() for part in parts).min() == 5
    assert (debian.valid.user_degrees() == 1).all()
    assert (debian.test.user_degrees() == 1).all()


def test_the_digest_is_the_same_on_every_platform(debian):
    assert debian.digest == "a8c4025dd21c689b30b7cc51709514753eff68b13fbfedecab2ea68dadbb869a"


def test_names_are_those_of_packages(debian):
    assert debian.user_ids[:3] == ["0ad", "2048-qt", "2ping"]
    assert debian.item_names == list(debian.item_ids)
    assert {"libc6", "python3", "perl"} <= set(debian.item_ids)
    game = debian.train.of(debian.user_ids.index("0ad")).tolist()
    assert all(debian.item_ids[item].startswith("lib") for item in game[3:8])


def test_every_item_has_a_section_and_a_description(debian):
    text = load_item_text()
    assert list(text) == list(debian.item_ids)
    assert all(described.section and described.description for described in text.values())
    assert text["adduser"] == ("admin", "add and remove users and groups")


def test_it_is_small():
    folder = Path(data.__file__).parent / "debian"
    assert sum(path.stat().st_size for path in folder.iterdir()) < 400_000


def test_other_options_work_on_it_and_those_of_files_do_not():
    dense = load_dataset("debian", k_core=20, split="random", valid="none")
    assert 0 < dense.n_users < 10768
    assert len(dense.valid) == 0
    assert [dense.item_names[n] for n in range(5)] == list(dense.item_ids[:5])
    for options in ({"user_col": "x"}, {"separator": ","}, {"format": "csv"}, {"min_rating": 3}):
        with pytest.raises(ConfigError):
            load_dataset("debian", **options)


def test_a_folder_of_its_name_is_told_apart(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("debian").mkdir()
    Path("debian/t.csv").write_text("user,item\n1,2\n1,3\n")
    assert "the embedded set debian; ./debian is the file of that name" in load_dataset().notes
    assert load_dataset("./debian").n_items == 2


def test_a_damaged_installation_is_said():
    with pytest.raises(DataError, match="embedded data set 'fedora' is missing"):
        embedded.read("fedora")


@pytest.fixture(scope="module")
def builder():
    spec = importlib.util.spec_from_file_location("build_debian", ROOT / "data" / "build_debian.py")
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_builder_follows_its_rules(builder):
    stanzas = list(builder.parse_index(SAMPLE.read_text()))
    assert len(stanzas) == 9
    assert builder.dependency_pairs(stanzas) == {
        ("app-src", "libone"),
        ("app-src", "libtwo"),  # the first alternative, without its qualifier
        ("app-src", "libthree"),  # on a line of its own
        ("app-src", "tool"),  # recommended, twice
        ("app-src", "libfour"),  # of another binary of the same source
        ("libfour", "libone"),
        ("libfour", "libtwo"),
    }  # not: app-data (same source), mail-transport-agent (virtual), libnever, libother


def test_the_builder_takes_the_core_as_the_library_does(builder):
    from advrec.data.filters import k_core_mask

    generator = np.random.default_rng(3)
    users, items = generator.integers(0, 30, (2, 200))
    pairs = {(f"u{u}", f"i{i}") for u, i in zip(users, items, strict=True)}
    unique = sorted({(int(u), int(i)) for u, i in zip(users, items, strict=True)})
    codes = np.array(unique, dtype=np.int32).T
    mask = k_core_mask(codes[0], codes[1], 30, 30, 4)
    kept = {(f"u{u}", f"i{i}") for (u, i), keep in zip(unique, mask, strict=True) if keep}
    assert builder.k_core(pairs, 4) == kept
    assert kept


@pytest.mark.parametrize("ending", ["", ".gz", ".xz", ".lz4"])
def test_the_builder_reads_every_packing(builder, tmp_path, ending, monkeypatch, capsys):
    monkeypatch.setattr(builder, "CORE", 2)
    index = SAMPLE.read_bytes()
    packed = tmp_path / f"Packages{ending}"
    if ending == ".lz4":
        if shutil.which("lz4") is None:
            pytest.skip("the command lz4 is not installed")
        subprocess.run(["lz4", "-q", str(SAMPLE), str(packed)], check=True)
    else:
        pack = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress}[ending]
        packed.write_bytes(pack(index))
    release = tmp_path / "InRelease"
    digest = hashlib.sha256(index).hexdigest()
    release.write_text(
        f"Version: 12.0\nDate: Sat, 10 Jun 2023 08:53:33 UTC\n {digest} 1 Packages\n"
    )
    out = tmp_path / "out"
    assert builder.main([str(packed), "--release", str(release), "--out", str(out)]) == 0
    facts = json.loads((out / "PROVENANCE.json").read_text())
    assert facts["counts"] == {"users": 2, "items": 2, "pairs": 4}
    assert (facts["release"], facts["index_sha256"]) == ("Debian 12.0 (bookworm)", digest)
    lines = gzip.decompress((out / "interactions.txt.gz").read_bytes()).decode()
    assert lines == "app-src 0 1\nlibfour 0 1\n"
    items = gzip.decompress((out / "items.tsv.gz").read_bytes()).decode().split("\n")
    assert items[1] == "libone\tlibs\tthe first library"


def test_the_builder_refuses_a_release_file_of_another_index(builder, tmp_path):
    release = tmp_path / "InRelease"
    release.write_text("Version: 12.0\n")
    with pytest.raises(SystemExit, match="does not list sha256"):
        builder.main([str(SAMPLE), "--release", str(release), "--out", str(tmp_path)])
