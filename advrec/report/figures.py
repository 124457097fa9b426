"""The two figures: what noise costs a model, and the course of a training.

Readable in print and without colour vision: the Okabe-Ito palette, a marker for every colour,
solid and dashed lines. matplotlib is imported only when a figure is drawn.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from advrec.errors import UsageError
from advrec.report.robustness import Curve, eps_label
from advrec.system import files
from advrec.visible import shortened, visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, the well separated ones first; black and yellow left out.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
MARKERS = ("o", "s", "^", "D", "v", "P")
DASHES: Mapping[str, Literal["-", "--"]] = {"adversarial": "-", "random": "--"}
GREY = "#555555"
LONGEST_LABEL = 60  # characters
ENDINGS = (".png", ".pdf", ".svg")

STYLE: Any = {  # matplotlib types its keys; naming them all here would not help
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib: the same figure everywhere
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.labelsize": 9,
    "axes.edgecolor": GREY,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.7,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.5,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "text.parse_math": False,  # a dollar in a name is a dollar
    "svg.hashsalt": "advrec",  # the same figure gives the same bytes
}


@dataclass(frozen=True)
class Line:
    """One line of a training figure."""

    label: str
    epochs: Sequence[float]
    values: Sequence[float]


def robustness_plot(curves: Sequence[Curve], metric: str, path: str | Path) -> Path:
    """Draw the metric against eps (above) and the share of it that is lost (below).

    One column of panels per model; colours and markers are trainings; adversarial noise is solid,
    random noise dashed; a band where a curve has an interval. Every line starts at the clean
    figure, eps = 0. The ending of `path` is .png, .pdf or .svg.

    Raises:
        UsageError: no curves, another ending, or matplotlib is missing.
        RunError: a path that cannot be written.
    """
    if not curves:
        raise UsageError("a figure needs at least one curve, got none")
    models = list(dict.fromkeys(curve.model for curve in curves))
    trainings = list(dict.fromkeys(curve.training for curve in curves))

    def draw(figure: Figure) -> None:
        axes = figure.subplots(2, len(models), sharex="col", sharey="row", squeeze=False)
        for place, model in enumerate(models):
            above, below = axes[:, place]
            for curve in curves:
                if curve.model == model:
                    _draw_curve(above, below, curve, trainings.index(curve.training))
            above.set_title(_label(model), loc="left")
            norms = dict.fromkeys(eps_label(c.norm, c.unit) for c in curves if c.model == model)
            below.set_xlabel(" or ".join(norms))
            below.locator_params(axis="x", nbins=5)
            below.xaxis.set_major_formatter("{x:g}")
            below.axhline(0, color=GREY, linewidth=0.8)
        axes[0, 0].set_ylabel(_label(metric))
        axes[1, 0].set_ylabel(f"share of {_label(metric)} lost")
        axes[0, 0].set_ylim(bottom=0)
        axes[1, 0].yaxis.set_major_formatter("{x:.0%}")
        _legend(figure, trainings, [noise for noise in DASHES if _has(curves, noise)])

    return _save(draw, path, (1.0 + 3.3 * len(models), 5.0))


def training_plot(
    panels: Mapping[str, Sequence[Line]],  # name of the y axis → its lines
    path: str | Path,
    marks: Mapping[str, float] | None = None,
) -> Path:
    """Draw panels over the epochs, one above the other: the validation figure, the loss, ….

    `marks` are epochs that get a vertical line, by what happened there ("adversarial training").
    A line has the same colour in every panel. The ending of `path` is .png, .pdf or .svg.

    Raises:
        UsageError: nothing to draw, another ending, or matplotlib is missing.
        RunError: a path that cannot be written.
    """
    labels = list(dict.fromkeys(line.label for lines in panels.values() for line in lines))
    if not labels:
        raise UsageError("a figure needs at least one line, got none")

    def draw(figure: Figure) -> None:
        axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        for axis, (name, lines) in zip(axes, panels.items(), strict=True):
            for line in lines:
                place = labels.index(line.label)
                few = len(line.epochs) <= 40
                axis.plot(
                    line.epochs,
                    line.values,
                    color=COLOURS[place % len(COLOURS)],
                    marker=MARKERS[place % len(MARKERS)] if few else None,
                    markersize=3.5,
                    label=_label(line.label),
                )
            axis.set_ylabel(_label(name))
            for epoch in (marks or {}).values():
                axis.axvline(epoch, color=GREY, linewidth=0.8, linestyle=":")
        for text, epoch in (marks or {}).items():
            axes[0].annotate(
                _label(text),
                (epoch, 1.0),
                xycoords=("data", "axes fraction"),
                xytext=(3, 0),
                textcoords="offset points",
                va="bottom",
                fontsize=8,
                color=GREY,
            )
        axes[-1].set_xlabel("epoch")
        if len(labels) > 1:
            _legend(figure, labels, [])

    return _save(draw, path, (5.2, 0.6 + 2.1 * len(panels)))


def _draw_curve(above: Axes, below: Axes, curve: Curve, place: int) -> None:
    """The two lines of a curve: the metric above, the share lost below."""
    colour, marker = COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)]
    starts = not curve.eps or curve.eps[0] > 0
    eps = (0.0, *curve.eps) if starts else curve.eps
    look: dict[str, Any] = {
        "color": colour,
        "linestyle": DASHES[curve.noise],
        "marker": marker,
        # open markers for random noise: told apart where two lines meet
        "markerfacecolor": colour if curve.noise == "adversarial" else "white",
    }
    above.plot(eps, (curve.clean, *curve.attacked) if starts else curve.attacked, **look)
    below.plot(eps, (0.0, *curve.lost) if starts else curve.lost, **look)
    if curve.low is not None and curve.high is not None:
        band: dict[str, Any] = {"color": colour, "alpha": 0.15, "linewidth": 0}
        above.fill_between(curve.eps, curve.low, curve.high, **band)
        if curve.clean:
            lost = [[1 - value / curve.clean for value in ends] for ends in (curve.low, curve.high)]
            below.fill_between(curve.eps, lost[1], lost[0], **band)


def _legend(figure: Figure, labels: Sequence[str], noises: Sequence[str]) -> None:
    """One legend for the whole figure: colours first, then line styles in grey."""
    from matplotlib.lines import Line2D

    labels = list(map(_label, labels))
    handles = [
        Line2D(
            [], [], color=COLOURS[n % len(COLOURS)], marker=MARKERS[n % len(MARKERS)], label=text
        )
        for n, text in enumerate(labels)
    ]
    handles += [
        Line2D([], [], color=GREY, linestyle=DASHES[noise], label=f"{noise} noise")
        for noise in noises
    ]
    texts = [*labels, *(f"{noise} noise" for noise in noises)]
    # about .07 inches per letter and .6 for the line before it
    inches = sum(0.07 * len(text) + 0.6 for text in texts)
    one_line = inches < figure.get_figwidth()
    figure.legend(
        handles=handles, loc="outside upper center", ncols=len(handles) if one_line else 2
    )


def _label(text: str) -> str:
    """A name as a figure can show it: visible, and not wider than the figure."""
    return shortened(visible(text), LONGEST_LABEL)


def _has(curves: Sequence[Curve], noise: str) -> bool:
    return any(curve.noise == noise for curve in curves)


def _save(draw: Any, path: str | Path, size: tuple[float, float]) -> Path:
    """Draw on a new figure of `size` inches and write it to `path`, whole or not at all."""
    path = Path(path)
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise UsageError(
            f"{path} must end in .png, .pdf or .svg",
            hint=f"for example {path.with_suffix('.png')}",
        )
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise UsageError(
            "figures need matplotlib, which is not installed", hint="pip install matplotlib"
        ) from error
    # A Figure of its own, without pyplot: no window and no shared state.
    content = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure)
        undated = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}.get(ending)
        figure.savefig(content, format=ending[1:], dpi=200, metadata=undated)
    files.write(path, content.getvalue())
    return path
