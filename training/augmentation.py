"""What may happen to a radiograph without changing the dog: motion, painted-over lines, exposure, noise, blur.

Every motion is a similarity, a mirror image too, so it leaves VHS as it was; nothing scales the two axes apart.
"""

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from canicor.vhs import VERTEBRAE_SPANNED


@dataclass(frozen=True)
class Strength:
    """How far each change goes; each is drawn evenly, per image.

    Attributes:
        rotation: Largest turn either way, in degrees: dogs lie askew on the table.
        scale: Largest enlargement or its inverse. Wide: a network that knows how large dogs are drawn guesses the
            middle where it cannot see, and VHS suffers for it.
        shift: Largest shift either way, as a share of the input's side.
        mirrored: Share of the images turned left to right. A served network is asked about a radiograph and its
            mirror image, so it must know both.
        gamma: Largest exponent of the grey values or its inverse.
        contrast: Largest change of the grey values' spread, as a share of it.
        brightness: Largest change of all grey values, of 255.
        noise: Largest standard deviation of the noise, of 255.
        blur: Largest standard deviation of the blur, in input pixels.
        painted_over: Share of the images that look as if measurement lines had been painted over: archives hold
            radiographs that were measured before.
    """

    rotation: float = 12.0
    scale: float = 1.6
    shift: float = 0.1
    mirrored: float = 0.5
    gamma: float = 1.5
    contrast: float = 0.25
    brightness: float = 25.0
    noise: float = 8.0
    blur: float = 1.6
    painted_over: float = 0.3

    def times(self, factor: float) -> "Strength":
        """Returns changes that go this many times as far; at 0 there are none."""
        return Strength(
            rotation=factor * self.rotation,
            scale=self.scale**factor,
            shift=factor * self.shift,
            mirrored=min(factor, 1.0) * self.mirrored,
            gamma=self.gamma**factor,
            contrast=factor * self.contrast,
            brightness=factor * self.brightness,
            noise=factor * self.noise,
            blur=factor * self.blur,
            painted_over=min(factor * self.painted_over, 1.0),
        )


_BLUR_REACH = 4
_FILL_DEVIATION, _FILL_REACH = 2.0, 6

# How far, in vertebrae, a line lies aside of the two axes and of the ruler: standard deviations. The last lies
# along the spine, as the ruler does. Its ends are its own, or they would give the points away.
_ASIDE = torch.tensor([1.2, 1.2, 0.3])
_LINE_RADII = (1.5, 3.5)
"""In input pixels."""

# Corners of the half in the middle, where the heart is, as shares of the image's sides.
_MIDDLE = torch.tensor([[0.25, 0.25], [0.75, 0.75], [0.25, 0.75], [0.75, 0.25], [0.25, 0.25], [0.75, 0.75]])


class Chance:
    """Draws for each image from a generator of its own.

    Args:
        seeds: int64 [N], of the generators.
    """

    def __init__(self, seeds: Tensor) -> None:
        self._generators = [Generator().manual_seed(seed) for seed in seeds.tolist()]

    def evenly(self, *shape: int) -> Tensor:
        """Returns [N, *shape] from 0 to 1."""
        return torch.stack([torch.rand(shape, generator=one) for one in self._generators])

    def either_way(self, limit: float) -> Tensor:
        """Returns [N] drawn evenly from -limit to limit."""
        return (2 * self.evenly() - 1) * limit

    def normally(self, *shape: int) -> Tensor:
        """Returns [N, *shape] of a standard normal distribution."""
        return torch.stack([torch.randn(shape, generator=one) for one in self._generators])


def augment(images: Tensor, points: Tensor, strength: Strength, seeds: Tensor) -> tuple[Tensor, Tensor]:
    """Changes every image in its own way; the points move with the pixels.

    Args:
        images: uint8 [N, height, width].
        points: float32 [N, 6, 2] (x, y) in pixels of the images; NaN where they are unknown.
        strength: How far the changes go.
        seeds: int64 [N]: what happens to an image follows from its own alone, whatever lies beside it.

    Returns:
        float32 [N, height, width] from 0 to 255, and points [N, 6, 2]. Points that were inside stay inside; where
        they are unknown, the middle of the image does.
    """
    chance = Chance(seeds)
    moved, moved_points = _move(images.float(), points, strength, chance)
    moved = _paint_over(moved, moved_points, strength, chance)
    return _expose(_blur(moved, strength, chance), strength, chance), moved_points


def _paint_over(images: Tensor, points: Tensor, strength: Strength, chance: Chance) -> Tensor:
    """Fills three bands near the axes and the ruler from what surrounds them."""
    chosen = chance.evenly() < strength.painted_over
    # Drawn for every image, so that no other one decides what it draws next.
    ends, beside, radii = chance.evenly(2, 3, 1), chance.normally(2, 3, 1), chance.evenly(3, 1, 1)
    if not chosen.any():
        return images
    images, points = images.clone(), points[chosen]
    count = len(points)
    start, end = points[:, 0::2], points[:, 1::2]
    along = end - start
    # An end lies up to two fifths of the line's length from the axis' own.
    shares = 0.8 * ends[chosen].transpose(0, 1) + torch.tensor([-0.4, 0.6]).view(2, 1, 1, 1)
    across = torch.stack((-along[..., 1], along[..., 0]), dim=-1) / along.norm(dim=-1, keepdim=True).clamp(min=1.0)
    vertebra = along[:, 2].norm(dim=-1).view(count, 1, 1) / VERTEBRAE_SPANNED
    aside = beside[chosen].transpose(0, 1) * _ASIDE.view(3, 1) * vertebra
    first, last = start + shares * along + aside * across
    low, high = _LINE_RADII
    radius = low + (high - low) * radii[chosen]
    painted = (_distance_to(first, last, *images.shape[1:]) < radius).any(1)
    known = (~painted).float()
    kernel = _gaussian(torch.tensor(_FILL_DEVIATION), _FILL_REACH)
    around = _convolve(images[chosen] * known, kernel) / _convolve(known, kernel).clamp(min=1e-3)
    images[chosen] = torch.where(painted, around, images[chosen])
    return images


def _distance_to(first: Tensor, last: Tensor, height: int, width: int) -> Tensor:
    """Returns how far pixels lie from lines with ends [N, K, 2]: [N, K, height, width]; NaN for unknown ends."""
    # Along x [N, K, 1, width] and along y [N, K, height, 1].
    along_x, along_y = (last - first)[:, :, None, None].unbind(-1)
    x = torch.arange(width) - first[..., 0, None, None]
    y = torch.arange(height)[:, None] - first[..., 1, None, None]
    squared = (along_x.square() + along_y.square()).clamp(min=1.0)
    share = (x * (along_x / squared) + y * (along_y / squared)).clamp(0.0, 1.0)
    return torch.hypot(x - share * along_x, y - share * along_y)


def _move(images: Tensor, points: Tensor, strength: Strength, chance: Chance) -> tuple[Tensor, Tensor]:
    count, height, width = images.shape
    size = torch.tensor([width, height], dtype=torch.float32)
    centre = (size - 1) / 2
    unknown = points.isnan()
    points = torch.where(unknown, _MIDDLE * (size - 1), points)
    angle = chance.either_way(math.radians(strength.rotation))
    scale = torch.exp(chance.either_way(math.log(strength.scale)))
    cos, sin = torch.cos(angle), torch.sin(angle)
    side = 1.0 - 2.0 * (chance.evenly() < strength.mirrored).float()
    turn = torch.stack((side * cos, -sin, side * sin, cos), dim=-1).view(count, 2, 2)
    turned = (points - centre) @ turn.transpose(1, 2)
    # No larger than the image has room for: a point outside teaches nothing.
    room = (size - 1) / (turned.amax(1) - turned.amin(1)).clamp(min=1)
    scale = torch.minimum(scale, room.amin(-1)).view(count, 1, 1)
    turn, turned = turn * scale, turned * scale + centre
    shift = torch.stack([chance.either_way(strength.shift) for _ in range(2)], dim=-1) * size
    shift = torch.minimum(torch.maximum(shift, -turned.amin(1)), size - 1 - turned.amax(1))

    moved = (turned + shift.unsqueeze(1)).masked_fill(unknown, math.nan)

    # The grid asks for each output pixel where it came from, in units in which the image's edges are at -1 and 1.
    back = torch.linalg.inv(turn)
    half = size / 2
    origin = -(back @ shift.unsqueeze(-1)) / half.unsqueeze(-1)
    source = torch.cat((back * (half / half.unsqueeze(-1)), origin), dim=-1)
    grid = F.affine_grid(source, [count, 1, height, width], align_corners=False)
    return F.grid_sample(images.unsqueeze(1), grid, align_corners=False).squeeze(1), moved


def _blur(images: Tensor, strength: Strength, chance: Chance) -> Tensor:
    deviation = (strength.blur * chance.evenly(1)).clamp(min=1e-3)
    return _convolve(images, _gaussian(deviation, _BLUR_REACH))


def _gaussian(deviation: Tensor, reach: int) -> Tensor:
    """Returns kernels [..., 2 reach + 1] of deviations [..., 1] in pixels."""
    offsets = torch.arange(-reach, reach + 1, dtype=torch.float32)
    return (-0.5 * (offsets / deviation) ** 2).softmax(-1)


def _convolve(images: Tensor, kernel: Tensor) -> Tensor:
    """Convolves images [N, height, width] along both axes, each with its kernel [N, K] or all with one [K]."""
    count, size = len(images), kernel.shape[-1]
    reach = (size - 1) // 2
    rows = kernel.expand(count, size).view(count, 1, 1, size)
    smooth = F.conv2d(images.unsqueeze(0), rows, padding=(0, reach), groups=count)
    return F.conv2d(smooth, rows.transpose(2, 3), padding=(reach, 0), groups=count).squeeze(0)


def _expose(images: Tensor, strength: Strength, chance: Chance) -> Tensor:
    shape = (len(images), 1, 1)
    gamma = torch.exp(chance.either_way(math.log(strength.gamma))).view(shape)
    gain = 1 + chance.either_way(strength.contrast).view(shape)
    lift = chance.either_way(strength.brightness).view(shape)
    noise = strength.noise * chance.evenly(1, 1) * chance.normally(*images.shape[1:])
    grey = 255 * (images / 255).clamp(0, 1) ** gamma
    middle = grey.mean(dim=(1, 2), keepdim=True)
    return ((grey - middle) * gain + middle + lift + noise).clamp(0, 255)
