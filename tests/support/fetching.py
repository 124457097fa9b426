"""Several processes that fetch one data set at once, from a server whose lines break off."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PROGRAM = """
import sys
from pathlib import Path
from advrec.data.sources import catalog, download, fetch
url, home = sys.argv[1:]
fetch.ATTEMPTS = 20
fetch.time.sleep = lambda seconds: None
remotes = (catalog.Remote(f"{url}/a", "a.txt"), catalog.Remote(f"{url}/b", "b.txt"))
download.CATALOG = {"set": catalog.Entry("set", "", "free", remotes)}
download.download("set", home=Path(home))
"""


def rounds(folder: Path, count: int, seed: int, processes: int = 3) -> list[str]:
    """`count` rounds, in each a file that changes once; what went wrong."""
    chance = random.Random(seed)
    versions = [chance.randbytes(300_000), chance.randbytes(280_000)]
    current = 0

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        close_connection = True

        def do_GET(self) -> None:
            content, tag = versions[current], f'"{current}"'
            start = 0
            asked = self.headers.get("Range")
            if asked and self.headers.get("If-Range") == tag:
                start = int(asked.removeprefix("bytes=").removesuffix("-"))
            self.send_response(206 if start else 200)
            if start:
                last = len(content) - 1
                self.send_header("Content-Range", f"bytes {start}-{last}/{len(content)}")
            self.send_header("ETag", tag)
            if start == 0 or chance.random() < 0.5:
                self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            end = chance.randrange(start, len(content)) if chance.random() < 0.5 else len(content)
            self.wfile.write(content[start:end])

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    url, complaints = f"http://127.0.0.1:{server.server_port}", []
    for number in range(count):
        home = folder / str(number)
        running = [
            subprocess.Popen(
                [sys.executable, "-c", PROGRAM, url, str(home)],
                stderr=subprocess.PIPE,
                text=True,
                env={**os.environ},
            )
            for _ in range(processes)
        ]
        if chance.random() < 0.5:
            killed = running.pop()
            threading.Timer(chance.uniform(0.2, 1.5), killed.kill).start()
            killed.communicate()
        if chance.random() < 0.5:
            current = 1 - current
        for process in running:
            error = process.communicate(timeout=120)[1]
            if process.returncode != 0:
                complaints.append(f"round {number}: exit {process.returncode}, {error[-200:]!r}")
        complaints += [f"round {number}: {problem}" for problem in _wrong(home, versions)]
    server.shutdown()
    server.server_close()
    return complaints


def _wrong(home: Path, versions: list[bytes]) -> list[str]:
    """Mixed files, wrong checksums, and what is left over."""
    problems = []
    for name in ("a.txt", "b.txt"):
        content = (home / "set" / name).read_bytes()
        if content not in versions:
            problems.append(f"{name} is mixed")
        recorded = (home / "set" / f"{name}.sha256").read_text().split()[0]
        if recorded != hashlib.sha256(content).hexdigest():
            problems.append(f"{name}.sha256 is of another file")
    # the lock of a process that was killed last stays, and locks nothing
    left = {path.name for path in home.iterdir()} - {"set", ".set.lock"}
    if left:
        problems.append(f"left over: {', '.join(sorted(left))}")
    return problems
