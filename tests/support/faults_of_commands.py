"""Faults of commands that do not train, and of studies: see faults.py."""

from __future__ import annotations

import errno
import itertools
import json
import random
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from support.faults import REFUSALS, Shop, places
from support.forked import Refuse


def killed_commands(shop: Shop, count: int, seed: int) -> tuple[int, list[str]]:
    """Kill commands that write results; the files are whole or absent, and equal when made again.

    Gives the number of kills and what went wrong.
    """
    chance = random.Random(seed)
    shop.reference("mf")
    run = shop.folder / "results" / "mf"
    shutil.copytree(shop.folder / "reference" / "mf", run, dirs_exist_ok=True)
    (run / "lock").unlink(missing_ok=True)
    made = shop.folder / "made"
    made.mkdir(exist_ok=True)
    commands: dict[str, tuple[list[object], list[Path]]] = {
        "attack": (["attack", run, "--eps", "0.1,0.5", "-q"], [run / "attack.json"]),
        "eval": (["eval", run, "-q"], [run / "eval.json"]),
        "certify": (["certify", run, "-q"], [run / "certificate.csv"]),
        "export": (["export", run, "--out", made / "vectors.npz", "-q"], [made / "vectors.npz"]),
        "convert": (
            ["data", "convert", shop.data, made / "set", "--to", "lightgcn"],
            [made / "set" / "train.txt"],
        ),
    }
    return _kill_each(shop, commands, chance, count)


def _kill_each(
    shop: Shop,
    commands: Mapping[str, tuple[list[object], list[Path]]],
    chance: random.Random,
    count: int,
) -> tuple[int, list[str]]:
    complaints: list[str] = []
    expected: dict[str, list[bytes]] = {}
    seconds: dict[str, float] = {}
    for number, name in zip(range(count), itertools.cycle(commands), strict=False):
        words, paths = commands[name]
        if name not in expected:
            _remove(paths)
            ended = shop.server.run(*words)
            if ended.code != 0:
                complaints.append(f"{name}: exit {ended.code}, {ended.err[-300:]!r}")
                return number, complaints
            expected[name], seconds[name] = _read(paths), ended.seconds
        if chance.random() < 0.5:
            _remove(paths)
        shop.server.run(*words, kill_after=chance.uniform(0.005, 1.1 * seconds[name]))
        pairs = list(zip(expected[name], paths, strict=True))
        here = [path for path in paths if path.exists()]
        if _read(here) != [whole for whole, path in pairs if path in here]:
            complaints.append(f"{name}: a killed one left another result")
        if name == "convert":  # it asks for a new folder
            _remove(paths)
        ended = shop.server.run(*words)
        if ended.code != 0 or _read(paths) != expected[name]:
            complaints.append(f"{name}: made again, exit {ended.code}, {ended.err[-300:]!r}")
        left = [p.name for path in paths for p in path.parent.glob(".*.tmp")]
        if left:
            complaints.append(f"{name}: left over: {', '.join(left)}")
    return count, complaints


def refused_commands(
    shop: Shop,
    chance: random.Random,
    most: int,
    names: Iterable[str] | None = None,
    calls: Iterable[str] = tuple(REFUSALS),
) -> tuple[int, list[str]]:
    """Refuse calls of the commands that do not train (`names`); `most` of the possible faults.

    Gives the number of faults and what went wrong.
    """
    shop.reference("mf")
    run, made = shop.folder / "reference" / "mf", shop.folder / "refused"
    study = ["study", shop.folder / "study.toml", "--only", "training=pretrained", "--only"]
    commands: dict[str, list[object]] = {
        "eval": ["eval", run, "-q"],
        "attack": ["attack", run, "--eps", "0.5", "-q"],
        "certify": ["certify", run, "-q"],
        "recommend": ["recommend", run, "--user", "user-1"],
        "export": ["export", run, "--out", made / "vectors.npz"],
        "convert": ["data", "convert", shop.data, made / "set", "--to", "lightgcn"],
        "inspect": ["data", "inspect", shop.data],
        "runs": ["runs", "--runs-dir", run.parent],
        "study": [*study, "seed=0", "--threads", 1, "-q", "--out", made / "study"],
    }
    faults = []
    for name in commands if names is None else names:
        words = commands[name]
        for call in calls:
            if name == "study" and call not in ("fork", "thread", "rename"):
                continue  # seconds each, and the rest is that of the other commands
            made.mkdir()
            count = shop.server.run(*words, refuse=Refuse(call, 0, 0, str(shop.folder))).calls
            shutil.rmtree(made)
            faults += [
                (name, Refuse(call, n, number, str(shop.folder), lasting))
                for n in places(call, count)
                for number in REFUSALS[call]
                for lasting in (False, True)
            ]
    complaints = []
    chosen = chance.sample(faults, min(most, len(faults)))
    for name, refuse in chosen:
        made.mkdir()
        ended = shop.server.run(*commands[name], refuse=refuse)
        drafts = [path.name for path in made.rglob(".*")]
        if drafts and refuse.call in ("unlink", "open"):  # removing was refused: the next one does
            _remove([path for path in made.rglob("*") if path.is_file()])
            shutil.rmtree(made / "set", ignore_errors=True)
            ended = shop.server.run(*commands[name])
            drafts = [path.name for path in made.rglob(".*")]
        if not ended.is_clear or ended.code not in (0, 3) or drafts:
            complaints.append(
                f"{name}, {refuse.call} {refuse.n}, {errno.errorcode[refuse.errno]}: exit "
                f"{ended.code}, {ended.err[-300:]!r}, left over: {drafts}"
            )
        shutil.rmtree(made)
    return len(chosen), complaints


def killed_studies(shop: Shop, count: int, seed: int) -> tuple[int, list[str]]:
    """Kill a study and start it again at once, while its cells still save.

    Gives the number of kills and what went wrong.
    """
    chance = random.Random(seed)
    words = ["study", shop.folder / "study.toml", "--only", "seed=0", "--threads", 1, "-q", "--out"]
    whole = shop.server.run(*words, shop.folder / "study", timeout=600)
    if whole.code != 0:
        return 0, [f"study: exit {whole.code}, {whole.err[-300:]!r}"]
    expected, complaints = _figures(shop.folder / "study"), []
    for number in range(count):
        out = shop.folder / f"study-{number}"
        shop.server.run(*words, out, kill_after=chance.uniform(0.1, whole.seconds))
        ended = shop.server.run(*words, out, timeout=600)
        if ended.code != 0 or _figures(out) != expected:
            complaints.append(f"study: exit {ended.code}, {ended.err[-300:]!r}")
        drafts = [*out.glob("runs/.*"), *out.glob("**/*.tmp"), *out.glob("**/*.next")]
        if drafts:
            complaints.append(f"study: left over: {', '.join(path.name for path in drafts)}")
    return count, complaints


def _figures(out: Path) -> Any:
    """The figures of every cell, without times."""
    document = json.loads((out / "results.json").read_text())
    return document["complete"], [
        (line["model"], line["training"], line["clean"], line["noise"])
        for line in document["lines"]
    ]


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
        if path.parent.name == "set":
            shutil.rmtree(path.parent, ignore_errors=True)


def _read(paths: Iterable[Path]) -> list[bytes]:
    return [path.read_bytes() for path in paths]
