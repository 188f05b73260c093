import numpy as np
import pytest

from canicor.model_input import Placement, ResizeRule, fit
from canicor.radiograph import Radiograph, View
from canicor.vhs import KeyPoints, measure

SPACINGS = [None, (0.2, 0.1), (0.1, 0.15)]
POINTS = np.array([[60, 40], [95, 90], [50, 70], [100, 60], [40, 20], [110, 22]], dtype=np.float64)


def radiograph(pixels: np.ndarray, spacing: tuple[float, float] | None = None) -> Radiograph:
    return Radiograph(pixels.astype(np.float32), spacing, "PNG", View.LATERAL)


def blob(height: int, width: int, x: float, y: float, sigma: float) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2))


def centroid(image: np.ndarray) -> np.ndarray:
    weights = image.astype(np.float64)
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]]
    return np.array([(columns * weights).sum(), (rows * weights).sum()]) / weights.sum()


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("rule", ResizeRule)
@pytest.mark.parametrize(
    ("height", "width", "target"),
    [(300, 420, (128, 128)), (301, 211, (96, 160)), (120, 150, (512, 512)), (90, 200, (300, 260))],
    ids=["down", "down, odd", "up", "up, odd"],
)
def test_a_blob_is_found_where_its_place_maps(height, width, target, rule, spacing):
    place = np.array([0.37 * width + 0.3, 0.58 * height - 0.2])
    image, placement = fit(
        radiograph(blob(height, width, *place, sigma=min(height, width) / 14), spacing), *target, rule
    )
    assert image.shape == target
    assert image.dtype == np.uint8
    np.testing.assert_allclose(centroid(image), placement.to_input(place), atol=0.1)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("rule", ResizeRule)
def test_points_and_vhs_survive_the_way_there_and_back(rule, spacing):
    image = radiograph(np.linspace(0, 1, 128 * 150).reshape(128, 150), spacing)
    _, placement = fit(image, 77, 205, rule)
    back = placement.to_radiograph(placement.to_input(POINTS))
    np.testing.assert_allclose(back, POINTS, atol=1e-9)
    expected = measure(KeyPoints.from_array(POINTS), image.pixel_aspect)
    assert measure(KeyPoints.from_array(back), image.pixel_aspect).vhs == pytest.approx(expected.vhs, abs=1e-9)


def test_pixel_centres_are_at_integers_in_both():
    placement = Placement(scale=(0.5, 2.0), offset=(3.0, 0.0))
    # The first pixel's left edge, -0.5, lands on the offset's edge; a pixel of two rows is centred between them.
    np.testing.assert_allclose(placement.to_input([-0.5, 0]), [2.5, 0.5])
    np.testing.assert_allclose(placement.to_radiograph([[2.5, 0.5], [3.0, 2.5]]), [[-0.5, 0], [0.5, 1]])


def test_letterbox_keeps_the_aspect_and_pads_with_black():
    image, placement = fit(radiograph(np.ones((100, 200))), 120, 100, ResizeRule.LETTERBOX)
    assert (image[35:85] == 255).all()
    assert not image[:35].any()
    assert not image[85:].any()
    assert placement.scale == (0.5, 0.5)


def test_letterbox_makes_pixels_square():
    # 100 x 100 pixels, twice as tall as wide each: physically 200 high, 100 wide.
    image, placement = fit(radiograph(np.ones((100, 100)), (0.2, 0.1)), 80, 80, ResizeRule.LETTERBOX)
    assert (image[:, 20:60] == 255).all()
    assert not image[:, :20].any()
    assert not image[:, 60:].any()
    assert placement.scale == (0.4, 0.8)


def test_vhs_on_letterboxed_square_pixels_is_that_of_the_radiograph():
    image = radiograph(np.ones((1280, 1500)), (0.2, 0.1))
    _, placement = fit(image, 512, 512, ResizeRule.LETTERBOX)
    points = POINTS * 10
    squared = measure(KeyPoints.from_array(placement.to_input(points)))
    assert squared.vhs == pytest.approx(measure(KeyPoints.from_array(points), (0.2, 0.1)).vhs, rel=0.005)


def test_stretch_fills_the_input():
    image, placement = fit(radiograph(np.ones((100, 200)), (0.2, 0.1)), 60, 60, ResizeRule.STRETCH)
    assert (image == 255).all()
    assert placement == Placement((0.3, 0.6), (0.0, 0.0))


def test_the_same_size_is_the_same_image():
    pixels = np.arange(256).reshape(16, 16) / 255
    image, placement = fit(radiograph(pixels), 16, 16, ResizeRule.LETTERBOX)
    np.testing.assert_array_equal(image, np.arange(256).reshape(16, 16))
    assert placement == Placement((1.0, 1.0), (0.0, 0.0))


def test_shrinking_averages_fine_stripes_instead_of_aliasing():
    stripes = np.tile([0.0, 1.0], (400, 200))
    image, _ = fit(radiograph(stripes), 57, 57, ResizeRule.STRETCH)
    assert np.abs(image.astype(int) - 128).max() < 20


@pytest.mark.parametrize("shape", [(32, 4000), (4000, 32)])
def test_a_thin_strip_keeps_a_pixel(shape):
    image, _ = fit(radiograph(np.ones(shape)), 64, 64, ResizeRule.LETTERBOX)
    assert (image == 255).sum() == 64
