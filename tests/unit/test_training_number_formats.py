"""Graphs in other number formats, run for real."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from canicor.bundle import INPUT
from canicor.onnx_runtime import open_session
from training.export import to_onnx
from training.number_formats import fp16, int8

IMAGES = np.random.default_rng(0).integers(0, 255, (8, 48, 64), np.uint8)


class Network(nn.Module):
    """Two convolutions and a softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 8, 3, stride=2), nn.ReLU(), nn.Conv2d(8, 16, 3, stride=2), nn.ReLU()
        )
        self.last = nn.Linear(16, 3)

    def forward(self, images: Tensor) -> Tensor:
        features = self.layers(((images.float() - 110) / 64).unsqueeze(1))
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


def test_sixteen_bits_say_nearly_the_same(graph: bytes) -> None:
    halved = fp16(graph)
    probabilities = said(halved)
    assert probabilities == pytest.approx(said(graph), abs=0.01)
    assert probabilities.dtype == np.float32
    assert len(halved) < len(graph)
