"""The end of the demo: what `advrec attack` and `advrec eval` kept in four runs, as one table.

python scripts/demo_table.py RUNS PRETRAINED ADVERSARIAL [PRETRAINED ADVERSARIAL …]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from advrec.report.figures import robustness_plot
from advrec.report.table import Curve
from advrec.runs.run import Run
from advrec_cli.console import show, table

NAMES = {"mf": "MF", "lightgcn": "LightGCN"}
TRAININGS = {"pretrain": "pretrained", "adversarial": "adversarially trained"}
SHORT = {"random": "random", "adversarial": "adv."}
SAY_AT = 1.0  # the ε that the sentences speak of


def main(folder: str, names: list[str]) -> None:
    """Print the table and the sentences, and draw the figure."""
    runs = [Run.open(Path(folder) / name) for name in names]
    found = [_kept(run, "attack.json")["runs"][0]["results"] for run in runs]
    clean = [_kept(run, "eval.json") for run in runs]
    metric = runs[0].config.metric
    curves = [_curves(run, results, metric) for run, results in zip(runs, found, strict=True)]

    heads = [f"{SHORT[kind]}\n{eps:g}" for kind, curve in curves[0].items() for eps in curve.eps]
    shown = list(dict.fromkeys(("Recall@20", metric)))
    columns = ["model", "adv-\ntrain", *(name.replace("@", "\n@") for name in shown), *heads]
    title = f"{runs[0].origin.dataset}: {metric} and what noise on the parameters leaves of it"
    made = table(columns, title=title, left=2)
    for column in made.columns:
        column.no_wrap = False  # or the two lines of a head would count as one
    for run, curve, measured in zip(runs, curves, clean, strict=True):
        before = run.config.phase == "pretrain"
        if before and made.row_count:
            made.add_section()
        figures = [measured["metrics"][name] for name in shown]
        figures += [value for kind in curve for value in curve[kind].values]
        made.add_row(
            curve["random"].model if before else "",
            "before" if before else "after",
            *(f"{value:.3f}" for value in figures),
        )
    show("")
    show(made)
    show(
        f"Clean, then {metric} under random and adversarial (adv.) noise of ε, each row's norm; "
        f"test part, {clean[0]['users']:,} users, {clean[0]['protocol']}."
    )
    show("")
    show(_said(curves, metric))
    every = [curve for pair in curves for curve in pair.values()]
    path = robustness_plot(every, metric, Path(folder) / "demo.png")
    show(f"\nThe same as a figure: {path}")


def _said(curves: list[dict[str, Curve]], metric: str) -> str:
    """Two sentences, from the numbers: before adversarial training, and after it."""
    before = [pair for pair in curves if pair["random"].training == TRAININGS["pretrain"]]
    after = [pair for pair in curves if pair not in before]

    def listed(texts: list[str]) -> str:
        return " and ".join([", ".join(texts[:-1]), texts[-1]] if len(texts) > 1 else texts)

    taken = [f"{_percent(p['adversarial'])} from {p['random'].model}" for p in before]
    at_random = [_percent(pair["random"]) for pair in before]
    left = [_percent(pair["adversarial"]) for pair in after]
    clean = [
        f"{new['random'].clean:.3f} (before: {old['random'].clean:.3f})"
        for old, new in zip(before, after, strict=True)
    ]
    return (
        f"Adversarial noise of ε = {SAY_AT:g} takes {listed(taken)} of the {metric}, random noise "
        f"of the same size {listed(at_random)}.\nAfter adversarial training it takes "
        f"{listed(left)}, and without noise {metric} is {listed(clean)}; these models also had "
        "more epochs, and `advrec study` compares equal ones."
    )


def _percent(curve: Curve) -> str:
    lost = dict(zip(curve.eps, curve.lost, strict=True))[SAY_AT]
    return f"{100 * lost + 0.0:.0f} %".replace("-0 %", "0 %")


def _curves(run: Run, results: list[dict[str, Any]], metric: str) -> dict[str, Curve]:
    """A run's curve under each kind of noise, random first."""
    curves = {}
    for kind in ("random", "adversarial"):
        own = sorted((r for r in results if r["kind"] == kind), key=lambda r: r["eps"])
        curves[kind] = Curve(
            model=NAMES.get(run.config.model, run.config.model),
            training=TRAININGS[run.config.phase],
            noise="random" if kind == "random" else "adversarial",
            clean=own[0]["clean"]["metrics"][metric],
            eps=tuple(r["eps"] for r in own),
            values=tuple(r["noisy"]["metrics"][metric] for r in own),
            norm=own[0]["norm"],
        )
    return curves


def _kept(run: Run, name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((run.path / name).read_text(encoding="utf-8"))
    return content


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
