"""Files of arrays and archives that lie: refused in a sentence, before they fill memory or disk."""

from __future__ import annotations

import io
import re
import struct
import zipfile

import numpy as np
import pytest
from support.cli_runner import advrec

from advrec.data import load_dataset
from advrec.data.sources import catalog, download
from advrec.errors import DataError
from advrec.system import arrays

SOUND = np.arange(24, dtype="f4").reshape(8, 3)


def npy(array, header=None, **options) -> bytes:
    """The bytes of a .npy file, perhaps with another text in its header."""
    file = io.BytesIO()
    np.save(file, array, **options)
    content = file.getvalue()
    if header is not None:
        old, new = header
        start = content.index(old)
        content = content[:start] + new + content[start + len(old) :]
        length = struct.unpack("<H", content[8:10])[0] + len(new) - len(old)
        content = content[:8] + struct.pack("<H", length) + content[10:]
    return content


LIES = {
    "rows": (b"(8, 3)", b"(1000000000000, 3)"),
    "rows and columns": (b"(8, 3)", b"(1000000000000, 1000000000000)"),
    "digits": (b"(8, 3)", b"(" + b"9" * 5000 + b", 3)"),
    "one row more": (b"(8, 3)", b"(9, 3)"),
    "negative": (b"(8, 3)", b"(-8, -3)"),
    "truth": (b"(8, 3)", b"(True, 3)"),
    "nested": (b"(8, 3)", b"((8,), 3)"),
    "unfinished": (b"(8, 3)", b"(8, 3"),
    "deep": (b"(8, 3)", b"(" * 3000 + b")" * 3000),
    "text": (b"(8, 3)", b"'8,3'"),
    "objects": (b"<f4", b"|O"),
    "no type": (b"<f4", b"<z4"),
    "wide type": (b"<f4", b"<U999999999"),
    "code": (b"<f4", b"' + exit() + '"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_header_that_lies_is_refused(tmp_path, lie):
    path = tmp_path / "f.npy"
    path.write_bytes(npy(SOUND, LIES[lie]))
    with pytest.raises(DataError, match=r"not a \.npy file that can be read") as caught:
        arrays.read_npy(path)
    assert len(str(caught.value)) < 700 + len(str(path))
    packed = tmp_path / "f.npz"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("features.npy", path.read_bytes())
    with pytest.raises(DataError, match=r"not an \.npz file that can be read"):
        arrays.read_npz(packed)


@pytest.mark.parametrize(
    "array",
    [SOUND, np.asfortranarray(SOUND), np.zeros((0, 3)), np.float64(3), np.array(["a", "é"])],
    ids=["rows first", "columns first", "empty", "single", "text"],
)
def test_what_numpy_writes_is_read_as_numpy_reads_it(tmp_path, array):
    np.save(tmp_path / "a.npy", array)
    np.savez(tmp_path / "a.npz", one=array, two=SOUND)
    np.savez_compressed(tmp_path / "c.npz", one=array)
    expected = np.load(tmp_path / "a.npy")
    for read in (
        arrays.read_npy(tmp_path / "a.npy"),
        arrays.read_npz(tmp_path / "a.npz")["one"],
        arrays.read_npz(tmp_path / "c.npz")["one"],
    ):
        assert read.dtype == expected.dtype
        assert read.shape == expected.shape
        assert np.array_equal(read, expected)
        assert read.flags.writeable


def test_every_flipped_bit_and_every_cut_of_a_file_ends_in_a_sentence(tmp_path):
    file = io.BytesIO()
    np.savez_compressed(file, ids=np.arange(8), features=SOUND)
    for name, content in (("f.npy", npy(SOUND)), ("f.npz", file.getvalue())):
        read = arrays.read_npy if name == "f.npy" else arrays.read_npz
        path = tmp_path / name
        refused = 0
        for at in range(0, len(content), 2):
            changed = bytearray(content)
            changed[at] ^= 1 << at // 2 % 8
            for damaged in (bytes(changed), content[:at]):
                path.write_bytes(damaged)
                try:
                    read(path)
                except DataError:
                    refused += 1
        assert refused > len(content) // 4


def test_a_bomb_of_zeros_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(arrays, "LIMIT", 1 << 20)
    path = tmp_path / "bomb.npz"
    np.savez_compressed(path, features=np.zeros((1 << 22, 2), "f4"))
    with pytest.raises(DataError, match="unpack to more than"):
        arrays.read_npz(path)


def damaged_zip(how: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("u.data", b"1\t2\t3\t4\n" * 500)
    content = bytearray(file.getvalue())
    central = content.rindex(b"PK\x01\x02")
    if how == "encrypted":
        content[6] |= 1
        content[central + 8] |= 1
    elif how == "unknown compression":
        content[8] = content[central + 10] = 77
    elif how == "damaged":
        content[60:70] = bytes(10)
    elif how == "another size":
        struct.pack_into("<L", content, central + 24, 10**9)
    return bytes(content)


@pytest.mark.parametrize("how", ["encrypted", "unknown compression", "damaged", "another size"])
def test_a_damaged_archive_is_one_sentence_as_a_file_and_as_a_download(tmp_path, how, monkeypatch):
    path = tmp_path / "d.zip"
    path.write_bytes(damaged_zip(how))
    with pytest.raises(DataError):
        load_dataset(str(path))
    (tmp_path / "d.zip.sha256").write_text("")
    remote = catalog.Remote("https://example.invalid/d.zip", "d.zip", members={"u.data": "u.data"})
    with pytest.raises(DataError, match="the archive is damaged"):
        download._unpack(path, remote, tmp_path)
    assert not path.exists()


def test_a_download_is_unpacked_below_its_folder_and_not_beyond_its_size(tmp_path, monkeypatch):
    path = tmp_path / "d.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../evil", b"x")
        archive.writestr("big", bytes(8 << 20))
        archive.writestr("u.data", b"1\t2\n")
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    remote = catalog.Remote("", "d.zip", members={"u.data": "u.data"})
    download._unpack(path, remote, folder)
    assert sorted(file.name for file in folder.iterdir()) == ["u.data"]
    assert not (tmp_path / "evil").exists()
    monkeypatch.setattr(download, "LIMIT", 1 << 20)
    bomb = catalog.Remote("", "d.zip", members={"big": "big"})
    with pytest.raises(DataError, match="unpacks to more than 1 MiB"):
        download._unpack(path, bomb, folder)
    assert not (folder / "big").exists()


def test_parquet_that_is_not_utf8_is_one_sentence(tmp_path):
    arrow = pytest.importorskip("pyarrow", reason="the extra parquet is not installed")
    from pyarrow import parquet

    path = tmp_path / "t.parquet"
    table = arrow.table({"user": ["uQQQQ", "v", "uQQQQ"], "item": ["a", "b", "c"]})
    parquet.write_table(table, path, compression="none", use_dictionary=False)
    content = path.read_bytes()
    load_dataset(str(path), split="random")
    for word in (b"QQQQ", b"user", b"item"):
        for bad in (b"\xff\xfe\xff\xfe", b"\x1b[2J"):
            path.write_bytes(re.sub(word, bad, content))
            result = advrec("data", "inspect", path)
            assert result.code in (0, 3), result.err
            assert "bug" not in result.err
            assert "\x1b" not in result.out + result.err


def test_ids_of_5000_digits_are_ids(tmp_path):
    path = tmp_path / "d.csv"
    long = "9" * 5000
    path.write_text("user,item\n" + "".join(f"u{k % 3},{long}{k % 4}\n" for k in range(12)))
    dataset = load_dataset(str(path))
    assert dataset.item_ids[0].startswith("999")
    np.save(tmp_path / "f.npy", SOUND)
    with pytest.raises(DataError, match="has no row") as caught:
        load_dataset(str(path), features=str(tmp_path / "f.npy"))
    assert len(str(caught.value)) < 400
