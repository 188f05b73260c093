"""Patches show each dog in one size and bearing, and points find their way there and back."""

import math

import numpy as np
import pytest
import torch

from canicor import phantom
from training.augmentation import Chance
from training.patches import HEIGHT, SPINE, VERTEBRA, WIDTH, Patches

FACING_LEFT = torch.tensor([[[50.0, 60.0], [70.0, 90.0], [40.0, 75.0], [80.0, 75.0], [40.0, 44.0], [88.0, 36.0]]])
MIRRORED = torch.tensor([127.0, 0.0]) + torch.tensor([-1.0, 1.0]) * FACING_LEFT


@pytest.mark.parametrize("points", [FACING_LEFT, MIRRORED, 2.5 * FACING_LEFT])
def test_the_spine_lies_level_in_the_middle_of_the_upper_rows_and_the_heart_below(points: torch.Tensor) -> None:
    inside = Patches.about(points[:, 4:]).to_patches(points)[0]
    facing_right = bool(points[0, 4, 0] > points[0, 5, 0])
    half = 3 * VERTEBRA * (-1 if facing_right else 1)
    middle, row = (WIDTH - 1) / 2, (SPINE - 1) / 2
    assert torch.allclose(inside[4:], torch.tensor([[middle - half, row], [middle + half, row]]), atol=1e-3)
    assert bool((inside[:4, 1] > row).all())


def test_points_come_back_to_where_they_were() -> None:
    points = torch.cat((FACING_LEFT, MIRRORED))
    patches = Patches.about(points[:, 4:]).askew(Chance(torch.tensor([1, 2])))
    assert torch.allclose(patches.to_images(patches.to_patches(points)), points, atol=1e-3)


def test_a_patch_shows_what_lies_at_its_points() -> None:
    drawn = phantom.draw(3, 0, width=320, height=256)
    rows, columns = np.mgrid[0:256, 0:320].astype(np.float32)
    ramps = torch.from_numpy(np.stack((columns, rows)))
    points = torch.from_numpy(drawn.key_points.xy[np.newaxis].astype(np.float32))
    patches = Patches.about(points[:, 4:]).askew(Chance(torch.tensor([4])))
    inside = patches.to_patches(points)[0].round().long()
    x, y = (patches.cut(ramp[np.newaxis])[0] for ramp in ramps)
    # To the pixel that was rounded to, of some 1.3 pixels of the image.
    seen = torch.stack([torch.stack((x[row, column], y[row, column])) for column, row in inside.tolist()])
    assert torch.allclose(seen, points[0], atol=1.5)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_a_network_in_sixteen_bits_moves_no_patch(precision: torch.dtype) -> None:
    images = torch.rand(1, 256, 320, generator=torch.Generator().manual_seed(0))
    points = 2.5 * FACING_LEFT

    def laid() -> tuple[torch.Tensor, ...]:
        patches = Patches.about(points[:, 4:]).askew(Chance(torch.tensor([1])))
        maps = torch.ones(1, 1, HEIGHT // 4, WIDTH // 4)
        return (
            *patches,
            patches.to_patches(points),
            patches.cut(images),
            patches.laid_back(maps, 64, 80, 4),
        )

    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision is torch.bfloat16):
        rounded = laid()
    for one, exact in zip(rounded, laid(), strict=True):
        assert one.dtype == torch.float32
        assert torch.equal(one, exact)


def test_a_map_is_laid_back_over_the_image_that_its_patch_was_cut_from() -> None:
    points = 2.5 * FACING_LEFT
    patches = Patches.about(points[:, 4:])
    inside = patches.to_patches(points[:, :1])[0, 0]
    rows, columns = np.mgrid[0 : HEIGHT // 4, 0 : WIDTH // 4] * 4 + 1.5
    marked = np.exp(-0.5 * ((columns - float(inside[0])) ** 2 + (rows - float(inside[1])) ** 2) / 8.0**2)
    back = patches.laid_back(torch.from_numpy(marked[np.newaxis, np.newaxis].astype(np.float32)), 64, 80, 4)
    row, column = np.unravel_index(int(back.argmax()), (64, 80))
    assert abs(4 * column + 1.5 - float(points[0, 0, 0])) <= 3
    assert abs(4 * row + 1.5 - float(points[0, 0, 1])) <= 3
    # The patch ends below the image's upper edge.
    everywhere = patches.laid_back(torch.ones(1, 1, HEIGHT // 4, WIDTH // 4), 64, 80, 4)[0, 0]
    assert bool((everywhere[0] == 0).all())
    assert everywhere[row, column] == 1


def test_an_untaught_networks_ends_lay_out_a_patch_all_the_same() -> None:
    ends = torch.tensor([[[30.0, 30.0], [30.0, 30.0]], [[30.0, 30.0], [30.0, 50.0]]])
    patches = Patches.about(ends)
    assert bool(patches.cut(torch.full((2, 64, 64), 9.0)).isfinite().all())
    assert bool(patches.to_patches(ends).isfinite().all())


def test_the_seed_alone_decides_how_a_patch_lies_askew() -> None:
    patches = Patches.about(torch.cat((FACING_LEFT, FACING_LEFT))[:, 4:])
    one, other = patches.askew(Chance(torch.tensor([1, 2]))), patches.askew(Chance(torch.tensor([2, 1])))
    assert torch.equal(one.step, other.step.flip(0))
    assert not torch.equal(one.step[0], one.step[1])
    turns = torch.atan2(one.step[:, 1], one.step[:, 0]) - torch.atan2(patches.step[:, 1], patches.step[:, 0])
    assert float(turns.abs().max()) <= math.radians(12.0) + 1e-6
