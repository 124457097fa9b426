"""Two processes that want the same thing: the second waits, or uses what the first has made."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from support.cli_runner import advrec, write_ratings
from support.tiny_study import STUDY

from advrec.errors import NativeError, RunError
from advrec.native import compile as native_compile
from advrec.system.locks import LOCK, RunLock, one_at_a_time, wait_until_free

pytest.importorskip("fcntl", reason="no locks of the system")

CONTENT = bytes(range(256)) * 4000

DOWNLOAD = """
import sys
from pathlib import Path
from advrec.data.sources import catalog, download
url, home = sys.argv[1:]
remotes = (catalog.Remote(f"{url}/a", "a.txt"), catalog.Remote(f"{url}/b", "b.txt"))
download.CATALOG = {"set": catalog.Entry("set", "", "free", remotes)}
download.download("set", home=Path(home))
"""

LOAD = """
import sys, time
from advrec.data import cache, load
real = load.read_interactions
def slow(config):
    with open(sys.argv[2], "a") as file:
        file.write("read\\n")
    time.sleep(0.5)
    return real(config)
load.read_interactions, cache.WORTHWHILE = slow, 1
print(load.load_dataset(sys.argv[1]).digest)
"""


def start(code: str, *words: object, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


def ended(processes: list[subprocess.Popen[str]]) -> list[tuple[str, str]]:
    """stdout and stderr of each; all must have succeeded."""
    answers = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), answers
    return answers


@pytest.fixture
def slow_site():
    """A server that takes a third of a second per file; and the paths that it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            for part in range(16):
                size = len(CONTENT) // 16
                self.wfile.write(CONTENT[part * size : (part + 1) * size])
                time.sleep(0.02)

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


def test_a_set_is_fetched_once_and_whole(slow_site, tmp_path):
    url, asked = slow_site
    answers = ended([start(DOWNLOAD, url, tmp_path / "home") for _ in range(4)])
    assert asked == ["/a", "/b"]
    assert sum("waiting for the download of set by process" in err for _, err in answers) >= 1
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["set"]
    digest = hashlib.sha256(CONTENT).hexdigest()
    for name in ("a.txt", "b.txt"):
        assert (tmp_path / "home/set" / name).read_bytes() == CONTENT
        assert (tmp_path / f"home/set/{name}.sha256").read_text() == f"{digest}  {name}\n"


def test_a_download_whose_process_is_killed_is_continued_by_the_next(slow_site, tmp_path):
    url, _ = slow_site
    first = start(DOWNLOAD, url, tmp_path / "home")
    while not list(tmp_path.glob("home/.set.incoming/a.txt.part")):
        time.sleep(0.01)
        assert first.poll() is None, first.communicate()
    second = start(DOWNLOAD, url, tmp_path / "home")
    first.kill()
    first.communicate()
    ended([second])
    assert (tmp_path / "home/set/a.txt").read_bytes() == CONTENT
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["set"]


def test_a_large_file_is_read_once(tmp_path):
    ratings = write_ratings(tmp_path / "ratings.csv")
    os.utime(ratings, (1.7e9, 1.7e9))
    cache = str(tmp_path / "cache")
    again = [start(LOAD, ratings, tmp_path / "log", ADVREC_CACHE=cache) for _ in range(2)]
    digests = {out for out, _ in ended(again)}
    assert len(digests) == 1
    assert (tmp_path / "log").read_text() == "read\n"
    assert [path.suffix for path in (tmp_path / "cache/advrec/datasets").iterdir()] == [
        ".safetensors"
    ]


def test_a_study_is_made_by_one_process(tmp_path):
    write_ratings(tmp_path / "ratings.csv")
    (tmp_path / "study.toml").write_text(STUDY)
    (tmp_path / "out").mkdir()
    with RunLock(tmp_path / "out", "used"):
        shown = advrec("study", tmp_path / "study.toml", "--out", tmp_path / "out")
    assert shown.code == 3
    assert f"{tmp_path / 'out'} is used by process {os.getpid()} on" in shown.err


def test_a_module_is_compiled_by_one_process(tmp_path, monkeypatch):
    recipe = native_compile.Recipe([], [], [])
    running, most = 0, 0

    def load(**options: object):
        nonlocal running, most
        running += 1
        most = max(most, running)
        time.sleep(0.05)
        running -= 1
        return sys

    monkeypatch.setattr("torch.utils.cpp_extension.load", load)
    (tmp_path / "lock").touch()  # of a killed build
    builds = [
        threading.Thread(target=native_compile._build, args=("_C", recipe, tmp_path))
        for _ in range(4)
    ]
    for build in builds:
        build.start()
    for build in builds:
        build.join(30)
    assert most == 1
    assert list(tmp_path.iterdir()) == []


def test_a_build_folder_that_cannot_be_written_is_a_sentence(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr(native_compile, "build_folder", lambda *_: tmp_path / "file" / "folder")
    with pytest.raises(NativeError, match="cannot be written: Not a directory"):
        native_compile.compile_module("_host")


def test_the_holder_is_waited_for_and_the_file_goes_with_the_last(tmp_path):
    order: list[int] = []

    def work(number: int) -> None:
        with one_at_a_time(tmp_path / "lock", "the work"):
            order.append(number)
            time.sleep(0.001)
            order.append(number)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(20)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    assert order[::2] == order[1::2]
    assert sorted(order[::2]) == list(range(20))
    assert list(tmp_path.iterdir()) == []
    with (
        pytest.raises(RunError, match=r"cannot be locked: No such file"),
        one_at_a_time(tmp_path / "none" / "lock", "the work"),
    ):
        pass


def test_a_cell_waits_for_the_one_of_a_killed_study_to_save(tmp_path):
    held = RunLock(tmp_path)
    threading.Timer(0.2, held.release).start()
    started = time.monotonic()
    wait_until_free(tmp_path, 30)
    assert 0.1 < time.monotonic() - started < 20
    RunLock(tmp_path).release()
    with RunLock(tmp_path):
        wait_until_free(tmp_path, 0.1)  # not for ever
    wait_until_free(Path(tmp_path / "none"), 30)
    assert (tmp_path / LOCK).exists()
