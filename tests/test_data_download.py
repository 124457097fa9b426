"""A download is whole and checked, or not there; an interrupted one resumes where it stopped.

Everything runs against a server on this machine.
"""

from __future__ import annotations

import hashlib
import io
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from advrec.data import list_datasets, load_dataset
from advrec.data.sources import catalog
from advrec.data.sources.download import download
from advrec.data.sources.fetch import fetch
from advrec.errors import DataError, UsageError

CONTENT = bytes(range(256)) * 2000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Site:
    """Files to serve, and what should go wrong."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {"/file": CONTENT}
        self.break_after: list[int] = []  # bytes, one for each of the next answers
        self.fail: list[int] = []  # status codes of the next answers
        self.etag: str | None = '"one"'
        self.ranges = True
        self.length: str | None = (
            "length"  # what ends an answer: a length, "chunks", or only its end
        )
        self.asked: list[str | None] = []  # the Range of each request
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            close_connection = True

            def do_GET(self) -> None:
                site.answer(self)

            def log_message(self, *arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        asked = handler.headers.get("Range")
        self.asked.append(asked)
        content = self.files.get(handler.path)
        if self.fail or content is None:
            handler.send_error(self.fail.pop(0) if self.fail else 404)
            return
        start = 0
        if asked and self.ranges and handler.headers.get("If-Range") == self.etag:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                handler.send_error(416)
                return
            handler.send_response(206)
            handler.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            handler.send_response(200)
        if self.etag:
            handler.send_header("ETag", self.etag)
        end = start + self.break_after.pop(0) if self.break_after else len(content)
        body, whole = content[start:end], end >= len(content)
        if self.length == "length":
            handler.send_header("Content-Length", str(len(content) - start))
        elif self.length == "chunks":
            handler.send_header("Transfer-Encoding", "chunked")
            body = b"%x\r\n%s\r\n" % (len(body), body) + (b"0\r\n\r\n" if whole else b"")
        handler.end_headers()
        handler.wfile.write(body)


@pytest.fixture
def site():
    site = Site()
    yield site
    site.server.shutdown()
    site.server.server_close()


def get(site: Site, target: Path, **options):
    return fetch(f"{site.url}/file", target, pause=0, timeout=5, **options)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_fetched_and_its_checksum_kept(site, tmp_path):
    seen: list[tuple[int, int | None]] = []
    fetched = get(site, tmp_path / "f", sha256=SHA256.upper(), progress=lambda *n: seen.append(n))
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert (tmp_path / "f.sha256").read_text() == f"{SHA256}  f\n"
    assert names(tmp_path) == ["f", "f.sha256"]
    assert (fetched.sha256, fetched.first_use, fetched.resumed_from) == (SHA256, False, 0)
    assert seen[-1] == (len(CONTENT), len(CONTENT))


def test_an_interrupted_download_goes_on_by_itself(site, tmp_path):
    site.break_after = [100_000, 70_000]
    fetched = get(site, tmp_path / "f", sha256=SHA256)
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert site.asked == [None, "bytes=100000-", "bytes=170000-"]
    assert fetched.sha256 == SHA256


def test_a_download_that_was_given_up_goes_on_in_the_next_call(site, tmp_path):
    site.break_after = [50_000, 50_000, 50_000]
    with pytest.raises(DataError, match="broke off") as caught:
        get(site, tmp_path / "f")
    assert caught.value.hint == (
        "the 150,000 bytes received are kept; the same command resumes from there"
    )
    assert names(tmp_path) == ["f.part", "f.part.json"]
    fetched = get(site, tmp_path / "f")
    assert site.asked[3:] == ["bytes=150000-"]
    assert (fetched.resumed_from, fetched.first_use) == (150_000, True)
    assert (tmp_path / "f").read_bytes() == CONTENT


def test_a_file_that_changed_meanwhile_is_fetched_anew(site, tmp_path):
    site.break_after = [50_000] * 3
    with pytest.raises(DataError):
        get(site, tmp_path / "f")
    site.etag, site.files["/file"] = '"two"', b"other" * 1000
    get(site, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == b"other" * 1000


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_without_a_strong_mark_nothing_is_continued(site, tmp_path, etag):
    site.etag, site.break_after = etag, [50_000]
    get(site, tmp_path / "f", sha256=SHA256)
    assert site.asked == [None, None]


def test_a_server_without_ranges_is_asked_again_from_the_start(site, tmp_path):
    site.ranges, site.break_after = False, [50_000]
    get(site, tmp_path / "f", sha256=SHA256)
    assert (tmp_path / "f").read_bytes() == CONTENT


def test_a_part_that_is_too_long_is_dropped(site, tmp_path):
    (tmp_path / "f.part").write_bytes(CONTENT + b"more")
    (tmp_path / "f.part.json").write_text('{"validator": "\\"one\\""}')
    get(site, tmp_path / "f", sha256=SHA256)
    assert (tmp_path / "f").read_bytes() == CONTENT


def test_a_wrong_checksum_leaves_nothing(site, tmp_path):
    with pytest.raises(DataError, match=f"sha256 must be {'0' * 64}, got {SHA256}"):
        get(site, tmp_path / "f", sha256="0" * 64)
    assert names(tmp_path) == []


def test_what_was_trusted_on_first_use_is_insisted_on_later(site, tmp_path):
    assert get(site, tmp_path / "f").first_use
    (tmp_path / "f").unlink()
    assert not get(site, tmp_path / "f").first_use
    (tmp_path / "f").unlink()
    site.files["/file"] = b"tampered"
    with pytest.raises(DataError, match=rf"sha256 must be {SHA256}, got .*; nothing was kept"):
        get(site, tmp_path / "f")
    assert names(tmp_path) == ["f.sha256"]


def test_server_errors_are_tried_again_and_refusals_are_not(site, tmp_path):
    site.fail = [503, 500]
    get(site, tmp_path / "f", sha256=SHA256)
    site.fail = [403]
    with pytest.raises(DataError, match="the server says 403 Forbidden"):
        get(site, tmp_path / "g")
    assert len(site.asked) == 4
    with pytest.raises(DataError, match="url must start with http"):
        fetch("file:///etc/passwd", tmp_path / "g")


def test_no_server_is_a_sentence(tmp_path):
    with pytest.raises(DataError, match="broke off") as caught:
        fetch("http://127.0.0.1:9/f", tmp_path / "f", pause=0, timeout=2)
    assert caught.value.hint == "is this machine connected to the internet?"
    assert names(tmp_path) == []


@pytest.mark.parametrize("length", ["length", "chunks", None])
def test_a_stream_that_ends_early_is_not_complete(site, tmp_path, length):
    site.length, site.break_after = length, [50_000, 60_000]
    get(site, tmp_path / "f", sha256=SHA256)
    assert (tmp_path / "f").read_bytes() == CONTENT
    site.break_after = [50_000] * 3
    with pytest.raises(DataError, match=r"broke off|sha256 must be"):
        get(site, tmp_path / "g", sha256=SHA256)
    assert not (tmp_path / "g").exists()


def test_without_a_length_a_file_must_show_by_itself_that_it_is_whole(site, tmp_path):
    site.length = None
    with pytest.raises(DataError, match="does not say how long the file is") as caught:
        get(site, tmp_path / "f")
    assert caught.value.hint == "pass its sha256"
    assert names(tmp_path) == []
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("a", CONTENT)
    site.files["/file"] = packed.getvalue()
    assert get(site, tmp_path / "f").first_use
    site.etag, site.break_after = None, [len(CONTENT)]
    with pytest.raises(DataError, match="does not say how long the file is"):
        get(site, tmp_path / "g")


def test_a_rest_without_a_length_has_the_total_of_its_range(site, tmp_path):
    site.break_after = [100_000]
    site.length = None
    (tmp_path / "f.part").write_bytes(CONTENT[:1000])
    (tmp_path / "f.part.json").write_text('{"validator": "\\"one\\""}')
    get(site, tmp_path / "f")
    assert site.asked == ["bytes=1000-", "bytes=101000-"]
    assert (tmp_path / "f").read_bytes() == CONTENT


def test_the_object_id_that_git_gives_a_file_is_a_checksum(site, tmp_path):
    blob = hashlib.sha1(b"blob %d\0" % len(CONTENT) + CONTENT).hexdigest()
    assert not get(site, tmp_path / "f", git_blob=blob).first_use
    with pytest.raises(DataError, match=f"git blob must be {'0' * 40}, got {blob}"):
        get(site, tmp_path / "g", git_blob="0" * 40)
    assert names(tmp_path) == ["f", "f.sha256"]


TRAIN, TEST = b"0 1 2\n1 2\n2 1\n", b"0 3\n1 1\n"


@pytest.fixture
def shelf(site, tmp_path, monkeypatch):
    """A catalogue of two sets that the server has, and a folder for them."""
    site.files |= {"/train": TRAIN, "/test": TEST}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("ml/u.data", "1\t5\t3\t881250949\n1\t6\t4\t891717742\n")
        archive.writestr("ml/u.item", "5|Five\n6|Six\n")
        archive.writestr("ml/../../evil", "out")
    site.files["/ml.zip"] = packed.getvalue()
    digest = hashlib.sha256(TEST).hexdigest()
    members = {"ml/u.data": "u.data", "ml/u.item": "u.item"}
    entries = {
        "pair": catalog.Entry(
            "pair",
            "two files",
            "free",
            (
                catalog.Remote(f"{site.url}/train", "train.txt"),
                catalog.Remote(f"{site.url}/test", "test.txt", digest),
            ),
        ),
        "ml": catalog.Entry(
            "ml", "a zip", "free", (catalog.Remote(f"{site.url}/ml.zip", "ml.zip", None, members),)
        ),
    }
    for module in ("sources.download", "load"):
        monkeypatch.setattr(f"advrec.data.{module}.CATALOG", entries)
    monkeypatch.setattr("advrec.data.sources.catalog._ENTRIES", tuple(entries.values()))
    monkeypatch.setattr("advrec.data.sources.fetch.time.sleep", lambda seconds: None)
    monkeypatch.setenv("ADVREC_DATA", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


def test_a_set_is_downloaded_and_then_known_by_its_name(site, shelf):
    with pytest.raises(DataError, match="the data set pair is not on this machine"):
        load_dataset("pair")
    got = download("pair")
    files = ["test.txt", "test.txt.sha256", "train.txt", "train.txt.sha256"]
    assert names(got.folder) == ["SOURCE.json", *files]
    assert names(shelf) == ["pair"]
    digest = hashlib.sha256(TRAIN).hexdigest()
    assert got.notes[0] == "terms: free"
    assert got.notes[1] == (
        "train.txt: no checksum was known, trusted on first use; "
        f"sha256 {digest} is now in train.txt.sha256"
    )
    assert got.notes[2].endswith("as expected")
    data = load_dataset("pair")
    assert (data.name, len(data.test), data.n_users) == ("pair", 2, 3)
    assert f"pair: downloaded, in {shelf / 'pair'}" in data.notes
    assert download("pair").notes == (f"already in {shelf / 'pair'}",)
    assert [line.state for line in list_datasets()] == [
        "embedded",
        "downloaded",
        "can be downloaded",
    ]


def test_an_archive_gives_only_the_members_that_are_named(site, shelf):
    got = download("ml", sha256=[hashlib.sha256(site.files["/ml.zip"]).hexdigest()])
    assert names(got.folder) == ["SOURCE.json", "ml.zip.sha256", "u.data", "u.item"]
    assert names(shelf) == ["ml"]
    assert load_dataset("ml").item_names == ["Five", "Six"]
    assert download("ml").notes == (f"already in {shelf / 'ml'}",)


def test_an_interrupted_set_is_absent_and_resumes(site, shelf):
    site.files["/test"] = TEST * 20_000
    site.break_after = [len(TRAIN), 50_000, 50_000, 10_000]
    site.fail = []
    with pytest.raises(DataError, match="broke off"):
        download("pair")
    assert names(shelf) == [".pair.incoming"]
    with pytest.raises(DataError, match="not on this machine"):
        load_dataset("pair")
    site.files["/test"] = TEST
    site.etag = '"two"'
    download("pair")
    assert names(shelf) == ["pair"]
    assert len(load_dataset("pair").test) == 2


def test_a_damaged_archive_or_file_is_refused(site, shelf):
    good, site.files["/ml.zip"] = site.files["/ml.zip"], b"PK no"
    with pytest.raises(DataError, match="the archive is damaged"):
        download("ml")
    assert not (shelf / "ml").exists()
    site.files["/ml.zip"] = good
    download("ml")  # what was damaged is not trusted
    assert load_dataset("ml").n_items == 2
    site.files["/test"] = b"0 9\n"
    with pytest.raises(DataError, match="nothing was kept"):
        download("pair")


def test_a_set_that_changed_on_disk_or_on_the_server_is_noticed(site, shelf):
    folder = download("pair").folder
    (folder / "train.txt").write_bytes(b"0 1\n")
    with pytest.raises(DataError, match="sha256 must be") as caught:
        download("pair")
    assert caught.value.hint == f"delete {folder} and download it again"
    download("pair", again=True)
    assert (folder / "train.txt").read_bytes() == TRAIN
    site.files["/train"] = b"0 1\n"
    with pytest.raises(DataError, match="nothing was kept"):
        download("pair", again=True)
    assert (folder / "train.txt").read_bytes() == TRAIN


@pytest.mark.parametrize(
    ("name", "sha256", "wanted"),
    [
        ("pear", [], "no data set of the catalogue is called 'pear'"),
        ("debian", [], "debian is embedded, there is nothing to download"),
        ("pair", ["0" * 64], "pair has the files train.txt, test.txt"),
        ("ml", ["123"], "sha256 '123' is not 64 hexadecimal digits"),
    ],
)
def test_a_wrong_wish_is_a_usage_error(shelf, name, sha256, wanted):
    with pytest.raises(UsageError, match=wanted):
        download(name, sha256=sha256)


def test_the_catalogue_is_sound():
    for name, entry in catalog.CATALOG.items():
        assert entry.name == name
        assert entry.terms
        for remote in entry.files:
            assert remote.url.startswith("https://")
            assert remote.sha256 is None or len(remote.sha256) == 64
            assert remote.git_blob is None or len(remote.git_blob) == 40
            assert remote.sha256 or remote.git_blob, "trusted on first use"
            assert all("/" not in saved for saved in (remote.save_as, *remote.members.values()))
    assert list_datasets(Path("nowhere"))[0].name == "debian"
