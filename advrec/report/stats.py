"""What a handful of seeds can tell: means with intervals, and paired comparisons.

Two questions, two functions. `summarize`: how high is this figure, and how certain is that?
`compare`: is A better than B, when both were measured on the same things (the same seeds, or the
same users)? Both treat the values as independent draws; users of one trained model are not
independent draws of *models*, so a test over users says nothing about another seed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from advrec.errors import UsageError

TIED: Final = 1e-12
"""Differences that agree to this share of the largest value are equal but for rounding errors."""


@dataclass(frozen=True)
class Summary:
    """A mean over n values. The spread and interval of a single value are unknown: NaN."""

    mean: float
    std: float  # of the sample, n − 1 in the denominator
    low: float  # the two ends of the interval
    high: float
    n: int
    confidence: float

    def __str__(self) -> str:
        if self.n == 1:
            return f"{self.mean:.4f} (1 value)"
        half = (self.high - self.low) / 2
        return f"{self.mean:.4f} ± {half:.4f} ({self.confidence:.0%} interval, n = {self.n})"


@dataclass(frozen=True)
class Comparison:
    """A against B, pair by pair; `difference` is mean(A − B), positive when A is higher."""

    a: float  # the two means
    b: float
    difference: float
    low: float  # the ends of the t-interval of the difference
    high: float
    relative: float  # difference / |mean of B|; NaN when that is 0
    effect: float  # Cohen's d_z: difference in units of the standard deviation of the differences
    p_t: float  # paired t-test, two-sided: the differences have mean 0
    p_wilcoxon: float  # Wilcoxon signed-rank test, two-sided: they are symmetric about 0
    n: int
    confidence: float


def summarize(values: ArrayLike, *, confidence: float = 0.95) -> Summary:
    """Mean, standard deviation and Student's t-interval of `values [n]`.

    Raises:
        UsageError: no values, a value that is not finite, or a confidence outside (0, 1).
    """
    sample = _sample(values, "values")
    _check_confidence(confidence)
    mean, std, half = _t_interval(sample, confidence)
    return Summary(mean, std, mean - half, mean + half, len(sample), confidence)


def compare(a: ArrayLike, b: ArrayLike, *, confidence: float = 0.95) -> Comparison:
    """Paired comparison of `a [n]` and `b [n]`: a[m] and b[m] belong to the same seed or user.

    The t-test asks about the mean and is the one to read for a few seeds. Wilcoxon's test asks
    about signed ranks and does not need normal differences, but with n pairs its p cannot be below
    2^(1−n); differences that are equal but for rounding errors are ties. If all differences are 0,
    p is 1; if all are equal, p_t is 0 and the effect is infinite. One pair alone cannot be
    tested: NaN.

    Raises:
        UsageError: lengths that differ, or values as in `summarize`.
    """
    from scipy import stats  # a second to import: only where it is needed

    first, second = _sample(a, "a"), _sample(b, "b")
    _check_confidence(confidence)
    if len(first) != len(second):
        raise UsageError(
            f"a and b must be pairs, got {len(first)} values and {len(second)}",
            hint="give both the same seeds, or the same users, in the same order",
        )
    differences = first - second
    n = len(differences)
    difference, std, half = _t_interval(differences, confidence)
    largest = float(np.abs([first, second]).max())
    rounding = 4 * float(np.finfo(np.float64).eps) * largest
    if n == 1:
        effect = p_t = p_wilcoxon = float("nan")
    elif float(np.abs(differences).max()) <= rounding:
        effect, p_t, p_wilcoxon = 0.0, 1.0, 1.0
    else:
        constant = std <= rounding  # dividing by it would be dividing by rounding errors
        effect = float(np.copysign(np.inf, difference)) if constant else difference / std
        p_t = float(2 * stats.t.sf(abs(effect) * np.sqrt(n), n - 1))
        whole = np.round(differences / largest / TIED)  # numbers that are equal where tied
        p_wilcoxon = float(stats.wilcoxon(whole, zero_method="wilcox").pvalue)
    base = float(second.mean())
    return Comparison(
        a=float(first.mean()),
        b=base,
        difference=difference,
        low=difference - half,
        high=difference + half,
        relative=difference / abs(base) if base else float("nan"),
        effect=effect,
        p_t=p_t,
        p_wilcoxon=p_wilcoxon,
        n=n,
        confidence=confidence,
    )


def holm(p: ArrayLike) -> NDArray[np.float64]:
    """p-values `[m]` of one family of tests, corrected by Holm's step-down method (Holm, 1979).

    The i-th smallest of m becomes the largest of (m − j + 1)·p_(j) over j ≤ i, at most 1. Rejecting
    what is below α keeps the chance of even one false rejection below α, however the tests depend
    on each other. NaN stays NaN and does not count as a test. UsageError outside [0, 1].
    """
    return _corrected(p, lambda sorted_p, m: np.maximum.accumulate((m - np.arange(m)) * sorted_p))


def benjamini_hochberg(p: ArrayLike) -> NDArray[np.float64]:
    """p-values `[m]` of one family of tests, corrected as Benjamini and Hochberg (1995) do.

    The i-th smallest of m becomes the smallest of m/j·p_(j) over j ≥ i. Rejecting what is below α
    keeps the expected share of false rejections among all rejections below α, for tests that are
    independent or positively dependent. NaN as for `holm`. UsageError outside [0, 1].
    """
    return _corrected(
        p,
        lambda sorted_p, m: np.minimum.accumulate((m / np.arange(1, m + 1) * sorted_p)[::-1])[::-1],
    )


def _corrected(
    p: ArrayLike, step: Callable[[NDArray[np.float64], int], NDArray[np.float64]]
) -> NDArray[np.float64]:
    """`step` on the sorted p-values that are numbers, brought back into the order given."""
    values = np.asarray(p, dtype=np.float64)
    tested = ~np.isnan(values)
    if values.ndim != 1 or ((values[tested] < 0) | (values[tested] > 1)).any():
        raise UsageError("p must be a list of numbers from 0 to 1, got others")
    corrected, own = np.full(len(values), np.nan), values[tested]
    order = np.argsort(own, kind="stable")
    moved = np.empty_like(own)
    moved[order] = np.minimum(step(own[order], len(own)), 1.0)
    corrected[tested] = moved
    return corrected


def _t_interval(sample: NDArray[np.float64], confidence: float) -> tuple[float, float, float]:
    """(mean, standard deviation, half the width of the t-interval of the mean)."""
    from scipy import stats

    n = len(sample)
    mean = float(sample.mean())
    if n == 1:
        return mean, float("nan"), float("nan")
    std = float(sample.std(ddof=1))
    half = float(stats.t.ppf((1 + confidence) / 2, n - 1)) * std / float(np.sqrt(n))
    return mean, std, half


def _sample(values: ArrayLike, name: str) -> NDArray[np.float64]:
    sample = np.asarray(values, dtype=np.float64)
    if sample.ndim != 1 or not len(sample):
        raise UsageError(
            f"{name} must be a list of at least one number, got an array of shape {sample.shape}"
        )
    if not np.isfinite(sample).all():
        raise UsageError(
            f"{name} must be finite numbers, got {int((~np.isfinite(sample)).sum())} that are not",
            hint="leave out users without relevant items before comparing",
        )
    return sample


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise UsageError(f"confidence must be between 0 and 1, got {confidence}")
