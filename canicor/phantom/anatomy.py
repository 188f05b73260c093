"""The thorax as numbers: what is drawn for one dog, and the lines that follow from it.

Lengths are in vertebral units v (a sixth of E-F) in the vertebral frame: origin E, x caudal along E-F, y ventral.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from canicor.phantom.priors import draw_fields, normal, sometimes, truncated_normal, uniform
from canicor.vhs import LARGE_ABOVE, SMALL_BELOW, VERTEBRAE_SPANNED, HeartSize

# The published key points of 58 dogs measured anew from the CCK overview figure, "figure" below.
VHS_MEAN, VHS_SD = 9.65, 1.34
"""VHS of the study population: mean AB 5.09 + CD 4.56 v, and the spread of their sum (figure)."""

LOWEST_VHS, HIGHEST_VHS = 4.0, 20.0
"""The VHS a phantom can have: beyond any living dog's at both ends."""

BANDS = {
    HeartSize.SMALL: (LOWEST_VHS, np.nextafter(SMALL_BELOW, 0.0)),
    HeartSize.NORMAL: (SMALL_BELOW, LARGE_ABOVE),
    HeartSize.LARGE: (np.nextafter(LARGE_ABOVE, np.inf), HIGHEST_VHS),
}
"""The VHS a class spans, ends included."""

# Class means Small, Normal, Large (figure): AB + CD, angle of AB to the spine in degrees, CD/AB.
_CLASS_VHS = (4.02 + 3.49, 4.95 + 4.37, 5.74 + 5.28)
_CLASS_ANGLE = (73.5, 77.2, 86.2)
_CLASS_RATIO = (3.49 / 4.02, 4.37 / 4.95, 5.28 / 5.74)

# Regressions that keep the figure's correlations: the carina lies cranial where the long axis stands steep
# (r = -0.51), and further from the spine in a large heart (r = 0.40).
_MEAN_ANGLE = 79.8
_ALONG_PER_DEGREE = -0.51 * 0.62 / 8.4
_VENTRAL_PER_VHS = 0.40 * 0.45 / VHS_SD

# How far, in v, the diaphragm moves up to a small heart at most.
_DEEPEST_BREATH = 1.0


@dataclass(frozen=True)
class Anatomy:
    """One dog: lengths in v, angles in degrees, shares of 1; 0 where a thing is absent.

    The heart's fields follow the figure; the others are set by eye on lateral radiographs.
    """

    vhs: float
    # The heart. Spreads of angle, ratio and carina are what VHS and angle leave unexplained.
    axis_angle: float = normal(0.0, 6.6, -18.0, 18.0)  # of AB to the spine; below 90 the apex lies caudal
    axis_ratio: float = normal(0.0, 0.085, -0.2, 0.2)  # CD / AB
    carina_along: float = normal(1.48, 0.53, 0.2, 2.9)
    carina_ventral: float = normal(2.07, 0.41, 1.15, 3.2)
    crossing_long: float = normal(0.34, 0.05, 0.22, 0.46)  # where CD crosses AB, from A
    crossing_short: float = normal(0.61, 0.05, 0.48, 0.74)  # where AB crosses CD, from C
    heart_thickness: float = uniform(0.5, 0.75)  # along the ray, in short axes
    # The spine.
    spine_rise: float = normal(17.5, 7.9, -4.0, 38.0)  # caudally, in the image
    spine_arch: float = normal(0.02, 0.06, -0.12, 0.14)
    neck_bend: float = uniform(0.02, 0.18)
    lumbar_bend: float = uniform(0.01, 0.05)
    vertebra_height: float = normal(0.62, 0.06, 0.5, 0.76)
    vertebra_depth: float = uniform(0.6, 0.95)
    disc: float = uniform(0.08, 0.16)
    process_length: float = normal(1.9, 0.3, 1.3, 2.6)
    process_tilt: float = uniform(18.0, 38.0)  # caudally, from the perpendicular
    vertebra_cm: float = normal(1.55, 0.3, 1.0, 2.3)  # centimetres in one v
    # The chest.
    chest_depth: float = normal(6.7, 0.5, 5.6, 8.0)  # least depth of the sternum below E
    chest_width: float = normal(5.6, 0.7, 4.2, 7.4)
    sternum_gap: float = uniform(0.12, 0.5)  # heart to sternum
    sternum_slope: float = uniform(0.32, 0.5)
    sternum_reach: float = uniform(4.0, 7.0)  # how far the sternum goes on sinking caudally
    diaphragm_top: float = normal(8.6, 0.6, 7.4, 10.0)
    diaphragm_dome: float = uniform(0.7, 2.0)
    diaphragm_gap: float = uniform(0.1, 0.9)  # heart to diaphragm
    lung_air: float = uniform(0.62, 0.8)  # share of air in the lung
    rib_lean: float = uniform(0.1, 0.32)
    rib_radius: float = uniform(0.1, 0.16)
    rib_parallax: float = uniform(0.05, 0.75)  # far ribs against near ones
    fat: float = normal(0.7, 0.4, 0.1, 2.0)
    withers: float = normal(1.9, 0.4, 1.0, 3.0)
    belly_tuck: float = uniform(0.02, 0.09)
    # Vessels and airways.
    trachea_radius: float = normal(0.36, 0.05, 0.25, 0.5)
    trachea_angle: float = normal(8.0, 5.0, -3.0, 20.0)  # to the spine, diverging caudally
    mediastinum: float = uniform(0.6, 1.7)  # thickness of the cranial mediastinum along the ray
    aorta_radius: float = uniform(0.38, 0.55)
    cava_radius: float = uniform(0.28, 0.42)
    # What is not on each radiograph.
    shoulder: float = uniform(0.8, 3.0)  # thickness of the muscles over the chest inlet
    limb_angle: float = uniform(15.0, 75.0)  # of the humerus to the spine, ventrally
    limb: float = sometimes(0.75, 0.35, 0.5)  # radius of the humerus
    scapula: float = sometimes(0.7, 0.08, 0.2)  # thickness
    stomach_gas: float = sometimes(0.5, 0.5, 1.3)  # radius
    # The framing.
    ruler_share: float = normal(0.33, 0.045, 0.24, 0.42)  # of E-F in the image's width, where all fits
    centre_across: float = normal(0.5, 0.05, 0.4, 0.6)  # of the six points, as a share of the width
    centre_down: float = normal(0.5, 0.05, 0.4, 0.6)

    @property
    def long_axis(self) -> float:
        """|AB| in v."""
        return self.vhs / (1.0 + self.axis_ratio)

    @property
    def short_axis(self) -> float:
        """|CD| in v."""
        return self.vhs - self.long_axis

    @property
    def carina(self) -> NDArray[np.float64]:
        """A in the vertebral frame."""
        return np.array([self.carina_along, self.carina_ventral])

    @property
    def axis(self) -> NDArray[np.float64]:
        """The unit vector from A to B."""
        angle = np.radians(self.axis_angle)
        return np.array([np.cos(angle), np.sin(angle)])

    def key_points(self) -> NDArray[np.float64]:
        """float64 [6, 2]: A to F in the vertebral frame."""
        a, b = self._border((0.0, 1.0), 0.0)
        c, d = (
            self._border(self.crossing_long, share) for share in (-self.crossing_short, 1 - self.crossing_short)
        )
        return np.array([a, b, c, d, (0.0, 0.0), (VERTEBRAE_SPANNED, 0.0)])

    def _border(self, along: ArrayLike, share: float) -> NDArray[np.float64]:
        """Points [n, 2] at shares of the long axis, to its caudal side by a share of the heart's width there."""
        along = np.asarray(along, dtype=np.float64)[..., None]
        caudal = np.array([self.axis[1], -self.axis[0]])
        width = share * self.short_axis * egg_width(along, self.crossing_long)
        return np.asarray(self.carina + along * self.long_axis * self.axis + width * caudal)

    def caudal_border(self, along: ArrayLike) -> NDArray[np.float64]:
        """Points [n, 2] of the heart's caudal silhouette at shares of the long axis."""
        return self._border(along, 1.0 - self.crossing_short)

    @cached_property
    def heart_outline(self) -> NDArray[np.float64]:
        """float64 [n, 2]: points around the heart's silhouette."""
        along = np.linspace(0.0, 1.0, 41)
        return np.concatenate([self._border(along, -self.crossing_short), self.caudal_border(along)])

    def spine_at(self, x: ArrayLike) -> NDArray[np.float64]:
        """The y of the vertebrae's ventral border: through E and F, up the neck, level again in the loin."""
        x = np.asarray(x, dtype=np.float64)
        chest = np.clip(x, -3.0, 9.0)
        # A parabola through E and F, and its tangents beyond the chest.
        arch = chest * (chest - VERTEBRAE_SPANNED) + (2.0 * chest - VERTEBRAE_SPANNED) * (x - chest)
        neck, loin = np.maximum(-2.0 - x, 0.0), np.maximum(x - 7.0, 0.0)
        return np.asarray(self.spine_arch / 3.0 * arch - self.neck_bend * neck**2 + self.lumbar_bend * loin**2)

    def _sternum_drop(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """How much lower the sternum lies at x than below the apex."""
        from_apex = x - self.key_points()[1, 0]
        return np.asarray(
            self.sternum_reach * (1.0 - np.exp(-from_apex * self.sternum_slope / self.sternum_reach))
        )

    def sternum_at(self, x: ArrayLike) -> NDArray[np.float64]:
        """The y of the sternum's inner border: just clear of the heart, or as deep as the chest is at least."""
        return self._sternum_depth + self._sternum_drop(np.maximum(np.asarray(x, dtype=np.float64), self.inlet))

    @cached_property
    def _sternum_depth(self) -> float:
        """The y of the sternum below the apex."""
        x, y = self.heart_outline.T
        return max(float((y - self._sternum_drop(x)).max()) + self.sternum_gap, self.chest_depth)

    @cached_property
    def inlet(self) -> float:
        """The x of the chest's cranial end: T1, or further where a huge heart reaches there."""
        return min(-3.2, float(self.heart_outline[:, 0].min()) - 0.9)

    def diaphragm_at(self, y: ArrayLike) -> NDArray[np.float64]:
        """The x of the diaphragm's cranial face: a dome from the loin to the sternum, clear of the heart."""
        outline, apex = self.heart_outline, self.key_points()[1]
        floor = float(self.sternum_at(apex[0]))

        def dome(y: NDArray[np.float64]) -> NDArray[np.float64]:
            down = np.clip(y / floor, -0.3, 1.3)
            bulge = 4.0 * self.diaphragm_dome * down * (1.0 - down)
            return np.asarray(self.diaphragm_top + down * (apex[0] + 0.8 - self.diaphragm_top) - bulge)

        to_heart = float((outline[:, 0] - dome(outline[:, 1])).max()) + self.diaphragm_gap
        shift = max(to_heart, -_DEEPEST_BREATH)
        return dome(np.asarray(y, dtype=np.float64)) + shift


def egg_width(along: ArrayLike, crossing: float) -> NDArray[np.float64]:
    """Width of the heart across its long axis, as a share of the short axis.

    Rises from 0 at A (along = 0) to 1 at the crossing, where it is level, and falls to 0 at B (along = 1): a blunt
    superellipse at the base, a slimmer one towards the apex.
    """
    along = np.asarray(along, dtype=np.float64)
    base = np.clip((crossing - along) / crossing, 0.0, 1.0)
    apex = np.clip((along - crossing) / (1.0 - crossing), 0.0, 1.0)
    return np.asarray((1.0 - base**2.4) ** 0.5 * (1.0 - apex**2) ** 0.62)


def draw_vhs(probability: float, low: float = LOWEST_VHS, high: float = HIGHEST_VHS) -> float:
    """The VHS at this probability in [0, 1) of the study population's distribution cut to [low, high]."""
    return truncated_normal(VHS_MEAN, VHS_SD, low, high)(probability)


def draw_anatomy(rng: np.random.Generator, vhs: float) -> Anatomy:
    """Draws a dog with this VHS."""
    drawn = draw_fields(Anatomy, rng)
    drawn["axis_angle"] += float(np.interp(vhs, _CLASS_VHS, _CLASS_ANGLE))
    drawn["axis_ratio"] += float(np.interp(vhs, _CLASS_VHS, _CLASS_RATIO))
    drawn["carina_along"] += _ALONG_PER_DEGREE * (drawn["axis_angle"] - _MEAN_ANGLE)
    usual_vhs = float(np.clip(vhs, VHS_MEAN - 2 * VHS_SD, VHS_MEAN + 2 * VHS_SD))
    drawn["carina_ventral"] += _VENTRAL_PER_VHS * (usual_vhs - VHS_MEAN)
    return Anatomy(vhs=vhs, **drawn)
