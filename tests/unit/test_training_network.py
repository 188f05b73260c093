"""Heat maps mark points to a fraction of a pixel, and peaks say how sure they are."""

import pytest
import torch

from training.network import KeyPointNetwork, decode, heat_maps, targets


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
        points, heights = network(torch.randint(0, 256, (3, 96, 128), dtype=torch.uint8))
    assert points.shape == (3, 6, 2)
    assert bool(((points >= 0) & (points <= torch.tensor([127.0, 95.0]))).all())
    assert bool(((heights > 0) & (heights <= 1)).all())
