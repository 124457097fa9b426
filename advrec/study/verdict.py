"""The results in sentences, computed: where adversarial training helps, and where it does not."""

from __future__ import annotations

import math
from collections.abc import Sequence

from advrec.report.stats import Comparison
from advrec.study.results import LEVEL, Line, Noise, Test

OPPONENTS = {
    "continued": "the same training without an adversary for as many epochs in all",
    "restarted": "the same, but from the best epoch of the pretraining and with a fresh optimiser, "
    "as adversarial training has it",
    "pretrained": "before adversarial training",
}
SAID = {
    "helps": "it helps",
    "hurts": "**it hurts**",
    "no difference": "**no difference can be told**",
    "untested": "one seed alone tests nothing",
}

LEGEND = (
    "Differences are paired by seed, with their 95 % t-interval; helps and hurts mean p < "
    f"{LEVEL:g} in a two-sided paired t-test, not corrected for the number of tests. Every "
    "training is measured at its best validation epoch, on the test part."
)


def conclusion(tests: Sequence[Test]) -> list[str]:
    """Where it helps and where it does not: a sentence for each opponent, clean and under noise."""
    said = []
    for title, noisy in (("Without noise", False), ("Under adversarial noise", True)):
        for kind, about in OPPONENTS.items():
            chosen = [
                test
                for test in tests
                if test.against.kind == kind and (test.noise is not None) is noisy
            ]
            if chosen:
                said.append(f"**{title}, against {kind}** ({about}): {_tally(chosen)}")
    return said


def sentences(tests: Sequence[Test]) -> list[str]:
    """For each data set, model and adversarial training: what it does clean, and under noise."""
    said = []
    for line in {test.line.label: test.line for test in tests}.values():
        own = [test for test in tests if test.line is line]
        said.append(_clean([test for test in own if test.noise is None]))
        noisy = [(test, test.noise) for test in own if test.noise is not None]
        for site in dict.fromkeys(noise.site for _, noise in noisy):
            said.append(_noisy([pair for pair in noisy if pair[1].site == site]))
    return said


def difference(found: Comparison) -> str:
    """`+0.0105 [+0.0080, +0.0130], p = 0.0003`; without an interval for one seed."""
    text = f"{found.difference:+.4f}"
    if math.isnan(found.p_t):
        return text
    p = "p < 0.0001" if found.p_t < 0.0001 else f"p = {found.p_t:.2g}"
    return f"{text} [{found.low:+.4f}, {found.high:+.4f}], {p}"


def _tally(tests: Sequence[Test]) -> str:
    """`it helps in 2 of 3. **It does not help**: …`"""
    groups: dict[str, list[Test]] = {}
    for test in tests:
        groups.setdefault(test.verdict, []).append(test)
    if set(groups) == {"untested"}:
        return "one seed alone tests nothing."
    text = f"adversarial training helps in {len(groups.get('helps', []))} of {len(tests)} cases."
    for verdict, words in (
        ("hurts", "**It hurts**"),
        ("no difference", "**It does not help**, no difference can be told"),
        ("untested", "One seed alone tests nothing"),
    ):
        if found := groups.get(verdict):
            text += f" {words}: {'; '.join(_named(found))}."
    return text


def _named(tests: Sequence[Test]) -> list[str]:
    """`debian / MF / APR (ego ε 0.5/1)`: each line once, with its sites and their ε."""
    lines: dict[str, dict[str, list[str]]] = {}
    for test in tests:
        sites = lines.setdefault(test.line.label, {})
        if test.noise is not None:
            sites.setdefault(test.noise.site, []).append(f"{test.noise.eps:g}")
    named = []
    for label, sites in lines.items():
        at = ", ".join(f"{site} ε {'/'.join(eps)}" for site, eps in sites.items())
        named.append(f"{label} ({at})" if at else label)
    return named


def _clean(tests: Sequence[Test]) -> str:
    """All opponents of a line, clean."""
    first = tests[0]
    said = [
        f"{test.against.training} {test.comparison.b:.4f}: {difference(test.comparison)}, "
        f"{SAID[test.verdict]}"
        for test in tests
    ]
    return (
        f"**{first.line.label}, without noise**: {first.metric} {first.comparison.a:.4f}. Against "
        f"{'. Against '.join(said)}."
    )


def _noisy(pairs: Sequence[tuple[Test, Noise]]) -> str:
    """Shares lost of a line and all its opponents at one site, and the tests against the first."""
    first, noise = pairs[0]
    opponents = list({test.against.label: test.against for test, _ in pairs}.values())
    noises = list(dict.fromkeys(noise for _, noise in pairs))
    budgets = ", ".join(f"{noise.eps:g}" for noise in noises)
    shares = "; ".join(
        f"of {opponent.training} {_shares(opponent, first.metric, noises)}"
        for opponent in opponents
    )
    steps = "; ".join(
        f"at {noise.eps:g} {difference(test.comparison)}, {SAID[test.verdict]}"
        for test, noise in pairs
        if test.against is opponents[0]
    )
    return (
        f"**{first.line.label}, adversarial noise at {noise.site}**, ε = {budgets}: it takes "
        f"{_shares(first.line, first.metric, noises)} of {first.metric}; {shares}. "
        f"What is left, against {opponents[0].training}: {steps}."
    )


def _shares(line: Line, metric: str, noises: Sequence[Noise]) -> str:
    lost = [line.lost(metric, noise) for noise in noises]
    return ", ".join("–" if found is None else f"{100 * found.mean:.0f}" for found in lost) + " %"
