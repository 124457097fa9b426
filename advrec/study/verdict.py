"""The results in sentences, computed: where adversarial training helps, and where it does not."""

from __future__ import annotations

import math
from collections.abc import Sequence

from advrec.stats import Comparison
from advrec.study.results import LEVEL, Line, Noise, Test

CALLED = {
    "pretrained": "the pretrained model",
    "continued": "the same training without an adversary for as many epochs",
    "restarted": "the same without an adversary, its optimiser fresh too",
}
SAID = {
    "helps": "it helps",
    "hurts": "**it hurts**",
    "no difference": "**no difference can be told**",
    "untested": "one seed alone: no test",
}


def sentences(tests: Sequence[Test]) -> list[str]:
    """For each data set, model and adversarial training: what it does clean, and under noise.

    Compared with the first control where there is one, else with the pretrained model.
    """
    said = []
    for line in _lines(tests):
        own = [test for test in tests if test.line is line]
        reference = own[0].against
        first = [test for test in own if test.against is reference]
        said.append(f"{line.label}. {_clean(first[0])} {_noisy(first[1:])}".rstrip())
    return said


def conclusion(tests: Sequence[Test]) -> list[str]:
    """Where it helps, hurts, or nothing can be told: one sentence for clean, one for noise."""
    said = []
    for what, chosen in (
        ("without noise", [test for test in _primary(tests) if test.noise is None]),
        ("under adversarial noise", [test for test in _primary(tests) if test.noise is not None]),
    ):
        verdicts: dict[str, list[str]] = {}
        for test in chosen:
            at = "" if test.noise is None else f" (ε = {test.noise.eps:g})"
            verdicts.setdefault(test.verdict, []).append(test.line.label + at)
        total = len(chosen)
        if not total:
            continue
        helped = len(verdicts.get("helps", []))
        text = f"Adversarial training helps {what} in {helped} of {total} comparisons."
        if labels := verdicts.get("hurts"):
            text += f" **It hurts**: {'; '.join(labels)}."
        if labels := verdicts.get("no difference"):
            text += f" **It does not help** (no difference can be told): {'; '.join(labels)}."
        if labels := verdicts.get("untested"):
            text += f" With one seed there is no test: {'; '.join(labels)}."
        said.append(text)
    return said


def difference(comparison: Comparison) -> str:
    """`+0.0105 [+0.0080, +0.0130], p = 0.0003`; without an interval for one seed."""
    text = f"{comparison.difference:+.4f}"
    if math.isnan(comparison.p_t):
        return text
    return f"{text} [{comparison.low:+.4f}, {comparison.high:+.4f}], {_p(comparison.p_t)}"


def _clean(test: Test) -> str:
    found = test.comparison
    return (
        f"Without noise {test.metric} is {found.a:.4f} against {found.b:.4f} of "
        f"{CALLED[test.against.kind]}: {difference(found)}; {SAID[test.verdict]}."
    )


def _noisy(tests: Sequence[Test]) -> str:
    """All adversarial noises of a line, site by site."""
    said = []
    for site in dict.fromkeys(test.noise.site for test in tests if test.noise is not None):
        here = [(test, test.noise) for test in tests if test.noise and test.noise.site == site]
        budgets = "/".join(f"{noise.eps:g}" for _, noise in here)
        line, against = here[0][0].line, here[0][0].against
        metric = here[0][0].metric
        shares = [_shares(one, metric, [noise for _, noise in here]) for one in (line, against)]
        differences = "; ".join(difference(test.comparison) for test, _ in here)
        verdicts = [test.verdict for test, _ in here]
        if len(set(verdicts)) == 1:
            conclusion = SAID[verdicts[0]] + (" at each" if len(here) > 1 else "")
        else:
            conclusion = ", ".join(
                f"{SAID[verdict]} at {noise.eps:g}"
                for verdict, (_, noise) in zip(verdicts, here, strict=True)
            )
        said.append(
            f"Adversarial noise of ε = {budgets} at {site} takes {shares[0]} of it, there "
            f"{shares[1]}; what is left differs by {differences}: {conclusion}."
        )
    return " ".join(said)


def _shares(line: Line, metric: str, noises: Sequence[Noise]) -> str:
    lost = [line.lost(metric, noise) for noise in noises]
    return "/".join("–" if found is None else f"{100 * found.mean:.0f}" for found in lost) + " %"


def _primary(tests: Sequence[Test]) -> list[Test]:
    """The tests against each line's first opponent."""
    first = {line.label: next(t.against for t in tests if t.line is line) for line in _lines(tests)}
    return [test for test in tests if first[test.line.label] is test.against]


def _lines(tests: Sequence[Test]) -> list[Line]:
    return list({test.line.label: test.line for test in tests}.values())


def _p(value: float) -> str:
    return "p < 0.0001" if value < 0.0001 else f"p = {value:.2g}"


LEGEND = (
    f"Differences are paired by seed, with their 95 % t-interval; helps and hurts: paired t-test, "
    f"two-sided, p < {LEVEL:g}, not corrected for the number of tests. Each training is measured at "
    "its best validation epoch, on the test part."
)
