"""Flags: signs in a suite's own figures that one of them misleads, as AutoAttack raises them.

Each says when it is raised, what that means and what to do. `raised` reads the figures of one suite
(`Evidence`), `raised_between` several models that stand in one table (`Facts`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

SLACK: Final = 1e-9
"""Figures closer than this are equal."""

HELPED: Final = 0.01
"""Of the clean figure: what a larger budget may give back, or random noise take more, unsaid."""

ZERO_ROWS: Final = 0.01
LEFT_BEYOND: Final = 0.001
RAW_DIFFERS: Final = 0.1
NORM_GROWTH: Final = 1.1
SEEDS: Final = 3

RANKING, SATURATING = "ranking, test", "softmax, test, 1 step"
RANDOM = "random, 3 draws"
BLACK_BOX = ("transfer from a surrogate", "scores only")


@dataclass(frozen=True)
class Evidence:
    """The figures of one suite that flags are read from; what is None was not measured."""

    metric: str
    unit: str  # "eps" or "rho"
    clean: float
    figures: tuple[tuple[float, Mapping[str, float]], ...]  # size → member → metric, ascending
    knowledge: Mapping[str, str]  # member → "label_free" or "oracle"
    violations: int | None = None  # users with less than is certified
    zero_share: float | None = None  # of live rows, without a gradient at the start
    beyond: float | None = None  # the metric at 100 times the mean row norm
    row_norm: float = 0.0
    stored: Mapping[str, float] | None = None  # "canonical" and "as_stored"
    floored: bool = False


@dataclass(frozen=True)
class Facts:
    """What a table that compares trainings knows of each model in it."""

    name: str
    model: str
    adversarial: bool
    epochs: int  # of all trainings that led to it
    seed: int
    row_norm: float


@dataclass(frozen=True)
class Flag:
    """What it means and what to do; when it is raised is a function that gives sentences."""

    means: str
    do: str


def raised(evidence: Evidence) -> list[dict[str, str]]:
    """Every flag that one suite raises, as plain data: name, raised, means, do."""
    return [
        _entry(name, sentence)
        for name, check in CHECKS.items()
        for sentence in list(check(evidence))[:1]
    ]


def raised_between(facts: Sequence[Facts], unit: str) -> dict[str, list[dict[str, str]]]:
    """The flags of comparisons, by the name of the defended model. `unit` is that of the budget."""
    found_of: dict[str, list[dict[str, str]]] = {}
    for defended in facts:
        if not defended.adversarial:
            continue
        controls = [one for one in facts if not one.adversarial and one.model == defended.model]
        sentences = [
            *(("norm growth", text) for text in _grown(defended, controls, unit)),
            *(("undertrained control", text) for text in _undertrained(defended, controls)),
            *(("fewer than three seeds", text) for text in _few(defended, facts)),
        ]
        found_of[defended.name] = [_entry(name, text) for name, text in sentences]
    return found_of


def _entry(name: str, sentence: str) -> dict[str, str]:
    flag = FLAGS[name]
    return {"name": name, "raised": sentence, "means": flag.means, "do": flag.do}


# -- of one suite ----------------------------------------------------------------------------------


def _broken(evidence: Evidence) -> Iterator[str]:
    if evidence.violations:
        yield f"An attack left {evidence.violations} users with less than is certified."


def _ranking_outdone(evidence: Evidence) -> Iterator[str]:
    for size, values in evidence.figures:
        if RANKING in values and values[RANKING] > values.get(SATURATING, 1e9) + SLACK:
            yield f"At {_size(evidence, size)} one step of the saturating softmax takes more."


def _below_random(evidence: Evidence) -> Iterator[str]:
    more = HELPED * evidence.clean
    for size, values in evidence.figures:
        for name, value in values.items():
            if RANDOM in values and name != RANDOM and value > values[RANDOM] + more:
                yield f"At {_size(evidence, size)} random noise takes more than '{name}'."


def _helped(evidence: Evidence) -> Iterator[str]:
    before: dict[str, tuple[float, float]] = {}
    for size, values in evidence.figures:
        for name, value in values.items():
            if name in before and value > before[name][1] + HELPED * evidence.clean:
                smaller = _size(evidence, before[name][0])
                yield f"'{name}' takes less at {_size(evidence, size)} than at {smaller}."
            before[name] = size, value


def _zero(evidence: Evidence) -> Iterator[str]:
    share = evidence.zero_share
    if share is not None and share > ZERO_ROWS:
        yield f"{share:.1%} of the live rows have a gradient of exactly 0 without noise."


def _black_box(evidence: Evidence) -> Iterator[str]:
    for size, values in evidence.figures:
        white = [
            value
            for name, value in values.items()
            if evidence.knowledge.get(name) == "label_free" and name not in (*BLACK_BOX, RANDOM)
        ]
        for name in BLACK_BOX:
            if white and name in values and values[name] < min(white) - SLACK:
                yield f"At {_size(evidence, size)} '{name}' takes more than any gradient."


def _left(evidence: Evidence) -> Iterator[str]:
    left = evidence.beyond
    if left is not None and left > LEFT_BEYOND * evidence.clean:
        yield (
            f"Noise of 100 times the mean row norm leaves {left:.4f} of {evidence.metric}, clean"
            f" {evidence.clean:.4f}."
        )


def _outweighs(evidence: Evidence) -> Iterator[str]:
    for size, _ in evidence.figures:
        if evidence.unit == "eps" and size >= evidence.row_norm:
            yield f"ε = {size:g} is not less than the mean row norm, {evidence.row_norm:.3g}."


def _raw(evidence: Evidence) -> Iterator[str]:
    if evidence.stored is None:
        return
    one, other = (evidence.clean - evidence.stored[name] for name in ("canonical", "as_stored"))
    if abs(one - other) > RAW_DIFFERS * max(abs(one), abs(other)):
        yield (
            f"At {_size(evidence, evidence.stored['rho'])} the saturating softmax leaves"
            f" {evidence.stored['canonical']:.4f} in canonical form and"
            f" {evidence.stored['as_stored']:.4f} by the norms as stored."
        )


def _floored(evidence: Evidence) -> Iterator[str]:
    if evidence.floored:
        yield "There are too few users or directions for the canonical form."


CHECKS: Final[Mapping[str, Callable[[Evidence], Iterator[str]]]] = {
    "certified above attacked": _broken,
    "ranking attack outdone": _ranking_outdone,
    "weaker than random": _below_random,
    "larger budget helps": _helped,
    "zero gradients": _zero,
    "black box beats white box": _black_box,
    "left at 100 times the norm": _left,
    "budget above the norms": _outweighs,
    "norms as stored differ": _raw,
    "canonical form floored": _floored,
}
"""Flags of one suite, by name."""


# -- between trainings -----------------------------------------------------------------------------


def _grown(defended: Facts, controls: Sequence[Facts], unit: str) -> Iterator[str]:
    if unit == "eps" and controls:
        control = max(controls, key=lambda one: one.epochs)
        if defended.row_norm > NORM_GROWTH * control.row_norm:
            yield (
                f"Its mean row norm is {defended.row_norm / control.row_norm:.2f} times that of"
                f" {control.name}, and the budget is absolute."
            )


def _undertrained(defended: Facts, controls: Sequence[Facts]) -> Iterator[str]:
    longest = max((control.epochs for control in controls), default=0)
    if longest < defended.epochs:
        yield (
            f"It was trained for {defended.epochs} epochs in all, the longest without adversarial"
            f" training for {longest}."
        )


def _few(defended: Facts, facts: Sequence[Facts]) -> Iterator[str]:
    seeds = {one.seed for one in facts if one.adversarial and one.model == defended.model}
    if len(seeds) < SEEDS:
        yield f"{len(seeds)} seed{'s' * (len(seeds) > 1)} of this training."


def _size(evidence: Evidence, size: float) -> str:
    return f"ρ = {100 * size:.4g} %" if evidence.unit == "rho" else f"ε = {size:.4g}"


FLAGS: Final[Mapping[str, Flag]] = {
    "certified above attacked": Flag(
        "A proof and a measurement contradict each other: this is a bug in advrec.",
        "Please report it with this output.",
    ),
    "ranking attack outdone": Flag(
        "The strongest kind of attack did not find what a simpler one found.",
        "Expect the truth to be worse than the attacked figure.",
    ),
    "weaker than random": Flag(
        "The gradient does not lead where the ranking breaks: it may be masked.",
        "Rely on the worst of all members and on the certified figure.",
    ),
    "larger budget helps": Flag(
        "That attack has lost its way at the larger budget.",
        "The headlines take the worst of all smaller budgets, so they still hold.",
    ),
    "zero gradients": Flag(
        "Attacks by gradients cannot see these rows: scores may be so large that the loss is flat.",
        "Compare with the attacks that see scores only, and with relative budgets.",
    ),
    "black box beats white box": Flag(
        "An attack that sees less does more: the gradient is masked.",
        "Do not read the attacked figures as robustness; see the certified ones.",
    ),
    "left at 100 times the norm": Flag(
        "Noise that outweighs everything must leave nothing: the attack does not work here.",
        "Do not read the attacked figures as robustness.",
    ),
    "budget above the norms": Flag(
        "Noise of this size replaces the rows instead of perturbing them.",
        "Compare by relative budgets: --rho 1%,5%,20%.",
    ),
    "norms as stored differ": Flag(
        "The figure depends on how the vectors happen to be scaled.",
        "Use the canonical one, which no change of basis or scale alters.",
    ),
    "canonical form floored": Flag(
        "Small eigenvalues of a covariance were raised to make it invertible.",
        "Relative budgets are approximate in those directions.",
    ),
    "norm growth": Flag(
        "Longer vectors alone lower the effect of an absolute ε: part of the gain is that.",
        "Compare by relative budgets: --rho 1%,5%,20%.",
    ),
    "undertrained control": Flag(
        "More epochs alone change accuracy and robustness.",
        "Compare with a control of equal epochs: advrec study has one.",
    ),
    "fewer than three seeds": Flag(
        "Trainings with other seeds may differ as much as two kinds of training do.",
        "Train three or more: advrec study --seeds.",
    ),
}
"""What every flag means and what to do, by name."""
