"""Flags: signs in an audit's own figures that one of them misleads."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

Document = Mapping[str, Any]

RAW_DIFFERS: Final = 0.1


@dataclass(frozen=True)
class Flag:
    """When it is raised (a sentence for each place), what that means and what to do."""

    raised: Callable[[Document, str], Iterator[str]]
    means: str
    do: str


def flags(subject: Document, metric: str) -> list[dict[str, str]]:
    """Every flag that the figures of a model raise, as plain data."""
    return [
        {"name": name, "raised": sentence, "means": flag.means, "do": flag.do}
        for name, flag in FLAGS.items()
        for sentence in list(flag.raised(subject, metric))[:1]
    ]


def _broken(subject: Document, metric: str) -> Iterator[str]:
    del metric
    count = subject["certificate"].get("violations")
    if count:
        yield f"An attack left {count} users with less than is certified."


def _random(subject: Document, metric: str) -> Iterator[str]:
    del metric
    least: dict[tuple[str, float], dict[str, float]] = {}
    for member in subject["members"]:
        known = least.setdefault((member["budget"], member["size"]), {})
        name = member["knowledge"]
        known[name] = min(member["value"], known.get(name, math.inf))
    for (kind, size), values in least.items():
        for name in ("label_free", "oracle"):
            if name in values and values.get("random", math.inf) < values[name]:
                yield f"At {_size(kind, size)} random noise takes more than {_WORD[name]} attacks."


def _weaker(subject: Document, metric: str) -> Iterator[str]:
    """By each single attack: the worst of all never helps, since smaller noise fits, too."""
    last: dict[tuple[str, str], tuple[float, float]] = {}
    clean = subject["clean"][metric]
    for member in sorted(subject["members"], key=lambda member: member["size"]):
        if member["knowledge"] == "random":
            continue
        key = member["budget"], member["name"]
        if key in last and member["value"] > last[key][1] + 0.01 * clean:
            yield (
                f"'{member['name']}' takes less at {_size(member['budget'], member['size'])} than"
                f" at {_size(member['budget'], last[key][0])}."
            )
        last[key] = member["size"], member["value"]


def _objective(subject: Document, metric: str) -> Iterator[str]:
    """The attack on the ranking itself should be the strongest."""
    del metric
    for knowledge in ("label_free", "oracle"):
        best: dict[tuple[str, float], dict[str, float]] = {}
        for member in subject["members"]:
            if member["knowledge"] == knowledge:
                name = member["name"].partition(" ")[0]
                best.setdefault((member["budget"], member["size"]), {})[name] = member["value"]
        for (kind, size), values in best.items():
            if "NDCG" in values and values["NDCG"] > min(values.values()) * 1.02 + 1e-4:
                yield (
                    f"At {_size(kind, size)} an attack of one step takes more than several on NDCG."
                )


def _outweighs(subject: Document, metric: str) -> Iterator[str]:
    del metric
    mean = subject["row_norm"]
    for point in subject["eps"]:
        if mean and point["budget"] >= mean:
            yield f"ε {point['budget']:g} is more than the mean row norm, {mean:.3g}."
            return


def _raw(subject: Document, metric: str) -> Iterator[str]:
    clean = subject["clean"][metric]
    for point in subject["rho"]:
        one, other = point.get("certified"), point.get("certified_raw")
        if one is None or other is None or max(one, other) < 0.05 * clean:
            continue
        if abs(one - other) > RAW_DIFFERS * max(one, other):
            yield (
                f"At {_size('rho', point['budget'])} the certified figure is {one:.3f} in canonical"
                f" form and {other:.3f} by the norms as stored."
            )


def _floored(subject: Document, metric: str) -> Iterator[str]:
    del metric
    if subject["certificate"].get("floored"):
        yield "There are too few users or directions for the canonical form."


def _quick(subject: Document, metric: str) -> Iterator[str]:
    del metric
    if subject["quick"]:
        yield "Only attacks of one step were made."


def _seeds(subject: Document, metric: str) -> Iterator[str]:
    del metric
    if subject["trained"] == "adversarial":
        yield "One seed of an adversarially trained model."


_WORD = {"label_free": "label-free", "oracle": "oracle"}


def _size(kind: str, size: float) -> str:
    return f"ρ = {100 * size:g} %" if kind == "rho" else f"ε = {size:g}"


FLAGS: Final[Mapping[str, Flag]] = {
    "certified above attacked": Flag(
        _broken,
        "A proof and a measurement contradict each other: this is a bug in advrec.",
        "Please report it with this file.",
    ),
    "weaker than random": Flag(
        _random,
        "The gradient does not lead where the ranking breaks: the attack is masked.",
        "Do not read the attacked figures as robustness; see the certified ones.",
    ),
    "larger budget, smaller loss": Flag(
        _weaker,
        "That attack has lost its way at the larger budget.",
        "The headline takes the strongest noise of any smaller budget, so it still holds.",
    ),
    "ranking attack outdone": Flag(
        _objective,
        "The strongest kind of attack did not find what a simpler one found.",
        "Expect the truth to be worse than the attacked figure.",
    ),
    "budget above the norms": Flag(
        _outweighs,
        "Noise of this size replaces the vectors instead of perturbing them.",
        "Compare models by relative budgets.",
    ),
    "norms as stored mislead": Flag(
        _raw,
        "The figure depends on how the vectors happen to be scaled.",
        "Use the canonical one.",
    ),
    "canonical form floored": Flag(
        _floored,
        "Small eigenvalues of a covariance were raised to make it invertible.",
        "Relative budgets are then approximate in those directions.",
    ),
    "quick": Flag(
        _quick,
        "Attacks of several steps take more.",
        "Make the audit without --quick before relying on the attacked figures.",
    ),
    "one seed": Flag(
        _seeds,
        "What training with another seed gives may differ as much as two trainings do.",
        "advrec study compares trainings over seeds, with a control of equal epochs.",
    ),
}
"""Every flag that is checked, by name."""
