"""Graphs in other number formats, run for real."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from canicor import phantom
from canicor.bundle import DISTANCE, INPUT, MODEL_FILE, ModelKind
from canicor.model_repository import SHIPPED
from canicor.onnx_runtime import open_session
from training.augmentation import Strength
from training.dataset import Images
from training.distance import FeatureDistance
from training.evaluation import ask
from training.export import to_onnx
from training.network import ClassNetwork, KeyPointNetwork
from training.number_formats import fp16, int8
from training.served import ServedClasses, ServedKeyPoints

IMAGES = np.random.default_rng(0).integers(0, 255, (8, 48, 64), np.uint8)
SQUARE = np.random.default_rng(1).integers(0, 255, (8, 64, 64), np.uint8)
TRAINING = Images((), SQUARE, (), np.full((8, 6, 2), 30, np.float32), np.zeros(8, np.int64), np.zeros((8, 6)))


class Network(nn.Module):
    """Two convolutions and a softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 8, 3, stride=2), nn.ReLU(), nn.Conv2d(8, 64, 3, stride=2), nn.ReLU()
        )
        self.last = nn.Linear(64, 3)

    def forward(self, images: Tensor) -> Tensor:
        features = self.encoder(((images.float() - 110) / 64).unsqueeze(1))
        return self.last(features.mean((2, 3))).softmax(-1)


@pytest.fixture(scope="module")
def graph() -> bytes:
    torch.manual_seed(0)
    return to_onnx(Network().eval(), ["probabilities"], 48, 64)


def said(graph: bytes) -> np.ndarray:
    return np.asarray(open_session(graph).run(["probabilities"], {INPUT: IMAGES})[0])


def test_eight_bits_say_nearly_the_same(graph: bytes) -> None:
    quantised = int8(graph, IMAGES)
    probabilities = said(quantised)
    assert probabilities == pytest.approx(said(graph), abs=0.02)
    assert probabilities.dtype == np.float32
    assert b"QuantizeLinear" in quantised


@pytest.mark.parametrize(
    ("convert", "pixels"),
    # With the means over heat maps in 8 bits too it is 1.7 pixels.
    [(int8, 0.4), (lambda model, _: fp16(model), 0.05)],
)
def test_a_key_point_model_in_fewer_bits_finds_the_points_where_it_found_them(
    convert: Callable[[bytes, np.ndarray], bytes], pixels: float
) -> None:
    model = (SHIPPED / "vhs-keypoints" / "0" / MODEL_FILE).read_bytes()
    _, height, width = open_session(model).get_inputs()[0].shape
    radiographs = np.stack([phantom.draw(5, index, width=width, height=height).pixels for index in range(12)])

    def points_and_distance(graph: bytes) -> list[np.ndarray]:
        return open_session(graph).run(["key_points", DISTANCE], {INPUT: radiographs[6:]})

    converted = convert(model, radiographs[:6])
    (points, distance), (found, found_distance) = points_and_distance(model), points_and_distance(converted)
    assert len(converted) < 0.75 * len(model)
    assert np.abs(found - points).mean() < pixels
    assert found_distance == pytest.approx(distance, rel=0.15)


@pytest.mark.parametrize("kind", ModelKind)
@pytest.mark.parametrize("convert", [partial(int8, images=SQUARE), fp16])
def test_every_graph_that_is_served_has_both(kind: ModelKind, convert: Callable[[bytes], bytes]) -> None:
    torch.manual_seed(0)
    served: ServedKeyPoints | ServedClasses
    if kind is ModelKind.KEYPOINTS:
        points = KeyPointNetwork().eval()
        served = ServedKeyPoints(points, FeatureDistance.fit(points.maps, TRAINING, Strength(), seed=0)).eval()
    else:
        classes = ClassNetwork().eval()
        distance = FeatureDistance.fit(classes.encoder, TRAINING, Strength(), seed=0)
        served = ServedClasses(classes, 1.0, distance).eval()
    graph = to_onnx(served, served.outputs, 64, 64)
    outputs = ask(convert(graph), served.outputs, SQUARE)
    for one, other in zip(outputs, ask(graph, served.outputs, SQUARE), strict=True):
        assert one.shape == other.shape
        assert np.isfinite(one).all()


def test_sixteen_bits_say_nearly_the_same(graph: bytes) -> None:
    halved = fp16(graph)
    probabilities = said(halved)
    assert probabilities == pytest.approx(said(graph), abs=0.01)
    assert probabilities.dtype == np.float32
    assert len(halved) < len(graph)
