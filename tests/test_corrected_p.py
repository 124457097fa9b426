"""Corrections of p-values for the number of tests, against values worked out by hand."""

import numpy as np
import pytest

from advrec.errors import UsageError
from advrec.report.stats import benjamini_hochberg, holm

P = [0.01, 0.04, 0.03, 0.005]


def test_holm_by_hand() -> None:
    # sorted .005 .01 .03 .04, times 4 3 2 1: .02 .03 .06 .04, and never less than the one before
    assert holm(P) == pytest.approx([0.03, 0.06, 0.06, 0.02], rel=1e-15)


def test_benjamini_hochberg_by_hand() -> None:
    # sorted .005 .01 .03 .04, times 4/1 4/2 4/3 4/4: .02 .02 .04 .04
    assert benjamini_hochberg(P) == pytest.approx([0.02, 0.04, 0.04, 0.02], rel=1e-15)


def test_the_smaller_of_two_out_of_order_counts() -> None:
    # sorted .01 .04 .041, times 3/1 3/2 3/3: .03 .06 .041, and never more than the one after
    assert benjamini_hochberg([0.041, 0.01, 0.04]) == pytest.approx([0.041, 0.03, 0.041], rel=1e-15)


def test_at_most_one_and_untested_do_not_count() -> None:
    assert holm([0.5, np.nan, 0.6]) == pytest.approx([1.0, np.nan, 1.0], nan_ok=True)
    assert benjamini_hochberg([0.5, np.nan, 0.6]) == pytest.approx([0.6, np.nan, 0.6], nan_ok=True)


@pytest.mark.parametrize("correct", [holm, benjamini_hochberg])
def test_one_test_none_and_ties(correct) -> None:
    assert correct([0.02]).tolist() == [0.02]
    assert correct([]).tolist() == []
    assert len(set(correct([0.02, 0.02, 0.02]).tolist())) == 1


@pytest.mark.parametrize("correct", [holm, benjamini_hochberg])
@pytest.mark.parametrize("p", [[-0.1], [1.1], [[0.1]]])
def test_what_is_not_a_probability_is_refused(correct, p) -> None:
    with pytest.raises(UsageError, match="from 0 to 1"):
        correct(p)


def test_order_of_strength() -> None:
    p = np.random.default_rng(0).uniform(size=40) ** 3
    assert (p <= benjamini_hochberg(p)).all()
    assert (benjamini_hochberg(p) <= holm(p)).all()
    assert (holm(p) <= np.minimum(40 * p, 1)).all()
