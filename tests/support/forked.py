"""Runs of `advrec` in forked processes: milliseconds each, with streams, limits and faults at will.

A server imports everything once and forks a child per command. It computes nothing itself, so that
its children may use threads. With a compiler it is started under tests/support/refuse.c.

    python forked.py        reads one JSON task per line and answers with one line
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

COMPILER = shutil.which(os.environ.get("CC", "cc")) or shutil.which("gcc")
SOURCE = Path(__file__).with_name("refuse.c")


class Refuse(NamedTuple):
    """The n-th call of a kind fails; n = 0 only counts. Paths outside `under` are not counted."""

    call: str
    n: int
    errno: int
    under: str = ""
    lasting: bool = False


class Ended(NamedTuple):
    """How a command ended: exit code (negative: a signal; None: it hung and was killed)."""

    code: int | None
    out: str
    err: str
    calls: int  # of the refused kind, while it ran
    seconds: float

    @property
    def is_clear(self) -> bool:
        """It ended by itself, as it should or with a sentence that is not about a defect."""
        said = self.out + self.err
        clear = "bug in advrec" not in said and "Traceback" not in said and "Exception" not in said
        return clear and self.code is not None and self.code >= 0


class Server:
    """The server process; use it as a context."""

    def __init__(self, cache: Path) -> None:
        self.refuses = COMPILER is not None and sys.platform == "linux"
        environment = dict(os.environ, ADVREC_CACHE=str(cache), TMPDIR=str(cache))
        environment["PYTHONDONTWRITEBYTECODE"] = "1"
        if self.refuses:
            assert COMPILER is not None
            library = cache / "refuse.so"
            words = [COMPILER, "-shared", "-fPIC", "-O1", "-o", str(library), str(SOURCE), "-ldl"]
            subprocess.run(words, check=True)
            environment["LD_PRELOAD"] = str(library)
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *problem: object) -> None:
        self._process.communicate()

    def run(
        self,
        *words: object,
        out: str = "pipe",
        err: str = "pipe",
        limit: int | None = None,
        refuse: Refuse | None = None,
        kill_after: float | None = None,
        clock: float = 0.0,
        timeout: float = 60.0,
        cwd: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Ended:
        """Run a command.

        `out`, `err`: "pipe", "closed", "full" or "gone"; `limit`: bytes of a file (RLIMIT_FSIZE);
        `kill_after`: seconds until SIGKILL; `clock`: seconds by which time.time is wrong.
        """
        task = {
            "argv": [str(word) for word in words],
            "streams": [out, err],
            "limit": limit,
            "refuse": refuse,
            "kill_after": kill_after,
            "clock": clock,
            "timeout": timeout,
            "cwd": None if cwd is None else str(cwd),
            "environment": dict(environment or {}),
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(task) + "\n")
        self._process.stdin.flush()
        return Ended(*json.loads(self._process.stdout.readline()))


# --- in the server -------------------------------------------------------------------------------


def serve() -> None:
    """Import everything, then run tasks until stdin ends."""
    import safetensors.torch  # noqa: F401

    import advrec.api
    import advrec.study.run  # noqa: F401
    import advrec_cli.main
    from advrec import native

    for name in advrec_cli.main.COMMANDS:
        advrec_cli.main._command(name)
    native.core()
    native.host()
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    for line in sys.stdin:
        answers.write(json.dumps(_run(json.loads(line))) + "\n")


def _run(task: Mapping[str, Any]) -> tuple[int | None, str, str, int, float]:
    pipes = [os.pipe(), os.pipe(), os.pipe()]  # stdout, stderr, the number of calls
    started = time.monotonic()
    pid = os.fork()
    if pid == 0:
        _child(task, [write for _, write in pipes])
    for _, write in pipes:
        os.close(write)
    texts, code = [b"", b"", b""], None
    ended = killed = False
    open_ends = {read: place for place, (read, _) in enumerate(pipes)}
    while open_ends or not ended:
        for read in select.select(list(open_ends), [], [], 0.002)[0]:
            chunk = os.read(read, 1 << 16)
            texts[open_ends[read]] += chunk
            if not chunk:
                open_ends.pop(read)
                os.close(read)
        if not ended:
            ended_pid, status = os.waitpid(pid, os.WNOHANG)
            if ended_pid:
                ended, code = True, os.waitstatus_to_exitcode(status)
        late = time.monotonic() - started > (task["kill_after"] or task["timeout"])
        if late and not killed:
            killed = True
            if not ended:
                os.kill(pid, signal.SIGKILL)
        if ended and late:  # a grandchild keeps the pipes open
            break
    for read in open_ends:
        os.close(read)
    hung = killed and task["kill_after"] is None and code == -signal.SIGKILL
    out, err = (text.decode(errors="replace") for text in texts[:2])
    seconds = time.monotonic() - started
    return None if hung else code, out, err, int(texts[2] or 0), seconds


def _child(task: Mapping[str, Any], writes: Sequence[int]) -> None:
    """The command, in the forked process; never returns."""
    code = 99
    try:
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        counts = os.dup(writes[2])
        for number, how in ((1, task["streams"][0]), (2, task["streams"][1])):
            _redirect(number, how, writes[number - 1])
        os.closerange(3, min(writes))
        for write in writes:
            os.close(write)
        os.environ.update(task["environment"])
        if task["cwd"]:
            os.chdir(task["cwd"])
        if task["limit"] is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (task["limit"], resource.RLIM_INFINITY))
        if task["clock"]:
            _set_clock(task["clock"])
        sys.argv = ["advrec", *task["argv"]]
        code = _command(task, counts)
    finally:
        os._exit(code)


def _command(task: Mapping[str, Any], counts: int) -> int:
    import advrec_cli.main
    from advrec.native import loader

    loader._loaded.pop("_C", None)  # as a new process, it asks for threads when it loads the core
    if task["refuse"] is None:
        code = _exit_code(advrec_cli.main.main)
    else:
        call, n, number, under, lasting = task["refuse"]
        library = ctypes.CDLL(None)
        library.refuse_arm(call.encode(), ctypes.c_long(n), number, int(lasting), under.encode())
        code = _exit_code(advrec_cli.main.main)
        seen = library.refuse_seen()
        library.refuse_arm(b"", ctypes.c_long(0), 0, 0, b"")
        os.write(counts, str(seen).encode())
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    return code


def _exit_code(main: Callable[[], int]) -> int:
    try:
        return main()
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
        return 1


def _redirect(number: int, how: str, pipe: int) -> None:
    name = ("stdin", "stdout", "stderr")[number]
    if how == "closed":
        os.close(number)
        setattr(sys, name, None)
        return
    if how == "full":
        target = os.open("/dev/full", os.O_WRONLY)
    elif how == "gone":
        read, target = os.pipe()
        os.close(read)
    else:
        target = pipe
    os.dup2(target, number)
    # a new object, because the old one knows what it was opened on
    setattr(sys, name, os.fdopen(number, "w", buffering=1 if number == 2 else -1, closefd=False))


def _set_clock(seconds: float) -> None:
    """time.time and time.time_ns go back (or forward) after the first call."""
    real, real_ns, calls = time.time, time.time_ns, iter([0.0])
    time.time = lambda: real() + next(calls, seconds)
    time.time_ns = lambda: real_ns() + int(seconds * 1e9)


if __name__ == "__main__":
    serve()
