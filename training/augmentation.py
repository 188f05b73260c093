"""What may happen to a radiograph without changing the dog: turning, scaling, shifting, exposure, noise, blur.

Every motion is a similarity, so it leaves VHS as it was; nothing scales the two axes apart.
"""

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Strength:
    """How far each change goes; each is drawn evenly, per image.

    Attributes:
        rotation: Largest turn either way, in degrees: dogs lie askew on the table.
        scale: Largest enlargement or its inverse. Wide: a network that knows how large dogs are drawn guesses the
            middle where it cannot see, and VHS suffers for it.
        shift: Largest shift either way, as a share of the input's side.
        gamma: Largest exponent of the grey values or its inverse.
        contrast: Largest change of the grey values' spread, as a share of it.
        brightness: Largest change of all grey values, of 255.
        noise: Largest standard deviation of the noise, of 255.
        blur: Largest standard deviation of the blur, in input pixels.
    """

    rotation: float = 12.0
    scale: float = 1.6
    shift: float = 0.1
    gamma: float = 1.5
    contrast: float = 0.25
    brightness: float = 25.0
    noise: float = 8.0
    blur: float = 1.2

    def times(self, factor: float) -> "Strength":
        """Returns changes that go this many times as far; at 0 there are none."""
        return Strength(
            rotation=factor * self.rotation,
            scale=self.scale**factor,
            shift=factor * self.shift,
            gamma=self.gamma**factor,
            contrast=factor * self.contrast,
            brightness=factor * self.brightness,
            noise=factor * self.noise,
            blur=factor * self.blur,
        )


_BLUR_REACH = 3

# Corners of the half in the middle, where the heart is, as shares of the image's sides.
_MIDDLE = torch.tensor([[0.25, 0.25], [0.75, 0.75], [0.25, 0.75], [0.75, 0.25], [0.25, 0.25], [0.75, 0.75]])


def augment(images: Tensor, points: Tensor, strength: Strength, generator: Generator) -> tuple[Tensor, Tensor]:
    """Changes every image in its own way; the points move with the pixels.

    Args:
        images: uint8 [N, height, width].
        points: float32 [N, 6, 2] (x, y) in pixels of the images; NaN where they are unknown.
        strength: How far the changes go.
        generator: The only source of chance.

    Returns:
        float32 [N, height, width] from 0 to 255, and points [N, 6, 2]. Points that were inside stay inside; where
        they are unknown, the middle of the image does.
    """
    moved, moved_points = _move(images.float(), points, strength, generator)
    return _expose(_blur(moved, strength, generator), strength, generator), moved_points


def _move(images: Tensor, points: Tensor, strength: Strength, generator: Generator) -> tuple[Tensor, Tensor]:
    count, height, width = images.shape
    size = torch.tensor([width, height], dtype=torch.float32)
    centre = (size - 1) / 2
    unknown = points.isnan()
    points = torch.where(unknown, _MIDDLE * (size - 1), points)
    angle = _even(count, math.radians(strength.rotation), generator)
    scale = torch.exp(_even(count, math.log(strength.scale), generator))
    cos, sin = torch.cos(angle), torch.sin(angle)
    turn = torch.stack((cos, -sin, sin, cos), dim=-1).view(count, 2, 2)
    turned = (points - centre) @ turn.transpose(1, 2)
    # No larger than the image has room for: a point outside teaches nothing.
    room = (size - 1) / (turned.amax(1) - turned.amin(1)).clamp(min=1)
    scale = torch.minimum(scale, room.amin(-1)).view(count, 1, 1)
    turn, turned = turn * scale, turned * scale + centre
    shift = torch.stack([_even(count, strength.shift, generator) for _ in range(2)], dim=-1) * size
    shift = torch.minimum(torch.maximum(shift, -turned.amin(1)), size - 1 - turned.amax(1))

    moved = (turned + shift.unsqueeze(1)).masked_fill(unknown, math.nan)

    # The grid asks for each output pixel where it came from, in units in which the image's edges are at -1 and 1.
    back = torch.linalg.inv(turn)
    half = size / 2
    origin = -(back @ shift.unsqueeze(-1)) / half.unsqueeze(-1)
    source = torch.cat((back * (half / half.unsqueeze(-1)), origin), dim=-1)
    grid = F.affine_grid(source, [count, 1, height, width], align_corners=False)
    return F.grid_sample(images.unsqueeze(1), grid, align_corners=False).squeeze(1), moved


def _blur(images: Tensor, strength: Strength, generator: Generator) -> Tensor:
    count = len(images)
    deviation = (strength.blur * torch.rand(count, 1, generator=generator)).clamp(min=1e-3)
    offsets = torch.arange(-_BLUR_REACH, _BLUR_REACH + 1, dtype=torch.float32)
    kernel = (-0.5 * (offsets / deviation) ** 2).softmax(-1).view(count, 1, 1, -1)
    rows = F.conv2d(images.unsqueeze(0), kernel, padding=(0, _BLUR_REACH), groups=count)
    return F.conv2d(rows, kernel.transpose(2, 3), padding=(_BLUR_REACH, 0), groups=count).squeeze(0)


def _expose(images: Tensor, strength: Strength, generator: Generator) -> Tensor:
    shape = (len(images), 1, 1)
    gamma = torch.exp(_even(len(images), math.log(strength.gamma), generator)).view(shape)
    gain = 1 + _even(len(images), strength.contrast, generator).view(shape)
    lift = _even(len(images), strength.brightness, generator).view(shape)
    deviation = strength.noise * torch.rand(shape, generator=generator)
    noise = deviation * torch.randn(images.shape, generator=generator)
    grey = 255 * (images / 255).clamp(0, 1) ** gamma
    middle = grey.mean(dim=(1, 2), keepdim=True)
    return ((grey - middle) * gain + middle + lift + noise).clamp(0, 255)


def _even(count: int, limit: float, generator: Generator) -> Tensor:
    """Draws [count] numbers evenly from -limit to limit."""
    return (2 * torch.rand(count, generator=generator) - 1) * limit
