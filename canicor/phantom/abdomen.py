"""Behind the diaphragm: liver, stomach, gut and the fat between."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from canicor.phantom.beam import Map
from canicor.phantom.canvas import Canvas
from canicor.phantom.chest import Chest
from canicor.phantom.priors import sometimes, uniform
from canicor.phantom.solids import Solids, smooth_path


@dataclass(frozen=True)
class Abdomen:
    """Lengths in v, shares of 1 (by eye on laterals)."""

    liver: float = uniform(1.6, 4.2)  # from the diaphragm to the stomach
    stomach_gas: float = sometimes(0.6, 0.4, 1.5)  # radius
    stomach_food: float = sometimes(0.25, 0.1, 0.3)  # mottling
    gut_gas: float = uniform(0.0, 14.0)  # loops that hold some
    omental_fat: float = uniform(0.3, 1.2)

    def add(self, chest: Chest, canvas: Canvas, soft: Map, fat: Map, rng: np.random.Generator) -> None:
        """Takes gas out of `soft`, and turns some of it into fat."""
        middle = float(chest.diaphragm(np.array(3.5)))
        self._part_by_fat(chest, canvas, soft, fat, rng)
        walls, gas = Solids(), Solids()
        self._add_stomach(walls, gas, middle, rng)
        self._add_gut(walls, gas, middle, rng)
        soft += canvas.thickness(walls)
        soft -= canvas.thickness(gas)

    def _part_by_fat(self, chest: Chest, canvas: Canvas, soft: Map, fat: Map, rng: np.random.Generator) -> None:
        """Fat shows the organs' outlines: blobs of soft tissue in it, none in the liver."""
        behind = np.clip((canvas.x - canvas.along_y(chest.diaphragm) - np.float32(self.liver)) * 0.8, 0.0, 1.0)
        blobs = canvas.texture(rng, 1.6) + np.float32(0.5) * canvas.texture(rng, 0.6)
        share = np.float32(self.omental_fat) * behind * np.clip(0.5 + blobs, 0.0, 1.2) * np.float32(0.6)
        inside = soft * np.minimum(share, np.float32(0.9))
        soft -= inside
        fat += inside

    def _add_stomach(self, walls: Solids, gas: Solids, middle: float, rng: np.random.Generator) -> None:
        centre = np.array([middle + self.liver + rng.uniform(0.3, 1.6), rng.uniform(1.6, 4.2)])
        half = (float(rng.uniform(0.9, 1.8)), float(rng.uniform(1.4, 2.6)))
        angle = float(rng.uniform(-30.0, 50.0))
        walls.block(centre, half, float(rng.uniform(0.1, 0.7)), angle=angle, power=2)
        if self.stomach_food:
            for _ in range(40):
                spot = centre + rng.uniform(-0.7, 0.7, 2) * half
                size = float(rng.uniform(0.08, 0.25))
                gas.block(spot, (size, size), float(rng.uniform(-1.0, 1.6)) * self.stomach_food, power=2)
        if self.stomach_gas:
            for _ in range(3):
                bubble = self.stomach_gas * rng.uniform(0.5, 1.0, 2)
                spot = centre + rng.normal(0.0, 0.45 * self.stomach_gas, 2)
                gas.block(
                    spot, (float(bubble[0]), float(bubble[1])), 0.55 * self.stomach_gas, angle=angle, power=2
                )

    def _add_gut(self, walls: Solids, gas: Solids, middle: float, rng: np.random.Generator) -> None:
        for _ in range(int(rng.integers(6, 14))):
            loop, radius = self._loop(middle, rng)
            walls.tube(loop, radius, weight=float(rng.uniform(0.1, 0.45)))
        for _ in range(int(self.gut_gas)):
            loop, radius = self._loop(middle, rng)
            radii = radius * rng.uniform(0.35, 1.0, len(loop))
            gas.tube(loop, radii, weight=float(rng.uniform(0.15, 0.75)))

    def _loop(self, middle: float, rng: np.random.Generator) -> tuple[NDArray[np.float64], float]:
        start = np.array([middle + self.liver + rng.uniform(1.0, 9.0), rng.uniform(1.0, 7.5)])
        turns = np.radians(rng.uniform(0.0, 360.0) + np.cumsum(rng.normal(0.0, 60.0, 3)))
        steps = rng.uniform(0.4, 1.0) * np.stack([np.cos(turns), np.sin(turns)], axis=1)
        return smooth_path(np.concatenate([start[None], start + np.cumsum(steps, axis=0)]), 2), float(
            rng.uniform(0.25, 0.55)
        )
