"""Pictures lie on the radiograph as the model saw it, and stay small enough to be sent."""

import io

import numpy as np
import pytest
from PIL import Image

from canicor.bundle import InputSpec
from canicor.model_input import Placement, ResizeRule, read
from canicor.vhs import KeyPoints
from services.classifier.explanation import LONGEST_SIDE, heat_map_overlay, key_point_overlay
from tests.png import png


def film(width: int, height: int, grey: int = 60) -> bytes:
    """A grey picture with a black corner and a white one, so that its levels stay as they are."""
    pixels = np.full((height, width), grey, np.uint8)
    corner = (slice(max(1, height // 100)), slice(max(1, width // 100)))
    pixels[corner], pixels[::-1, ::-1][corner] = 0, 255
    return png(pixels)


def colours(picture: bytes) -> np.ndarray:
    image = Image.open(io.BytesIO(picture))
    assert (image.format, image.mode) == ("PNG", "RGB")
    return np.asarray(image).astype(int)


def centre_of_colour(picture: bytes) -> tuple[float, float]:
    """(x, y) of what is not grey, as shares of the picture's sides."""
    pixels = colours(picture)
    weight = pixels.max(axis=2) - pixels.min(axis=2)
    y, x = np.indices(weight.shape)
    height, width = weight.shape
    return (
        ((x + 0.5) * weight).sum() / weight.sum() / width,
        ((y + 0.5) * weight).sum() / weight.sum() / height,
    )


def spot(placement: Placement, spec: InputSpec, at: tuple[float, float], cell: int) -> np.ndarray:
    """A heat map, `cell` input pixels a cell, that is hot around a point of the radiograph."""
    x, y = placement.to_input(at)
    rows, columns = np.indices((spec.height // cell, spec.width // cell))
    across, down = (columns + 0.5) * cell - 0.5 - x, (rows + 0.5) * cell - 0.5 - y
    return np.exp(-(across**2 + down**2) / (2 * (1.5 * cell) ** 2)).astype(np.float32)


@pytest.mark.parametrize("rule", ResizeRule)
@pytest.mark.parametrize("size", [(600, 300), (300, 600), (2400, 1800)])
@pytest.mark.parametrize("share", [(0.3, 0.4), (0.7, 0.6)])
def test_heat_lies_where_the_model_saw_it(
    rule: ResizeRule, size: tuple[int, int], share: tuple[float, float]
) -> None:
    image = film(*size)
    spec = InputSpec(height=160, width=192, resize=rule)
    placement = read(image, spec.height, spec.width, rule).placement
    at = (share[0] * size[0] - 0.5, share[1] * size[1] - 0.5)

    picture = heat_map_overlay(image, spot(placement, spec, at, cell=4), placement, spec)

    assert centre_of_colour(picture) == pytest.approx(share, abs=0.01)


def test_the_hottest_is_bright_and_the_coldest_is_the_radiograph() -> None:
    image = film(192, 160)
    spec = InputSpec(height=160, width=192, resize=ResizeRule.STRETCH)
    heat = np.zeros((4, 4), np.float32)
    heat[1, 1] = 1
    pixels = colours(heat_map_overlay(image, heat, Placement((1.0, 1.0), (0.0, 0.0)), spec))
    assert (pixels[120:, 120:-1] == 60).all()
    hottest = pixels[60, 72]
    assert hottest == pytest.approx(0.35 * 60 + 0.65 * np.array([255, 237, 160]), abs=8)


def test_a_flat_heat_map_of_any_size_is_taken() -> None:
    spec = InputSpec(height=160, width=192, resize=ResizeRule.STRETCH)
    for shape in ((1, 1), (5, 6), (160, 192)):
        heat = np.ones(shape, np.float32)
        pixels = colours(heat_map_overlay(film(192, 160), heat, Placement((1.0, 1.0), (0.0, 0.0)), spec))
        assert pixels[80, 96] == pytest.approx(0.35 * 60 + 0.65 * np.array([255, 237, 160]), abs=1)


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        ((192, 128), (192, 128)),
        ((LONGEST_SIDE + 1, 64), (LONGEST_SIDE, 64)),
        ((3000, 2000), (1024, 683)),
        ((60, 4000), (15, 1024)),
    ],
)
def test_pictures_have_the_radiographs_shape_and_a_bound(size: tuple[int, int], shown: tuple[int, int]) -> None:
    for key_points in (None, KeyPoints.from_array([[1, 1], [2, 9], [3, 3], [9, 4], [5, 5], [9, 6]])):
        picture = key_point_overlay(film(*size), key_points)
        assert Image.open(io.BytesIO(picture)).size == shown


def test_no_picture_is_too_large_to_be_sent() -> None:
    # Noise does not compress: the worst that can come. gRPC clients take 4 MiB unless told otherwise.
    noise = png(np.random.default_rng(0).integers(0, 256, (1100, 1100), dtype=np.uint8))
    heat = np.random.default_rng(1).random((40, 48), dtype=np.float32)
    spec = InputSpec(height=160, width=192, resize=ResizeRule.STRETCH)
    placement = Placement((192 / 1100, 160 / 1100), (0.0, 0.0))
    assert len(heat_map_overlay(noise, heat, placement, spec)) < 4 * 2**20


def test_key_points_lie_where_they_were_found() -> None:
    # All lines between two places, in a picture half as large as the radiograph.
    points = KeyPoints.from_array([[400, 500], [1600, 1500]] * 3)
    pixels = colours(key_point_overlay(film(2048, 2048), points))
    coloured = pixels.max(axis=2) > pixels.min(axis=2)
    assert coloured[500, 500]  # half way
    assert not coloured[:200].any()
    assert not coloured[:, 850:].any()
