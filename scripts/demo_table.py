"""The end of the demo: what `advrec attack` and `advrec eval` kept in four runs, as one table.

python scripts/demo_table.py RUNS PRETRAINED ADVERSARIAL [PRETRAINED ADVERSARIAL …]
"""

from __future__ import annotations

import sys
from pathlib import Path

from advrec.report.figures import robustness_plot
from advrec.report.robustness import Attacked, Curve, attack_curves
from advrec.report.table import Column, Table
from advrec.runs.results import read_attack, read_evaluation
from advrec.runs.run import Run
from advrec_cli.console import show, show_report

NAMES = {"mf": "MF", "lightgcn": "LightGCN"}
TRAININGS = {"pretrain": "pretrained", "adversarial": "adversarially trained"}
WHEN = {"pretrain": "before", "adversarial": "after"}
SHORT = {"random": "random", "adversarial": "adv."}
SHOWN_EPS = 1.0  # the ε of the two sentences

Pair = dict[str, Curve]  # the curves of a run, by noise


def main(folder: str, names: list[str]) -> None:
    """Print the table and the sentences, and draw the figure."""
    runs = [Run.open(Path(folder) / name) for name in names]
    metric = runs[0].config.metric
    pairs = [_curves(run, metric) for run in runs]
    show("")
    show_report(_table(runs, pairs, metric))
    show("")
    show(_sentences(pairs, metric))
    every = [curve for pair in pairs for curve in pair.values()]
    path = robustness_plot(every, metric, Path(folder) / "demo.png")
    show(f"\nThe same as a figure: {path}")


def _table(runs: list[Run], pairs: list[Pair], metric: str) -> Table:
    """One row per run: clean figures, then the metric under each noise."""
    clean = [read_evaluation(run) for run in runs]
    shown = list(dict.fromkeys(("Recall@20", metric)))
    heads = [name.replace("@", "\n@") for name in shown]
    heads += [f"{SHORT[noise]}\n{eps:g}" for noise, curve in pairs[0].items() for eps in curve.eps]
    rows = tuple(
        (
            pair["random"].model,
            WHEN[run.config.phase],
            *(evaluation.values[name] for name in shown),
            *(value for curve in pair.values() for value in curve.attacked),
        )
        for run, pair, evaluation in zip(runs, pairs, clean, strict=True)
    )
    return Table(
        f"{runs[0].origin.dataset}: {metric} and what noise on the parameters leaves of it",
        (Column("model"), Column("adv-\ntrain"), *(Column(head, ".3f") for head in heads)),
        rows,
        (
            f"Clean, then {metric} under random and adversarial (adv.) noise of ε, each row's "
            f"norm; test part, {clean[0].n_users:,} users, {clean[0].protocol}.",
        ),
    )


def _sentences(pairs: list[Pair], metric: str) -> str:
    """Two sentences, from the numbers: before adversarial training, and after it."""
    before = [pair for pair in pairs if pair["random"].training == TRAININGS["pretrain"]]
    after = [pair for pair in pairs if pair not in before]

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
        f"Adversarial noise of ε = {SHOWN_EPS:g} takes {listed(taken)} of the {metric}, random "
        f"noise of the same size {listed(at_random)}.\nAfter adversarial training it takes "
        f"{listed(left)}, and without noise {metric} is {listed(clean)}; these models also had "
        "more epochs, and `advrec study` compares equal ones."
    )


def _percent(curve: Curve) -> str:
    lost = dict(zip(curve.eps, curve.lost, strict=True))[SHOWN_EPS]
    return f"{round(100 * lost) + 0:.0f} %"


def _curves(run: Run, metric: str) -> Pair:
    """A run's curve under each kind of noise, random first."""
    name = NAMES.get(run.config.model, run.config.model)
    attacked = Attacked(TRAININGS[run.config.phase], name, read_attack(run))
    return {curve.noise: curve for curve in attack_curves([attacked], metric)}


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
