"""The networks: one convolutional encoder, and on it heads for key points and the ruler, or for three classes.

All take uint8 or float [N, height, width] grey images from 0 to 255 and hold their normalisation, so that training
and serving cannot drift apart. Sides are multiples of `STRIDE`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from canicor.vhs import HEART_SIZES, KEY_POINT_NAMES, VERTEBRAE_SPANNED

STRIDE = 32
"""Input pixels per cell of the encoder's coarsest map."""

HEAT_MAP_STRIDE = 4
"""Input pixels per cell of a heat map."""

HEAT_MAP_SIGMA = 1.0
"""Standard deviation of a key point's target, in cells."""

_WIDTHS = (16, 24, 48, 96, 128)
_DECODER_WIDTH = 48

# Vertebrae are some 12 pixels long at the sizes in use; a network starts there.
_USUAL_LOG_LENGTH, _LOG_LENGTH_DEVIATION = 2.4, 0.3
_LOG_SPREADS = (-5.0, 2.0)
# In vertebrae from the line through E and F: as far as spinous processes reach, and the heads of the ribs.
_DORSAL, _VENTRAL = 2.0, 0.6

# Mean and standard deviation of a chest radiograph's grey values: near enough, batch normalisation does the rest.
_GREY_MEAN, _GREY_DEVIATION = 110.0, 64.0


class Encoder(nn.Module):
    """Maps at 1/2, 1/4, ... 1/`STRIDE` of the input, coarser and wider."""

    def __init__(self) -> None:
        super().__init__()
        inputs = (1, *_WIDTHS)
        self.stages = nn.ModuleList(
            nn.Sequential(_convolution(inputs[i], width, step=2), *([_Residual(width)] if i > 1 else []))
            for i, width in enumerate(_WIDTHS)
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        """Takes [N, height, width] and returns the maps [N, width, rows, columns], finest first."""
        maps = [((images.float() - _GREY_MEAN) / _GREY_DEVIATION).unsqueeze(1)]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return maps[1:]


class Reading(NamedTuple):
    """What `KeyPointNetwork` reads from an image, on a grid of one cell per `HEAT_MAP_STRIDE` input pixels.

    Attributes:
        logits: Heat maps [N, 6, rows, columns], each a probability over its cells once softmax is taken.
        length: Natural logarithm of a vertebra's length in input pixels [N, rows, columns], seen from each cell.
        spread: Natural logarithm of how far that logarithm is off, as a Laplace distribution's scale, likewise.
    """

    logits: Tensor
    length: Tensor
    spread: Tensor

    def key_points(self) -> Tensor:
        """Returns [N, 6, 2] (x, y) in input pixels.

        A point is its map's mean position; E and F are then moved apart or together along their line until they
        stand as many vertebrae apart as the ruler spans. Where they lie follows from what surrounds them, and
        which vertebra is the fourth is often a guess; how long a vertebra is can be seen on each.
        """
        points = decode(self.logits)
        start, end = points[:, 4], points[:, 5]
        middle, half = 0.5 * (start + end), 0.5 * (end - start)
        weight = torch.exp(-2.0 * self.spread) * along_spine(points, *self.length.shape[-2:], reach=1.0)
        length = torch.exp((weight * self.length).sum((-1, -2)) / weight.sum((-1, -2)).clamp(min=1e-12))
        half = half * (0.5 * VERTEBRAE_SPANNED * length / half.norm(dim=-1).clamp(min=1e-6)).unsqueeze(-1)
        return torch.cat((points[:, :4], torch.stack((middle - half, middle + half), dim=1)), dim=1)


class KeyPointNetwork(nn.Module):
    """Six heat maps, and the length of a vertebra read where vertebrae are.

    The length comes from the finest two maps alone, which in the project's own encoder see some five vertebrae at
    a time: so it is measured on vertebrae, processes and ribs, and not inferred from the size of the chest.

    Args:
        encoder: Takes [N, height, width] and returns maps [N, width, rows, columns], of which the last four are at
            1/4 to 1/`STRIDE` of the input; the project's own where None.
        widths: Of those four, finest first.
    """

    def __init__(self, encoder: nn.Module | None = None, widths: Sequence[int] = _WIDTHS[1:]) -> None:
        super().__init__()
        self.encoder = encoder or Encoder()
        self.laterals = nn.ModuleList(nn.Conv2d(width, _DECODER_WIDTH, 1) for width in widths)
        self.smoothing = nn.ModuleList(_convolution(_DECODER_WIDTH, _DECODER_WIDTH) for _ in widths[1:])
        self.head = nn.Conv2d(_DECODER_WIDTH, len(KEY_POINT_NAMES), 1)
        self.length_laterals = nn.ModuleList(nn.Conv2d(width, _DECODER_WIDTH, 1) for width in widths[:2])
        self.length_head = nn.Sequential(
            _convolution(_DECODER_WIDTH, _DECODER_WIDTH), nn.Conv2d(_DECODER_WIDTH, 2, 1)
        )

    def read(self, maps: list[Tensor]) -> Reading:
        """Takes the encoder's maps."""
        four = maps[-len(self.laterals) :]
        sides = [lateral(one) for lateral, one in zip(self.laterals, four, strict=True)]
        decoded = sides.pop()
        for smooth in self.smoothing:
            decoded = smooth(F.interpolate(decoded, scale_factor=2.0) + sides.pop())
        fine, coarse = (lateral(one) for lateral, one in zip(self.length_laterals, four[:2], strict=True))
        # In half precision, logits would place points no finer than half a pixel.
        length, spread = self.length_head(fine + F.interpolate(coarse, scale_factor=2.0)).float().unbind(1)
        length = _USUAL_LOG_LENGTH + _LOG_LENGTH_DEVIATION * length
        return Reading(self.head(decoded).float(), length, spread.clamp(*_LOG_SPREADS))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Takes [N, height, width].

        Returns:
            key_points [N, 6, 2] (x, y) in input pixels, centres at integers; and peaks [N, 6] from 0 to 1, the
            highest cell of each map over that of a target centred on its cell.
        """
        reading = self.read(self.encoder(images))
        return reading.key_points(), heat_maps(reading.logits).amax((-1, -2))


class ClassNetwork(nn.Module):
    """Three classes from the mean of the encoder's coarsest map.

    Args:
        dropout: Before the head.
    """

    has_activation = True

    def __init__(self, dropout: float = 0.2) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(_WIDTHS[-1], len(HEART_SIZES)))

    def forward(self, images: Tensor) -> Tensor:
        """Takes [N, height, width] and returns logits [N, 3]."""
        return self.classes(self.encoder(images))

    def classes(self, maps: list[Tensor]) -> Tensor:
        """Takes the encoder's maps and returns logits."""
        logits: Tensor = self.head(maps[-1].mean(dim=(2, 3)))
        return logits

    def activation(self, maps: list[Tensor], classes: Tensor) -> Tensor:
        """Returns what each cell of the coarsest map adds to the logit of a class, as `class_activation`."""
        return class_activation(maps[-1], self.head[-1], classes)


def class_activation(features: Tensor, last: nn.Module, classes: Tensor) -> Tensor:
    """Returns what each cell of a map adds to the logit of a class: the mean is all but its bias.

    Class activation maps: Zhou et al., CVPR 2016. Exact where one linear layer follows the mean, and then the same
    as HiResCAM (Draelos & Carin 2020).

    Args:
        features: [N, width, rows, columns].
        last: The linear layer.
        classes: int64 [N].

    Returns:
        [N, rows, columns].
    """
    weights: Tensor = last.weight[classes]  # type: ignore[index]
    return (features * weights[:, :, None, None]).sum(1)


def decode(logits: Tensor) -> Tensor:
    """Returns the mean position (x, y) [..., 2] in input pixels of heat maps' logits [..., rows, columns]."""
    probability = logits.flatten(-2).softmax(-1).reshape(logits.shape)
    x = (probability.sum(-2) * _centres(logits.shape[-1], logits)).sum(-1)
    y = (probability.sum(-1) * _centres(logits.shape[-2], logits)).sum(-1)
    return torch.stack((x, y), dim=-1)


def along_spine(points: Tensor, rows: int, columns: int, *, reach: float) -> Tensor:
    """Marks the cells from which vertebrae are seen: 1 there, else 0.

    Args:
        points: [N, 6, 2] in input pixels.
        rows: Of cells.
        columns: Of cells.
        reach: How far beyond E and F, in vertebrae.

    Returns:
        [N, rows, columns].
    """
    start, line = points[:, 4, :, None, None], (points[:, 5] - points[:, 4])[..., None, None]
    square = line.square().sum(1).clamp(min=1e-6) / VERTEBRAE_SPANNED
    x, y = (
        _centres(columns, points)[None, None, :] - start[:, 0],
        _centres(rows, points)[None, :, None] - start[:, 1],
    )
    caudal, ventral = (x * line[:, 0] + y * line[:, 1]) / square, (y * line[:, 0] - x * line[:, 1]) / square
    # The dorsal side lies across the line from A: a dog that faces right is told from one that faces left.
    across = points[:, 0] - points[:, 4]
    side = torch.sign(across[:, 1, None, None] * line[:, 0] - across[:, 0, None, None] * line[:, 1])
    ventral = ventral * side
    inside = (caudal > -reach) & (caudal < VERTEBRAE_SPANNED + reach) & (ventral > -_DORSAL) & (ventral < _VENTRAL)
    return inside.float()


def heat_maps(logits: Tensor) -> Tensor:
    """Returns heat maps, each cell over the highest of a target centred on its cell; at most 1."""
    probability = logits.flatten(-2).softmax(-1).reshape(logits.shape)
    return (probability * (2 * torch.pi * HEAT_MAP_SIGMA**2)).clamp(max=1.0)


def targets(points: Tensor, rows: int, columns: int) -> Tensor:
    """Returns the heat maps [..., rows, columns] that mark points [..., 2] in input pixels; each sums to 1."""
    scale = HEAT_MAP_STRIDE * HEAT_MAP_SIGMA
    across = -0.5 * ((_centres(columns, points) - points[..., 0:1]) / scale) ** 2
    down = -0.5 * ((_centres(rows, points) - points[..., 1:2]) / scale) ** 2
    return down.softmax(-1).unsqueeze(-1) * across.softmax(-1).unsqueeze(-2)


def _centres(cells: int, beside: Tensor) -> Tensor:
    """Returns where the cells' centres lie along an axis, in input pixels, on the device of another tensor."""
    return (torch.arange(cells, dtype=torch.float32, device=beside.device) + 0.5) * HEAT_MAP_STRIDE - 0.5


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _convolution(width, width), nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        )

    def forward(self, inputs: Tensor) -> Tensor:
        return F.relu(inputs + self.body(inputs))


def _convolution(inputs: int, outputs: int, step: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=step, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )
