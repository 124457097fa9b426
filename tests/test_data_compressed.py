"""Packed files give the same rows as what is in them, or one sentence that says why not."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
from collections.abc import Callable

import pytest
from support.interactions import pairs, read, refusal

from advrec.data import load_dataset
from advrec.data.readers import compressed
from advrec.data.readers.compressed import name_inside, plain_name, unpack
from advrec.errors import DataError

TABLE = b"user,item,rating\n" + b"".join(b"u%d,i%d,%d\n" % (n % 9, n, n % 5) for n in range(200))


def zipped(*members: tuple[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return buffer.getvalue()


def zstandard(content: bytes) -> bytes:
    arrow = pytest.importorskip("pyarrow", reason="the extra parquet is not installed")
    return bytes(arrow.compress(content, codec="zstd", asbytes=True))


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstandard,
    ".zip": lambda content: zipped(("r.csv", content)),
}
STREAMS = (".gz", ".bz2", ".xz", ".zst")


@pytest.mark.parametrize("ending", PACKERS)
@pytest.mark.parametrize("name", ["t.csv{}", "t{}", "t"])
def test_a_packed_file_is_read_whatever_its_name(tmp_path, ending, name):
    plain = tmp_path / "plain.csv"
    plain.write_bytes(TABLE)
    path = tmp_path / name.format(ending)
    path.write_bytes(PACKERS[ending](TABLE))
    rows = read(path)
    assert rows.name == "t"
    assert pairs(rows) == pairs(read(plain))
    assert load_dataset(path).digest == load_dataset(plain).digest


@pytest.mark.parametrize("ending", STREAMS)
def test_streams_one_after_another_are_one_file(tmp_path, ending):
    pack = PACKERS[ending]
    assert unpack(tmp_path, pack(TABLE[:70]) + pack(TABLE[70:])) == TABLE


@pytest.mark.parametrize("ending", PACKERS)
def test_a_damaged_file_is_one_sentence(tmp_path, ending):
    packed = PACKERS[ending](TABLE)
    damaged = [packed[:-1], packed[: len(packed) // 2], packed[:12]]
    if ending != ".zip":  # which may stand in front of something else
        damaged += [packed + b"more", packed + packed[:40]]
    for content in damaged:
        with pytest.raises(DataError, match="data is damaged") as caught:
            unpack(tmp_path / "t", content)
        assert "\n" not in str(caught.value)
        assert caught.value.hint == "download or pack the file again"


@pytest.mark.parametrize("ending", PACKERS)
def test_a_bomb_is_refused_before_it_fills_the_memory(tmp_path, monkeypatch, ending):
    monkeypatch.setattr(compressed, "LIMIT", 1 << 20)
    monkeypatch.setattr(compressed, "CHUNK", 1 << 16)
    allowed, bomb = PACKERS[ending](bytes(1 << 20)), PACKERS[ending](bytes(10 << 20))
    monkeypatch.setattr(compressed, "RATIO", 1)
    assert len(unpack(tmp_path, allowed)) == 1 << 20
    with pytest.raises(DataError, match=r"unpacks to more than 1 MiB, over .* times its size"):
        unpack(tmp_path, bomb)


def test_a_file_in_a_packed_file_is_unpacked_too(tmp_path):
    path = tmp_path / "t.zip"
    path.write_bytes(zipped(("data/ratings.csv.gz", gzip.compress(TABLE))))
    assert len(read(path)) == 200
    assert name_inside(path) == "ratings.csv"


def test_the_member_of_a_zip_tells_the_format_and_is_named(tmp_path):
    content = b"user_id:token\titem_id:token\na\tx\n"
    path = tmp_path / "t.zip"
    path.write_bytes(zipped(("set/", b""), ("set/t.inter", content), ("__MACOSX/._t", b"\0\1")))
    rows = read(path)
    assert rows.format == "recbole"
    assert rows.notes[0] == "t.zip: t.inter in it, a RecBole file by its name"


ZIPS = [
    (
        [("a/u.data", b"1\t2\n"), ("a/u.item", b"")],
        "FILE: the zip holds 2 files: a/u.data, a/u.item; which one has the interactions? | "
        "unpack it (unzip 't.zip') and give that file, or the folder of a split",
    ),
    ([("a/", b"")], "FILE: the zip holds no file"),
    ([], "FILE: the zip holds no file"),
    ([("a.csv", b"")], "FILE: the file is empty"),
]


@pytest.mark.parametrize(("members", "expected"), ZIPS)
def test_a_zip_of_another_number_of_files_is_a_question(tmp_path, members, expected):
    path = tmp_path / "t.zip"
    path.write_bytes(zipped(*members))
    assert refusal(path) == expected


def test_an_encrypted_zip_is_named(tmp_path):
    content = bytearray(zipped(("a.csv", TABLE)))
    for header, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(header) + flags] |= 1
    path = tmp_path / "t.zip"
    path.write_bytes(content)
    assert refusal(path) == "FILE: the zip is encrypted | unpack it and pass its content"


def test_other_archives_are_named(tmp_path):
    import tarfile

    (tmp_path / "a.csv").write_bytes(TABLE)
    path = tmp_path / "t.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.add(tmp_path / "a.csv", "a.csv")
    assert refusal(path) == (
        "FILE: a tar archive, expected one file | "
        "unpack it (tar -xf 't.tar.gz') and give the file, or the folder of a split"
    )
    path = tmp_path / "t.7z"
    path.write_bytes(b"7z\xbc\xaf\x27\x1c" + bytes(40))
    assert refusal(path).startswith("FILE: 7z archives are not read, expected plain text or .gz")


def test_text_that_begins_like_a_packed_file_is_text(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(b"BZh9,x\nPK,x\n")
    assert pairs(read(path)) == [("BZh9", "x"), ("PK", "x")]


def test_zstandard_without_pyarrow_names_the_extra(tmp_path, monkeypatch):
    packed = zstandard(TABLE)
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(DataError, match="zstandard data needs the package pyarrow"):
        unpack(tmp_path, packed)


@pytest.mark.parametrize(
    ("name", "plain"),
    [("a.csv.gz", "a.csv"), ("a.csv.GZ.xz", "a.csv"), ("a.zip", "a"), (".gz", ".gz"), ("a", "a")],
)
def test_names_lose_the_endings_of_packing(name, plain):
    assert plain_name(name) == plain
