"""An exported model that differs from the trained one never leaves."""

import numpy as np
import pytest
import torch

from canicor.bundle import ModelKind
from canicor.errors import FailedPrecondition
from training import export
from training.augmentation import Strength
from training.dataset import Images
from training.distance import FeatureDistance
from training.network import ClassNetwork, KeyPointNetwork
from training.served import Served, ServedClasses, ServedKeyPoints

IMAGES = Images(
    rows=(),
    pixels=np.random.default_rng(0).integers(0, 256, (5, 64, 96), dtype=np.uint8),
    placements=(),
    points=np.full((5, 6, 2), 30, dtype=np.float32),
    classes=np.zeros(5, dtype=np.int64),
    features=np.zeros((5, 6)),
)


def served(kind: ModelKind, seed: int = 0) -> Served:
    torch.manual_seed(seed)
    if kind is ModelKind.KEYPOINTS:
        points = KeyPointNetwork().eval()
        return ServedKeyPoints(points, FeatureDistance.fit(points.maps, IMAGES, Strength(), seed=0)).eval()
    classes = ClassNetwork().eval()
    return ServedClasses(classes, 2.0, FeatureDistance.fit(classes.encoder, IMAGES, Strength(), seed=0)).eval()


@pytest.mark.parametrize("kind", ModelKind)
def test_onnx_answers_as_torch_does(kind: ModelKind) -> None:
    trained = served(kind)
    model = export.to_onnx(trained, trained.outputs, height=64, width=96)
    assert export.check_parity(model, trained, IMAGES) <= 1e-4


@pytest.mark.parametrize("kind", ModelKind)
def test_another_model_is_refused(kind: ModelKind) -> None:
    one = served(kind)
    model = export.to_onnx(one, one.outputs, height=64, width=96)
    with pytest.raises(FailedPrecondition, match="differs from the trained one"):
        export.check_parity(model, served(kind, seed=1), IMAGES)


@pytest.mark.parametrize("kind", ModelKind)
def test_another_distance_alone_is_refused(kind: ModelKind) -> None:
    trained = served(kind)
    model = export.to_onnx(trained, trained.outputs, height=64, width=96)
    with torch.no_grad():
        trained.distance.whitening.mul_(1.01)
    with pytest.raises(FailedPrecondition, match=r"differs from the trained one in distance by 9\.9e-03"):
        export.check_parity(model, trained, IMAGES)


def test_no_number_is_refused() -> None:
    kind = ModelKind.KEYPOINTS
    broken = served(kind)
    model = export.to_onnx(broken, broken.outputs, height=64, width=96)
    with torch.no_grad():
        next(broken.parameters()).fill_(torch.nan)
    with pytest.raises(FailedPrecondition):
        export.check_parity(model, broken, IMAGES)
