"""The flags of `advrec attack`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from advrec.choices import LABELS, NORMS, PRACTICAL_NOISES, SIDES
from advrec.options import OUTPUT
from advrec_cli.options import MEASURE, one_of, with_default
from advrec_cli.settings import reworded

ATTACK, SUITE, GOAL = "Attack", "Suite", "Goal"
SUITES = ("standard", "apr")
"""The keys of `advrec.robustness.members.SUITES`; a test compares them."""

SEED = reworded("seed", "Seed of the negatives, the random directions and the random starts.")

Noises = Annotated[
    list[str] | None,
    typer.Option(
        "--noise",
        metavar="KIND",
        help=with_default(
            "random, adversarial or both: adversarial noise is the strongest of its size that is"
            " found, random noise has the same rows and norms. Or noise of practice, which has a"
            f" size of its own: {', '.join(PRACTICAL_NOISES)}. May be repeated, or hold commas.",
            "both",
        ),
        rich_help_panel=ATTACK,
        show_default=False,
    ),
]
Sizes = Annotated[
    list[str] | None,
    typer.Option(
        "--eps",
        metavar="X[,X…]",
        help=with_default(
            "ε, the L2 norm of each row of the noise.", "0.5,1,2; with --suite --rho 1%,5%,20%"
        ),
        rich_help_panel=ATTACK,
        show_default=False,
    ),
]
Portions = Annotated[
    list[str] | None,
    typer.Option(
        "--rho",
        metavar="X%[,X%…]",
        help="Relative budgets instead of --eps: shares of the rows' norms, such as 5%, in"
        " canonical form where the rows are the vectors that are compared.",
        rich_help_panel=ATTACK,
        show_default=False,
    ),
]
Sides = Annotated[
    str,
    typer.Option(
        "--side",
        metavar="NAME",
        help="Whose rows may move: both, users or items.",
        rich_help_panel=ATTACK,
        callback=one_of(SIDES),
    ),
]
SuiteName = Annotated[
    str | None,
    typer.Option(
        "--suite",
        metavar="NAME",
        help="Make a suite of attacks and keep the worst: standard (random, gradients, rankings,"
        " transfer, scores only; label-free and with held-out labels), or apr, the attack of the"
        " papers alone.",
        rich_help_panel=SUITE,
        show_default=False,
        callback=one_of(SUITES),
    ),
]
Grid = Annotated[
    bool,
    typer.Option(
        "--grid",
        metavar="",
        help="With --suite: also every objective with every labels in 1 and in 20 steps, at the"
        " largest budget.",
        rich_help_panel=SUITE,
    ),
]
SaveNoise = Annotated[
    Path | None,
    typer.Option(
        "--save-noise",
        metavar="FILE.npz",
        help="Write the worst noise of one run at one budget.",
        rich_help_panel=SUITE,
        show_default=False,
    ),
]
LoadNoise = Annotated[
    list[Path] | None,
    typer.Option(
        "--load-noise",
        metavar="FILE.npz",
        help="Check noise from a file for its budget and evaluate it, alone or in a suite. May be"
        " repeated.",
        rich_help_panel=SUITE,
        show_default=False,
        exists=True,
        dir_okay=False,
    ),
]
Promoted = Annotated[
    list[str] | None,
    typer.Option(
        "--promote",
        metavar="ITEM",
        help="Show these items to as many users as possible by moving their own rows. May be"
        " repeated, or hold commas.",
        rich_help_panel=GOAL,
        show_default=False,
    ),
]
Demoted = Annotated[
    list[str] | None,
    typer.Option(
        "--demote",
        metavar="ITEM",
        help="Show these items to as few users as possible.",
        rich_help_panel=GOAL,
        show_default=False,
    ),
]
Sites = Annotated[
    list[str] | None,
    typer.Option(
        "--site",
        metavar="NAME",
        help=with_default(
            "Where the noise is added; 'advrec models' lists each model's sites. May be repeated,"
            " or hold commas, for one attack after the other; all is every site.",
            "the model's first",
        ),
        rich_help_panel=ATTACK,
        show_default=False,
    ),
]
NormName = Annotated[
    str | None,
    typer.Option(
        "--norm",
        metavar="NAME",
        help=with_default("What has norm ε: row, joint or tensor.", "the site's first"),
        rich_help_panel=ATTACK,
        show_default=False,
        callback=one_of(NORMS),
    ),
]
Objective = Annotated[
    str | None,
    typer.Option(
        "--objective",
        metavar="NAME",
        help=with_default(
            "What adversarial noise raises: bpr is the model's own loss, in one step; ndcg the"
            " loss of NDCG at the first metric's K, in 20 steps; softmax is like ndcg in one step.",
            "bpr",
        ),
        rich_help_panel=ATTACK,
        show_default=False,
    ),
]
Labels = Annotated[
    str | None,
    typer.Option(
        "--labels",
        metavar="NAME",
        help=with_default(
            "What it takes as relevant: train, the training pairs; self, the model's own first item"
            " for each user; test, the held-out items, which no attacker knows.",
            "train for bpr, otherwise self",
        ),
        rich_help_panel=ATTACK,
        show_default=False,
        callback=one_of(LABELS),
    ),
]
Steps = Annotated[
    int | None,
    typer.Option(
        "--steps",
        metavar="N",
        help=with_default(
            "Gradient steps of adversarial noise; with bpr more than 1 is PGD, with every row"
            " projected back onto its ball.",
            "1, for ndcg 20",
        ),
        rich_help_panel=ATTACK,
        show_default=False,
    ),
]
Restarts = Annotated[
    int | None,
    typer.Option(
        "--restarts",
        metavar="N",
        help=with_default(
            "Number of starts, for ndcg and softmax of temperatures; the strongest noise is kept.",
            "1, for ndcg 4",
        ),
        rich_help_panel=ATTACK,
        show_default=False,
    ),
]
StepSize = Annotated[
    float | None,
    typer.Option(
        "--step-size",
        metavar="X",
        help=with_default("Length of a step, in the unit of ε.", "2.5·ε/steps"),
        rich_help_panel=ATTACK,
        show_default=False,
    ),
]
MetricNames = Annotated[
    list[str] | None,
    typer.Option(
        "--metric",
        metavar="NAME[@K]",
        help=with_default(
            "What to measure. May be repeated, or hold commas.",
            "the metric that chose the run's best epoch",
        ),
        rich_help_panel=MEASURE,
        show_default=False,
    ),
]
Plot = Annotated[
    Path | None,
    typer.Option(
        "--plot",
        metavar="FILE",
        help="Draw the metric over ε or ρ into a .png, .pdf or .svg.",
        rich_help_panel=OUTPUT,
        show_default=False,
    ),
]
