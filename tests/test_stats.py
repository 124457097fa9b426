"""Means with intervals, and paired comparisons, against scipy's own and against known figures."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from advrec.errors import UsageError
from advrec.report.stats import compare, summarize

SAMPLES = st.lists(st.floats(0, 1), min_size=2, max_size=8)
UNHURRIED = settings(deadline=None, max_examples=40)  # scipy permutes where there are ties


def test_the_interval_of_five_seeds_is_the_one_in_the_t_table() -> None:
    found = summarize([1.0, 2.0, 3.0, 4.0, 5.0])
    half = 2.7764451 * math.sqrt(2.5) / math.sqrt(5)  # t(4 degrees of freedom, 97.5 %)
    assert (found.mean, found.n) == (3.0, 5)
    assert found.std == pytest.approx(math.sqrt(2.5))
    assert (found.low, found.high) == pytest.approx((3 - half, 3 + half))
    assert str(found) == "3.0000 ± 1.9632 (95% interval, n = 5)"


@UNHURRIED
@given(st.lists(st.floats(0, 1), min_size=2, max_size=12, unique=True), st.floats(0.5, 0.99))
def test_the_interval_is_that_of_scipy(values: list[float], confidence: float) -> None:
    found = summarize(values, confidence=confidence)
    test = scipy_stats.ttest_1samp(values, 0.0).confidence_interval(confidence)
    assert (found.low, found.high) == pytest.approx((test.low, test.high), rel=1e-9, abs=1e-12)


def test_one_value_has_no_interval() -> None:
    found = summarize([0.25])
    assert (found.mean, found.n) == (0.25, 1)
    assert math.isnan(found.low)
    assert math.isnan(found.std)
    assert str(found) == "0.2500 (1 value)"


@UNHURRIED
@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)), min_size=3, max_size=8))
def test_p_values_are_those_of_scipy(pairs: list[tuple[int, int]]) -> None:
    first, second = np.array(pairs).T  # whole numbers: their differences have no rounding errors
    if np.ptp(first - second) == 0:
        return  # constant differences: tested below
    a, b = first / 10**6, second / 10**6
    found = compare(a, b)
    assert found.p_t == pytest.approx(scipy_stats.ttest_rel(a, b).pvalue, rel=1e-6)
    assert found.p_wilcoxon == pytest.approx(scipy_stats.wilcoxon(first - second).pvalue, rel=1e-9)
    assert found.effect == pytest.approx((a - b).mean() / (a - b).std(ddof=1), rel=1e-9)


@UNHURRIED
@given(SAMPLES, st.data())
def test_exchanging_a_and_b_changes_the_sign_only(first: list[float], data: st.DataObject) -> None:
    second = data.draw(st.lists(st.floats(0, 1), min_size=len(first), max_size=len(first)))
    one, other = compare(first, second), compare(second, first)
    assert one.difference == -other.difference
    assert one.effect == -other.effect
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low))
    assert one.p_t == other.p_t
    assert one.p_wilcoxon == pytest.approx(other.p_wilcoxon)


def test_the_relative_difference_is_over_b() -> None:
    found = compare([0.22, 0.22, 0.21], [0.2, 0.19, 0.21])
    assert found.relative == pytest.approx((0.65 - 0.6) / 0.6)
    assert math.isnan(compare([1.0, 2.0], [0.0, 0.0]).relative)


@UNHURRIED
@given(SAMPLES)
def test_no_difference_is_no_evidence(values: list[float]) -> None:
    found = compare(values, values)
    assert (found.difference, found.effect, found.p_t, found.p_wilcoxon) == (0.0, 0.0, 1.0, 1.0)


def test_the_same_difference_everywhere_is_not_divided_by_rounding_errors() -> None:
    b = np.array([0.1, 0.2, 0.3, 0.7, 0.9])
    found = compare(b + 0.1, b)
    assert found.effect == math.inf
    assert found.p_t == 0.0
    assert found.p_wilcoxon == pytest.approx(2 * 2**-5)  # the least that 5 pairs can give


def exact_wilcoxon(differences: list[int]) -> float:
    """The two-sided p from its definition: zeros left out, ranks of ties averaged, all signs."""
    kept = [d for d in differences if d]
    sizes = sorted(map(abs, kept))
    ranks = [(2 * sizes.index(abs(d)) + sizes.count(abs(d)) + 1) / 2 for d in kept]
    half = sum(ranks) / 2
    seen = abs(sum(r for r, d in zip(ranks, kept, strict=True) if d > 0) - half)
    sums = [
        sum(r for r, sign in zip(ranks, signs, strict=True) if sign)
        for signs in product((False, True), repeat=len(ranks))
    ]
    return sum(abs(total - half) >= seen for total in sums) / len(sums)


@pytest.mark.parametrize(
    "differences",
    [[1, 1, 1, -1, -1], [3, 3, -3, 1, 2], [0, 0, 2, 2, -1], [0, 5, 4, 4, 3, 3, 3, -1, 2]],
)
@pytest.mark.parametrize("unit", [0.1, 1 / 3, 1e-5, 1e7])
def test_ties_and_zeros_are_exact_whatever_rounding_makes_of_them(
    differences: list[int], unit: float
) -> None:
    b = np.arange(1, len(differences) + 1) * unit
    a = (np.arange(1, len(differences) + 1) + differences) * unit
    assert compare(a, b).p_wilcoxon == pytest.approx(exact_wilcoxon(differences), rel=1e-12)


def test_ties_that_rounding_has_broken_are_ties() -> None:
    assert compare([0.1, 0.2, 0.3, 0.4, 0.7], [0, 0.1, 0.3 - 0.1, 0.5, 0.8 - 1e-16]).p_wilcoxon == 1


def test_one_pair_has_no_test() -> None:
    found = compare([0.3], [0.2])
    assert found.difference == pytest.approx(0.1)
    assert all(math.isnan(x) for x in (found.p_t, found.p_wilcoxon, found.effect, found.low))


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        ([1.0, 2.0], [1.0], r"a and b must be pairs, got 2 values and 1"),
        ([], [], "at least one"),
        ([1.0, math.nan], [1.0, 2.0], "a must be finite numbers, got 1 that are not"),
        ([[1.0]], [[1.0]], "must be a list of at least one number"),
    ],
)
def test_what_cannot_be_compared_is_refused(a: list[float], b: list[float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        compare(a, b)


def test_wrong_questions_are_refused() -> None:
    with pytest.raises(UsageError, match="confidence"):
        summarize([1.0, 2.0], confidence=95)
