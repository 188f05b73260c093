"""The forelimbs: scapula, humerus and forearm of both sides, with their muscles."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from canicor.phantom.beam import Map
from canicor.phantom.canvas import Canvas
from canicor.phantom.chest import Chest
from canicor.phantom.priors import normal, uniform
from canicor.phantom.solids import Solids

# Half the distance of the two limbs, in v.
_ASIDE = 2.4


@dataclass(frozen=True)
class Limbs:
    """Lengths in v, angles in degrees (by eye on laterals, where the limbs are drawn cranially)."""

    shoulder_along: float = normal(-1.0, 1.3, -3.6, 3.0)  # of the joint, from the chest's inlet
    shoulder_ventral: float = normal(2.9, 0.9, 0.4, 5.0)  # from the spine
    scapula_angle: float = normal(-62.0, 10.0, -95.0, -35.0)
    scapula_length: float = normal(5.4, 0.5, 4.2, 6.6)
    humerus_angle: float = normal(114.0, 22.0, 60.0, 172.0)  # 90 is ventral, 180 cranial
    humerus_length: float = normal(5.6, 0.5, 4.4, 6.8)
    elbow_turn: float = normal(28.0, 24.0, -20.0, 95.0)  # of the forearm, cranially
    apart: float = uniform(0.1, 1.5)  # how much the two limbs' places differ
    limb_radius: float = normal(0.38, 0.08, 0.26, 0.65)
    limb_flesh: float = normal(2.1, 0.35, 1.2, 3.0)  # radius of the muscles at the shoulder
    shoulder_flesh: float = uniform(0.25, 0.7)  # thickness over the scapula as a share of its width

    def add(self, chest: Chest, canvas: Canvas, soft: Map, bone: Map, rng: np.random.Generator) -> None:
        """Adds both limbs."""
        muscles, bones = Solids(), Solids()
        for side in (-1.0, 1.0):
            offset = self.apart * rng.normal(0.0, (0.5, 0.5))
            turns = self.apart * rng.normal(0.0, (6.0, 11.0, 14.0))
            joint = np.array([chest.inlet + self.shoulder_along, self.shoulder_ventral]) + offset
            self._add_limb(chest, muscles, bones, joint, turns, side)
        soft += canvas.thickness(muscles)
        bone += canvas.thickness(bones)

    def _add_limb(
        self,
        chest: Chest,
        muscles: Solids,
        bones: Solids,
        joint: NDArray[np.float64],
        turns: NDArray[np.float64],
        side: float,
    ) -> None:
        radius, density = self.limb_radius, chest.spine.bone_density

        def at(*point: float) -> NDArray[np.float64]:
            return np.array([*point, side * _ASIDE])

        up = _heading(self.scapula_angle + turns[0])
        across = np.array([-up[1], up[0]])
        dorsal = joint + self.scapula_length * up
        # The blade: thin, three-cornered, with a ridge and borders.
        widths = np.array([0.35, 0.5, 0.95, 1.35, 1.5])
        blade = [at(*(joint + share * self.scapula_length * up)) for share in (0.06, 0.3, 0.55, 0.8, 0.93)]
        bones.tube(blade, widths, weight=0.1 * density)
        bones.tube([blade[1], at(*dorsal)], (0.12, 0.06), weight=2.0 * density)
        for edge in (-1.0, 1.0):
            border = [
                at(*(joint + share * self.scapula_length * up + edge * width * across))
                for share, width in ((0.16, 0.34), (0.5, 0.72), (0.8, 1.25), (0.97, 1.45))
            ]
            bones.tube(border, 0.06, weight=1.5 * density)
        muscles.tube(
            [blade[0], *blade[2:], at(*(dorsal + 0.6 * up))],
            (2.0, 2.8, 3.4, 3.2, 2.6),
            weight=self.shoulder_flesh * 0.4,
            lens=True,
        )

        down = _heading(self.humerus_angle + turns[1])
        elbow = joint + self.humerus_length * down
        bones.block(at(*(joint + 0.25 * down)), (1.6 * radius, 1.4 * radius), 0.14 * density, power=2)
        shaft = [
            at(*(joint + share * self.humerus_length * down + bow * across))
            for share, bow in ((0.05, 0.0), (0.3, 0.12), (0.6, 0.1), (0.9, 0.0), (1.0, 0.0))
        ]
        bones.tube(shaft, radius * np.array([1.25, 1.0, 0.75, 0.9, 1.1]), weight=density, marrow=0.62)
        flesh = self.limb_flesh
        muscles.tube(
            [at(*(joint - 1.2 * down - 0.5 * across)), shaft[1], shaft[2], at(*elbow)],
            flesh * np.array([1.4, 1.3, 1.0, 0.65]),
            weight=0.17,
            lens=True,
        )
        fore = _heading(self.humerus_angle + self.elbow_turn + turns[1] + turns[2])
        wrist = elbow + 1.02 * self.humerus_length * fore
        bones.block(at(*elbow), (1.4 * radius, 1.1 * radius), 0.12 * density, power=2)
        beside = np.array([-fore[1], fore[0]])
        bones.tube([at(*elbow), at(*wrist)], radius * np.array([0.8, 0.7]), weight=density, marrow=0.6)
        ulna = [
            at(*(elbow - 1.0 * fore - 0.35 * beside)),
            at(*(elbow - 0.3 * beside)),
            at(*(wrist - 0.45 * beside)),
        ]
        bones.tube(ulna, radius * np.array([0.75, 0.7, 0.4]), weight=density, marrow=0.55)
        muscles.tube([at(*elbow), at(*wrist)], flesh * np.array([0.62, 0.36]), weight=0.6)


def _heading(degrees: float) -> NDArray[np.float64]:
    return np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))])
