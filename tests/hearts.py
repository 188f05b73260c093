"""Hearts built from their figures, as `canicor.morphometry` measures them."""

import numpy as np
from numpy.typing import NDArray


def heart(
    vhs: float = 9.0,
    axis_angle: float = 80.0,
    axis_ratio: float = 0.9,
    long_crossing: float = 0.34,
    short_crossing: float = 0.61,
    carina: tuple[float, float] = (1.5, 2.1),
) -> NDArray[np.float64]:
    """Key points [6, 2] in vertebrae, E at the origin, the spine along x and the apex towards y."""
    long_axis = vhs / (1 + axis_ratio)
    turn = np.radians(axis_angle)
    axis = np.array([np.cos(turn), np.sin(turn)])
    caudal = np.array([axis[1], -axis[0]])
    a = np.array(carina)
    crossing = a + long_crossing * long_axis * axis
    c = crossing - short_crossing * (vhs - long_axis) * caudal
    return np.array([a, a + long_axis * axis, c, c + (vhs - long_axis) * caudal, (0, 0), (6, 0)])
