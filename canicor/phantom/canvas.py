"""Primitives: lengths of rays through simple solids, added to maps of thickness.

The rays run at right angles to the film, so each chord has a closed form that falls to 0 at the silhouette. A cone
beam would change `Frame` and these chords alone.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Map = NDArray[np.float32]
"""float32 [height, width]."""

# Steps in a v of a tabulated curve: finer than a pixel of the largest image at its usual scale.
_TABLE_STEPS = 256
_NOWHERE = (slice(0), slice(0))


@dataclass(frozen=True)
class Frame:
    """Places the vertebral frame on the film.

    Attributes:
        scale: Pixels in one v.
        rise: Angle of the spine to the rows in degrees, caudal end up.
        origin: (x, y) of E in pixels.
        width: Of the image in pixels.
        height: Of the image in pixels.
    """

    scale: float
    rise: float
    origin: tuple[float, float]
    width: int
    height: int

    @property
    def axes(self) -> NDArray[np.float64]:
        """float64 [2, 2]: the frame's x and y as unit vectors of the image."""
        angle = np.radians(self.rise)
        return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])

    def to_pixels(self, points: ArrayLike) -> NDArray[np.float64]:
        """Points [n, 2] in v to pixels."""
        return np.asarray(points) @ self.axes * self.scale + self.origin


class Canvas:
    """The film's pixels in vertebral coordinates, and the solids that can be added to a map of it.

    Attributes:
        x: v along the spine of each pixel.
        y: v ventral to the spine of each pixel.
    """

    def __init__(self, frame: Frame) -> None:
        self.frame = frame
        film = (slice(frame.height), slice(frame.width))
        self.x, self.y = self._coordinates(np.zeros(2), np.eye(2), film)
        self._x_steps, self._x_start = _steps(self.x)
        self._y_steps, self._y_start = _steps(self.y)

    def blank(self) -> Map:
        """A map of nothing."""
        return np.zeros(self.x.shape, np.float32)

    def along_x(self, curve: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> Map:
        """The value of a function of x at each pixel."""
        return _tabulate(curve, self._x_steps, self._x_start)

    def along_y(self, curve: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> Map:
        """The value of a function of y at each pixel."""
        return _tabulate(curve, self._y_steps, self._y_start)

    def tube(
        self,
        target: Map,
        start: ArrayLike,
        end: ArrayLike,
        radius: tuple[float, float],
        *,
        bow: float = 0.0,
        weight: float = 1.0,
        marrow: float = 0.0,
    ) -> None:
        """Adds a round-ended tube along a parabola.

        Args:
            target: The map.
            start: (x, y) in v.
            end: (x, y) in v.
            radius: At start and end, in v.
            bow: How far the middle lies to the side, in v: towards y where the tube runs along x.
            weight: Multiplies the chord.
            marrow: The share of the radius that is hollow.
        """
        start, end = np.asarray(start, dtype=np.float64), np.asarray(end, dtype=np.float64)
        length = max(float(np.hypot(*(end - start))), 1e-6)
        along = (end - start) / length
        side = np.array([-along[1], along[0]])
        corners = np.array([start, end, start + bow * side, end + bow * side])
        box = self._box(corners, max(radius))
        s, n = self._coordinates(start, np.array([along, side]), box)
        share = np.clip(s * np.float32(1.0 / length), 0.0, 1.0)
        beyond = s - share * np.float32(length)
        if bow:
            slope = np.float32(4.0 * bow / length) * (1.0 - 2.0 * share)
            n = (n - np.float32(4.0 * bow) * share * (1.0 - share)) / np.sqrt(1.0 + slope * slope)
        distance = n * n + beyond * beyond
        local = np.float32(radius[0]) + np.float32(radius[1] - radius[0]) * share
        chord = _root(local * local - distance)
        if marrow:
            chord -= np.float32(0.8) * _root(np.float32(marrow**2) * local * local - distance)
        target[box] += np.float32(2.0 * weight) * chord

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
            centre: (x, y) in v.
            half: Its half-axes on the film in v.
            depth: Its thickness in the middle in v.
            angle: Of its first axis to x, in degrees towards y.
            power: 2 or 4.
        """
        turn = np.radians(angle)
        along = np.array([np.cos(turn), np.sin(turn)])
        side = np.array([-along[1], along[0]])
        centre = np.asarray(centre, dtype=np.float64)
        corners = np.array([centre + i * half[0] * along + j * half[1] * side for i in (-1, 1) for j in (-1, 1)])
        box = self._box(corners, 0.0)
        s, n = self._coordinates(centre, np.array([along / half[0], side / half[1]]), box)
        s, n = s * s, n * n
        if power == 4:
            s, n = s * s, n * n
        target[box] += np.float32(depth) * _root(1.0 - s - n)

    def egg(
        self,
        target: Map,
        base: ArrayLike,
        axis: NDArray[np.float64],
        widths: tuple[float, float],
        depth: float,
        profile: Callable[[ArrayLike], NDArray[np.float64]],
        outline: NDArray[np.float64],
    ) -> None:
        """Adds a solid with elliptic cross-sections.

        Args:
            target: The map.
            base: Where its long axis starts, in v.
            axis: The long axis, base to apex, in v.
            widths: The greatest half-widths on its cranial and caudal side, in v.
            depth: The greatest thickness in v.
            profile: The share of the widths and depth at a share of the axis; 0 at both ends.
            outline: Points around the silhouette, in v.
        """
        length = float(np.hypot(*axis))
        along = axis / length
        caudal = np.array([along[1], -along[0]])
        box = self._box(outline, 0.05)
        t, s = self._coordinates(np.asarray(base, dtype=np.float64), np.array([along / length, caudal]), box)
        share = profile(t).astype(np.float32)
        s = np.where(s < 0.0, s * np.float32(1.0 / widths[0]), s * np.float32(1.0 / widths[1]))
        target[box] += np.float32(depth) * _root(share * share - s * s)

    def _box(self, corners: NDArray[np.float64], margin: float) -> tuple[slice, slice]:
        """The rows and columns around points in v, cut to the film."""
        pixels, spare = self.frame.to_pixels(corners), margin * self.frame.scale + 1.0
        size = (self.frame.width, self.frame.height)
        low = np.clip(np.floor(pixels.min(axis=0) - spare), 0, size).astype(int)
        high = np.clip(np.ceil(pixels.max(axis=0) + spare), 0, size).astype(int)
        if (low >= high).any():
            return _NOWHERE
        return slice(low[1], high[1]), slice(low[0], high[0])

    def _coordinates(
        self, origin: NDArray[np.float64], units: NDArray[np.float64], box: tuple[slice, slice]
    ) -> list[Map]:
        """A map for each unit vector: how far along it the pixels of a box lie from the origin."""
        rows, columns = (np.arange(part.start or 0, part.stop, dtype=np.float64) for part in box)
        per_pixel = units @ self.frame.axes / self.frame.scale
        at_zero = -per_pixel @ np.asarray(self.frame.origin) - units @ origin
        return [
            (across * columns + start).astype(np.float32)[None, :] + (down * rows).astype(np.float32)[:, None]
            for (across, down), start in zip(per_pixel, at_zero, strict=True)
        ]


def _root(square: Map) -> Map:
    return np.sqrt(np.maximum(square, 0.0, out=square), out=square)


def _steps(coordinate: Map) -> tuple[NDArray[np.int32], float]:
    start = float(coordinate.min())
    return ((coordinate - np.float32(start)) * np.float32(_TABLE_STEPS)).astype(np.int32), start


def _tabulate(
    curve: Callable[[NDArray[np.float64]], NDArray[np.float64]], steps: NDArray[np.int32], start: float
) -> Map:
    table = curve(start + (np.arange(int(steps.max()) + 1) + 0.5) / _TABLE_STEPS).astype(np.float32)
    return table[steps]
