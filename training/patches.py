"""Patches of radiographs laid along the spine: in them every dog has one size and one bearing.

Everything here is computed element by element. A product of matrices is taken in 16 bits where a network is, and
would move what it lays out by up to three pixels.
"""

import math
from typing import NamedTuple, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from canicor.vhs import VERTEBRAE_SPANNED
from training.augmentation import Chance

WIDTH, HEIGHT = 192, 160
"""Columns and rows of a patch, in pixels: of real dogs' hearts, measured in vertebrae, the largest fits in."""

SPINE = 64
"""Of its rows, the upper ones: those that hold the spine, which lies in their middle."""

VERTEBRA = 12.0
"""Length of a vertebra in a patch, in pixels."""

# Where the middle between E and F lies in a patch, (x, y) in pixels.
_ANCHOR = (0.5 * (WIDTH - 1), 0.5 * (SPINE - 1))

# How far a patch is laid awry for a network to learn on, since what lays it later errs: degrees, a factor or its
# inverse, and vertebrae along the spine and across it.
_TURN, _ENLARGED, _ALONG, _ACROSS = 12.0, 1.3, 1.0, 0.5

# The least that E and F stand apart from left to right, in pixels: an untaught network may see both in one place.
_NARROWEST = 1.0


class Patches(NamedTuple):
    """Where patches lie in their images: the line through E and F runs from left to right, the heart is below it.

    What faces left in the image does so in the patch.

    Attributes:
        middle: Of E and F, (x, y) in the images' pixels [N, 2].
        step: From a patch's pixel to the one on its right, likewise.
    """

    middle: Tensor
    step: Tensor

    @classmethod
    def about(cls, ends: Tensor) -> Self:
        """Returns those laid by E and F [N, 2, 2], in whatever order, in pixels of the images."""
        across, down = (ends[:, 1] - ends[:, 0]).unbind(-1)
        line = torch.stack((across.abs().clamp(min=_NARROWEST), down * torch.sign(across)), dim=-1)
        return cls(ends.mean(1), line / (VERTEBRAE_SPANNED * VERTEBRA))

    def askew(self, chance: Chance) -> Self:
        """Returns the same, each laid awry as a first look may lay it."""
        angle, enlarged, along, across = (
            chance.either_way(limit).to(self.step.device)
            for limit in (math.radians(_TURN), math.log(_ENLARGED), VERTEBRA * _ALONG, VERTEBRA * _ACROSS)
        )
        size = torch.exp(enlarged)
        return self._replace(
            middle=self.middle + _ahead_and_below(self.step, along, across),
            step=_ahead_and_below(self.step, size * torch.cos(angle), size * torch.sin(angle)),
        )

    def to_images(self, points: Tensor) -> Tensor:
        """Takes points [N, K, 2] in the patches' pixels to the images'."""
        x, y = points.unbind(-1)
        middle, step = self.middle.unsqueeze(1), self.step.unsqueeze(1)
        return middle + _ahead_and_below(step, x - _ANCHOR[0], y - _ANCHOR[1])

    def to_patches(self, points: Tensor) -> Tensor:
        """Takes points [N, K, 2] in the images' pixels to the patches'."""
        x, y = (points - self.middle.unsqueeze(1)).unbind(-1)
        right, down = self.step.unsqueeze(1).unbind(-1)
        square = right.square() + down.square()
        ahead, below = (x * right + y * down) / square, (y * right - x * down) / square
        return torch.stack((ahead + _ANCHOR[0], below + _ANCHOR[1]), dim=-1)

    def cut(self, images: Tensor) -> Tensor:
        """Returns what patches show of images float32 [N, height, width]: [N, `HEIGHT`, `WIDTH`]; outside, 0."""
        places = self.to_images(_centres(HEIGHT, WIDTH, 1, images))
        return _sampled(images.unsqueeze(1), places, 1).reshape(-1, HEIGHT, WIDTH)

    def laid_back(self, maps: Tensor, rows: int, columns: int, stride: int) -> Tensor:
        """Returns the patches' maps [N, K, ...] on the images' grid [N, K, rows, columns]; outside a patch, 0.

        Args:
            maps: From the patches' upper left corners on.
            rows: Of the images' grid.
            columns: Of the images' grid.
            stride: Pixels per cell, of patches and of images.
        """
        places = self.to_patches(_centres(rows, columns, stride, maps))
        return _sampled(maps, places, stride).reshape(-1, maps.shape[1], rows, columns)


def _ahead_and_below(step: Tensor, ahead: Tensor, below: Tensor) -> Tensor:
    """Returns (x, y) in the images' pixels of what lies so many steps ahead and so many to their right below."""
    x, y = step.unbind(-1)
    return torch.stack((ahead * x - below * y, ahead * y + below * x), dim=-1)


def _centres(rows: int, columns: int, stride: int, beside: Tensor) -> Tensor:
    """Returns where the centres of cells lie, (x, y) in pixels [1, rows * columns, 2], on a tensor's device."""
    down, across = (
        (torch.arange(cells, dtype=torch.float32, device=beside.device) + 0.5) * stride - 0.5
        for cells in (rows, columns)
    )
    y, x = torch.meshgrid(down, across, indexing="ij")
    return torch.stack((x, y), dim=-1).reshape(1, -1, 2)


def _sampled(maps: Tensor, places: Tensor, stride: int) -> Tensor:
    """Returns maps [N, K, rows, columns] of one cell per `stride` pixels at places [N, P, 2]: [N, K, 1, P]."""
    rows, columns = maps.shape[-2:]
    x, y = places.unbind(-1)
    # The edges of a map are at -1 and 1.
    grid = torch.stack(((2 * x + 1) / (stride * columns) - 1, (2 * y + 1) / (stride * rows) - 1), dim=-1)
    return F.grid_sample(maps, grid.unsqueeze(1), align_corners=False)
