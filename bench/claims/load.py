"""Claim: from files to the first training step, in a fresh process each time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bench import child
from bench.lab import Lab
from bench.measure import Timing
from bench.results import OURS, Check, Facts, Part, Table, Target, Unit

TITLE = "From files to the first step"
CACHED = "advrec (from its cache)"
NAMES = {
    OURS: "advrec",
    CACHED: "cached",
    "pandas + scipy + torch": "pandas",
    "Python lines + scipy + torch": "lines",
    "RecBole": "recbole",
}


def run(lab: Lab) -> list[Part]:
    work = lab.work
    folder = _folder(lab)
    n_threads = lab.most_threads
    table = Table(
        f"LightGCN on {len(work.dataset.train):,} pairs of text",
        Unit("s", 1.0),
        targets=[
            Target("text files to the first step in ≤ 2 s", 2),
            Target("from the cache to the first step in ≤ 0.5 s", 0.5, ours=CACHED),
        ],
        note="Reading, splitting, building the graph and the model, drawing and making one step of "
        "2,048 triplets; files in the page cache, imports left out, "
        "and what torch imports when its first optimiser steps. advrec and the Python lines "
        "read LightGCN text, pandas and RecBole the same pairs in two columns.",
    )
    timings = {name: Timing(name, n_threads) for name in NAMES}
    whole: dict[str, list[float]] = {name: [] for name in NAMES}
    counts: dict[str, tuple[int, int, int]] = {}
    for name in list(timings):
        if name not in (OURS, CACHED) and lab.peer(NAMES[name], object, table.missing) is None:
            del timings[name]
    rounds = min(lab.pace.rounds, 3)
    for number in range(rounds):
        for name, timing in timings.items():
            if name == "RecBole" and number >= 2:
                continue
            lab.say(f"{name}, round {number + 1} of {rounds}")
            ended = child.python("bench.first_step", NAMES[name], folder, n_threads=n_threads)
            found = ended.found
            timing.rounds.append(found["seconds"])
            whole[name].append(ended.seconds)
            counts[name] = (found["users"], found["items"], found["train"])
    table.timings = list(timings.values())
    wanted = (work.n_users, work.n_items, len(work.dataset.train))
    table.checks = [
        Check(name, "users, items and training pairs", found == wanted, str(found))
        for name, found in counts.items()
    ]
    return [table, _account(timings, whole)]


def _account(timings: dict[str, Timing], whole: dict[str, list[float]]) -> Facts:
    rows = [
        (name, timing.best, min(whole[name]) - timing.best, min(whole[name]))
        for name, timing in timings.items()
    ]
    return Facts(
        "With starting Python and imports, seconds",
        ("", "files to first step", "start and imports", "whole process"),
        rows,
        note="The imports are this script's, torch and scipy for all; RecBole adds its own.",
    )


def _folder(lab: Lab) -> Path:
    """The same pairs in both formats."""
    work = lab.work
    folder = lab.scratch / "files"
    if not folder.is_dir():
        from advrec.data.convert import write_dataset
        from bench.peers.recbole import write_files

        # dense ids, so that the largest id gives the count to every contender
        users = [str(user) for user in range(work.n_users)]
        items = [str(item) for item in range(work.n_items)]
        dense = replace(work.dataset, user_ids=users, item_ids=items)
        write_dataset(dense, folder, to="lightgcn")
        write_files(folder / "inter", work.dataset.train, work.dataset.test)
    return folder
