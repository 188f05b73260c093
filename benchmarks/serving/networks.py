"""Networks to measure with: the architecture is real, the weights are random, the answers tell images apart."""

import numpy as np

from canicor.bundle import OUTPUTS, ModelKind
from canicor.phantom import draw
from canicor.vhs import HEART_SIZES, measure

_PHANTOMS, _BATCH = 24, 4
# Of residual branches: as small as in a trained network, so that rounding does not grow from layer to layer.
_BRANCH = 0.2
_RIDGE = 1.0


def efficientnet(name: str, side: int, head: int) -> bytes:
    """Returns an ONNX file: `images` uint8 [N, side, side] -> `probabilities` [N, 3].

    Args:
        name: Of an EfficientNet in timm.
        side: Of the input, in pixels.
        head: Hidden linear layers between its features and the output; the study has seven.
    """
    import timm
    import torch
    from torch import Tensor, nn

    from training.export import to_onnx

    class Grey(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = timm.create_model(name, in_chans=1, num_classes=0)
            width = self.backbone.num_features
            hidden = [layer for _ in range(head) for layer in (nn.Linear(width, width), nn.ReLU())]
            self.hidden, self.last = nn.Sequential(*hidden), nn.Linear(width, len(HEART_SIZES))

        def features(self, images: Tensor) -> Tensor:
            features: Tensor = self.hidden(self.backbone(((images.float() - 110) / 64).unsqueeze(1)))
            return features

        def forward(self, images: Tensor) -> Tensor:
            probabilities: Tensor = self.last(self.features(images)).softmax(-1)
            return probabilities

    torch.manual_seed(0)
    network = Grey()
    for module in network.modules():
        if getattr(module, "has_skip", False):
            nn.init.constant_((module.bn3 if hasattr(module, "bn3") else module.bn2).weight, _BRANCH)
        if isinstance(module, nn.BatchNorm2d):
            # The mean over all batches, not a sliding one.
            module.momentum = None
    for layer in network.hidden:
        if isinstance(layer, nn.Linear):
            nn.init.eye_(layer.weight)
    phantoms = [draw(0, index, width=side, height=side) for index in range(_PHANTOMS)]
    batches = torch.from_numpy(np.stack([one.pixels for one in phantoms])).split(_BATCH)
    classes = torch.tensor([HEART_SIZES.index(measure(one.key_points).heart_size) for one in phantoms])
    with torch.no_grad():
        for batch in batches:
            network.features(batch)
        network.eval()
        features = torch.cat([network.features(batch) for batch in batches])
        _fit(network.last, features, classes)
    return to_onnx(network, list(OUTPUTS[ModelKind.CLASSIFIER]), side, side)


def _fit(last: "nn.Linear", features: "Tensor", classes: "Tensor") -> None:  # type: ignore[name-defined]  # noqa: F821
    """Sets the output layer to the ridge regression from features [N, F] on logits of the classes [N]."""
    import torch

    wanted = 4 * torch.eye(len(HEART_SIZES))[classes] - 4 / len(HEART_SIZES)
    mean, spread = features.mean(0), features.std(0).clamp_min(1e-6)
    scaled = (features - mean) / spread
    gram = scaled @ scaled.T + _RIDGE * len(features) * torch.eye(len(features))
    weights = scaled.T @ torch.linalg.solve(gram, wanted - wanted.mean(0)) / spread[:, None]
    last.weight.copy_(weights.T)
    last.bias.copy_(wanted.mean(0) - mean @ weights)
