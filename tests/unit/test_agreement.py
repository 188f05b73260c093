"""Agreement between readers, against published examples and other implementations."""

from statistics import NormalDist, mean, stdev

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from canicor.agreement import intraclass_correlation, kappa, limits_of_agreement

# Shrout & Fleiss 1979, table 2: six targets, four judges.
JUDGES = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]

# VHS of twenty dogs by three readers, drawn by chance.
READERS = [
    *([9.57, 10.15, 9.55], [11.57, 11.63, 11.23], [10.12, 10.82, 10.66], [8.16, 7.77, 7.78], [8.21, 8.36, 8.62]),
    *([11.13, 11.46, 11.43], [6.85, 7.09, 6.86], [11.13, 10.84, 10.93], [11.39, 10.62, 11.04], [9.38, 9.25, 9.74]),
    *([8.74, 8.26, 8.34], [8.57, 8.44, 8.4], [8.25, 8.57, 8.51], [9.02, 9.39, 8.89], [9.56, 9.27, 9.15]),
    *([9.71, 10.14, 9.91], [11.58, 11.84, 11.97], [10.37, 10.92, 10.73], [10.49, 10.42, 9.81]),
    [11.83, 11.97, 12.2],
]

# Bland & Altman 1986, table 1: peak flow by two meters, the first reading of each.
WRIGHT = [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427]
MINI = [512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451]


@pytest.mark.parametrize(("readings", "expected"), [(JUDGES, 0.289763779528), (READERS, 0.970187784123)])
def test_the_intraclass_correlation_is_that_of_pingouin(readings, expected):
    # ICC(A,1) of pingouin 0.7.0's intraclass_corr; the first is 0.29 in Shrout & Fleiss.
    assert intraclass_correlation(readings) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("readings", [[[9.0, 9.1]], [[9.0], [8.0]], [[9.0, 9.0], [9.0, 9.0]]])
def test_no_intraclass_correlation_where_nothing_can_be_told(readings):
    assert np.isnan(intraclass_correlation(readings))


def test_a_constant_shift_between_readers_is_no_agreement():
    first = np.linspace(7, 12, 20)
    assert intraclass_correlation(np.stack([first, first], 1)) == pytest.approx(1)
    assert intraclass_correlation(np.stack([first, first + 2], 1)) < 0.6


def test_limits_of_agreement_are_those_published():
    differences = np.subtract(WRIGHT, MINI)
    found = limits_of_agreement(differences)
    assert (round(found.bias, 1), found.count) == (-2.1, 17)
    assert round((found.upper - found.bias) / 1.96, 1) == 38.8
    reach = NormalDist().inv_cdf(0.975) * stdev(differences.tolist())
    assert found.bias == pytest.approx(mean(differences.tolist()), abs=1e-6)
    assert (found.lower, found.upper) == pytest.approx((found.bias - reach, found.bias + reach), rel=1e-4)


def test_one_difference_has_no_limits():
    found = limits_of_agreement([0.3])
    assert np.isnan([found.bias, found.lower, found.upper]).all()
    assert found.count == 1


@pytest.mark.parametrize("weights", [None, "quadratic"])
def test_kappa_is_that_of_scikit_learn(weights):
    chance = np.random.default_rng(3)
    first, second = chance.integers(3, size=200), chance.integers(3, size=200)
    second[:120] = first[:120]
    confusion = np.zeros((3, 3))
    np.add.at(confusion, (first, second), 1)
    expected = cohen_kappa_score(first, second, weights=weights)
    assert kappa(confusion, quadratic=weights == "quadratic") == pytest.approx(expected, abs=1e-12)


def test_no_kappa_where_both_know_one_class():
    assert np.isnan(kappa(np.diag([0.0, 20.0, 0.0])))
