"""What else lies in the beam now and then: microchip, collar, leads, tube, pad, sandbag."""

from dataclasses import dataclass

import numpy as np

from canicor.phantom.beam import Map
from canicor.phantom.canvas import Canvas
from canicor.phantom.chest import Chest
from canicor.phantom.lungs import Thorax
from canicor.phantom.priors import sometimes
from canicor.phantom.solids import Solids, smooth_path

# How much bone attenuates as one v of metal: enough to be white.
_METAL = 6.0


@dataclass(frozen=True)
class Devices:
    """0 where a thing is absent."""

    microchip: float = sometimes(0.35, 0.25, 0.5)  # length in v: 12 mm by ISO 11784 transponders' size
    collar: float = sometimes(0.04, 0.1, 0.3)  # thickness in v
    leads: float = sometimes(0.1, 1.0, 4.0)  # of an electrocardiogram: how many
    tracheal_tube: float = sometimes(0.06, 0.2, 0.4)  # thickness of its wall, as a share
    pad: float = sometimes(0.12, 0.2, 1.0)  # thickness in v of soft tissue
    sandbag: float = sometimes(0.05, 0.4, 1.2)  # on neck or limbs: thickness in v of bone, which sand is like

    def add(self, thorax: Thorax, canvas: Canvas, soft: Map, bone: Map, rng: np.random.Generator) -> None:
        """Adds them to the maps of soft tissue and bone."""
        chest: Chest = thorax.chest
        light, dense = Solids(), Solids()
        place, turn = rng.uniform((-3.0, -4.2), (2.5, -2.2)), np.radians(rng.uniform(-60.0, 60.0))
        if self.microchip:
            end = place + self.microchip * np.array([np.cos(turn), np.sin(turn)])
            dense.tube([place, end], 0.05, weight=_METAL)
        if self.collar:
            neck = chest.spine.neck_line(1.0)
            middle, along = neck[-3], neck[-3] - neck[-2]
            across = np.array([-along[1], along[0]]) / np.hypot(*along)
            light.tube([middle - 2.6 * across, middle + 2.6 * across], 0.3, weight=self.collar)
            dense.block(middle + 2.4 * across, (0.35, 0.25), 0.6 * _METAL)
        for _ in range(int(self.leads)):
            points = np.cumsum(rng.normal((1.5, 0.3), (1.5, 1.5), (6, 2)), axis=0) + rng.uniform((-9, -4), (2, 9))
            light.tube(smooth_path(points, 5), 0.09, weight=0.7)
            dense.tube(smooth_path(points, 5), 0.03, weight=_METAL)
            dense.block(points[-1], (0.28, 0.2), 0.4 * _METAL, angle=float(rng.uniform(0, 180)), power=4)
        if self.tracheal_tube:
            radius = 0.75 * thorax.lungs.trachea_radius
            path = thorax.trachea[len(thorax.trachea) // 3 :]
            light.tube(path, radius, weight=self.tracheal_tube, marrow=0.85)
        if self.pad:
            corner = rng.uniform((-10.0, 5.0), (6.0, 12.0))
            half = rng.uniform((2.0, 1.0), (5.0, 3.0))
            angle = float(rng.uniform(-30.0, 30.0))
            light.block(corner, (float(half[0]), float(half[1])), self.pad, angle=angle)
        if self.sandbag:
            middle = np.array([chest.inlet, 0.0]) + rng.uniform((-5.5, -3.5), (-2.0, 9.0))
            angle = float(rng.uniform(40.0, 140.0))
            dense.block(middle, (float(rng.uniform(2.5, 5.0)), 1.4), self.sandbag, angle=angle)
        soft += canvas.thickness(light)
        bone += canvas.thickness(dense)
