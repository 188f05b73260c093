"""Heat maps mark points to a fraction of a pixel, peaks say how sure they are, and vertebrae set the ruler."""

import math

import pytest
import torch

from training.network import (
    HEAT_MAP_STRIDE,
    KeyPointNetwork,
    Reading,
    along_spine,
    decode,
    half_detail,
    heat_maps,
    in_half_detail,
    targets,
)


def test_a_target_decodes_to_the_point_that_it_marks() -> None:
    points = 20 + 60 * torch.rand(40, 6, 2, generator=torch.Generator().manual_seed(0))
    found = decode(targets(points, rows=28, columns=32).clamp(min=1e-30).log())
    assert torch.allclose(found, points, atol=1e-2)


def test_a_sharp_map_peaks_at_one_and_a_flat_one_near_none() -> None:
    # (29.5, 29.5) is the centre of the cell (7, 7).
    sharp = targets(torch.tensor([[29.5, 29.5]]), rows=16, columns=16).clamp(min=1e-30).log()
    assert heat_maps(sharp).amax().item() == pytest.approx(1, abs=1e-3)
    assert heat_maps(torch.zeros(1, 16, 16)).amax().item() < 0.03


def test_the_network_takes_uint8_of_any_suitable_size() -> None:
    network = KeyPointNetwork().eval()
    with torch.inference_mode():
        sight = network(torch.randint(0, 256, (3, 96, 160), dtype=torch.uint8))
    assert sight.key_points.shape == (3, 6, 2)
    assert bool(sight.key_points.isfinite().all())
    assert sight.heat.shape == (3, 6, 96 // HEAT_MAP_STRIDE, 160 // HEAT_MAP_STRIDE)
    assert bool(((sight.heat >= 0) & (sight.heat <= 1)).all())


FACING_LEFT = torch.tensor([[[50.0, 60.0], [70.0, 90.0], [40.0, 75.0], [80.0, 75.0], [40.0, 40.0], [88.0, 40.0]]])
FACING_RIGHT = torch.tensor([127.0, 0.0]) + torch.tensor([-1.0, 1.0]) * FACING_LEFT


@pytest.mark.parametrize("points", [FACING_LEFT, FACING_RIGHT])
def test_the_ruler_is_half_way_to_as_long_as_the_vertebrae_that_are_seen(points: torch.Tensor) -> None:
    logits = targets(points, rows=28, columns=32).clamp(min=1e-30).log()
    spine = along_spine(points[:, 4:], 28, 32, reach=1.0)
    # Vertebrae of 10 pixels where vertebrae are, of 20 elsewhere: E and F were set 8 pixels apart each.
    length = torch.where(spine > 0, math.log(10.0), math.log(20.0))
    read = Reading(logits, length, torch.zeros_like(length)).key_points()
    assert torch.allclose(read[:, :4], points[:, :4], atol=0.05)
    assert torch.allclose(read[:, 4:].mean(1), points[:, 4:].mean(1), atol=0.05)
    assert (read[0, 5] - read[0, 4]).norm().item() == pytest.approx(54.0, abs=0.1)


def test_a_vertebra_that_is_seen_clearly_counts_for_more() -> None:
    logits = targets(FACING_LEFT, rows=28, columns=32).clamp(min=1e-30).log()
    length, spread = torch.full((1, 28, 32), math.log(20.0)), torch.zeros(1, 28, 32)
    length[..., 16:], spread[..., 16:] = math.log(10.0), math.log(0.01)
    read = Reading(logits, length, spread).key_points()
    assert (read[0, 5] - read[0, 4]).norm().item() == pytest.approx(54.0, abs=0.1)


def test_vertebrae_are_seen_dorsally_of_the_ruler_whichever_way_the_dog_faces() -> None:
    left, right = (along_spine(points[:, 4:], 28, 32, reach=1.0) for points in (FACING_LEFT, FACING_RIGHT))
    assert torch.equal(left, right.flip(-1))
    rows = left[0].amax(1).nonzero()[:, 0] * 4 + 1.5
    # Two vertebrae of 8 pixels above the ruler at 40, and a little below.
    assert rows.min() == 25.5
    assert rows.max() == 41.5
    columns = left[0].amax(0).nonzero()[:, 0] * 4 + 1.5
    assert columns.min() == 33.5
    assert columns.max() == 93.5


def test_in_half_of_its_detail_an_image_has_its_points_where_they_were() -> None:
    across = torch.arange(64, dtype=torch.float32).expand(1, 32, 64)
    point = torch.tensor([20.5, 11.5])
    x, y = in_half_detail(point)
    # The ramp's value is its column.
    assert half_detail(across)[0, int(y), int(x)] == point[0]
    assert (x, y) == (10.0, 5.5)
