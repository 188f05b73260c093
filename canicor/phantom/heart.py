"""The heart: an egg from the carina to the apex whose silhouette has the two axes of the Vertebral Heart Size.

Its numbers follow the published key points of 58 dogs measured anew from the overview figure of CCK ("figure"
below): the mean and the spread of each, and their correlations.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from canicor.phantom.priors import draw_fields, normal, sometimes, truncated_normal, uniform
from canicor.phantom.solids import Egg, Solids
from canicor.vhs import LARGE_ABOVE, SMALL_BELOW, VERTEBRAE_SPANNED, HeartSize

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

# The left atrium bulges where VHS is beyond the reference (Buchanan and Buecheler 1995: 9.7 +- 0.5), fully 3 v on.
_ATRIUM_FROM, _ATRIUM_FULL = 10.2, 13.2
_ATRIUM_AT, _ATRIUM_WIDTH = 0.16, 0.11

_VENTRICLES_AT, _VENTRICLES_BELOW = 0.45, 0.9
"""Where on the long axis, from A, the ventricles begin to take over from atria and great vessels, and end to."""

_CRANIAL_BASE, _CAUDAL_BASE = 4.0, 2.0
"""Exponents of the silhouette from A to C and to D: great vessels and auricle make the cranial one the blunter."""

_ELLIPSE = 0.5
"""The exponent that makes an ellipse of the silhouette."""

_GLOBE = 0.25
"""Of a cross-section of fluid round the heart: as sharp a border as there is."""


def draw_vhs(probability: float, low: float = LOWEST_VHS, high: float = HIGHEST_VHS) -> float:
    """The VHS at this probability in (0, 1) of the study population's distribution cut to [low, high]."""
    return truncated_normal(VHS_MEAN, VHS_SD, low, high)(probability)


@dataclass(frozen=True)
class Heart:
    """Lengths in v, angles in degrees, shares of 1. Angle, ratio and carina spread by what VHS leaves open."""

    vhs: float
    axis_angle: float = normal(0.0, 7.6, -20.0, 20.0)  # of AB to the spine; below 90 the apex lies caudal
    axis_ratio: float = normal(0.0, 0.097, -0.22, 0.24)  # CD / AB
    carina_along: float = normal(1.48, 0.53, 0.2, 2.9)
    carina_ventral: float = normal(2.07, 0.41, 1.15, 3.2)
    crossing_long: float = normal(0.34, 0.05, 0.22, 0.46)  # where CD crosses AB, from A
    crossing_short: float = normal(0.61, 0.05, 0.48, 0.74)  # where AB crosses CD, from C
    heart_thickness: float = uniform(0.5, 0.82)  # along the ray, in widths
    heart_base: float = uniform(0.2, 0.6)  # that thickness at the carina, as a share: vessels and atria in fat
    heart_bluntness: float = uniform(0.5, 0.72)  # of the apex
    heart_softness: float = uniform(0.3, 0.45)  # of its border: a beating heart in its fat has no sharp one
    # Of the caudal border, most of all where veins come in: on 49 thumbnails half the contrast to the lung is
    # reached 0.9 v inside of D, but 0.4 v inside of C (`benchmarks/means.py`).
    atrial_softness: float = uniform(1.8, 2.6)
    # Fluid in the pericardium: a globe with a sharp border. One dog in 233 at referral hospitals has it (Haritha,
    # Pericardial Effusion in Dogs, IntechOpen 2019); here more do, or networks would hardly see any.
    effusion: float = sometimes(0.01, 0.3, 1.0)
    left_atrium: float = uniform(0.6, 0.98)  # how far it fills the caudal waist of a very large heart

    @classmethod
    def draw(cls, rng: np.random.Generator, vhs: float, fixed: Mapping[str, float]) -> Self:
        """Draws a heart of this VHS."""
        drawn = draw_fields(cls, rng, {}, {})
        drawn["axis_angle"] += float(np.interp(vhs, _CLASS_VHS, _CLASS_ANGLE))
        drawn["axis_ratio"] += float(np.interp(vhs, _CLASS_VHS, _CLASS_RATIO))
        drawn["carina_along"] += _ALONG_PER_DEGREE * (drawn["axis_angle"] - _MEAN_ANGLE)
        usual_vhs = float(np.clip(vhs, VHS_MEAN - 2 * VHS_SD, VHS_MEAN + 2 * VHS_SD))
        drawn["carina_ventral"] += _VENTRAL_PER_VHS * (usual_vhs - VHS_MEAN)
        return cls(vhs=vhs, **(drawn | {name: fixed[name] for name in drawn if name in fixed}))

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

    @property
    def apex(self) -> NDArray[np.float64]:
        """B in the vertebral frame."""
        return self.carina + self.long_axis * self.axis

    def key_points(self) -> NDArray[np.float64]:
        """float64 [6, 2]: A to F in the vertebral frame."""
        crossing = np.array([self.crossing_long])
        c, d = self.cranial_border(crossing)[0], self.caudal_border(crossing)[0]
        return np.array([self.carina, self.apex, c, d, (0.0, 0.0), (VERTEBRAE_SPANNED, 0.0)])

    def cranial_border(self, along: ArrayLike) -> NDArray[np.float64]:
        """Points [n, 2] of the cranial silhouette at shares of the long axis."""
        return self._border(along, -self._cranial_width(np.asarray(along, dtype=np.float64)))

    def caudal_border(self, along: ArrayLike) -> NDArray[np.float64]:
        """Points [n, 2] of the caudal silhouette at shares of the long axis."""
        return self._border(along, self._caudal_width(np.asarray(along, dtype=np.float64)))

    def _border(self, along: ArrayLike, width: NDArray[np.float64]) -> NDArray[np.float64]:
        caudal = np.array([self.axis[1], -self.axis[0]])
        length = np.asarray(along, dtype=np.float64)[:, None] * self.long_axis
        return np.asarray(self.carina + length * self.axis + width[:, None] * caudal)

    def _cranial_width(self, along: NDArray[np.float64]) -> NDArray[np.float64]:
        return self.crossing_short * self.short_axis * self._egg(along, _CRANIAL_BASE)

    def _caudal_width(self, along: NDArray[np.float64]) -> NDArray[np.float64]:
        share = np.clip((self.vhs - _ATRIUM_FROM) / (_ATRIUM_FULL - _ATRIUM_FROM), 0.0, 1.0)
        bulge = np.exp(-(((along - _ATRIUM_AT) / _ATRIUM_WIDTH) ** 2)) * self.left_atrium * share
        bulge *= np.sqrt(np.clip(along / _ATRIUM_AT, 0.0, 1.0))
        return np.asarray(
            (1.0 - self.crossing_short) * self.short_axis * np.maximum(self._egg(along, _CAUDAL_BASE), bulge)
        )

    def _egg(self, along: NDArray[np.float64], base_power: float) -> NDArray[np.float64]:
        """Width across the long axis, as a share: 0 at A and B, 1 and level at the crossing.

        A blunt superellipse at the base, a slimmer one towards the apex.
        """
        base = np.clip((self.crossing_long - along) / self.crossing_long, 0.0, 1.0)
        apex = np.clip((along - self.crossing_long) / (1.0 - self.crossing_long), 0.0, 1.0)
        bluntness = self.heart_bluntness + self.effusion * (_ELLIPSE - self.heart_bluntness)
        return np.asarray((1.0 - base**base_power) ** 0.5 * (1.0 - apex**2) ** bluntness)

    def _depth(self, along: NDArray[np.float64]) -> NDArray[np.float64]:
        """Thickness over width at shares of the long axis: it grows from the base to the ventricles."""
        down = np.clip(along / _VENTRICLES_AT, 0.0, 1.0)
        grown = self.heart_base + (1.0 - self.heart_base) * down * (2.0 - down)
        return np.asarray(self.heart_thickness * grown)

    def _cranial_softness(self, along: NDArray[np.float64]) -> NDArray[np.float64]:
        """The power by which a cross-section thins out towards its border."""
        return np.full_like(along, self.heart_softness + self.effusion * (_GLOBE - self.heart_softness))

    def _caudal_softness(self, along: NDArray[np.float64]) -> NDArray[np.float64]:
        ventricular = self._cranial_softness(along)
        atrial = np.clip((_VENTRICLES_BELOW - along) / (_VENTRICLES_BELOW - _VENTRICLES_AT), 0.0, 1.0)
        return ventricular + (1.0 - self.effusion) * atrial * (self.atrial_softness - ventricular)

    @cached_property
    def outline(self) -> NDArray[np.float64]:
        """float64 [n, 2]: points around the silhouette."""
        along = np.linspace(0.0, 1.0, 41)
        return np.concatenate([self.cranial_border(along), self.caudal_border(along)])

    def solids(self) -> Solids:
        """An egg: its silhouette has A-B as long axis, C-D as greatest width."""
        egg = Egg(
            self.carina,
            self.long_axis * self.axis,
            self._depth,
            (self._cranial_width, self._caudal_width),
            (self._cranial_softness, self._caudal_softness),
            self.outline,
        )
        return Solids(eggs=[egg])
