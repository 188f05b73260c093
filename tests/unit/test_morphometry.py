"""What no dog's heart has is found, however the radiograph lies."""

import csv
from pathlib import Path

import numpy as np
import pytest

from canicor import phantom
from canicor.morphometry import implausible, morphometry
from canicor.vhs import KeyPoints
from tests.hearts import heart

MEASURED = Path(__file__).parents[3] / "shared" / "radiographs" / "geometry.csv"

COLUMNS = {
    "axis_angle": "long_axis_angle_deg",
    "axis_ratio": "short_over_long",
    "long_crossing": "cross_fraction_long",
    "short_crossing": "cross_fraction_short",
}


def placed(points: np.ndarray, turn: float = 0.0, scale: float = 30.0, *, mirrored: bool = False) -> KeyPoints:
    """Carries key points from the vertebral frame onto a film."""
    angle = np.radians(turn)
    rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return KeyPoints.from_array(points * (-1 if mirrored else 1, 1) * scale @ rotation + (400, 300))


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("turn", [0, 17, -40, 180])
def test_figures_do_not_depend_on_how_the_dog_lies(turn: float, mirrored: bool) -> None:
    found = morphometry(placed(heart(), turn, mirrored=mirrored))
    assert found.axis_angle == pytest.approx(80)
    assert found.axis_ratio == pytest.approx(0.9)
    assert found.long_crossing == pytest.approx(0.34)
    assert found.short_crossing == pytest.approx(0.61)
    assert (found.carina_along, found.carina_ventral) == pytest.approx((1.5, 2.1))
    length = 9 / 1.9
    apex = (1.5 + length * np.cos(np.radians(80)), 2.1 + length * np.sin(np.radians(80)))
    assert (found.apex_along, found.apex_ventral) == pytest.approx(apex)


def test_pixels_that_are_not_square_are_made_so() -> None:
    squeezed = KeyPoints.from_array(placed(heart()).xy * (1, 0.5))
    assert morphometry(squeezed, (2.0, 1.0)).axis_angle == pytest.approx(80)
    assert morphometry(squeezed).axis_angle != pytest.approx(80, abs=1)
    assert implausible(squeezed, (2.0, 1.0)) == []


# Mean and standard deviation of the 58 measured hearts, of which five are the limit.
@pytest.mark.parametrize(
    ("figure", "mean", "deviation", "sentence"),
    [
        ("axis_angle", 79.8, 8.5, "angle of the long axis"),
        ("axis_ratio", 0.90, 0.09, "short axis over the long"),
        ("long_crossing", 0.34, 0.05, "share of the long axis"),
        ("short_crossing", 0.61, 0.05, "share of the short axis"),
    ],
)
@pytest.mark.parametrize("side", [-1, 1])
def test_each_figure_is_named_beyond_five_deviations(
    figure: str, mean: float, deviation: float, sentence: str, side: int
) -> None:
    within = placed(heart(**{figure: mean + side * 4.99 * deviation}))
    beyond = placed(heart(**{figure: mean + side * 5.01 * deviation}))
    assert implausible(within) == []
    (said,) = implausible(beyond)
    assert sentence in said
    assert f"{mean - 5 * deviation:.2f} to {mean + 5 * deviation:.2f}" in said


@pytest.mark.parametrize(
    ("carina", "sentence"),
    [
        ((-1.63, 2.1), "carina's distance caudal"),
        ((4.59, 2.1), "carina's distance caudal"),
        ((1.5, -0.19), "carina's distance ventral"),
        ((1.5, 4.33), "carina's distance ventral"),
    ],
)
def test_a_heart_elsewhere_is_named(carina: tuple[float, float], sentence: str) -> None:
    assert any(sentence in said for said in implausible(placed(heart(carina=carina))))


@pytest.mark.parametrize(
    ("apex", "sentence"), [((7.9, 7.0), "apex's distance caudal"), ((2.3, 12.1), "apex's distance ventral")]
)
def test_an_apex_elsewhere_is_named(apex: tuple[float, float], sentence: str) -> None:
    points = heart()
    points[1] = apex
    assert any(sentence in said for said in implausible(placed(points)))


def test_axes_that_run_side_by_side_never_cross() -> None:
    points = np.array([(1.5, 2.0), (1.5, 7.0), (3.0, 2.0), (3.0, 6.5), (0.0, 0.0), (6.0, 0.0)])
    assert any("inf" in said for said in implausible(placed(points)))


def test_the_phantoms_dogs_are_plausible() -> None:
    dogs = [phantom.phantom.draw_dog(1, index).heart.key_points() for index in range(300)]
    assert [implausible(placed(dog)) for dog in dogs] == [[]] * 300


@pytest.mark.skipif(not MEASURED.exists(), reason="the measured hearts lie outside the repository")
def test_no_measured_heart_is_refused() -> None:
    with MEASURED.open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 58
    for row in rows:
        figures = {figure: float(row[column]) for figure, column in COLUMNS.items()}
        carina = (float(row["A_along_v"]), float(row["A_ventral_v"]))
        assert implausible(placed(heart(float(row["vhs"]), carina=carina, **figures))) == []
