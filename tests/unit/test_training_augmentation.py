"""Points move with the pixels, and no change changes VHS."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Generator, Tensor

from canicor.vhs import KeyPoints, measure
from training.augmentation import Strength, augment

STILL = Strength().times(0)
# Small enough that the blobs stay whole inside the image.
MOTION = Strength(scale=1.2, gamma=1, contrast=0, brightness=0, noise=0, blur=0, painted_over=0)
POINTS = torch.tensor([[60.0, 40.0], [80.0, 75.0], [50.0, 65.0], [85.0, 50.0], [45.0, 30.0], [90.0, 25.0]])


def seeds(count: int, seed: int) -> Tensor:
    return torch.randint(2**62, (count,), generator=Generator().manual_seed(seed))


def blobs(points: torch.Tensor, height: int = 112, width: int = 144) -> torch.Tensor:
    """One image [6, height, width] per point, each with a bright blob of 2 pixels' deviation on it."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    squared = (x - points[:, 0, None, None]) ** 2 + (y - points[:, 1, None, None]) ** 2
    return (255 * torch.exp(-squared / 8)).round().to(torch.uint8)


@pytest.mark.parametrize("seed", range(5))
def test_points_move_with_the_pixels(seed: int) -> None:
    # Six copies of the six points, each image showing one of them.
    images, points = augment(blobs(POINTS), POINTS.expand(6, 6, 2), MOTION, seeds(6, seed))
    for index, image in enumerate(images.numpy()):
        y, x = np.indices(image.shape)
        centre = [(image * x).sum() / image.sum(), (image * y).sum() / image.sum()]
        assert centre == pytest.approx(points[index, index].tolist(), abs=0.1)


def test_half_of_the_images_are_mirrored() -> None:
    images = torch.arange(144).expand(200, 112, 144).to(torch.uint8)
    changed, moved = augment(images, POINTS.expand(200, 6, 2), replace(STILL, mirrored=0.5), seeds(200, 1))
    mirrored = changed[:, 50, 0] > changed[:, 50, -1]
    assert 70 < int(mirrored.sum()) < 130
    assert torch.allclose(changed[mirrored], images[mirrored].flip(-1).float(), atol=0.1)
    assert torch.allclose(
        moved[mirrored], torch.tensor([143.0, 0.0]) + POINTS * torch.tensor([-1.0, 1.0]), atol=1e-3
    )
    assert torch.allclose(changed[~mirrored], images[~mirrored].float(), atol=0.1)


def test_motion_leaves_vhs_as_it_was() -> None:
    images = torch.zeros(50, 112, 144, dtype=torch.uint8)
    _, moved = augment(images, POINTS.expand(50, 6, 2), Strength(), seeds(50, 1))
    wanted = measure(KeyPoints.from_array(POINTS.numpy())).vhs
    found = [measure(KeyPoints.from_array(points)).vhs for points in moved.numpy()]
    assert found == pytest.approx([wanted] * 50, rel=1e-5)
    assert (moved - POINTS).abs().amax() > 5


def test_points_stay_inside_the_image() -> None:
    near_edge = POINTS - POINTS.amin(0) + 2
    images = torch.zeros(200, 112, 144, dtype=torch.uint8)
    _, moved = augment(images, near_edge.expand(200, 6, 2), Strength(), seeds(200, 2))
    assert moved.amin() >= -1e-3
    assert bool((moved.amax(dim=(0, 1)) <= torch.tensor([143.001, 111.001])).all())


def test_a_large_figure_is_enlarged_no_further_than_it_fits() -> None:
    wide = torch.tensor([142.0, 110.0]) * (POINTS - POINTS.amin(0)) / (POINTS.amax(0) - POINTS.amin(0))
    images = torch.zeros(200, 112, 144, dtype=torch.uint8)
    _, moved = augment(images, wide.expand(200, 6, 2), Strength(scale=3), seeds(200, 2))
    assert moved.amin() >= -1e-3
    assert bool((moved.amax(dim=(0, 1)) <= torch.tensor([143.001, 111.001])).all())


def test_unknown_points_stay_unknown_and_the_middle_stays_inside() -> None:
    images = torch.zeros(50, 112, 144, dtype=torch.uint8)
    images[:, 50:62, 66:78] = 255
    nothing = torch.full((50, 6, 2), torch.nan)
    moved, points = augment(images, nothing, Strength(scale=3, shift=0.5), seeds(50, 2))
    assert points.isnan().all()
    assert (moved.amax(dim=(1, 2)) > 150).all()


def test_no_strength_changes_nothing() -> None:
    image = torch.randint(0, 256, (2, 112, 144), dtype=torch.uint8, generator=Generator().manual_seed(3))
    changed, points = augment(image, POINTS.expand(2, 6, 2), STILL, seeds(2, 4))
    assert torch.allclose(changed, image.float(), atol=0.1)
    assert torch.allclose(points, POINTS.expand(2, 6, 2), atol=1e-3)


def test_exposure_noise_and_blur_keep_the_range_and_move_nothing() -> None:
    strength = Strength(rotation=0, scale=1, shift=0, mirrored=0)
    images = blobs(POINTS)
    changed, points = augment(images, POINTS.expand(6, 6, 2), strength, seeds(6, 5))
    assert changed.amin() >= 0
    assert changed.amax() <= 255
    assert (changed - images).abs().mean() > 0.3
    assert torch.allclose(points, POINTS.expand(6, 6, 2), atol=1e-3)


def test_what_happens_to_an_image_follows_from_its_seed_alone() -> None:
    chance, images = seeds(6, 3), blobs(POINTS)
    together, moved = augment(images, POINTS.expand(6, 6, 2), Strength(), chance)
    for index in range(6):
        some = slice(index, index + 1)
        alone, moved_alone = augment(images[some], POINTS.expand(1, 6, 2), Strength(), chance[some])
        assert torch.allclose(alone, together[some], atol=1e-2)
        assert torch.allclose(moved_alone, moved[some], atol=1e-4)


def test_the_same_seeds_give_the_same_images() -> None:
    first, second = (augment(blobs(POINTS), POINTS.expand(6, 6, 2), Strength(), seeds(6, 6))[0] for _ in "ab")
    other, _ = augment(blobs(POINTS), POINTS.expand(6, 6, 2), Strength(), seeds(6, 7))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_painted_over_images_keep_their_points_and_lose_only_bands() -> None:
    images = torch.arange(144).expand(40, 112, 144).to(torch.uint8)
    strength = replace(STILL, painted_over=0.5)
    changed, moved = augment(images, POINTS.expand(40, 6, 2), strength, seeds(40, 3))
    assert bool((moved == POINTS).all())
    differs = (changed - images).abs() > 1e-3
    painted = differs.flatten(1).any(1)
    assert 10 <= int(painted.sum()) <= 30
    # Three bands of 3 to 7 pixels; filled from beside, so an even slope stays nearly as it was.
    assert float(differs[painted].float().mean()) < 0.25
    assert float((changed - images).abs()[:, 20:-20, 20:-20].max()) < 6


def test_what_has_no_points_is_not_painted_over() -> None:
    images = torch.arange(144).expand(8, 112, 144).to(torch.uint8)
    unknown = torch.full((8, 6, 2), torch.nan)
    changed, _ = augment(images, unknown, replace(STILL, painted_over=1), seeds(8, 4))
    assert float((changed - images).abs().max()) < 0.01


def test_strength_grows_and_shrinks_as_a_whole() -> None:
    assert Strength().times(1) == Strength()
    assert Strength().times(0) == Strength(
        rotation=0,
        scale=1,
        shift=0,
        mirrored=0,
        gamma=1,
        contrast=0,
        brightness=0,
        noise=0,
        blur=0,
        painted_over=0,
    )
    twice = Strength().times(2)
    assert (twice.rotation, twice.scale, twice.noise, twice.mirrored) == pytest.approx((24, 1.6**2, 16, 0.5))
