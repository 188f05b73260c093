"""The film as the dog's parts see it: the place of each pixel, textures, and how far rays run in solids."""

import numpy as np
from numpy.typing import NDArray

from canicor.phantom.beam import Beam, Map
from canicor.phantom.chords import add_blocks, add_egg, add_tubes
from canicor.phantom.solids import Curve, Solids
from canicor.resizing import Filter, resized

# Steps in a v of a tabulated curve: finer than a pixel of the largest image at its usual scale.
_TABLE_STEPS = 256


class Canvas:
    """The film's pixels in vertebral coordinates.

    Attributes:
        beam: The cone beam.
        x: v along the spine of each pixel.
        y: v ventral to the spine of each pixel.
    """

    def __init__(self, beam: Beam) -> None:
        self.beam = beam
        film = (slice(beam.height), slice(beam.width))
        self.x, self.y = beam.coordinates((0.0, 0.0), np.eye(2), film)
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
        return resized(rng.standard_normal(coarse, dtype=np.float32), height, width, by=Filter.BICUBIC)

    def thickness(self, solids: Solids) -> Map:
        """How far each ray runs in the solids, in v: added up where they overlap."""
        target = self.blank()
        if solids.tubes:
            add_tubes(target, self.beam, solids.tubes)
        if solids.blocks:
            add_blocks(target, self.beam, solids.blocks)
        for egg in solids.eggs:
            add_egg(target, self.beam, egg)
        return target


def _steps(coordinate: Map) -> tuple[NDArray[np.intp], float]:
    start = float(coordinate.min())
    return ((coordinate - np.float32(start)) * np.float32(_TABLE_STEPS)).astype(np.intp), start


def _tabulate(curve: Curve, steps: NDArray[np.intp], start: float) -> Map:
    table = curve(start + (np.arange(int(steps.max()) + 1) + 0.5) / _TABLE_STEPS).astype(np.float32)
    return np.take(table, steps)
