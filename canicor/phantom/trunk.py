"""What lies around skeleton and cavities: trunk, neck and head, with their muscle, fat and folds of skin."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from canicor.phantom.beam import Map
from canicor.phantom.canvas import Canvas
from canicor.phantom.chest import Chest
from canicor.phantom.chords import root
from canicor.phantom.priors import normal, sometimes, uniform
from canicor.phantom.solids import Solids, smooth_path


@dataclass(frozen=True)
class Trunk:
    """Lengths in v, shares of 1 (by eye on laterals)."""

    fat: float = normal(1.1, 0.45, 0.05, 2.4)  # under the skin
    flesh: float = uniform(0.2, 1.2)  # over the spinous processes
    withers: float = normal(1.3, 0.4, 0.2, 2.3)  # more of it there
    wall: float = uniform(0.1, 0.6)  # of muscle below the sternum
    side_wall: float = uniform(0.4, 0.9)  # of muscle and skin on the ribs
    squareness: float = uniform(0.1, 0.6)  # of the trunk's cross-section
    belly_width: float = normal(0.2, 0.1, -0.05, 0.45)  # beyond the chest's
    belly_tuck: float = normal(0.07, 0.03, -0.01, 0.15)
    neck_radius: float = normal(3.0, 0.45, 2.0, 4.2)
    neck_width: float = uniform(0.5, 0.75)  # across, as a share of its height
    skin_folds: float = sometimes(0.5, 1.0, 5.0)
    marbling: float = uniform(0.01, 0.035)

    def add(self, chest: Chest, canvas: Canvas, soft: Map, fat: Map, rng: np.random.Generator) -> None:
        """Adds muscle to `soft` and fat to `fat`, each in v along the ray."""
        outside = self._solid(chest, canvas, 0.0)
        inside = np.minimum(self._solid(chest, canvas, 1.0), outside)
        # Fat between the muscles: the same everywhere, in streaks along the body.
        inside *= 1.0 + np.float32(self.marbling) * (canvas.texture(rng, 1.3) + 0.4 * canvas.texture(rng, 0.3))
        soft += np.minimum(inside, outside)
        fat += np.maximum(outside - inside, 0.0)
        solids = Solids()
        self._add_head(solids, chest, rng)
        self._add_folds(solids, rng)
        soft += canvas.thickness(solids)

    def back(self, chest: Chest, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """The y of the skin over the spine."""
        spine = chest.spine
        # Softly, lest the back have a corner where the neck begins.
        behind = -2.5 + np.logaddexp(0.0, 1.5 * (x + 2.5)) / 1.5
        rise = np.tan(np.radians(np.clip(0.45 * spine.neck_turn - 4.0, -12.0, 35.0)))
        return np.asarray(
            spine.ventral_border(behind)
            - spine.process_reach(behind)
            - self.flesh
            - self.withers * np.exp(-(((x + 2.0) / 3.5) ** 2))
            - 0.7 * self.fat
            - rise * (behind - x)
        )

    def belly(self, chest: Chest, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """The y of the skin below the sternum."""
        before = np.maximum(chest.inlet - x, 0.0)
        below = 2.0 * chest.wall.sternebra_height + self.wall + 0.4 * self.fat
        untucked = chest.sternum(x) + below - 0.12 * before**2
        # However lean the dog, its loin keeps half of the trunk's depth.
        most = 0.5 * np.maximum(untucked - self.back(chest, x), 1.0)
        tuck = self.belly_tuck * np.maximum(x - 5.5, 0.0) ** 2
        return np.asarray(untucked - most * (1.0 - np.exp(-tuck / most)))

    def _solid(self, chest: Chest, canvas: Canvas, inset: float) -> Map:
        """Trunk and neck: as seen from outside, or without the skin's fat at an inset of 1."""
        fat = inset * self.fat

        def half_width(x: NDArray[np.float64]) -> NDArray[np.float64]:
            within = 0.5 * chest.wall.chest_width + self.side_wall + 0.5 * self.fat - 0.5 * fat
            shoulder = within * (0.5 + 0.5 / (1.0 + np.exp(-(x - chest.inlet - 2.5) * 0.8)))
            front = np.clip((x - chest.inlet + 4.5) / 4.5, 0.0, 1.0)
            belly = 1.0 + self.belly_width / (1.0 + np.exp(-(x - 7.5) * 1.2))
            return np.asarray(2.0 * shoulder * belly * np.sqrt(1.0 - (1.0 - front) ** 2))

        top = canvas.along_x(lambda x: self.back(chest, x) + 0.7 * fat)
        bottom = canvas.along_x(lambda x: self.belly(chest, x) - 0.4 * fat)
        across = (2.0 * canvas.y - top - bottom) / np.maximum(bottom - top, np.float32(0.5))
        trunk: Map = canvas.along_x(half_width) * chest.keeled(across)
        across *= across
        across *= np.float32(1.0 - self.squareness) + np.float32(self.squareness) * across
        trunk *= root(1.0 - across)
        neck, line = Solids(), smooth_path(chest.spine.neck_line(0.9), 2)
        radius = (self.neck_radius + 0.6 * self.fat - 0.6 * fat) * np.linspace(1.3, 0.9, len(line))
        neck.tube(line, radius, weight=self.neck_width)
        return np.maximum(trunk, canvas.thickness(neck), out=trunk)

    def _add_head(self, solids: Solids, chest: Chest, rng: np.random.Generator) -> None:
        line = chest.spine.neck_line(0.3)
        up = line[-1] - line[-2]
        up /= np.hypot(*up)
        turn = np.radians(rng.uniform(20.0, 85.0))
        nose = np.array([up[0] * np.cos(turn) + up[1] * np.sin(turn), up[1] * np.cos(turn) - up[0] * np.sin(turn)])
        skull = line[-1] + 1.6 * up
        solids.tube([skull, skull + 2.4 * nose, skull + 4.6 * nose], (2.3, 1.8, 1.0), weight=0.7)

    def _add_folds(self, solids: Solids, rng: np.random.Generator) -> None:
        """Folds of skin: long faint lines, mostly between the forelimb and the chest."""
        for _ in range(int(self.skin_folds)):
            start = np.array([rng.uniform(-5.0, 4.0), rng.uniform(-4.0, 7.0)])
            turn = np.radians(rng.uniform(20.0, 140.0))
            length = rng.uniform(3.0, 8.0)
            end = start + length * np.array([np.cos(turn), np.sin(turn)])
            middle = 0.5 * (start + end) + rng.normal(0.0, 0.5, 2)
            width = float(rng.uniform(0.15, 0.6))
            solids.tube(
                smooth_path([start, middle, end], 4),
                width * np.array([0.3, 0.6, 0.8, 0.9, 1.0, 0.9, 0.8, 0.6, 0.3]),
                weight=float(rng.uniform(0.1, 0.5)),
            )
