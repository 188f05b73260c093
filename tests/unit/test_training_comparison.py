"""What is told of two models is what they differ in, and how likely chance alone is to make them."""

import numpy as np
import pytest
from scipy.stats import binom

from canicor.errors import InvalidArgument
from tests.unit.test_training_evaluation import images
from training.comparison import Answers, compare, mcnemar

NOTHING = np.full(100, np.nan)
RNG = np.random.default_rng(0)
LABELLED = images(RNG.uniform(7.0, 12.0, 100).tolist())


def right(*wrong: int) -> np.ndarray:
    said = np.ones(100, dtype=bool)
    said[list(wrong)] = False
    return said


def test_a_better_model_is_told_from_chance() -> None:
    found = compare(Answers(right(), NOTHING), Answers(right(*range(12)), NOTHING), LABELLED)
    assert found.accuracy.value == pytest.approx(0.12)
    assert found.accuracy.lower > 0
    assert found.beyond_chance
    assert found.p == pytest.approx(2 * 0.5**12)
    counts = [metric.count * metric.value for metric in found.of_class.values()]
    assert sum(counts) == pytest.approx(12)


def test_models_that_err_as_often_elsewhere_are_no_better() -> None:
    one, other = Answers(right(*range(10)), NOTHING), Answers(right(*range(10, 20)), NOTHING)
    found = compare(one, other, LABELLED)
    assert found.accuracy.value == 0
    assert not found.beyond_chance
    assert found.p == 1.0
    assert found.vhs_mae is None


def test_a_closer_vhs_counts_where_the_class_is_the_same() -> None:
    errors = RNG.uniform(0.2, 0.6, 100)
    found = compare(Answers(right(), errors - 0.1), Answers(right(), errors), LABELLED)
    assert found.vhs_mae is not None
    assert found.vhs_mae.value == pytest.approx(0.1)
    assert found.beyond_chance
    assert not compare(Answers(right(), errors), Answers(right(), errors - 0.1), LABELLED).beyond_chance


def test_mcnemars_p_is_the_binomials() -> None:
    # One alone is right 3 times, the other alone 9 times.
    one, other = right(*range(9)), right(*range(50, 53))
    assert mcnemar(one, other) == pytest.approx(2 * binom.cdf(3, 12, 0.5))
    assert mcnemar(one, one) == 1.0


def test_answers_about_other_images_are_refused() -> None:
    with pytest.raises(InvalidArgument):
        compare(Answers(right()[:50], NOTHING[:50]), Answers(right(), NOTHING), LABELLED)
