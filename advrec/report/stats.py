"""What a handful of seeds can tell: means with intervals, and paired comparisons.

Two questions, two functions. `summarize`: how high is this figure, and how sure is that.
`compare`: is A better than B, when both were measured on the same things (the same seeds, or the
same users). Both treat the values as independent draws; users of one trained model are not
independent draws of *models*, so a test over users says nothing about another seed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from advrec.errors import UsageError


@dataclass(frozen=True)
class Summary:
    """A mean over n values. Spread and interval are NaN for a single value: nothing is known."""

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

    The t-test asks about the mean and is the one to read for a few seeds; Wilcoxon asks about
    signed ranks, needs no normal differences, but with n pairs cannot give a p below 2^(1−n).
    No difference anywhere is p = 1; the same difference everywhere has p_t = 0 and an infinite
    effect. One pair alone has no test: NaN.

    Raises:
        UsageError: lengths that differ, or values as in `summarize`.
    """
    from scipy import stats  # a second to import: only where it is needed

    first, second = _sample(a, "a"), _sample(b, "b")
    _check_confidence(confidence)
    if len(first) != len(second):
        raise UsageError(
            f"A paired comparison needs pairs, but a has {len(first)} values and b {len(second)}.",
            hint="Give both the same seeds, or the same users, in the same order.",
        )
    differences = first - second
    n = len(differences)
    difference, std, half = _t_interval(differences, confidence)
    rounding = 4 * float(np.finfo(np.float64).eps * np.abs([first, second]).max())
    if n == 1:
        effect = p_t = p_wilcoxon = float("nan")
    elif float(np.abs(differences).max()) <= rounding:
        effect, p_t, p_wilcoxon = 0.0, 1.0, 1.0
    else:
        constant = std <= rounding  # to divide by it would be to divide by rounding errors
        effect = float(np.copysign(np.inf, difference)) if constant else difference / std
        p_t = float(2 * stats.t.sf(abs(effect) * np.sqrt(n), n - 1))
        p_wilcoxon = float(stats.wilcoxon(differences, zero_method="wilcox").pvalue)
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
        raise UsageError(f"{name} must be a list of at least one number, not {sample.shape}.")
    if not np.isfinite(sample).all():
        raise UsageError(
            f"{name} holds {int((~np.isfinite(sample)).sum())} values that are not finite numbers.",
            hint="Leave out users without relevant items before comparing.",
        )
    return sample


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise UsageError(f"The confidence must lie between 0 and 1, not at {confidence}.")
