"""Primitives: lengths of rays through simple solids, added to maps of thickness.

Each chord has a closed form and is worked out in the solid's bounding box only. A solid is displaced and enlarged
by the cone beam through its own centre (a tube: through each of its points); within it, rays count as parallel.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from canicor.phantom.beam import Beam

Map = NDArray[np.float32]
"""float32 [height, width]."""

Curve = Callable[[NDArray[np.float64]], NDArray[np.float64]]

# Steps in a v of a tabulated curve: finer than a pixel of the largest image at its usual scale.
_TABLE_STEPS = 256
_NOWHERE = (slice(0), slice(0))

# A tube seen end-on is a disc as thick as the tube is long: its chord grows no further than this.
_END_ON = 4.0


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


class Canvas:
    """The film's pixels in vertebral coordinates, and the solids that can be added to a map of it.

    Attributes:
        beam: The cone beam.
        x: v along the spine of each pixel.
        y: v ventral to the spine of each pixel.
    """

    def __init__(self, beam: Beam) -> None:
        self.beam = beam
        self._rows, self._columns = (np.arange(size, dtype=np.float32) for size in (beam.height, beam.width))
        film = (slice(beam.height), slice(beam.width))
        self.x, self.y = self._coordinates(np.zeros(2), np.eye(2), film)
        self._x_steps, self._x_start = _steps(self.x)
        self._y_steps, self._y_start = _steps(self.y)

    def blank(self) -> Map:
        """A map of nothing."""
        return np.zeros(self.x.shape, np.float32)

    def along_x(self, curve: Curve) -> Map:
        """The value of a function of x at each pixel."""
        return _tabulate(curve, self._x_steps, self._x_start)

    def along_y(self, curve: Curve) -> Map:
        """The value of a function of y at each pixel."""
        return _tabulate(curve, self._y_steps, self._y_start)

    def texture(self, rng: np.random.Generator, grain: float) -> Map:
        """Smooth noise of unit variance or a little less, its grains `grain` v wide."""
        height, width = self.x.shape
        pixels = max(grain * self.beam.scale, 1.0)
        coarse = (max(2, round(height / pixels) + 1), max(2, round(width / pixels) + 1))
        noise = Image.fromarray(rng.standard_normal(coarse, dtype=np.float32))
        return np.asarray(noise.resize((width, height), Image.Resampling.BICUBIC))

    def tube(
        self,
        target: Map,
        path: ArrayLike,
        radius: ArrayLike,
        *,
        weight: float = 1.0,
        marrow: float = 0.0,
        lens: bool = False,
    ) -> None:
        """Adds a round-ended tube along a path.

        Args:
            target: The map.
            path: Points [n, 2] or [n, 3] in v.
            radius: One, or one a point, in v.
            weight: Multiplies the chord: below 1, a tube flattened along the rays.
            marrow: The share of the radius within which four fifths are missing.
            lens: Whether its section is a lens, which thins out towards its edge, instead of an ellipse.
        """
        path = np.asarray(path, dtype=np.float64)
        seen, larger = self.beam.project(path)
        pixels = self.beam.to_pixels(seen)
        reach = np.broadcast_to(np.asarray(radius, dtype=np.float64), len(path)) * larger * self.beam.scale
        # The columns and rows of each piece, cut to the film, and of the whole.
        wide = np.maximum(reach[:-1], reach[1:])[:, None]
        size = np.array([self.beam.width, self.beam.height])
        low = np.clip(np.floor(np.minimum(pixels[:-1], pixels[1:]) - wide), 0, size).astype(np.intp)
        high = np.clip(np.ceil(np.maximum(pixels[:-1], pixels[1:]) + wide) + 1.0, 0, size).astype(np.intp)
        (left, top), (right, bottom) = low.min(axis=0).tolist(), high.max(axis=0).tolist()
        if left >= right or top >= bottom:
            return
        # Along a slanted tube a ray runs longer: by the tube's length over that of its image.
        length = np.hypot(*np.diff(seen, axis=0).T)
        depth = np.diff(path[:, 2]) if path.shape[1] == 3 else np.zeros(len(path) - 1)
        stretch = np.hypot(length, depth) / np.maximum(length, np.hypot(length, depth) / _END_ON)
        columns, rows = self._columns[left:right], self._rows[top:bottom]
        chord = np.zeros((bottom - top, right - left), np.float32)
        pieces = zip(low.tolist(), high.tolist(), pixels, pixels[1:], reach, reach[1:], stretch, strict=False)
        for (x_low, y_low), (x_high, y_high), start, end, first, last, longer in pieces:
            if x_low >= x_high or y_low >= y_high:
                continue
            across, down = slice(x_low - left, x_high - left), slice(y_low - top, y_high - top)
            piece = _segment(
                columns[across] - np.float32(start[0]),
                rows[down] - np.float32(start[1]),
                end - start,
                float(first),
                float(last),
                marrow,
                lens,
            )
            if longer != 1.0:
                piece *= np.float32(longer)
            part = chord[down, across]
            np.maximum(part, piece, out=part)
        # Enlarged by the beam, but no thicker.
        chord *= np.float32(2.0 * weight / (self.beam.scale * float(larger.mean())))
        target[top:bottom, left:right] += chord

    def block(
        self,
        target: Map,
        centre: ArrayLike,
        half: tuple[float, float],
        depth: float,
        *,
        angle: float = 0.0,
        power: int = 4,
    ) -> None:
        """Adds a superellipsoid |s|^power + |n|^power <= 1: a box with soft edges at 4, an ellipsoid at 2.

        Args:
            target: The map.
            centre: (x, y) or (x, y, z) in v.
            half: Its half-axes on the film in v.
            depth: Its thickness in the middle in v.
            angle: Of its first axis to x, in degrees towards y.
            power: 2 or 4.
        """
        seen, larger = self.beam.project(np.asarray(centre, dtype=np.float64)[None])
        half = (half[0] * float(larger[0]), half[1] * float(larger[0]))
        turn = np.radians(angle)
        along = np.array([np.cos(turn), np.sin(turn)])
        side = np.array([-along[1], along[0]])
        corners = np.array([seen[0] + i * half[0] * along + j * half[1] * side for i in (-1, 1) for j in (-1, 1)])
        box = self._box(corners, 0.0)
        s, n = self._coordinates(seen[0], np.array([along / half[0], side / half[1]]), box)
        s, n = s * s, n * n
        if power == 4:
            s, n = s * s, n * n
        target[box] += np.float32(depth) * root(1.0 - s - n)

    def egg(
        self,
        target: Map,
        base: ArrayLike,
        axis: NDArray[np.float64],
        depth: Curve,
        widths: tuple[Curve, Curve],
        powers: tuple[Curve, Curve],
        outline: NDArray[np.float64],
    ) -> None:
        """Adds a solid of a given silhouette, in the middle plane.

        Args:
            target: The map.
            base: Where its long axis starts, in v.
            axis: The long axis, base to apex, in v.
            depth: The thickness over the width at a share of the axis.
            widths: The half-widths on its cranial and caudal side in v at a share of the axis; 0 at both ends.
            powers: Its cross-sections' thickness is (1 - s^2)^power at shares s of the width, on either side at a
                share of the axis: 0.5 is an ellipse, 1 thins out evenly towards the silhouette.
            outline: Points around the silhouette, in v.
        """
        length = float(np.hypot(*axis))
        along = axis / length
        caudal = np.array([along[1], -along[0]])
        box = self._box(outline, 0.05)
        t, s = self._coordinates(np.asarray(base, dtype=np.float64), np.array([along / length, caudal]), box)
        table = np.linspace(-0.02, 1.02, 1041)
        step = np.clip((t + np.float32(0.02)) * np.float32(1000.0) + np.float32(0.5), 0, 1040).astype(np.int32)
        cranial, caudal_width, cranial_power, caudal_power, thick = (
            curve(np.clip(table, 0.0, 1.0)).astype(np.float32)[step] for curve in (*widths, *powers, depth)
        )
        own, power = np.where(s < 0.0, (cranial, cranial_power), (caudal_width, caudal_power))
        share = np.float32(1.0) - np.square(s / np.maximum(own, np.float32(1e-6)))
        chord = thick * (cranial + caudal_width) * np.maximum(share, 0.0) ** power
        chord[(t < 0.0) | (t > 1.0)] = 0.0
        target[box] += chord

    def _box(self, corners: NDArray[np.float64], margin: float) -> tuple[slice, slice]:
        """The rows and columns around points in v, cut to the film."""
        pixels, spare = self.beam.to_pixels(corners), margin * self.beam.scale + 1.0
        size = (self.beam.width, self.beam.height)
        low = np.clip(np.floor(pixels.min(axis=0) - spare), 0, size).astype(int)
        high = np.clip(np.ceil(pixels.max(axis=0) + spare), 0, size).astype(int)
        if (low >= high).any():
            return _NOWHERE
        return slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0]))

    def _coordinates(
        self, origin: NDArray[np.float64], units: NDArray[np.float64], box: tuple[slice, slice]
    ) -> list[Map]:
        """A map for each unit vector: how far along it the pixels of a box lie from the origin."""
        rows, columns = (np.arange(part.start or 0, part.stop, dtype=np.float64) for part in box)
        per_pixel = units @ self.beam.axes / self.beam.scale
        at_zero = -per_pixel @ np.asarray(self.beam.origin) - units @ origin
        return [
            (across * columns + start).astype(np.float32)[None, :] + (down * rows).astype(np.float32)[:, None]
            for (across, down), start in zip(per_pixel, at_zero, strict=True)
        ]


def root(square: NDArray[Any]) -> NDArray[Any]:
    """The square root, in place; 0 below 0."""
    np.maximum(square, 0.0, out=square)
    np.sqrt(square, out=square)
    return square


def _segment(
    x: NDArray[np.float32],
    y: NDArray[np.float32],
    step: NDArray[np.float64],
    first: float,
    last: float,
    marrow: float,
    lens: bool,
) -> Map:
    """Half the chord in pixels through a frustum with round ends, from columns and rows relative to its start."""
    square = max(float(step @ step), 1e-12)
    share = (x * np.float32(step[0] / square))[None, :] + (y * np.float32(step[1] / square))[:, None]
    np.clip(share, 0.0, 1.0, out=share)
    across = x[None, :] - share * np.float32(step[0])
    down = y[:, None] - share * np.float32(step[1])
    across *= across
    down *= down
    across += down
    share *= np.float32(last - first)
    share += np.float32(first)
    if lens:
        across /= share
        share -= across
        return np.maximum(share, 0.0, out=share)
    share *= share
    if not marrow:
        share -= across
        return root(share)
    shell = root(share - across)
    share *= np.float32(marrow**2)
    share -= across
    shell -= np.float32(0.8) * root(share)
    return shell


def _steps(coordinate: Map) -> tuple[NDArray[np.int32], float]:
    start = float(coordinate.min())
    return ((coordinate - np.float32(start)) * np.float32(_TABLE_STEPS)).astype(np.int32), start


def _tabulate(curve: Curve, steps: NDArray[np.int32], start: float) -> Map:
    table = curve(start + (np.arange(int(steps.max()) + 1) + 0.5) / _TABLE_STEPS).astype(np.float32)
    return table[steps]
