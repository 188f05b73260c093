"""The networks: a convolutional encoder, and on it looks at key points and the ruler, or a head for three classes.

All take uint8 or float [N, height, width] grey images from 0 to 255 and hold their normalisation, so that training
and serving cannot drift apart. Sides are multiples of `STRIDE`.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from canicor.vhs import HEART_SIZES, KEY_POINT_NAMES, VERTEBRAE_SPANNED
from training.patches import SPINE, VERTEBRA, Patches

STRIDE = 32
"""Input pixels per cell of the encoder's coarsest map."""

HEAT_MAP_STRIDE = 4
"""Input pixels per cell of a heat map."""

HEAT_MAP_SIGMA = 1.0
"""Standard deviation of a key point's target, in cells."""

HEART_POINTS = 4
"""A, B, C and D, which come first; E and F are the spine's."""

_WIDTHS = (16, 24, 48, 96, 128)
_DECODER_WIDTH = 48

# The heart's borders are harder to see than vertebrae: after as many epochs, A-B and C-D are 4 % less far off so
# (standard deviation on phantoms).
_HEART_WIDTHS = (16, 32, 64, 128, 192)
_HEART_DECODER_WIDTH = 64
_HEART_RESIDUALS = 2

# Of a look's logarithm of a vertebra's length, before it has learnt: its deviation from the usual one.
_LOG_LENGTH_DEVIATION = 0.3
_LOG_SPREADS = (-5.0, 2.0)
# In vertebrae from the line through E and F: as far as spinous processes reach, and the heads of the ribs.
_DORSAL, _VENTRAL = 2.0, 0.6

# Mean and standard deviation of a chest radiograph's grey values: near enough, batch normalisation does the rest.
_GREY_MEAN, _GREY_DEVIATION = 110.0, 64.0


class Encoder(nn.Module):
    """Maps at 1/2, 1/4, ... 1/`STRIDE` of the input, coarser and wider.

    Args:
        widths: Of the maps, finest first.
        residuals: Residual blocks at 1/8 and coarser.
    """

    def __init__(self, widths: Sequence[int] = _WIDTHS, residuals: int = 1) -> None:
        super().__init__()
        inputs = (1, *widths)
        self.stages = nn.ModuleList(
            nn.Sequential(
                _convolution(inputs[i], width, step=2), *(_Residual(width) for _ in range(residuals) if i > 1)
            )
            for i, width in enumerate(widths)
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        """Takes [N, height, width] and returns the maps [N, width, rows, columns], finest first."""
        maps = [((images.float() - _GREY_MEAN) / _GREY_DEVIATION).unsqueeze(1)]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return maps[1:]


class Look(nn.Module):
    """Heat maps of some points.

    Args:
        points: Their number.
        encoder: Takes [N, height, width] and returns maps [N, width, rows, columns], of which the last four are at
            1/4 to 1/`STRIDE` of the input; the project's own where None.
        widths: Of those four, finest first.
        decoder: Width of the maps on the way back to 1/4.
    """

    def __init__(
        self,
        points: int,
        encoder: nn.Module | None = None,
        widths: Sequence[int] = _WIDTHS[1:],
        decoder: int = _DECODER_WIDTH,
    ) -> None:
        super().__init__()
        self.encoder = encoder or Encoder()
        self.laterals = nn.ModuleList(nn.Conv2d(width, decoder, 1) for width in widths)
        self.smoothing = nn.ModuleList(_convolution(decoder, decoder) for _ in widths[1:])
        self.head = nn.Conv2d(decoder, points, 1)

    def mark(self, maps: list[Tensor]) -> Tensor:
        """Takes the encoder's maps and returns the logits of the heat maps [N, points, rows, columns]."""
        sides = [lateral(one) for lateral, one in zip(self.laterals, maps[-len(self.laterals) :], strict=True)]
        decoded = sides.pop()
        for smooth in self.smoothing:
            finer = sides.pop()
            decoded = smooth(F.interpolate(decoded, size=finer.shape[-2:]) + finer)
        # In half precision, logits would place points no finer than half a pixel.
        logits: Tensor = self.head(decoded).float()
        return logits

    def forward(self, images: Tensor) -> Tensor:
        """Takes [N, height, width] and returns logits as `mark`."""
        return self.mark(self.encoder(images))


class Reading(NamedTuple):
    """What a `SpineLook` reads, on a grid of one cell per `HEAT_MAP_STRIDE` pixels of its input.

    Attributes:
        logits: Heat maps [N, points, rows, columns], each a probability over its cells once softmax is taken; the
            last two are of E and F.
        length: Natural logarithm of a vertebra's length in pixels [N, rows, columns], seen from each cell.
        spread: Natural logarithm of how far that logarithm is off, as a Laplace distribution's scale, likewise.
    """

    logits: Tensor
    length: Tensor
    spread: Tensor

    def key_points(self) -> Tensor:
        """Returns [N, points, 2] (x, y) in pixels.

        A point is its map's mean position; E and F are then moved along their line, half way to where they stand
        as many vertebrae apart as the ruler spans. Where they lie follows from what surrounds them, and which
        vertebra is the fourth is often a guess; how long a vertebra is can be seen on each.
        """
        points = decode(self.logits)
        start, end = points[:, -2], points[:, -1]
        middle, half = 0.5 * (start + end), 0.5 * (end - start)
        seen = along_spine(points[:, -2:], *self.length.shape[-2:], reach=1.0)
        weight = torch.exp(-2.0 * self.spread) * seen
        length = torch.exp((weight * self.length).sum((-1, -2)) / weight.sum((-1, -2)).clamp(min=1e-12))
        ruler = 0.5 * VERTEBRAE_SPANNED * length / half.norm(dim=-1).clamp(min=1e-6)
        half = half * (0.5 * (1.0 + ruler)).unsqueeze(-1)
        return torch.cat((points[:, :-2], torch.stack((middle - half, middle + half), dim=1)), dim=1)


class SpineLook(nn.Module):
    """A look at points of which the last two are E and F, and at the length of a vertebra where vertebrae are.

    The length comes from the finest two maps alone, which see some five vertebrae at a time: so it is measured on
    vertebrae, processes and ribs, and not inferred from the size of the chest.

    Args:
        points: Their number.
        vertebra: Its usual length in pixels.
    """

    def __init__(self, points: int, vertebra: float) -> None:
        super().__init__()
        self.look = Look(points)
        self.usual = math.log(vertebra)
        self.length_laterals = nn.ModuleList(nn.Conv2d(width, _DECODER_WIDTH, 1) for width in _WIDTHS[1:3])
        self.length_head = nn.Sequential(
            _convolution(_DECODER_WIDTH, _DECODER_WIDTH), nn.Conv2d(_DECODER_WIDTH, 2, 1)
        )

    def read(self, maps: list[Tensor]) -> Reading:
        """Takes the encoder's maps."""
        fine, coarse = (lateral(one) for lateral, one in zip(self.length_laterals, maps[1:3], strict=True))
        fine = fine + F.interpolate(coarse, size=fine.shape[-2:])
        length, spread = self.length_head(fine).float().unbind(1)
        return Reading(
            self.look.mark(maps), self.usual + _LOG_LENGTH_DEVIATION * length, spread.clamp(*_LOG_SPREADS)
        )

    def forward(self, images: Tensor) -> Reading:
        """Takes [N, height, width]."""
        return self.read(self.look.encoder(images))


class Sight(NamedTuple):
    """What a `KeyPointNetwork` sees of images.

    Attributes:
        key_points: [N, 6, 2] (x, y) in input pixels, centres at integers.
        heat: Heat maps [N, 6, rows, columns], one cell per `HEAT_MAP_STRIDE` input pixels, from 0 to 1: as
            `heat_maps`, but 0 outside the patch.
    """

    key_points: Tensor
    heat: Tensor


class KeyPointNetwork(nn.Module):
    """Three looks: one at the whole radiograph, at half of its detail, and by its E and F two closer ones.

    On a patch along the spine, where all dogs are of one size, one finds the heart and the other, at the upper
    rows alone, E and F. Each has a network of its own: one that does both gets better at the heart by getting
    worse at the spine.

    Args:
        heart: Finds A, B, C and D on patches; the project's own where None.
    """

    def __init__(self, heart: Look | None = None) -> None:
        super().__init__()
        self.first = SpineLook(len(KEY_POINT_NAMES), VERTEBRA / 2)
        self.heart = heart or _heart_look()
        self.spine = SpineLook(len(KEY_POINT_NAMES) - HEART_POINTS, VERTEBRA)

    def maps(self, images: Tensor) -> list[Tensor]:
        """Takes [N, height, width] and returns the maps of the first look's encoder."""
        maps: list[Tensor] = self.first.look.encoder(half_detail(images))
        return maps

    def forward(self, images: Tensor) -> Sight:
        """Takes [N, height, width]."""
        return self.look(images, self.maps(images))

    def look(self, images: Tensor, maps: list[Tensor]) -> Sight:
        """Takes [N, height, width] and what `maps` gives of them."""
        first = _in_whole_pixels(self.first.read(maps).key_points())
        patches = Patches.about(first[:, HEART_POINTS:])
        cut = patches.cut(images.float())
        heart, spine = self.heart(cut), self.spine(cut[:, :SPINE])
        points = patches.to_images(torch.cat((decode(heart), spine.key_points()), dim=1))
        rows, columns = (side // HEAT_MAP_STRIDE for side in images.shape[-2:])
        heat = torch.cat(
            [
                patches.laid_back(heat_maps(logits), rows, columns, HEAT_MAP_STRIDE)
                for logits in (heart, spine.logits)
            ],
            dim=1,
        )
        return Sight(points, heat)


def _heart_look() -> Look:
    encoder = Encoder(_HEART_WIDTHS, _HEART_RESIDUALS)
    return Look(HEART_POINTS, encoder, _HEART_WIDTHS[1:], _HEART_DECODER_WIDTH)


def half_detail(images: Tensor) -> Tensor:
    """Returns images [N, height, width] with each four pixels as one."""
    return F.avg_pool2d(images.float().unsqueeze(1), 2).squeeze(1)


def in_half_detail(points: Tensor) -> Tensor:
    """Returns points in the pixels of `half_detail`."""
    return 0.5 * (points + 0.5) - 0.5


def mirrored(points: Tensor, width: int) -> Tensor:
    """Returns where points [..., 2] (x, y) in pixels lie once an image of this width is turned left to right."""
    return torch.stack((width - 1 - points[..., 0], points[..., 1]), dim=-1)


def _in_whole_pixels(points: Tensor) -> Tensor:
    return 2.0 * (points + 0.5) - 0.5


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


def along_spine(ends: Tensor, rows: int, columns: int, *, reach: float) -> Tensor:
    """Marks the cells from which vertebrae are seen: 1 there, else 0. Dorsal is the image's upper side.

    Args:
        ends: E and F [N, 2, 2] in input pixels.
        rows: Of cells.
        columns: Of cells.
        reach: How far beyond E and F, in vertebrae.

    Returns:
        [N, rows, columns].
    """
    start, line = ends[:, 0, :, None, None], (ends[:, 1] - ends[:, 0])[..., None, None]
    square = line.square().sum(1).clamp(min=1e-6) / VERTEBRAE_SPANNED
    x, y = (
        _centres(columns, ends)[None, None, :] - start[:, 0],
        _centres(rows, ends)[None, :, None] - start[:, 1],
    )
    caudal, ventral = (x * line[:, 0] + y * line[:, 1]) / square, (y * line[:, 0] - x * line[:, 1]) / square
    ventral = ventral * torch.sign(line[:, 0])
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
