"""The vertebral column, from the neck to the loin."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from canicor.phantom.beam import Map
from canicor.phantom.canvas import Canvas
from canicor.phantom.priors import normal, uniform
from canicor.phantom.solids import Solids
from canicor.vhs import VERTEBRAE_SPANNED

FIRST_THORACIC = -3
"""T1 in vertebrae from E, which is T4's cranial edge: its index too, with T4 at 0."""

THORACIC = 13
_FIRST_LUMBAR = FIRST_THORACIC + THORACIC
_LUMBAR, _CERVICAL = 6, 6  # C2 to C7: the atlas merges with the skull

# The neck's vertebrae from C7 up, as shares of the longest (by eye on laterals): the last one is short.
_CERVICAL_SHARES = np.array([0.78, 0.88, 0.95, 1.0, 1.05, 1.25])
# How the neck's bend is shared out, from C7 up: where it begins low, and where it begins high.
_LOW_BEND = np.array([0.3, 0.28, 0.2, 0.12, 0.06, 0.04])
_HIGH_BEND = np.array([0.02, 0.16, 0.28, 0.26, 0.17, 0.11])

# Spinous processes, as shares of the longest, by vertebrae counted from T1.
_PROCESS_AT = (-2.0, 0.0, 2.0, 4.0, 9.5, 12.0)
_PROCESS_SHARES = (0.2, 0.75, 1.0, 0.95, 0.36, 0.34)

# Radius of a body's compact edge, in v.
_RIM = 0.05


@dataclass(frozen=True)
class Spine:
    """Lengths in v, angles in degrees. The rise follows ../shared's figure of 58 dogs, the rest is by eye."""

    spine_rise: float = normal(17.5, 7.9, -4.0, 38.0)  # caudally, in the image
    spine_arch: float = normal(0.0, 0.035, -0.1, 0.1)  # dorsally, between E and F
    spine_sway: float = normal(0.004, 0.003, -0.003, 0.012)  # loin and neck to either side of E-F
    neck_turn: float = normal(44.0, 24.0, -10.0, 95.0)  # of the neck upward from the thoracic spine
    neck_start: float = uniform(0.0, 1.0)  # how far up it begins
    vertebra_growth: float = normal(0.015, 0.012, -0.015, 0.045)  # of each thoracic vertebra over the last
    cervical_length: float = normal(1.3, 0.08, 1.1, 1.5)  # of the longest but C2
    lumbar_length: float = normal(1.2, 0.07, 1.0, 1.4)
    lumbar_bend: float = uniform(-0.005, 0.03)
    body_height: float = normal(0.66, 0.06, 0.5, 0.8)
    reading_height: float = uniform(0.1, 0.5)  # of E and F above the bodies' ventral corners
    body_depth: float = uniform(0.3, 0.8)
    disc: float = uniform(0.06, 0.13)
    endplates: float = uniform(0.15, 0.7)  # what the ends' compact rims add, as a share of the body's depth
    canal: float = uniform(0.26, 0.38)  # its height
    bone_density: float = normal(0.72, 0.15, 0.4, 1.1)  # of the whole skeleton
    process_length: float = normal(2.4, 0.4, 1.4, 3.3)  # of the longest spinous processes
    process_tilt: float = uniform(2.0, 24.0)  # caudally, from the perpendicular: T1's
    process_width: float = uniform(0.1, 0.21)
    process_depth: float = uniform(0.3, 1.1)  # across, as a share of their width

    def ventral_border(self, x: ArrayLike) -> NDArray[np.float64]:
        """The y of the bodies' ventral border from T1 caudally: through E and F, bent again in the loin."""
        x = np.asarray(x, dtype=np.float64)
        chest = np.clip(x, FIRST_THORACIC, 9.0)
        # A parabola and a cubic through E and F, and their tangents beyond the chest.
        arch = chest * (chest - VERTEBRAE_SPANNED) + (2.0 * chest - VERTEBRAE_SPANNED) * (x - chest)
        half = 0.5 * VERTEBRAE_SPANNED
        at = chest - half
        sway = at * (at**2 - half**2) + (3.0 * at**2 - half**2) * (x - chest)
        bend = self.lumbar_bend * np.maximum(x - 7.0, 0.0) ** 2
        return np.asarray(self.spine_arch / 3.0 * arch + self.spine_sway * sway + bend)

    @cached_property
    def joints(self) -> NDArray[np.float64]:
        """float64 [n, 2]: the ventral borders at the vertebrae's cranial edges, C2 first, and the last's end."""
        thoracic = np.arange(FIRST_THORACIC, _FIRST_LUMBAR)
        lengths = 1.0 + self.vertebra_growth * (thoracic + 0.5 - 0.5 * VERTEBRAE_SPANNED)
        edges = np.concatenate([[0.0], np.cumsum([*lengths, *[self.lumbar_length] * _LUMBAR])])
        caudal = edges - edges[-FIRST_THORACIC]
        chest = np.stack([caudal, self.ventral_border(caudal)], axis=1)
        tangent = chest[1] - chest[0]
        shares = _LOW_BEND + self.neck_start * (_HIGH_BEND - _LOW_BEND)
        heading = np.arctan2(tangent[1], tangent[0]) + np.radians(self.neck_turn) * np.cumsum(shares)
        lengths = self.cervical_length * _CERVICAL_SHARES
        steps = -lengths[:, None] * np.stack([np.cos(heading), np.sin(heading)], axis=1)
        neck = chest[0] + np.cumsum(steps, axis=0)
        return np.concatenate([neck[::-1], chest])

    def thoracic(self, number: int) -> NDArray[np.float64]:
        """The cranial edge of T1 (number 0) to T13, and of L1 (13)."""
        return np.asarray(self.joints[_CERVICAL + number])

    def neck_line(self, ventral: float) -> NDArray[np.float64]:
        """float64 [n, 2]: a line so far ventral of the cervical vertebrae, from T2 to the skull."""
        line = self.joints[_CERVICAL + 1 :: -1]
        along = np.gradient(line, axis=0)
        along /= np.hypot(*along.T)[:, None]
        return np.asarray(line + ventral * np.stack([along[:, 1], -along[:, 0]], axis=1))

    def process_reach(self, x: ArrayLike) -> NDArray[np.float64]:
        """How far the spinous processes reach above the bodies' ventral border at x, in v."""
        number = np.asarray(x, dtype=np.float64) - FIRST_THORACIC
        return self.body_height + self.canal + 0.1 + self._process_length(number)

    def _process_length(self, number: ArrayLike) -> NDArray[np.float64]:
        """Longest on T2 to T4, shorter to T11, stout on the loin."""
        return np.asarray(
            np.interp(np.asarray(number, dtype=np.float64), _PROCESS_AT, _PROCESS_SHARES) * self.process_length
        )

    def add(self, canvas: Canvas, bone: Map, rng: np.random.Generator) -> None:
        """Adds the vertebrae one by one: body, endplates, arch, joints, processes."""
        solids = Solids()
        for number, (start, end) in enumerate(zip(self.joints, self.joints[1:], strict=False), -_CERVICAL):
            along = (end - start) / np.hypot(*(end - start))
            _Vertebra(self, solids, rng, number, start, end - self.disc * along).add()
        bone += canvas.thickness(solids)


@dataclass(frozen=True)
class _Vertebra:
    """One vertebra. `number` counts from T1; places in it are (share along, v dorsal of the ventral border)."""

    spine: Spine
    solids: Solids
    rng: np.random.Generator
    number: int
    start: NDArray[np.float64]
    end: NDArray[np.float64]

    @cached_property
    def _length(self) -> float:
        return float(np.hypot(*(self.end - self.start)))

    @cached_property
    def _along(self) -> NDArray[np.float64]:
        return np.asarray((self.end - self.start) / self._length)

    @cached_property
    def _angle(self) -> float:
        return float(np.degrees(np.arctan2(self._along[1], self._along[0])))

    def _at(self, share: float, dorsal: float, side: float = 0.0) -> NDArray[np.float64]:
        up = np.array([self._along[1], -self._along[0]])
        point = self.start + share * (self.end - self.start) + (dorsal - self.spine.reading_height) * up
        return np.array([point[0], point[1], side])

    def add(self) -> None:
        height, solids = self.spine.body_height, self.solids
        density = self.spine.bone_density * float(self.rng.uniform(0.88, 1.12))
        depth = self.spine.body_depth * density
        cervical, lumbar = self.number < 0, self.number >= THORACIC
        half = (0.53 * self._length, 0.5 * height)
        solids.block(self._at(0.5, 0.5 * height), half, 0.75 * depth, angle=self._angle)
        # The compact rims: E and F lie on the endplates' ventral corners. Off the central ray the two sides part.
        rim = self.spine.endplates * depth / (4.0 * _RIM)
        for side in (-0.3, 0.3):
            for share in (0.035, 0.965):
                edge = [self._at(share, -0.02, side), self._at(share, height, side)]
                solids.tube(edge, _RIM, weight=rim)
        waist = float(self.rng.uniform(0.04, 0.11))
        ventral = [self._at(0.0, -0.01), self._at(0.5, waist), self._at(1.0, -0.01)]
        solids.tube(ventral, _RIM, weight=2.0 * depth)
        self._add_arch(height, density)
        for side in (-0.3, 0.3):
            self._transverse_process(side, height, density, cervical, lumbar)
        self._spinous_process(height + self.spine.canal, density, cervical)

    def _add_arch(self, height: float, density: float) -> None:
        """Round the canal: pedicles, between which the nerves leave, laminae, joints that overlap the next's."""
        solids, canal = self.solids, self.spine.canal
        roof = height + canal
        for side in (-0.3, 0.3):
            # Under the next one's joint the foramen is left, by the caudal third.
            pedicle = self._at(0.4, height + 0.4 * canal, side)
            solids.block(pedicle, (0.3 * self._length, 0.62 * canal), 0.12 * density, angle=self._angle)
            lamina = [
                self._at(-0.1, roof + 0.02, side),
                self._at(0.5, roof + 0.12, 0.6 * side),
                self._at(1.1, roof + 0.02, side),
            ]
            solids.tube(lamina, (0.1, 0.12, 0.1), weight=0.14 * density)
            share, dorsal = self.rng.normal((0.02, roof + 0.02), (0.05, 0.04))
            size = float(self.rng.uniform(0.7, 1.2))
            half = (0.24 * size, 0.13 * size)
            joint = self._at(share, dorsal, side)
            solids.block(joint, half, 0.1 * density, angle=self._angle + 25.0, power=2)

    def _transverse_process(
        self, side: float, height: float, density: float, cervical: bool, lumbar: bool
    ) -> None:
        if lumbar:
            tip = self._at(-0.55, 0.1 - 0.4, 5.0 * side)
            self.solids.tube([self._at(0.3, 0.5 * height, side), tip], (0.2, 0.14), weight=0.18 * density)
        elif cervical:
            wing = [self._at(0.2, 0.45 * height, 2.0 * side), self._at(0.8, 0.1, 2.4 * side)]
            self.solids.tube(wing, (0.16, 0.22), weight=0.7 * density)
        else:
            # The rib's head and neck, seen from their end: over the joint to the vertebra before, below the canal.
            share, dorsal = self.rng.uniform((-0.12, 0.85), (0.08, 1.1))
            head = self._at(share, dorsal * height, 2.4 * side)
            self.solids.block(head, (0.25, 0.22), 0.45 * density, power=2)

    def _spinous_process(self, roof: float, density: float, cervical: bool) -> None:
        spine = self.spine
        length = float(spine._process_length(self.number)) * float(self.rng.uniform(0.94, 1.06))
        tilt = spine.process_tilt + 2.5 * max(self.number, 0) if self.number < 10 else -14.0
        tilt += float(self.rng.normal(0.0, 2.0))
        lean = np.tan(np.radians(tilt)) * length / self._length
        base = 0.5 if self.number < 10 else 0.55
        width = spine.process_width * (1.0 if self.number < 8 else 1.25)
        path = [
            self._at(base, roof),
            self._at(base + 0.4 * lean, roof + 0.5 * length),
            self._at(base + lean, roof + length),
        ]
        if cervical:
            width *= 0.8
        radius = (1.35 * width, width, 1.1 * width)
        self.solids.tube(path, radius, weight=spine.process_depth * density, marrow=0.35)
