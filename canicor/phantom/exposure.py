"""Tissue -> what a flat detector records of the beam."""

from dataclasses import dataclass

import numpy as np

from canicor.phantom.beam import Map
from canicor.phantom.dog import Tissue
from canicor.phantom.priors import normal, sometimes, uniform
from canicor.resizing import Filter, resized

# Mass attenuation at 40 and 60 keV in cm2/g (NIST XCOM tables of ICRU-44 tissues) times density in g/cm3 (ICRU-44;
# whole bone, shell and trabeculae together, 1.4): linear attenuation in 1/cm.
_SOFT = (0.2688 * 1.06, 0.2048 * 1.06)
_FAT = (0.2396 * 0.95, 0.1974 * 0.95)
_BONE = (0.6655 * 1.4, 0.3148 * 1.4)

# Pixels: a Gaussian beyond has nothing left at the scale of a pixel.
_WIDE = 2.0


@dataclass(frozen=True)
class Exposure:
    """How one film was taken."""

    softness: float = uniform(0.15, 0.65)  # share of quanta at 40 keV, the others at 60: 55 to 90 kV, filtered
    quanta: float = normal(7.6, 0.4, 6.4, 8.6)  # in air, decimal logarithm of their number on a square v
    underexposed: float = sometimes(0.06, 0.2, 0.6)  # by so many powers of ten: a fault
    readout: float = uniform(1.0, 8.0)  # electronic noise in quanta
    spread: float = uniform(0.006, 0.032)  # standard deviation of focal spot, motion and screen, in v
    scatter: float = uniform(0.05, 0.6)  # scattered to primary behind the dog
    heel: float = uniform(-0.2, 0.2)  # gradient of the intensity along the rows
    tilt: float = uniform(-0.12, 0.12)  # and along the columns
    grid_lines: float = sometimes(0.06, 0.004, 0.02)
    grid_period: float = uniform(2.2, 7.0)  # in pixels


def expose(tissue: Tissue, cm: float, scale: float, exposure: Exposure, rng: np.random.Generator) -> Map:
    """Takes the film.

    Args:
        tissue: Along each ray, in v.
        cm: Centimetres in one v.
        scale: Pixels in one v.
        exposure: The conditions.
        rng: Gives the noise.

    Returns:
        float32 [height, width]: the logarithm of quanta in air over those recorded; 0 in air, some 3 behind a dog.
    """
    shape = tissue.soft.shape
    intensity = np.zeros(shape, np.float32)
    for share, soft, fat, bone in zip(
        (exposure.softness, 1.0 - exposure.softness), _SOFT, _FAT, _BONE, strict=True
    ):
        # Beer-Lambert: what is left of the beam falls with the exponential of attenuation along the ray.
        depth = np.float32(-cm * soft) * tissue.soft
        depth -= np.float32(cm * fat) * tissue.fat
        depth -= np.float32(cm * bone) * tissue.bone
        np.exp(depth, out=depth)
        depth *= np.float32(share)
        intensity += depth
    across = np.linspace(-1.0, 1.0, shape[1], dtype=np.float32)[None, :]
    down = np.linspace(-1.0, 1.0, shape[0], dtype=np.float32)[:, None]
    intensity *= 1.0 + np.float32(exposure.heel) * across + np.float32(exposure.tilt) * down
    # Behind the dog scatter is spread far; what the bare film receives does not come from the dog.
    behind = np.minimum(intensity, np.float32(0.25))
    intensity += np.float32(exposure.scatter) * smooth(behind, max(1, round(1.5 * scale)))
    intensity = np.maximum(blur(intensity, exposure.spread * scale), 0.0)
    if exposure.grid_lines:
        lines = np.sin(2.0 * np.pi / exposure.grid_period * np.arange(shape[1]))
        intensity *= 1.0 + np.float32(exposure.grid_lines) * lines.astype(np.float32)[None, :]
    quanta = np.float32(10.0 ** (exposure.quanta - exposure.underexposed) / scale**2)
    intensity *= quanta
    # Poisson counts this large are normal with variance equal to the mean; the read-out's variance adds.
    noise = rng.standard_normal(shape, dtype=np.float32)
    noise *= np.sqrt(intensity + np.float32(exposure.readout**2))
    intensity += noise
    np.maximum(intensity, 1.0, out=intensity)
    intensity *= 1.0 / quanta
    np.log(intensity, out=intensity)
    return np.negative(intensity, out=intensity)


def blur(image: Map, sigma: float) -> Map:
    """A Gaussian of `sigma` pixels, by its samples at whole pixels; a wide one on a copy of half the size."""
    if sigma > _WIDE:
        height, width = image.shape
        half = resized(image, -(-height // 2), -(-width // 2), by=Filter.BOX)
        return resized(blur(half, 0.5 * sigma), height, width, by=Filter.BICUBIC)
    reach = max(1, round(3.0 * sigma))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / max(sigma, 1e-3)) ** 2)
    kernel /= kernel.sum()
    for axis in (0, 1):
        padded = np.pad(image, [(reach, reach) if axis == i else (0, 0) for i in (0, 1)], mode="edge")
        length = image.shape[axis]
        parts = (padded[i : i + length] if axis == 0 else padded[:, i : i + length] for i in range(2 * reach + 1))
        image = np.zeros_like(image)
        for share, part in zip(kernel, parts, strict=True):
            image += np.float32(share) * part
    return image


def smooth(image: Map, cell: int) -> Map:
    """A low-pass at about `cell` pixels, through a small copy."""
    height, width = image.shape
    small = resized(image, max(1, height // cell), max(1, width // cell), by=Filter.BOX)
    return resized(small, height, width, by=Filter.BICUBIC)
