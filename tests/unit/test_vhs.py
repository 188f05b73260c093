import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from canicor.errors import InvalidArgument
from canicor.vhs import DegenerateKeyPoints, HeartSize, KeyPoints, class_probabilities, heart_size, measure

# |AB| = 5, |CD| = 4, |EF| = 6: one vertebra is one pixel.
NINE = [[0, 0], [3, 4], [0, 0], [4, 0], [10, 10], [16, 10]]


@pytest.mark.parametrize(
    ("vhs", "size"),
    [
        (4.0, HeartSize.SMALL),
        (np.nextafter(8.2, 0), HeartSize.SMALL),
        (8.2, HeartSize.NORMAL),
        (10.0, HeartSize.NORMAL),
        (np.nextafter(10, 11), HeartSize.LARGE),
        (14.0, HeartSize.LARGE),
    ],
)
def test_class_at_each_threshold(vhs: float, size: HeartSize) -> None:
    assert heart_size(vhs) is size


def test_measures_by_hand() -> None:
    measurement = measure(KeyPoints.from_array(NINE))
    assert (measurement.vhs, measurement.long_axis, measurement.short_axis) == (9, 5, 4)
    assert measurement.heart_size is HeartSize.NORMAL


@given(
    scale=st.floats(0.1, 100),
    angle=st.floats(0, 2 * np.pi),
    shift=st.tuples(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3)),
)
def test_neither_size_nor_rotation_nor_place_matters(
    scale: float, angle: float, shift: tuple[float, float]
) -> None:
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    moved = np.array(NINE) @ turn.T * scale + shift
    assert_allclose(measure(KeyPoints.from_array(moved)).vhs, 9, rtol=1e-9)


def test_pixels_that_are_not_square() -> None:
    squashed = np.array(NINE, float) * (1, 0.5)
    assert measure(KeyPoints.from_array(squashed), (2, 1)).vhs == pytest.approx(9)
    assert measure(KeyPoints.from_array(squashed), (0.2, 0.1)).vhs == pytest.approx(9)
    assert measure(KeyPoints.from_array(squashed)).vhs != pytest.approx(9, abs=0.5)


@pytest.mark.parametrize(("first", "second", "line"), [(0, 1, "long axis"), (2, 3, "short axis"), (4, 5, "ruler")])
def test_points_that_coincide(first: int, second: int, line: str) -> None:
    points = np.array(NINE, float)
    points[second] = points[first]
    with pytest.raises(DegenerateKeyPoints, match=line) as caught:
        measure(KeyPoints.from_array(points))
    assert caught.value.reason == "DEGENERATE_KEY_POINTS"


NOT_SIX_POINTS = {
    "none": [],
    "five": NINE[:5],
    "seven": [*NINE, [0, 0]],
    "3-D": [[0, 0, 0]] * 6,
    "words": [["a", "b"]] * 6,
    "None": None,
    "NaN": [[np.nan, 0], *NINE[1:]],
    "infinite": [[np.inf, 0], *NINE[1:]],
    "beyond any image": [[1e308, 0], *NINE[1:]],
}


@pytest.mark.parametrize("points", NOT_SIX_POINTS.values(), ids=NOT_SIX_POINTS)
def test_what_is_not_six_points(points: object) -> None:
    with pytest.raises(DegenerateKeyPoints):
        KeyPoints.from_array(points)


@pytest.mark.parametrize("spacing", [(0, 1), (1, -1), (np.nan, 1), (np.inf, 1)])
def test_impossible_spacing(spacing: tuple[float, float]) -> None:
    with pytest.raises(InvalidArgument):
        measure(KeyPoints.from_array(NINE), spacing)


def test_names_points_outside() -> None:
    points = KeyPoints.from_array([[-0.5, 0], [-0.6, 0], [9.5, 4.5], [9.6, 0], [0, 4.6], [5, 2]])
    assert points.outside(width=10, height=5) == ["B", "D", "E"]


def test_probabilities_follow_from_the_error() -> None:
    small, normal, large = class_probabilities(8.2, 0.3)
    assert small == pytest.approx(0.5)
    assert small + normal + large == pytest.approx(1)
    assert class_probabilities(8.5, 0.3)[0] == pytest.approx(0.158655, abs=1e-5)  # one standard deviation
    assert class_probabilities(8.2, 0) == (0, 1, 0)
