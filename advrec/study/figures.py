"""The figures of a study: what noise costs, and how the trainings went."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from advrec.report.figures import Line as Drawn
from advrec.report.figures import robustness_plot, training_plot
from advrec.report.robustness import Curve
from advrec.study.results import Attack, Line
from advrec.study.spec import PRETRAINED

FEW = 3
"""Seeds below which no interval is drawn: the interval of two would cover everything else."""


def draw(lines: Sequence[Line], metric: str, out: Path) -> Iterator[tuple[str, Path]]:
    """Draw all figures into `out`; yields what each shows and where it is.

    Two for every model on every data set: robustness, with one panel per site, and the validation
    figure over all epochs. A training has the same colour in both. Raises UsageError without
    matplotlib.
    """
    for data, model in dict.fromkeys((line.data, line.model) for line in lines):
        own = [line for line in lines if (line.data, line.model) == (data, model)]
        name = f"{_slug(data)}-{_slug(model)}.png"
        curves = [curve for line in own for curve in _curves(line, metric)]
        drawn = robustness_plot(curves, metric, out / f"robustness-{name}")
        yield f"{data}, {model}: {metric} under noise", drawn
        if trained := _draw_training(own, out / f"training-{name}"):
            yield f"{data}, {model}: validation while training", trained


def _curves(line: Line, metric: str) -> Iterator[Curve]:
    """A line's curves: one per site and noise."""
    clean = line.summary(metric)
    for site, norm in zip(line.measures.sites, line.measures.norms, strict=True):
        for noise in line.measures.noise:
            attacks = [Attack(site, noise, eps) for eps in line.measures.eps]
            figures = [line.summary(metric, attack) for attack in attacks]
            intervals = clean.n >= FEW
            yield Curve(
                model=line.model
                if len(line.measures.sites) == 1
                else f"{line.model}, noise at {site}",
                training=line.training,
                noise="random" if noise == "random" else "adversarial",
                clean=clean.mean,
                eps=tuple(line.measures.eps),
                attacked=tuple(figure.mean for figure in figures),
                low=tuple(figure.low for figure in figures) if intervals else None,
                high=tuple(figure.high for figure in figures) if intervals else None,
                norm=norm,
            )


def _draw_training(lines: Sequence[Line], path: Path) -> Path | None:
    """The validation figure over all epochs, with those of the pretraining; None without one."""
    drawn = []
    before = max(
        (x for line in lines if line.kind == PRETRAINED for x, _ in line.curve()), default=0
    )
    for line in lines:
        curve = line.curve()
        if line.kind == "continued":  # its run also has the epochs of the pretraining
            curve = [(epoch, value) for epoch, value in curve if epoch >= before]
        if curve:
            drawn.append(Drawn(line.training, [epoch for epoch, _ in curve], [v for _, v in curve]))
    if not drawn:
        return None
    config = next(iter(lines[0].results.values()))["config"]
    starts = {result["started_after"] for line in lines for result in line.results.values()} - {0}
    marks = {"adversarial training starts": float(min(starts))} if len(starts) == 1 else None
    return training_plot({f"{config['metric']} (validation)": drawn}, path, marks)


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9.+_]+", "-", text).strip("-.") or "x"
