"""Faults of the system, and what must hold after each: used by tests/test_faults.py and the drills.

Every function makes some faults and returns one line for each that did not end as it should: with
one clear sentence and its exit code, nothing lost, nothing left over, and the same bits in the end.
"""

from __future__ import annotations

import errno
import itertools
import random
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from advrec.errors import AdvrecError
from advrec.runs.run import IDS, MODEL, STATE, Run
from support.forked import Ended, Refuse, Server
from support.tiny_study import STUDY

TIMES = ("seconds", "epoch_seconds", "updated", "peak_bytes", "metrics_bytes")
"""Of a run's progress: what may differ between two trainings of the same bits."""

REFUSALS: Mapping[str, Sequence[int]] = {
    "open": (errno.EMFILE, errno.ENOSPC, errno.EACCES),
    "write": (errno.ENOSPC, errno.EDQUOT, errno.EIO),
    "read": (errno.EIO,),
    "rename": (errno.EIO, errno.EROFS, errno.ENOSPC),
    "fsync": (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EINVAL),
    "flock": (errno.ENOLCK,),
    "mkdir": (errno.EROFS, errno.ENOSPC, errno.EDQUOT),
    "unlink": (errno.EIO, errno.EROFS),
    "truncate": (errno.EIO, errno.EROFS),
    "mmap": (errno.ENOMEM, errno.EAGAIN),
    "map": (errno.ENOMEM,),
    "fork": (errno.EAGAIN, errno.ENOMEM),
    "thread": (errno.EAGAIN,),
}
"""The calls that may be refused, and how. `map` is memory without a file."""

ADVERSARIAL = {
    "mf": ["--eps", "0.5"],
    "lightgcn": ["--eps", "0.5", "--site", "final"],
    "vbpr": [],
    "cdae": [],
}
"""Models with adversarial training, and its options."""

OWN: Mapping[str, Sequence[str]] = {
    "mf": ["--optimizer", "adam", "--batch-size", "64"],
    "lightgcn": ["--batch-size", "128"],
    "ngcf": ["--batch-size", "128", "--layers", "1"],
    "gnnguard": ["--batch-size", "128", "--layers", "1"],
    "neumf": ["--batch-size", "128"],
    "cdae": [],
    "vbpr": [],
}
"""The models, and options with which they train on the shop's data in milliseconds."""


@dataclass
class Shop:
    """A folder with data, trainings by name, and what each must give: made as it is asked for."""

    server: Server
    folder: Path
    models: Sequence[str] = tuple(OWN)
    epochs: int = 4
    commands: dict[str, list[str]] = field(init=False)
    seconds: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        users, items, pairs = 200, 80, 4000
        random_ = np.random.default_rng(1)
        taste, rows = random_.random(users), random_.integers(0, users, pairs)
        columns = (taste[rows] * items + random_.normal(0, 10, pairs)).astype(int) % items
        lines = [
            f"user-{u},{i},{1 + u * i % 5},{n}"
            for n, (u, i) in enumerate(zip(rows, columns, strict=True))
        ]
        self.data = self.folder / "ratings.csv"
        self.data.write_text("\n".join(["user,item,rating,timestamp", *lines]) + "\n")
        np.save(self.folder / "features.npy", random_.normal(size=(items, 12)).astype("f4"))
        (self.folder / "study.toml").write_text(STUDY)
        common = ["--data", self.data, "--dim", 8, "--eval-every", 2, "--patience", 0, "-q"]
        common += ["--checkpoint-seconds", 0, "--epochs", self.epochs, "--threads", 1]
        self.commands = {}
        for model in self.models:
            words = ["pretrain", "--model", model, *OWN[model], *common]
            if model == "vbpr":
                words += ["--features", self.folder / "features.npy"]
            self.commands[model] = [str(word) for word in words]
        for model in set(self.models) & set(ADVERSARIAL):
            parent = self.folder / "reference" / model
            words = ["adv-train", "--from", parent, *ADVERSARIAL[model], "-q"]
            self.commands[f"{model}-apr"] = [str(word) for word in words]
        self._references: dict[str, Any] = {}

    def reference(self, name: str) -> Any:
        """The contents of the run that was never interrupted."""
        if name not in self._references:
            parent = name.removesuffix("-apr")
            if parent != name:
                self.reference(parent)
            done = self.run(name, self.folder / "reference" / name)
            assert done.code == 0, done
            self._references[name] = contents(self.folder / "reference" / name)
        return self._references[name]

    def run(self, name: str, run: Path, *more: object, **fault: Any) -> Ended:
        """Train under this name, or resume if the run exists."""
        command = self.commands[name]
        if run.exists():
            words: list[object] = [command[0], "--resume", run, "-q", *more]
        else:
            words = [*command, "--name", run.name, "--runs-dir", run.parent, *more]
        return self.server.run(*words, **fault)


def contents(run: Path) -> Any:
    """All that must be equal between an interrupted training and one that never was."""
    opened = Run.open(run)
    progress = {k: v for k, v in asdict(opened.progress).items() if k not in TIMES}
    lines = [{k: v for k, v in line.items() if k != "seconds"} for line in opened.history()]
    return [opened._folder.read(name) for name in (MODEL, STATE, IDS)], lines, progress


def unreadable(run: Path) -> str | None:
    """Why a run folder cannot be read in full; None if it can, or does not exist."""
    if not run.exists():
        return None
    try:
        opened = Run.open(run)
        opened.weights(), opened.state(), opened.ids(), opened.history()
    except AdvrecError as error:
        return f"unreadable: {error}"
    return None


def left_over(run: Path) -> str | None:
    """What an interruption has left behind, after the run is whole again."""
    inside = [p.name for p in run.iterdir() if p.name.endswith((".tmp", ".next"))]
    drafts = [p.name for p in run.parent.glob(".*")]
    return f"left over: {', '.join([*inside, *drafts])}" if inside or drafts else None


def after(shop: Shop, name: str, run: Path, ended: Ended | None, *resume: object) -> str | None:
    """What is wrong with a run after a fault, and after it was resumed without one."""
    if ended is not None and not (ended.is_clear and ended.code in (0, 3)):
        return f"exit {ended.code}, {(ended.out + ended.err).strip()[-300:]!r}"
    if problem := unreadable(run):
        return problem
    if ended is not None and ended.code == 0 and not run.exists():
        return "exit 0, but nothing was trained"
    if not run.exists() or not Run.open(run).progress.finished:
        done = shop.run(name, run, *resume)
        if done.code != 0:
            return f"could not be resumed: exit {done.code}, {done.err.strip()[-300:]!r}"
    if contents(run) != shop.reference(name):
        return "other bits"
    return left_over(run)


def broken_streams(
    shop: Shop, name: str = "mf", kinds: Iterable[tuple[str, str]] = ()
) -> list[str]:
    """Train with streams that are closed, full or without a reader."""
    complaints = []
    ways = ("pipe", "closed", "full", "gone")
    for out, err in list(kinds) or list(itertools.product(ways, ways)):
        run = shop.folder / "streams" / "r"
        words = [word for word in shop.commands[name] if word != "-q"]
        ended = shop.server.run(*words, "--name", "r", "--runs-dir", run.parent, out=out, err=err)
        problem = after(shop, name, run, ended)
        if ended.code != (3 if out in ("closed", "full") else 0):
            problem = f"exit {ended.code}"
        elif ended.code == 3 and err == "pipe" and "written to stdout: " not in ended.err:
            problem = f"no sentence: {ended.err[-200:]!r}"
        if problem:
            complaints.append(f"stdout {out}, stderr {err}: {problem}")
        shutil.rmtree(run.parent, ignore_errors=True)
    return complaints


def full_disks(shop: Shop, name: str = "mf", limits: Iterable[int] | None = None) -> list[str]:
    """Train, new and resumed, where no file may be larger than so many bytes."""
    shop.reference(name)
    half = shop.folder / "half" / "r"
    if not half.exists():
        shop.run(name, half, refuse=Refuse("rename", 14, errno.ENOSPC, str(half.parent)))
    sizes = [path.stat().st_size for path in (shop.folder / "reference" / name).iterdir()]
    places = {0, 5, 19, 100, *(s - 1 for s in sizes if s), *(s // 2 for s in sizes)}
    complaints = []
    for limit in sorted(places) if limits is None else limits:
        for where in ("new", "resumed"):
            run = shop.folder / "full" / "r"
            if where == "resumed":
                shutil.copytree(half, run)
            problem = after(shop, name, run, shop.run(name, run, limit=limit))
            if problem:
                complaints.append(f"files up to {limit} bytes, {where}: {problem}")
            shutil.rmtree(run.parent, ignore_errors=True)
    return complaints


def refusals(
    shop: Shop, name: str, calls: Iterable[str], share: random.Random | None = None, most: int = 0
) -> tuple[int, list[str]]:
    """Refuse every n-th call of some kinds, once and for good; `most` of them, chosen by `share`.

    Gives the number of faults and what went wrong.
    """
    shop.reference(name)
    run = shop.folder / "refused" / "r"
    faults = []
    for call in calls:
        under = str(run.parent) if call in ("open", "mkdir") else str(shop.folder)
        count = shop.run(name, run, refuse=Refuse(call, 0, 0, under)).calls
        shutil.rmtree(run.parent, ignore_errors=True)
        faults += [
            Refuse(call, n, number, under, lasting)
            for n in places(call, count)
            for number in REFUSALS[call]
            for lasting in (False, True)
        ]
    if share is not None and len(faults) > most:
        faults = share.sample(faults, most)
    complaints = []
    for refuse in faults:
        problem = after(shop, name, run, shop.run(name, run, refuse=refuse))
        if problem:
            stays = " and later" if refuse.lasting else ""
            kind = errno.errorcode[refuse.errno]
            complaints.append(f"{name}, {refuse.call} {refuse.n}{stays}, {kind}: {problem}")
        shutil.rmtree(run.parent, ignore_errors=True)
    return len(faults), complaints


def places(call: str, count: int) -> range:
    """Which calls to refuse: all; of threads the first, for a system that has none to give."""
    return range(1, min(count, 1) + 1 if call == "thread" else count + 1)


def kills(shop: Shop, count: int, seed: int) -> tuple[int, list[str]]:
    """Kill trainings of every kind at random moments, some of them again while they are resumed.

    Gives the number of trainings and what went wrong.
    """
    chance = random.Random(seed)
    times = {}
    trainings, complaints, left = 0, [], count
    for name in itertools.cycle(shop.commands):
        if left <= 0:
            return trainings, complaints
        shop.reference(name)
        if name not in times:
            timed = shop.run(name, shop.folder / "timed" / name)
            times[name] = timed.seconds
        run = shop.folder / "killed" / "r"
        problem = None
        for _ in range(min(chance.choice((1, 1, 2, 3)), left)):
            threads = ("--threads", chance.choice((1, 2, 3))) if run.exists() else ()
            moment = chance.uniform(0.005, 1.1 * times[name])
            ended = shop.run(name, run, *threads, kill_after=moment)
            left -= 1
            problem = problem or unreadable(run)
            if ended.code == 0:
                break
        problem = problem or after(shop, name, run, None, "--threads", chance.choice((1, 2, 3)))
        if problem:
            complaints.append(f"{name}: {problem}")
        trainings += 1
        shutil.rmtree(run.parent, ignore_errors=True)
    return trainings, complaints
