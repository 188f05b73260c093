"""The loop learns, is repeatable, and stops where there is nothing left to learn with."""

import numpy as np
import pytest
import torch

from canicor.errors import FailedPrecondition
from training.augmentation import Strength
from training.dataset import Images
from training.fitting import Recipe, fit, key_point_loss
from training.network import KeyPointNetwork


def silent(_epoch: int, _loss: float) -> None:
    pass


def bright_corners(count: int) -> Images:
    """Images [64, 64] of one bright square each, whose outline holds the six points."""
    rng = np.random.default_rng(0)
    pixels = np.zeros((count, 64, 64), dtype=np.uint8)
    points = np.empty((count, 6, 2), dtype=np.float32)
    for image, six in zip(pixels, points, strict=True):
        left, top = rng.integers(8, 28, 2)
        image[top : top + 25, left : left + 25] = 200
        six[:] = np.add([[0, 0], [24, 24], [24, 0], [0, 24], [12, 0], [12, 24]], [left, top])
    return Images((), pixels, (), points, np.zeros(count, dtype=np.int64), np.zeros((count, 6)))


def test_points_are_found_on_images_never_seen() -> None:
    images = bright_corners(96)
    train = Images((), images.pixels[:80], (), images.points[:80], images.classes[:80], images.features[:80])
    losses: list[float] = []
    # 100 steps do not suffice for larger changes of size.
    recipe = Recipe(epochs=20, strength=Strength(scale=1.2))
    network = fit(KeyPointNetwork, key_point_loss, train, recipe, 0, lambda _, loss: losses.append(loss))
    with torch.inference_mode():
        found, _ = network(torch.from_numpy(images.pixels[80:]))
    distance = np.linalg.norm(found.numpy() - images.points[80:], axis=-1).mean()
    # The mean position is 8 pixels off.
    assert distance < 3
    assert losses[-1] < 0.6 * losses[0]
    assert len(losses) == 20


def test_the_seed_alone_decides() -> None:
    images = bright_corners(16)

    def weights(seed: int) -> torch.Tensor:
        network = fit(KeyPointNetwork, key_point_loss, images, Recipe(epochs=1), seed, silent)
        return torch.cat([one.flatten() for one in network.parameters()])

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


def test_a_loss_that_is_no_number_stops_the_run() -> None:
    images = bright_corners(16)
    images.points[0] = np.nan
    with pytest.raises(FailedPrecondition, match="no longer a number"):
        fit(KeyPointNetwork, key_point_loss, images, Recipe(epochs=2), 0, silent)
