"""Claim: cost and memory grow in proportion to the pairs. One process for each size.

`python -m bench --only scale --largest 5e7` for the whole curve; a child measures one point:
`python -m bench.claims.scale FOLDER`.
"""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from advrec.data.sources.synth import write_synthetic
from bench import child, threads
from bench.lab import Lab
from bench.ours import configured
from bench.results import Check, Facts, Part

TITLE = "Scale"
SIZES = (100_000, 300_000, 1_000_000, 3_000_000, 10_000_000, 30_000_000, 50_000_000)
ITEMS = 40_000  # at every size, so that ranking grows with the users only
PAIRS_PER_USER = 50
STEPS = 6  # of LightGCN, of 2,048 triplets
RANKED_USERS = 20_000  # at most; the whole is estimated from these
LINEAR = 1.15  # the largest slope of log cost over log pairs that still counts as linear
MEASURES = ("load", "mf_epoch", "lightgcn_step", "evaluation", "peak_mib")
NAMES = {
    "generate": "data made",
    "load": "load",
    "mf_epoch": "MF epoch, APR",
    "lightgcn_step": "LightGCN step",
    "evaluation": "evaluation",
    "peak_mib": "peak MiB",
}


def run(lab: Lab) -> list[Part]:
    sizes = [n for n in SIZES if n <= lab.largest] if not lab.quick else [4000, 16_000]
    items = ITEMS if not lab.quick else 400
    count = lab.most_threads
    points: list[dict[str, Any]] = []
    for pairs in sizes:
        folder = lab.scratch / f"scale-{pairs}"
        users = max(1, pairs // PAIRS_PER_USER)
        lab.say(f"{pairs:,} pairs: making them")
        started = time.perf_counter()
        write_synthetic(folder, users=users, items=items, pairs=pairs, seed=1)
        made = time.perf_counter() - started
        lab.say(f"{pairs:,} pairs: measuring")
        found = child.python("bench.claims.scale", folder, n_threads=count).found
        points.append({"pairs": pairs, "users": users, "generate": made, **found})
        shutil.rmtree(folder)
    slopes = {name: _slope(points, name) for name in NAMES}
    columns = ("pairs", "users", *NAMES.values())
    rows: list[list[Any]] = [
        [point["pairs"], point["users"], *(round(point[name], 3) for name in NAMES)]
        for point in points
    ]
    rows.append(["slope", "", *(slopes[name] for name in NAMES)])
    checks = [] if lab.quick else [_linear(name, slopes[name], points) for name in MEASURES]
    return [
        Facts(
            f"Seconds and memory by the number of pairs, {count} threads",
            columns,
            rows,
            checks=checks,
            note=f"Made by `advrec data synth`: {PAIRS_PER_USER} pairs per user, {items:,} items "
            "at every size. *load* is from text to a split data set; the evaluation is measured "
            f"on at most {RANKED_USERS:,} users and counted up. A LightGCN step reads the whole "
            "graph: the step is linear in the pairs, and an epoch of the method has steps in "
            "proportion to the pairs. *slope* is that of log cost over log pairs, fitted from a "
            "million pairs up where there are that many; 1 is linear.",
        )
    ]


def _linear(name: str, slope: float, points: list[dict[str, Any]]) -> Check:
    each = 1e9 * points[-1][name] / points[-1]["pairs"]
    unit = "KiB per thousand pairs" if name == "peak_mib" else "ns per pair"
    if name == "peak_mib":
        each = 1024 * 1000 * points[-1][name] / points[-1]["pairs"]
    what = f"at most linear (slope at most {LINEAR})"
    return Check(NAMES[name], what, slope <= LINEAR, f"{slope:.2f} ({each:,.0f} {unit})")


def _slope(points: list[dict[str, Any]], name: str) -> float:
    """The slope of log cost over log pairs, without the small sizes, where fixed costs dominate."""
    large = [point for point in points if point["pairs"] >= 1_000_000]
    chosen = large if len(large) >= 2 else points
    if len(chosen) < 2:
        return float("nan")
    x = np.log([point["pairs"] for point in chosen])
    y = np.log([max(point[name], 1e-9) for point in chosen])
    return float(np.polyfit(x, y, 1)[0])


def point(folder: Path) -> dict[str, Any]:
    """One size, in this process."""
    from advrec.data import load_dataset
    from advrec.evaluation.evaluate import evaluate
    from advrec.ops.positives import Positives
    from advrec.runs.model import build_model
    from advrec.training.tiers import make_stepper

    child.forget_peak()
    started = time.perf_counter()
    dataset = load_dataset(folder, valid="none")
    found: dict[str, Any] = {"load": time.perf_counter() - started, "load_mib": child.peak_mib()}
    positives = Positives.from_pairs(dataset.train)
    for name, options, wanted in (
        ("mf_epoch", {"model": "mf", "phase": "adversarial"}, None),
        ("lightgcn_step", {"model": "lightgcn"}, STEPS),
    ):
        config = configured(**options)
        model = build_model(config, dataset, "cpu")
        stepper = make_stepper(model, positives, config)
        steps = min(wanted or stepper.total_steps, stepper.total_steps)
        stepper.run(1, 0, min(steps, 2))
        started, first = time.perf_counter(), 0
        while first < steps:
            size = min(stepper.grain, steps - first)
            stepper.run(0, first, size)
            first += size
        seconds = time.perf_counter() - started
        found[name] = seconds if wanted is None else seconds / steps
    vectors = model.vectors()
    assert vectors is not None
    users, items = (table.detach().contiguous() for table in vectors)
    part, share = _some_users(dataset)
    started = time.perf_counter()
    evaluate((users, items), part)
    found["evaluation"] = (time.perf_counter() - started) / share
    found["peak_mib"] = child.peak_mib()
    return found


def _some_users(dataset: Any) -> tuple[Any, float]:
    """The same data set with the test pairs of so many users, and the share that they are."""
    from dataclasses import replace

    from advrec.data import Pairs

    test = dataset.test
    active = np.flatnonzero(test.user_degrees())
    if len(active) <= RANKED_USERS:
        return dataset, 1.0
    degrees = np.zeros(dataset.n_users, dtype=np.int64)
    chosen = active[:: -(-len(active) // RANKED_USERS)]
    degrees[chosen] = test.user_degrees()[chosen]
    keep = np.repeat(degrees > 0, test.user_degrees())
    indptr = np.concatenate(([0], np.cumsum(degrees)))
    part = replace(dataset, test=Pairs(indptr, test.items[keep], dataset.n_items))
    return part, len(chosen) / len(active)


def main() -> None:
    threads.use(threads.from_environment())
    child.report(point(Path(sys.argv[1])))


if __name__ == "__main__":
    main()
