"""The results in sentences, computed: where adversarial training helps and where it does not."""

from __future__ import annotations

import math
from collections.abc import Sequence

from advrec.report.stats import Comparison
from advrec.study.results import LEVEL, Attack, Line, Test

OPPONENTS = {
    "continued": "the same training without an adversary for as many epochs in all",
    "restarted": "the same, but from the best epoch of the pretraining and with a fresh optimiser, "
    "as adversarial training has it",
    "pretrained": "before adversarial training",
}
OUTCOMES = {
    "helps": "it helps",
    "hurts": "**it hurts**",
    "no difference": "**no difference can be told**",
    "untested": "one seed alone tests nothing",
}

LEGEND = (
    "Differences are paired by seed, with their 95 % t-interval; helps and hurts mean p < "
    f"{LEVEL:g} in a two-sided paired t-test, not corrected for the number of tests; the table has "
    "p-values corrected by Holm and by Benjamini–Hochberg as well. Every training is measured at "
    "its best validation epoch, on the test part."
)


def conclusion(tests: Sequence[Test]) -> list[str]:
    """Where it helps and where it does not: one sentence per opponent, clean and under noise."""
    written = []
    for title, attacked in (("Without noise", False), ("Under adversarial noise", True)):
        for kind, about in OPPONENTS.items():
            chosen = [
                test
                for test in tests
                if test.against.kind == kind and (test.attack is not None) is attacked
            ]
            if chosen:
                written.append(f"**{title}, against {kind}** ({about}): {_tally(chosen)}")
    return written


def sentences(tests: Sequence[Test]) -> list[str]:
    """For each data set, model and adversarial training: its effect clean and under noise."""
    written = []
    for line in {test.line.label: test.line for test in tests}.values():
        own = [test for test in tests if test.line is line]
        written.append(_clean([test for test in own if test.attack is None]))
        attacked = [(test, test.attack) for test in own if test.attack is not None]
        for site in dict.fromkeys(attack.site for _, attack in attacked):
            written.append(_attacked([pair for pair in attacked if pair[1].site == site]))
    return written


def difference(comparison: Comparison) -> str:
    """`+0.0105 [+0.0080, +0.0130], p = 0.0003`; without an interval for one seed."""
    text = f"{comparison.difference:+.4f}"
    if math.isnan(comparison.p_t):
        return text
    p = "p < 0.0001" if comparison.p_t < 0.0001 else f"p = {comparison.p_t:.2g}"
    return f"{text} [{comparison.low:+.4f}, {comparison.high:+.4f}], {p}"


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
        if chosen := groups.get(verdict):
            text += f" {words}: {'; '.join(_named(chosen))}."
    return text


def _named(tests: Sequence[Test]) -> list[str]:
    """`debian / MF / APR (ego ε 0.5/1)`: each line once, with its sites and their ε."""
    lines: dict[str, dict[str, list[str]]] = {}
    for test in tests:
        sites = lines.setdefault(test.line.label, {})
        if test.attack is not None:
            sites.setdefault(test.attack.site, []).append(f"{test.attack.eps:g}")
    named = []
    for label, sites in lines.items():
        at = ", ".join(f"{site} ε {'/'.join(eps)}" for site, eps in sites.items())
        named.append(f"{label} ({at})" if at else label)
    return named


def _clean(tests: Sequence[Test]) -> str:
    """All opponents of a line, clean."""
    first = tests[0]
    comparisons = [
        f"{test.against.training} {test.comparison.b:.4f}: {difference(test.comparison)}, "
        f"{OUTCOMES[test.verdict]}"
        for test in tests
    ]
    return (
        f"**{first.line.label}, without noise**: {first.metric} {first.comparison.a:.4f}. Against "
        f"{'. Against '.join(comparisons)}."
    )


def _attacked(pairs: Sequence[tuple[Test, Attack]]) -> str:
    """Shares lost by a line and all its opponents at one site, and the tests against the first."""
    first, attack = pairs[0]
    opponents = list({test.against.label: test.against for test, _ in pairs}.values())
    attacks = list(dict.fromkeys(attack for _, attack in pairs))
    budgets = ", ".join(f"{attack.eps:g}" for attack in attacks)
    shares = "; ".join(
        f"of {opponent.training} {_shares(opponent, first.metric, attacks)}"
        for opponent in opponents
    )
    steps = "; ".join(
        f"at {attack.eps:g} {difference(test.comparison)}, {OUTCOMES[test.verdict]}"
        for test, attack in pairs
        if test.against is opponents[0]
    )
    return (
        f"**{first.line.label}, adversarial noise at {attack.site}**, ε = {budgets}: it takes "
        f"{_shares(first.line, first.metric, attacks)} of {first.metric}; {shares}. "
        f"What is left, against {opponents[0].training}: {steps}."
    )


def _shares(line: Line, metric: str, attacks: Sequence[Attack]) -> str:
    lost = [line.lost(metric, attack) for attack in attacks]
    return ", ".join("–" if share is None else f"{100 * share.mean:.0f}" for share in lost) + " %"
