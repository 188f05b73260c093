import math

import numpy as np
import pytest
from pydantic import ValidationError

from canicor.bundle import Histogram, Predictions
from tests import toy_models


def test_points_differ_by_so_many_vertebrae_in_the_mean() -> None:
    made = toy_models.predicted()
    moved = made.outputs["key_points"].copy()
    moved[0, 0] += [0, 4]  # a vertebra, of one of twelve points
    assert made.difference({**made.outputs, "key_points": moved}) == pytest.approx(1 / 12)
    moved[1, 1] = np.nan
    assert math.isnan(made.difference({**made.outputs, "key_points": moved}))


def test_probabilities_differ_by_their_total_variation_in_the_mean() -> None:
    images = np.zeros((2, toy_models.HEIGHT, toy_models.WIDTH), np.uint8)
    made = Predictions(images, {"probabilities": np.array([[0.1, 0.7, 0.2], [0.3, 0.3, 0.4]], np.float32)})
    other = np.array([[0.2, 0.5, 0.3], [0.3, 0.3, 0.4]], np.float32)
    assert made.difference({"probabilities": other}) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("edges", "shares"),
    [
        ((), (1.0,)),
        ((2.0, 1.0), (0.2, 0.3, 0.5)),
        ((1.0, 1.0), (0.2, 0.3, 0.5)),
        ((1.0,), (1.0,)),
        ((1.0,), (0.5, 0.6)),
        ((1.0,), (-0.5, 1.5)),
        ((float("nan"),), (0.5, 0.5)),
    ],
    ids=["no edge", "descending", "twice", "too few shares", "not one", "negative", "NaN"],
)
def test_a_histogram_that_is_none_is_refused(edges: tuple[float, ...], shares: tuple[float, ...]) -> None:
    with pytest.raises(ValidationError):
        Histogram(edges=edges, shares=shares)
