"""Features worked out by hand, of what the model sees of the radiograph alone."""

import math

import numpy as np
import pytest

from canicor.model_input import ResizeRule, fit
from canicor.monitoring import INPUT_FEATURES, input_features, output_features
from canicor.radiograph import Radiograph, View
from canicor.vhs import HeartSize


def features(
    pixels: np.ndarray,
    size: tuple[int, int] = (160, 192),
    rule: ResizeRule = ResizeRule.LETTERBOX,
    spacing: tuple[float, float] | None = None,
) -> dict[str, float]:
    radiograph = Radiograph(pixels, spacing, "PNG", View.UNKNOWN)
    return dict(zip(INPUT_FEATURES, input_features(fit(radiograph, *size, rule)), strict=True))


def test_half_black_half_white() -> None:
    pixels = np.zeros((160, 192), np.uint8)
    pixels[:, 96:] = 255
    found = features(pixels)
    assert found["mean_grey"] == found["grey_deviation"] == pytest.approx(127.5)
    assert found["black_share"] == found["white_share"] == 0.5
    # One step of 255 among the 191 of each row.
    assert found["sharpness"] == pytest.approx(255 / math.sqrt(191))
    assert found["aspect_ratio"] == 1.2


@pytest.mark.parametrize("shape", [(400, 100), (100, 400)], ids=["upright", "wide"])
def test_padding_does_not_count(shape: tuple[int, int]) -> None:
    found = features(np.full(shape, 200, np.uint8))
    assert (found["mean_grey"], found["grey_deviation"], found["black_share"]) == (200, 0, 0)
    assert found["aspect_ratio"] == shape[1] / shape[0]


def test_the_aspect_is_that_of_square_pixels() -> None:
    pixels = np.full((200, 300), 90, np.uint8)
    for rule in ResizeRule:
        assert features(pixels, rule=rule, spacing=(0.2, 0.1))["aspect_ratio"] == 0.75


@pytest.mark.parametrize("size", [(16, 16), (160, 192), (600, 600)])
def test_some_pixels_stand_for_all(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    across, down = np.meshgrid(np.linspace(0, 1, size[1]), np.linspace(0, 1, size[0]))
    pixels = np.clip(180 * across * down + rng.normal(30, 20, size), 0, 255).astype(np.uint8)
    found = features(pixels, size)
    assert found["mean_grey"] == pytest.approx(pixels.mean(), abs=3)
    assert found["grey_deviation"] == pytest.approx(pixels.std(), rel=0.05)
    assert found["black_share"] == pytest.approx((pixels <= 4).mean(), abs=0.02)
    assert found["sharpness"] == pytest.approx(np.sqrt((np.diff(pixels.astype(float)) ** 2).mean()), rel=0.05)


def test_a_blurred_picture_is_less_sharp() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (160, 192), dtype=np.uint8)
    blurred = ((pixels[:, :-1].astype(int) + pixels[:, 1:]) // 2).astype(np.uint8)
    assert features(blurred, (160, 191))["sharpness"] < 0.8 * features(pixels)["sharpness"]


def test_what_an_answer_lacks_is_no_number() -> None:
    assert output_features(HeartSize.LARGE, 0.8, 10.5, 0.4, 12.0) == (2.0, 0.8, 10.5, 0.4, 12.0)
    assert np.isnan(output_features(None)).all()
    assert output_features(HeartSize.SMALL, 0.8)[:2] == (0.0, 0.8)
