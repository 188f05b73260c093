"""EfficientNet-B0 with random weights, as bundles."""

import math
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from networks import efficientnet
from raw import RESIZE

from canicor.bundle import INPUT, BundleInfo, InputSpec, ModelKind, Predictions
from canicor.model_repository import Alias, ModelRepository
from canicor.onnx_runtime import open_session
from canicor.phantom import draw
from canicor.store import file_url

NAME, SIDE = "efficientnet-b0", 224

_PREDICTED = 4

_SHIFT = 2.0
"""How far `variants` move the logits, which have a standard deviation of 1."""

_GOLDEN_ANGLE = math.pi * (3 - math.sqrt(5))
"""Steps round the circle that meet no place twice, and of which one leads far from the one before."""


def build(side: int) -> bytes:
    """Returns the ONNX file. Runs in a process of its own: the one that measures holds nothing of PyTorch.

    Args:
        side: Rows and columns of the input.
    """
    return efficientnet("efficientnet_b0", side, head=0)


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
    version = repository.push(NAME, info, model, "# Random weights\n", predictions=_predictions(model, side))
    repository.set_alias(NAME, Alias.PRODUCTION, version)
    return version


def repository_of(home: Path) -> ModelRepository:
    """Returns the repository of the server whose CANICOR_HOME this is."""
    return ModelRepository(file_url(home / "models"))


def _predictions(model: bytes, side: int) -> Predictions:
    images = np.stack([draw(2, index, width=side, height=side).pixels for index in range(_PREDICTED)])
    session = open_session(model, threads=1)
    outputs = [session.run(["probabilities"], {INPUT: image[np.newaxis]})[0] for image in images]
    return Predictions(images, {"probabilities": np.concatenate(outputs)})
