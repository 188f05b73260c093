"""EfficientNet-B0 with random weights, as bundles."""

import math
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from raw import RESIZE

from canicor.bundle import Alias, BundleInfo, InputSpec, ModelKind, ModelRepository
from canicor.phantom import draw
from canicor.store import file_url

NAME, SIDE = "efficientnet-b0", 224

_IMAGES = 8

_SHIFT = 2.0
"""How far `variants` move the logits, which have a standard deviation of 1."""

_GOLDEN_ANGLE = math.pi * (3 - math.sqrt(5))
"""Steps round the circle that meet no place twice, and of which one leads far from the one before."""


def build(side: int) -> bytes:
    """Returns the ONNX file. Runs in a process of its own: the one that measures holds nothing of PyTorch.

    Args:
        side: Rows and columns of the input.
    """
    import timm
    import torch
    from torch import Tensor, nn

    from training.export import Probabilities, to_onnx

    class Grey(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = timm.create_model("efficientnet_b0", in_chans=1, num_classes=3)

        def forward(self, images: Tensor) -> Tensor:
            logits: Tensor = self.network(((images.float() - 110) / 64).unsqueeze(1))
            return logits

    torch.manual_seed(0)
    network = Grey()
    images = torch.from_numpy(
        np.stack([draw(0, index, width=side, height=side).pixels for index in range(_IMAGES)])
    )
    with torch.no_grad():
        # Takes this batch's statistics, so that activations are as large in every layer as in a trained network.
        for layer in network.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.momentum = 1.0
        network(images)
        # Spreads the logits, so that the answer to one radiograph is not that to another.
        logits, head = network.eval()(images), network.get_submodule("network.classifier")
        assert isinstance(head, nn.Linear)
        head.weight /= logits.std(0)[:, None]
        head.bias.copy_((head.bias - logits.mean(0)) / logits.std(0))
    return to_onnx(Probabilities(network, 1.0).eval(), ModelKind.CLASSIFIER, side, side)


def variants(model: bytes, count: int) -> list[bytes]:
    """Returns copies of a model with their logits moved, each in its own direction. Runs apart, as `build`."""
    import onnx
    from onnx import helper, numpy_helper

    made = []
    for index in range(count):
        changed = onnx.load_from_string(model)
        (softmax,) = (node for node in changed.graph.node if node.op_type == "Softmax")
        shift = _SHIFT * np.cos(index * _GOLDEN_ANGLE + 2 * math.pi * np.arange(3) / 3)
        changed.graph.initializer.append(numpy_helper.from_array(shift.astype(np.float32), "shift"))
        moved = helper.make_node("Add", [softmax.input[0], "shift"], ["shifted"])
        changed.graph.node.insert(list(changed.graph.node).index(softmax), moved)
        softmax.input[0] = "shifted"
        onnx.checker.check_model(changed)
        made.append(changed.SerializeToString())
    return made


def push(repository: ModelRepository, model: bytes, side: int) -> str:
    """Writes the model as a new version, points production at it, and returns it."""
    info = BundleInfo(
        kind=ModelKind.CLASSIFIER,
        input=InputSpec(height=side, width=side, resize=RESIZE),
        training_dataset_digest="0" * 64,
        test_dataset_digest="0" * 64,
        training_origins=("phantom",),
        training_run="benchmark",
        create_time=datetime.now(UTC),
    )
    version = repository.push(NAME, info, model, "# Random weights\n")
    repository.set_alias(NAME, Alias.PRODUCTION, version)
    return version


def repository_of(home: Path) -> ModelRepository:
    """Returns the repository of the server whose CANICOR_HOME this is."""
    return ModelRepository(file_url(home / "models"))
