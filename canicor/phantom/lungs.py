"""Lungs, airways, vessels and the mediastinum between: what of each ray is air inside the chest."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from canicor.phantom.beam import Map
from canicor.phantom.canvas import Canvas
from canicor.phantom.chest import Chest
from canicor.phantom.priors import normal, sometimes, uniform
from canicor.phantom.solids import Solids, smooth_path


@dataclass(frozen=True)
class Lungs:
    """Lengths in v, angles in degrees, shares of 1 (by eye on laterals)."""

    lung_air: float = uniform(0.66, 0.92)  # share of air in the lung
    lung_texture: float = uniform(0.0, 0.02)
    vessel_radius: float = uniform(0.07, 0.14)  # where the branches begin
    vessel_depth: float = uniform(0.25, 0.8)  # along the rays, as a share of their width
    trachea_radius: float = normal(0.33, 0.06, 0.22, 0.5)
    bifurcation: float = uniform(0.0, 0.7)  # its length along the spine
    trachea_angle: float = normal(12.0, 5.0, -1.0, 25.0)  # to the spine, diverging caudally
    mediastinum: float = uniform(0.2, 1.5)  # thickness of the cranial mediastinum along the ray
    mediastinum_height: float = uniform(0.7, 1.5)
    neck_muscle: float = uniform(0.4, 1.6)  # below the spine, its thickness along the ray over its height
    aorta_radius: float = uniform(0.36, 0.54)
    cava_radius: float = uniform(0.27, 0.42)
    hilus: float = uniform(0.0, 0.3)
    cranial_lobe: float = uniform(0.6, 2.4)  # how much lung lies before the heart
    # Findings.
    interstitial: float = sometimes(0.2, 0.05, 0.3)  # share of the air lost, mottled
    alveolar: float = sometimes(0.05, 0.3, 0.9)  # in patches
    pleural_fluid: float = sometimes(0.08, 0.3, 1.0)
    nodules: float = sometimes(0.04, 2.0, 8.0)
    pericardial_fat: float = sometimes(0.75, 0.15, 0.7)


@dataclass(frozen=True)
class Thorax:
    """The lungs in this chest."""

    lungs: Lungs
    chest: Chest

    @cached_property
    def trachea(self) -> NDArray[np.float64]:
        """float64 [n, 2]: its midline from the carina, whose ventral border is A, to the skull."""
        lungs, heart, spine = self.lungs, self.chest.heart, self.chest.spine
        # A lies at the bifurcation's ventral border, where the trachea fades into the two bronchi.
        end = heart.carina - _by(lungs.bifurcation, lungs.trachea_radius)
        angle = np.radians(lungs.trachea_angle)
        away = np.array([np.cos(angle), np.sin(angle)])
        reach = max(end[0] - self.chest.inlet - 0.3, 2.0)
        in_chest = end - np.array([0.0, 0.35, 0.7, 1.0])[:, None] * reach * away
        # Up the neck it keeps its distance to the vertebrae, as in the inlet.
        gap = float(np.clip(in_chest[-1, 1] - spine.joints[6, 1], 1.0, 2.2))
        neck = spine.neck_line(gap)[3:]
        return smooth_path(np.concatenate([in_chest, neck[neck[:, 0] < in_chest[-1, 0] - 0.8]]), 4)

    def solid(self, canvas: Canvas, heart: Map, rng: np.random.Generator) -> Map:
        """What of each ray is soft tissue inside the chest."""
        solid = canvas.thickness(self._mediastinum())
        # They meet the heart, and share its place where they overlap.
        np.maximum(solid, heart, out=solid)
        solid += canvas.thickness(self._vessels(rng))
        return solid

    def air(self, canvas: Canvas, cavity: Map, solid: Map, rng: np.random.Generator) -> Map:
        """The air in the lungs along each ray, in v."""
        lungs, chest = self.lungs, self.chest
        lung = np.maximum(cavity - solid, 0.0)
        share = 1.0 + np.float32(lungs.lung_texture) * canvas.texture(rng, 0.15)
        share += np.float32(lungs.lung_texture) * canvas.texture(rng, 0.6)
        lost = np.float32(lungs.interstitial) * (1.0 + np.float32(0.15) * canvas.texture(rng, 0.2))
        patches, at = canvas.texture(rng, 2.2), float(rng.uniform(0.3, 1.2))
        if lungs.alveolar:
            lost = lost + np.float32(lungs.alveolar) * np.clip((patches - np.float32(at)) * 2.0, 0.0, 1.0)
        level, slope = float(rng.uniform(0.3, 2.5)), float(rng.uniform(0.2, 0.8))
        if lungs.pleural_fluid:
            depth = canvas.y - canvas.along_x(lambda x: chest.sternum(x) - level)
            lost = lost + np.float32(lungs.pleural_fluid) * np.clip(depth * np.float32(1.0 / slope), 0.0, 1.0)
        share *= np.float32(lungs.lung_air) * np.clip(1.0 - lost, 0.0, 1.0)
        # Little lung lies before the heart; more where the lobe reaches there.
        before = canvas.along_x(lambda x: np.clip((x - chest.inlet + 1.5 * lungs.cranial_lobe) / 2.0, 0.0, 1.0))
        share *= before
        air: Map = lung * np.maximum(share, 0.0, out=share)
        return air

    def airways(self, canvas: Canvas, rng: np.random.Generator) -> Map:
        """The gas in trachea and main bronchi along each ray, in v."""
        airways, radius = Solids(), self.lungs.trachea_radius
        path = self.trachea
        # Its rings make it uneven, and it fades where it divides.
        taper = radius * (1.0 + 0.12 * np.sin(np.linspace(0.0, 5.0, len(path)) + rng.uniform(0.0, 6.0)))
        taper[:2] = (0.8 * radius, 0.95 * radius)
        airways.tube(path, taper, weight=0.75)
        start = path[0]
        for side in (-1.0, 1.0):
            turn = np.radians(rng.uniform(-12.0, 34.0))
            along = np.array([np.cos(turn), np.sin(turn), 0.9 * side])
            bronchus = np.array([start[0] - 0.1, start[1], 0.0]) + np.array([0.0, 0.7, 1.5])[:, None] * along
            airways.tube(bronchus, radius * np.array([0.72, 0.55, 0.3]), weight=0.65)
        # The cranial lobes' bronchi are seen end-on.
        for _ in range(2):
            spot = start + rng.normal((-0.15, 0.2), (0.3, 0.2))
            size = float(rng.uniform(0.4, 0.7)) * radius
            airways.block(spot, (size, size), float(rng.uniform(0.0, 0.35)), power=2)
        return canvas.thickness(airways)

    def _mediastinum(self) -> Solids:
        """What lies between the lungs and in their place, but the heart."""
        solids = Solids()
        self._add_long_muscles(solids)
        self._add_aorta(solids)
        self._add_cranial_mediastinum(solids)
        self._add_hilus(solids)
        self._add_caudal_vena_cava(solids)
        if self.lungs.pericardial_fat:
            place = self.chest.heart.apex + _by(0.0, 0.1)
            solids.block(place, (1.9, 0.55), 2.2 * self.lungs.pericardial_fat, angle=18.0, power=2)
        return solids

    def _add_long_muscles(self, solids: Solids) -> None:
        """Along the vertebral bodies, and that of the neck below them, which ends at the sixth thoracic one."""
        border = self.chest.spine.ventral_border
        x = np.linspace(-3.5, 10.0, 10)
        solids.tube(np.stack([x, border(x) - 0.25], axis=1), 0.62, weight=0.9)
        x = np.linspace(-4.5, 2.5, 6)
        below = np.stack([x, border(x) + 0.15], axis=1)
        solids.tube(below, np.linspace(0.5, 0.2, 6), weight=self.lungs.neck_muscle)

    def _add_aorta(self, solids: Solids) -> None:
        """From the heart's base over the arch, then close below the spine."""
        carina, border = self.chest.heart.carina, self.chest.spine.ventral_border
        arch = carina[0] - 0.6
        top_of_arch = 0.5 * (carina[1] + float(border(arch)) + 0.7)
        x = np.linspace(arch + 1.2, 10.5, 5)
        below_spine = border(x) + 0.5
        below_spine[:2] += (0.35, 0.1)
        path = [carina + _by(-1.4, 0.8), (arch - 0.5, top_of_arch), *np.stack([x, below_spine], axis=1)]
        solids.tube(smooth_path(path, 3), self.lungs.aorta_radius, weight=0.6)

    def _add_cranial_mediastinum(self, solids: Solids) -> None:
        """Brachiocephalic trunk, cranial vena cava, oesophagus and fat: a band that thins ventrally."""
        lungs, heart, inlet = self.lungs, self.chest.heart, self.chest.inlet
        height, thickness = lungs.mediastinum_height, lungs.mediastinum
        spine = float(self.chest.spine.ventral_border(-3.0))
        shoulder = heart.cranial_border(np.array([0.22]))[0] - _by(0.1, 0.0)
        root_of_neck = np.array([inlet - 0.6, spine + 1.6])
        for drop, share in ((-0.5, 1.0), (0.6, 0.15)):
            middle = 0.5 * (shoulder + root_of_neck) + _by(0.0, 0.8 * drop)
            path = smooth_path([shoulder + _by(0.0, drop), middle, root_of_neck], 4)
            radius = height * np.linspace(0.75, 1.15, len(path))
            solids.tube(path, radius, weight=share * thickness / (2.0 * height), lens=True)
        # Neither below the trachea nor above it is there lung: vessels and fat lie against it.
        below = self.trachea[:13] + _by(0.0, lungs.trachea_radius + 0.5)
        solids.tube(below, np.linspace(0.2, 1.0, len(below)), weight=0.55 * thickness)
        above = np.array([heart.carina - _by(0.2, 0.5), [inlet, spine + 0.9]])
        solids.tube(above, (0.3, 1.5), weight=0.5 * thickness)

    def _add_hilus(self, solids: Solids) -> None:
        """Where bronchi and vessels enter the lungs."""
        solids.block(self.chest.heart.carina + _by(0.6, 0.55), (1.6, 1.1), self.lungs.hilus, power=2)

    def _add_caudal_vena_cava(self, solids: Solids) -> None:
        """From the heart's caudal border to the diaphragm, rising a little."""
        start = self.chest.heart.caudal_border(np.array([0.42]))[0] - _by(0.3, 0.0)
        end = np.array([float(self.chest.diaphragm(np.array(start[1]))) + 0.6, start[1] - 0.2])
        solids.tube([start, 0.5 * (start + end) - _by(0.0, 0.02), end], self.lungs.cava_radius, weight=0.7)

    def _vessels(self, rng: np.random.Generator) -> Solids:
        """Arteries and veins fan out from the hilus, mostly into the caudal lobes, and fork."""
        solids, lungs, width = Solids(), self.lungs, self.chest.wall.chest_width
        hilus = np.array([*(self.chest.heart.carina + _by(0.5, 0.1)), 0.0])
        headings = np.concatenate(
            [rng.uniform(-24.0, 48.0, 14), rng.uniform(55.0, 100.0, 2), rng.uniform(120.0, 175.0, 6)]
        )
        for heading in headings:
            side = float(rng.choice([-1.0, 1.0]))
            self._add_branch(solids, rng, hilus + rng.normal(0.0, (0.6, 0.4, 0.6)), float(heading), side, width)
        # Vessels that run along the ray look like dots.
        for _ in range(int(rng.integers(4, 14))):
            spot = hilus[:2] + rng.normal((0.6, 0.2), (1.6, 1.0))
            size = float(rng.uniform(0.05, 0.12))
            solids.block(spot, (size, size), float(rng.uniform(0.3, 1.0)), power=2)
        for _ in range(int(lungs.nodules)):
            spot = hilus[:2] + rng.normal((0.8, 1.0), (2.6, 2.0))
            size = float(rng.uniform(0.15, 0.5))
            solids.block(spot, (size, size), 2.0 * size, power=2)
        return solids

    def _add_branch(
        self,
        solids: Solids,
        rng: np.random.Generator,
        start: NDArray[np.float64],
        heading: float,
        side: float,
        width: float,
        radius: float | None = None,
    ) -> None:
        first = radius is None
        radius = radius or self.lungs.vessel_radius * float(rng.uniform(0.7, 1.3))
        lengths = rng.uniform(0.7, 1.5, 4 if first else 2)
        headings = np.radians(heading + np.cumsum(rng.normal(0.0, 9.0, len(lengths))))
        steps = np.stack(
            [np.cos(headings), np.sin(headings), np.full(len(lengths), 0.12 * side * width / len(lengths))], axis=1
        )
        path = np.concatenate([start[None], start + np.cumsum(lengths[:, None] * steps, axis=0)])
        radii = radius * np.linspace(1.0, 0.35, len(path))
        solids.tube(path, radii, weight=self.lungs.vessel_depth)
        if first:
            for point, thick in zip(path[1:-1], radii[1:-1], strict=True):
                fork = heading + float(rng.choice([-1.0, 1.0])) * float(rng.uniform(18.0, 45.0))
                self._add_branch(solids, rng, point, fork, side, width, 0.75 * float(thick))


def _by(caudal: float, ventral: float) -> NDArray[np.float64]:
    return np.array([caudal, ventral])
