"""Simple solids in the dog's units, of which its parts are made: tubes, blocks and the heart's egg.

They are gathered first and drawn together (`Canvas.thickness`): a dog has some 650, most of them small.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

Curve = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""A number at each of some places."""


@dataclass(frozen=True)
class Tube:
    """A round-ended tube along a path.

    Attributes:
        path: float64 [n, 3] in v.
        radius: float64 [n] in v.
        weight: Multiplies the chord: below 1, a tube flattened along the rays.
        marrow: The share of the radius within which four fifths are missing.
        lens: Whether its section is a lens, which thins out towards its edge, instead of an ellipse.
    """

    path: NDArray[np.float64]
    radius: NDArray[np.float64]
    weight: float
    marrow: float
    lens: bool


@dataclass(frozen=True)
class Block:
    """A superellipsoid |s|^power + |n|^power <= 1: a box with soft edges at 4, an ellipsoid at 2.

    Attributes:
        centre: float64 [3] in v.
        half: Its half-axes on the film in v.
        depth: Its thickness in the middle in v.
        angle: Of its first axis to x, in degrees towards y.
        power: 2 or 4.
    """

    centre: NDArray[np.float64]
    half: tuple[float, float]
    depth: float
    angle: float
    power: int


@dataclass(frozen=True)
class Egg:
    """A solid of a given silhouette in the dog's middle plane.

    Attributes:
        base: float64 [2]: where its long axis starts, in v.
        axis: float64 [2]: the long axis, base to apex, in v.
        depth: The thickness over the width at a share of the axis.
        widths: The half-widths on its cranial and caudal side in v at a share of the axis; 0 at both ends.
        powers: Its cross-sections' thickness is (1 - s^2)^power at shares s of the width, on either side at a
            share of the axis: 0.5 is an ellipse, 1 thins out evenly towards the silhouette.
        outline: float64 [n, 2]: points around the silhouette, in v.
    """

    base: NDArray[np.float64]
    axis: NDArray[np.float64]
    depth: Curve
    widths: tuple[Curve, Curve]
    powers: tuple[Curve, Curve]
    outline: NDArray[np.float64]


@dataclass(frozen=True)
class Solids:
    """Several of them, for one tissue. Points are (x, y), in the dog's middle plane, or (x, y, z)."""

    tubes: list[Tube] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    eggs: list[Egg] = field(default_factory=list)

    def tube(
        self,
        path: ArrayLike,
        radius: ArrayLike,
        *,
        weight: float = 1.0,
        marrow: float = 0.0,
        lens: bool = False,
    ) -> None:
        """Adds a `Tube`, whose radius is one number or one a point."""
        points = _in_space(np.asarray(path, dtype=np.float64))
        radii = np.empty(len(points))
        radii[:] = radius
        self.tubes.append(Tube(points, radii, weight, marrow, lens))

    def block(
        self,
        centre: ArrayLike,
        half: tuple[float, float],
        depth: float,
        *,
        angle: float = 0.0,
        power: int = 4,
    ) -> None:
        """Adds a `Block`."""
        place = _in_space(np.asarray(centre, dtype=np.float64)[None])[0]
        self.blocks.append(Block(place, half, depth, angle, power))


def smooth_path(points: ArrayLike, steps: int) -> NDArray[np.float64]:
    """A Catmull-Rom spline through points [n, d], each piece in so many steps: float64 [(n - 1) steps + 1, d]."""
    given = np.asarray(points, dtype=np.float64)
    padded = np.concatenate([2.0 * given[:1] - given[1:2], given, 2.0 * given[-1:] - given[-2:-1]])
    t = np.arange(steps)[:, None] / steps
    pieces = [
        0.5
        * (
            2.0 * p1
            + (p2 - p0) * t
            + (2.0 * p0 - 5.0 * p1 + 4.0 * p2 - p3) * t**2
            + (3.0 * (p1 - p2) + p3 - p0) * t**3
        )
        for p0, p1, p2, p3 in zip(padded, padded[1:], padded[2:], padded[3:], strict=False)
    ]
    return np.concatenate([*pieces, given[-1:]])


def _in_space(points: NDArray[np.float64]) -> NDArray[np.float64]:
    if points.shape[1] == 3:
        return points
    placed = np.zeros((len(points), 3))
    placed[:, :2] = points
    return placed
