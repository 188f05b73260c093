"""EfficientNet-B0 with random weights, as a bundle, and what it says without a server."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from canicor.bundle import INPUT, Alias, BundleInfo, InputSpec, ModelKind, ModelRepository
from canicor.model_input import ResizeRule, read
from canicor.onnx_runtime import open_session
from canicor.phantom import draw
from canicor.store import file_url

NAME, SIDE, RESIZE = "efficientnet-b0", 224, ResizeRule.LETTERBOX

_IMAGES, _PASSES = 8, 20


def build() -> bytes:
    """Returns the ONNX file. Runs in a process of its own: the one that measures holds nothing of PyTorch."""
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
        np.stack([draw(0, index, width=SIDE, height=SIDE).pixels for index in range(_IMAGES)])
    )
    with torch.no_grad():
        # Gathers batch statistics, so that activations are as large in every layer as in a trained network.
        for _ in range(_PASSES):
            network(images)
        # Spreads the logits, so that the answer to one radiograph is not that to another.
        logits, head = network.eval()(images), network.get_submodule("network.classifier")
        assert isinstance(head, nn.Linear)
        head.weight /= logits.std(0)[:, None]
        head.bias.copy_((head.bias - logits.mean(0)) / logits.std(0))
    return to_onnx(Probabilities(network, 1.0).eval(), ModelKind.CLASSIFIER, SIDE, SIDE)


def push(folder: Path, model: bytes) -> None:
    """Writes the model as `folder/models/NAME/1`, in production."""
    info = BundleInfo(
        kind=ModelKind.CLASSIFIER,
        input=InputSpec(height=SIDE, width=SIDE, resize=RESIZE),
        training_dataset_digest="0" * 64,
        test_dataset_digest="0" * 64,
        training_origins=("phantom",),
        training_run="benchmark",
        create_time=datetime.now(UTC),
    )
    repository = ModelRepository(file_url(folder / "models"))
    repository.set_alias(NAME, Alias.PRODUCTION, repository.push(NAME, info, model, "# Random weights\n"))


def raw(model: bytes, intra_op: int) -> Callable[[bytes], list[float]]:
    """Returns what a server does, without the server: bytes of a file to its three probabilities."""
    session = open_session(model, threads=intra_op)

    def infer(file: bytes) -> list[float]:
        radiograph = read(file, SIDE, SIDE, RESIZE)
        return [float(value) for value in session.run(["probabilities"], {INPUT: radiograph.pixels[None]})[0][0]]

    return infer
