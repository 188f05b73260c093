"""The chest's wall: ribs, cartilages, sternum and diaphragm, and the cavity that they enclose."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from canicor.phantom.beam import Map
from canicor.phantom.canvas import Canvas
from canicor.phantom.chords import root
from canicor.phantom.heart import Heart
from canicor.phantom.priors import normal, sometimes, uniform
from canicor.phantom.solids import Solids, smooth_path
from canicor.phantom.spine import THORACIC, Spine

_STERNAL_RIBS = 9
_STERNEBRAE = 8

# How far, in v, the diaphragm moves up to a small heart at most.
_DEEPEST_BREATH = 1.2
# The cavity reaches this far dorsal of the bodies' ventral border: the lungs lie on both sides of the spine.
_BESIDE_THE_SPINE = 0.5


@dataclass(frozen=True)
class ChestWall:
    """What is drawn of the chest: lengths in v, shares of 1 (by eye on laterals)."""

    inlet: float = normal(-4.8, 0.9, -7.2, -3.0)  # x of the cavity's cranial end
    chest_depth: float = normal(6.8, 0.75, 5.2, 9.0)  # least depth of the sternum below E
    chest_width: float = normal(6.0, 0.9, 4.0, 8.6)  # of the cavity
    keel: float = uniform(0.05, 0.5)  # how much narrower chest and trunk are at the sternum
    sternum_gap: float = uniform(0.0, 0.8)  # heart to sternum
    sternum_slope: float = normal(0.42, 0.08, 0.22, 0.62)  # below the apex, caudally
    sternum_curve: float = uniform(0.004, 0.036)  # how much steeper it is further cranially
    sternum_reach: float = uniform(1.2, 4.5)  # how far the sternum goes on sinking caudally
    diaphragm_top: float = normal(8.8, 1.3, 6.0, 11.8)
    diaphragm_dome: float = uniform(0.9, 2.6)
    diaphragm_gap: float = normal(-0.2, 0.5, -1.3, 1.1)  # heart to diaphragm
    diaphragm_radius: float = uniform(1.6, 4.0)  # of the dome's curve along the rays
    crus_gap: float = uniform(0.0, 0.9)  # between the two sides of the diaphragm
    rib_lean: float = normal(0.02, 0.06, -0.12, 0.16)  # of T4's, caudally
    rib_fan: float = uniform(0.02, 0.1)  # how much further caudally each leans than the one before
    rib_bow: float = uniform(0.2, 0.85)
    rib_radius: float = uniform(0.105, 0.2)
    rib_flare: float = uniform(0.9, 1.5)  # how much wider they are at their ventral end than above
    rib_rise: float = uniform(0.0, 0.3)  # of the arcs above the canal's floor
    bony_share: float = uniform(0.6, 0.72)  # of a sternal rib's arc
    rib_density: float = uniform(0.8, 1.15)  # to the skeleton's
    rib_marrow: float = uniform(0.62, 0.83)
    cartilage: float = uniform(0.1, 0.7)  # its mineral, as a share of bone
    cartilage_reach: float = uniform(0.7, 1.6)  # cranially, of the third rib's
    sternebra_height: float = uniform(0.17, 0.27)
    calcified: float = sometimes(0.12, 0.2, 0.6)  # costochondral joints of old dogs


@dataclass(frozen=True)
class Chest:
    """The chest around this heart, below this spine."""

    wall: ChestWall
    heart: Heart
    spine: Spine

    @cached_property
    def inlet(self) -> float:
        """The x of the chest's cranial end: before T1, or further where a huge heart reaches there."""
        return min(self.wall.inlet, float(self.heart.outline[:, 0].min()) - 0.9)

    def sternum(self, x: ArrayLike) -> NDArray[np.float64]:
        """The y of the sternum's inner border: just clear of the heart, or as deep as the chest is at least."""
        return self._sternum_depth + self._sternum_drop(
            np.maximum(np.asarray(x, dtype=np.float64), self.inlet - 1.0)
        )

    @cached_property
    def _sternum_depth(self) -> float:
        """The y of the sternum below the apex."""
        x, y = self.heart.outline.T
        return max(float((y - self._sternum_drop(x)).max()) + self.wall.sternum_gap, self.wall.chest_depth)

    def _sternum_drop(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """How much lower the sternum lies at x than below the apex."""
        reach, slope = self.wall.sternum_reach, self.wall.sternum_slope
        from_apex = x - self.heart.apex[0]
        caudal = np.maximum(from_apex, 0.0)
        return np.asarray(
            np.minimum(from_apex, 0.0) * (slope - self.wall.sternum_curve * from_apex)
            + reach * (1.0 - np.exp(-caudal * slope / reach))
        )

    def half_width(self, x: ArrayLike) -> NDArray[np.float64]:
        """Of the cavity at its widest, in v: narrow at the inlet."""
        opening = np.clip((np.asarray(x, dtype=np.float64) - self.inlet + 0.3) / 6.0, 0.0, 1.0)
        return np.asarray(0.5 * self.wall.chest_width * np.sin(0.5 * np.pi * opening) ** 1.1)

    def keeled(self, across: Map) -> Map:
        """The share of its width that chest or trunk has at heights from -1, dorsally, to 1 at the sternum."""
        return np.float32(1.0) - np.float32(self.wall.keel) * np.clip(across, 0.0, 1.0)

    def diaphragm(self, y: ArrayLike) -> NDArray[np.float64]:
        """The x of the diaphragm's cranial face: a dome from the loin to the sternum, clear of the heart."""
        outline, apex = self.heart.outline, self.heart.apex
        floor = float(self.sternum(apex[0]))
        wall = self.wall

        def dome(y: NDArray[np.float64]) -> NDArray[np.float64]:
            down = np.clip(y / floor, -0.3, 1.2)
            # The dome is fullest below its middle, where the liver lies.
            bulge = 4.0 * wall.diaphragm_dome * down * (1.0 - down) * (0.7 + 0.6 * down)
            return np.asarray(wall.diaphragm_top + down * (apex[0] + 0.9 - wall.diaphragm_top) - bulge)

        to_heart = float((outline[:, 0] - dome(outline[:, 1])).max()) + wall.diaphragm_gap
        shift = max(to_heart, -_DEEPEST_BREATH)
        return dome(np.asarray(y, dtype=np.float64)) + shift

    def cavity(self, canvas: Canvas) -> Map:
        """What of each ray lies in the chest cranial of the diaphragm, in v."""
        top = canvas.along_x(lambda x: self.spine.ventral_border(x) - _BESIDE_THE_SPINE)
        bottom = canvas.along_x(lambda x: self.sternum(x) - 0.1)
        across = (2.0 * canvas.y - top - bottom) / np.maximum(bottom - top, np.float32(0.5))
        inside: Map = canvas.along_x(lambda x: 2.0 * self.half_width(x)) * self.keeled(across)
        across *= across
        across *= np.float32(0.3) + np.float32(0.7) * across
        inside *= root(1.0 - across)
        front = canvas.along_y(self.diaphragm)
        # On either side the dome is a paraboloid x = z^2 / 2R: the chord of its half is a root.
        for side in (-0.5, 0.5):
            behind = canvas.x - front - np.float32(side * self.wall.crus_gap)
            inside -= root(behind * np.float32(2.0 * self.wall.diaphragm_radius))
        return np.maximum(inside, 0.0, out=inside)

    def add_bones(self, canvas: Canvas, bone: Map, rng: np.random.Generator) -> None:
        """Adds ribs and sternum."""
        bones = Solids()
        for number in range(THORACIC):
            for side in (-1.0, 1.0):
                self._add_rib(bones, rng, number, side)
        self._add_sternum(bones, rng)
        bone += canvas.thickness(bones)

    def _add_rib(self, bones: Solids, rng: np.random.Generator, number: int, side: float) -> None:
        """A bony arc along the chest's wall, then the cartilage that bends cranially to the sternum."""
        wall, head = self.wall, self.spine.thoracic(number)
        top = head[1] + self.spine.reading_height - self.spine.body_height - wall.rib_rise
        bottom = float(self.sternum(head[0] + 1.0)) + 0.15
        lean = wall.rib_lean + wall.rib_fan * (number - 3) + float(rng.normal(0.0, 0.015))
        bow, width = wall.rib_bow * float(rng.uniform(0.8, 1.2)), wall.rib_radius * float(rng.uniform(0.88, 1.12))
        # The last four ribs end further and further from the sternum.
        bony = (wall.bony_share - 0.045 * max(number - 8, 0)) * np.pi
        angles = np.linspace(0.04 * np.pi, bony, 11)

        def place(angle: NDArray[np.float64]) -> NDArray[np.float64]:
            down = 0.5 * (bottom - top) * (1.0 - np.cos(angle))
            x = head[0] + lean * down + bow * np.sin(angle)
            return np.stack([x, top + down, side * (self.half_width(x) + 0.15) * np.sin(angle)], axis=1)

        path = place(angles)
        radius = width * np.linspace(0.85, 0.85 * wall.rib_flare, len(angles)) * (1.0 - 0.03 * abs(number - 5))
        density = wall.rib_density * self.spine.bone_density
        bones.tube(path, radius, weight=density, marrow=wall.rib_marrow)
        if wall.calcified:
            bones.block(path[-1], (0.2, 0.14), 0.5 * wall.calcified * density, power=2)
        mineral = wall.cartilage * float(rng.uniform(0.6, 1.3))
        radius = radius[-1] * np.linspace(0.95, 0.55, 9)
        # From where the bone's round end stops: two ends on one place would make a dot.
        end = path[-1] + radius[0] * (path[-1] - path[-2]) / np.linalg.norm(path[-1] - path[-2])
        bones.tube(self._cartilage(end, number), radius, weight=mineral * density)

    def _cartilage(self, start: NDArray[np.float64], number: int) -> NDArray[np.float64]:
        """float64 [9, 3]: from a rib's bony end, first on, then cranially to the sternum or the next cartilage."""
        x, y, z = start
        back = self.wall.cartilage_reach * (0.5 + 0.13 * number)
        end = float(self.sternum(x - back)) + 0.1
        if number >= _STERNAL_RIBS:
            end -= 0.3 + 0.25 * (number - _STERNAL_RIBS)
        drop = end - y
        bend, tip = (x - 0.15 * back, y + 0.55 * drop, 0.75 * z), (x - back, end, 0.2 * z)
        return smooth_path(np.array([start, bend, tip]), 4)

    def _add_sternum(self, bones: Solids, rng: np.random.Generator) -> None:
        """Eight sternebrae from before the inlet to behind the apex, none quite in line."""
        edges = np.linspace(self.inlet - 1.0, max(self.heart.apex[0] + 2.2, self.inlet + 7.5), _STERNEBRAE + 1)
        height, density = self.wall.sternebra_height, self.spine.bone_density
        joints = np.stack([edges, self.sternum(edges) + height + 0.05 + rng.normal(0.0, 0.04, edges.size)], axis=1)
        for left, step in zip(joints, np.diff(joints, axis=0), strict=False):
            angle = float(np.degrees(np.arctan2(step[1], step[0])) + rng.normal(0.0, 2.0))
            half = (0.43 * float(np.hypot(*step)), height * float(rng.uniform(0.9, 1.1)))
            bones.block(left + 0.5 * step, half, 0.15 * density, angle=angle)
            for share in (0.09, 0.91):
                bones.block(left + share * step, (0.05, 1.05 * half[1]), 0.13 * density, angle=angle)
            for end in (-1.0, 1.0):
                bones.tube(
                    [left + 0.1 * step + [0.0, end * half[1]], left + 0.9 * step + [0.0, end * half[1]]],
                    0.04,
                    weight=0.6 * density,
                )
