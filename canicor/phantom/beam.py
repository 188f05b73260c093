"""The cone beam: where a point of the dog falls on the film.

Lengths are in vertebral units v (a sixth of E-F). The frame is fixed to the film: origin E, x caudal along E-F, y
ventral, z towards the X-ray tube; z = 0 is the plane of the dog's middle, in which spine, heart and sternum lie. A
dog that is rolled or slanted on the table is one whose sides are displaced in this frame.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Points = NDArray[np.float64]
"""float64 [n, 2] or [n, 3]."""

Map = NDArray[np.float32]
"""A number for each pixel of the film: float32 [height, width]."""

Box = tuple[slice, slice]
"""Rows and columns of the film."""


@dataclass(frozen=True)
class Beam:
    """Places the frame on the film.

    Attributes:
        scale: Pixels in one v, in the middle plane.
        rise: Angle of the spine to the rows in degrees, caudal end up.
        origin: (x, y) of E in pixels.
        width: Of the image in pixels.
        height: Of the image in pixels.
        source: Distance of the focal spot from the middle plane, in v.
        focus: (x, y) in v where the central ray meets the middle plane.
        roll: Of the dog about its spine in degrees: the side towards the tube dorsal.
        slant: Of the dog about its dorsoventral axis in degrees: the side towards the tube caudal.
    """

    scale: float
    rise: float
    origin: tuple[float, float]
    width: int
    height: int
    source: float = math.inf
    focus: tuple[float, float] = (0.0, 0.0)
    roll: float = 0.0
    slant: float = 0.0

    @property
    def axes(self) -> NDArray[np.float64]:
        """float64 [2, 2]: the frame's x and y as unit vectors of the image."""
        angle = np.radians(self.rise)
        return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])

    def to_pixels(self, points: ArrayLike) -> NDArray[np.float64]:
        """Points [n, 2] of the middle plane to pixels."""
        return np.asarray(points) @ self.axes * self.scale + self.origin

    def project(self, points: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Points [n, 2] (of the middle plane) or [n, 3] to the middle plane along their rays.

        Returns:
            float64 [n, 2] in v, and float64 [n]: how much larger a thing appears there than in the middle plane.
        """
        points = np.asarray(points, dtype=np.float64)
        if points.shape[1] == 2:
            return points, np.ones(len(points))
        height = points[:, 2]
        lean = np.array([math.tan(math.radians(self.slant)), -math.tan(math.radians(self.roll))])
        larger = 1.0 / (1.0 - height / self.source)
        seen = points[:, :2] + height[:, None] * lean - self.focus
        return self.focus + seen * larger[:, None], larger

    def coordinates(self, origin: ArrayLike, units: NDArray[np.float64], box: Box) -> list[Map]:
        """How far a box's pixels lie from a point in v, along each unit vector [n, 2] and in its lengths."""
        rows, columns = (np.arange(part.start or 0, part.stop, dtype=np.float64) for part in box)
        per_pixel = units @ self.axes / self.scale
        at_zero = -per_pixel @ np.asarray(self.origin) - units @ np.asarray(origin)
        return [
            (across * columns + start).astype(np.float32)[None, :] + (down * rows).astype(np.float32)[:, None]
            for (across, down), start in zip(per_pixel, at_zero, strict=True)
        ]
