"""What is served says the same as the network, and its heat maps show what the answer rests on."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from training.augmentation import Strength
from training.dataset import Images
from training.distance import FeatureDistance
from training.network import HEAT_MAP_STRIDE, ClassNetwork, KeyPointNetwork
from training.served import ServedClasses, ServedKeyPoints

PIXELS = np.random.default_rng(0).integers(0, 256, (8, 64, 96), dtype=np.uint8)
IMAGES = Images((), PIXELS, (), np.full((8, 6, 2), 30, np.float32), np.zeros(8, np.int64), np.zeros((8, 6)))


def run(module: torch.nn.Module, pixels: np.ndarray = PIXELS) -> Any:
    with torch.inference_mode():
        return module(torch.from_numpy(pixels))


@pytest.fixture
def key_points() -> KeyPointNetwork:
    torch.manual_seed(0)
    return KeyPointNetwork().eval()


@pytest.fixture
def classes() -> ClassNetwork:
    torch.manual_seed(0)
    return ClassNetwork().eval()


def served_points(network: KeyPointNetwork) -> ServedKeyPoints:
    return ServedKeyPoints(network, FeatureDistance.fit(network.maps, IMAGES, Strength(), seed=0))


def distance_of(network: ClassNetwork) -> FeatureDistance:
    return FeatureDistance.fit(network.encoder, IMAGES, Strength(), seed=0)


def test_key_points_and_their_heat(key_points: KeyPointNetwork) -> None:
    points, peaks, distance, features, heat = run(served_points(key_points))
    own, other = run(key_points), run(key_points, PIXELS[:, :, ::-1].copy())
    back = torch.tensor([95.0, 0.0]) + other.key_points * torch.tensor([-1.0, 1.0])
    assert torch.allclose(points, (own.key_points + back) / 2, atol=1e-4)
    # The mean of two maps has no higher peak than the mean of their peaks.
    assert bool((peaks <= (own.heat.amax((-1, -2)) + other.heat.amax((-1, -2))) / 2 + 1e-6).all())
    assert distance.shape == (8,)
    assert features.shape == (8, sum(one.shape[1] for one in key_points.maps(torch.from_numpy(PIXELS))))
    assert heat.shape == (8, 64 // HEAT_MAP_STRIDE, 96 // HEAT_MAP_STRIDE)
    # The hottest cell of all is the strongest of the six peaks.
    assert torch.equal(heat.amax((1, 2)), peaks.amax(1))
    assert bool(((heat >= 0) & (heat <= 1)).all())


def test_a_mirrored_radiograph_has_the_same_answer_mirrored(key_points: KeyPointNetwork) -> None:
    served = served_points(key_points)
    points, peaks, distance, features, heat = run(served)
    other_points, other_peaks, other_distance, other_features, other_heat = run(served, PIXELS[:, :, ::-1].copy())
    assert torch.allclose(other_points, torch.tensor([95.0, 0.0]) + points * torch.tensor([-1.0, 1.0]), atol=1e-4)
    assert torch.allclose(other_peaks, peaks, atol=1e-5)
    assert torch.allclose(other_distance, distance, rtol=1e-4)
    assert torch.allclose(other_features, features, atol=1e-3 * float(features.norm(dim=1).max()))
    assert torch.allclose(other_heat, heat.flip(-1), atol=1e-5)


def test_probabilities_and_their_heat(classes: ClassNetwork) -> None:
    with torch.no_grad():
        classes.head[-1].weight.abs_()
    probabilities, distance, features, heat = run(ServedClasses(classes, 2.0, distance_of(classes)))
    assert torch.allclose(probabilities, (run(classes) / 2).softmax(-1))
    assert torch.allclose(features.norm(dim=1), distance, rtol=1e-4)
    assert heat.shape == (8, 2, 3)
    assert bool(((heat >= 0) & (heat <= 1)).all())
    assert bool((heat.amax((1, 2)) >= 1 - 1e-6).all())


def test_the_activation_adds_up_to_the_logit(classes: ClassNetwork) -> None:
    chosen = torch.arange(8) % 3
    with torch.inference_mode():
        maps = classes.encoder(torch.from_numpy(PIXELS))
        activation = classes.activation(maps, chosen)
        logits = classes.classes(maps)
    bias = classes.head[-1].bias[chosen]
    assert torch.allclose(activation.mean((1, 2)) + bias, logits[torch.arange(8), chosen], atol=1e-5)


def test_a_class_that_nothing_speaks_for_has_no_heat(classes: ClassNetwork) -> None:
    with torch.no_grad():
        classes.head[-1].weight.copy_(-classes.head[-1].weight.abs())
    *_, heat = run(ServedClasses(classes, 1.0, distance_of(classes)))
    assert bool((heat == 0).all())


class TestDistance:
    def test_is_mahalanobis_of_the_pooled_features(self, classes: ClassNetwork) -> None:
        rng = np.random.default_rng(1)
        size = sum(one.shape[1] for one in run_maps(classes))
        mean, whitening = rng.normal(size=size), rng.normal(size=(size, size)) / size
        with torch.inference_mode():
            found, features = FeatureDistance(mean, whitening)(run_maps(classes))
        pooled = np.concatenate([one.numpy().mean(axis=(2, 3)) for one in run_maps(classes)], axis=1)
        inverse = whitening @ whitening.T
        by_hand = [np.sqrt((one - mean) @ inverse @ (one - mean)) for one in pooled]
        assert found.numpy() == pytest.approx(np.array(by_hand), rel=1e-4)
        assert features.numpy() == pytest.approx((pooled - mean) @ whitening, abs=1e-3)

    def test_is_small_for_what_it_was_fitted_on_and_large_for_what_not(self, classes: ClassNetwork) -> None:
        rng = np.random.default_rng(2)
        smooth = np.repeat(np.repeat(rng.integers(60, 200, (200, 8, 12), dtype=np.uint8), 8, 1), 8, 2)
        images = Images(
            (), smooth, (), np.full((200, 6, 2), 30, np.float32), np.zeros(200, np.int64), np.zeros((200, 6))
        )
        fitted = FeatureDistance.fit(classes.encoder, images, Strength(), seed=0)
        with torch.inference_mode():
            own, _ = fitted(classes.encoder(torch.from_numpy(smooth)))
            other, _ = fitted(classes.encoder(torch.from_numpy(PIXELS)))
        assert own.median() < 20
        assert other.min() > 3 * own.max()

    def test_the_same_seed_gives_the_same(self, classes: ClassNetwork) -> None:
        one, two = (FeatureDistance.fit(classes.encoder, IMAGES, Strength(), seed=3) for _ in range(2))
        other = FeatureDistance.fit(classes.encoder, IMAGES, Strength(), seed=4)
        assert torch.equal(one.whitening, two.whitening)
        assert not torch.equal(one.whitening, other.whitening)


def run_maps(network: ClassNetwork) -> list[Tensor]:
    with torch.inference_mode():
        return network.encoder(torch.from_numpy(PIXELS))
